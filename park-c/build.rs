//! Compiles the C++ half of the cxx bridge, if the feature is on, and names the shared library as it is installed.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let abi = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpark.so.{abi}");
    #[cfg(feature = "cxx")]
    {
        for file in ["bridge.rs", "actor.h", "call.h"] {
            println!("cargo:rerun-if-changed=src/cxx/{file}");
        }
        cxx_build::bridge("src/cxx/bridge.rs")
            .std("c++17")
            .warnings(true)
            .compile("park_cxx");
    }
}
