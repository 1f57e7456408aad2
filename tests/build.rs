//! Compiles the C++ actor of the tests, and its bridge.

fn main() {
    for file in ["build.rs", "src/cxx.rs", "src/accumulator.h", "src/accumulator.cc"] {
        println!("cargo:rerun-if-changed={file}");
    }
    cxx_build::bridge("src/cxx.rs")
        .file("src/accumulator.cc")
        .std("c++17")
        .warnings(true)
        .compile("park_tests_cxx");
}
