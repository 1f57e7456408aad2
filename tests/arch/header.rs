//! `include/park.h` is generated: it must be exactly what cbindgen makes of park-c today.
//!
//! The generator is a library of a pinned version, so nothing has to be installed and every machine writes the same bytes. With
//! `PARK_HEADER=write` (that is `make header`) the file is written instead of compared.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies below the root")
        .to_path_buf()
}

fn generated() -> String {
    let crate_folder = root().join("park-c");
    let config =
        cbindgen::Config::from_file(crate_folder.join("cbindgen.toml")).expect("park-c/cbindgen.toml is valid");
    let bindings = cbindgen::Builder::new()
        .with_crate(&crate_folder)
        .with_config(config)
        .generate()
        .expect("park-c is within what cbindgen understands");
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    String::from_utf8(bytes).expect("a header is text")
}

/// The first line in which two texts differ, for a message that says more than "they differ".
fn first_difference(committed: &str, fresh: &str) -> Option<String> {
    let (mut left, mut right) = (committed.lines(), fresh.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                return Some(format!(
                    "line {number}\n  committed: {}\n  generated: {}",
                    a.unwrap_or("(ends)"),
                    b.unwrap_or("(ends)")
                ));
            }
        }
    }
    (committed != fresh).then(|| "they differ in line ends".to_owned())
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = root().join("include/park.h");
    let fresh = generated();
    assert!(
        fresh.contains("park_abi_version"),
        "the generated header declares no park function"
    );
    if std::env::var_os("PARK_HEADER").is_some_and(|mode| mode == "write") {
        fs::create_dir_all(root().join("include")).expect("include/ can be made");
        fs::write(&path, &fresh).expect("include/park.h can be written");
        return;
    }
    let committed = fs::read_to_string(&path).expect("include/park.h is committed (`make header` writes it)");
    if let Some(difference) = first_difference(&committed, &fresh) {
        panic!("include/park.h is out of date: run `make header`\n{difference}");
    }
}

#[test]
fn the_comparison_sees_a_difference() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert!(first_difference("a\nb\n", "a\nc\n").is_some());
    assert!(first_difference("a\n", "a\nb\n").is_some());
    assert!(first_difference("a\n", "a").is_some());
}
