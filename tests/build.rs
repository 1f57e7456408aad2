//! Compiles the C++ actor of the tests with its bridge, and the CUDA driver that tests use where there is none.

use std::path::Path;

fn main() {
    compile_driver();
    for file in ["build.rs", "src/cxx.rs", "src/accumulator.h", "src/accumulator.cc"] {
        println!("cargo:rerun-if-changed={file}");
    }
    cxx_build::bridge("src/cxx.rs")
        .file("src/accumulator.cc")
        .std("c++17")
        .warnings(true)
        .compile("park_tests_cxx");
}

/// A library that a program finds as the driver if its folder is on the path of the loader.
fn compile_driver() {
    println!("cargo:rerun-if-changed=cuda/driver.c");
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let folder = Path::new(&out).join("driver");
    std::fs::create_dir_all(&folder).expect("OUT_DIR can be written to");
    let compiler = cc::Build::new().warnings(true).extra_warnings(true).get_compiler();
    let status = compiler
        .to_command()
        .args([
            "-shared",
            "-fPIC",
            "-std=c11",
            "-D_GNU_SOURCE",
            "-Werror",
            "-pthread",
            "-o",
        ])
        .arg(folder.join("libcuda.so"))
        .arg("cuda/driver.c")
        .status()
        .expect("there is a C compiler");
    assert!(status.success(), "cuda/driver.c does not compile");
    println!("cargo:rustc-env=PARK_TEST_DRIVER={}", folder.display());
}
