//! How many crates a program links that depends on park-core alone, with default features: few, and none of them a surprise.
//!
//! Counted from `Cargo.lock` and cargo's own resolution, for a normal build (no tests, no build scripts' tools). A new dependency is
//! a line here, so that somebody has decided on it.

use std::process::Command;

use crate::walk;

/// Every crate of `cargo tree -p park-core -e normal`, park-core itself left out.
const ALLOWED: &[&str] = &[
    "arrayvec",
    "bitflags",
    "blake3",
    "block-buffer",
    "cfg-if",
    "cobs",
    "const-oid",
    "constant_time_eq",
    "cpufeatures",
    "crossbeam",
    "crossbeam-channel",
    "crossbeam-deque",
    "crossbeam-epoch",
    "crossbeam-queue",
    "crossbeam-utils",
    "crypto-common",
    "digest",
    "hybrid-array",
    "libc",
    "linux-raw-sys",
    "lock_api",
    "memmap2",
    "num-traits",
    "parking_lot",
    "parking_lot_core",
    "postcard",
    "proc-macro2",
    "quote",
    "rmp",
    "rustix",
    "scopeguard",
    "serde",
    "serde_core",
    "serde_derive",
    "sha2",
    "slotmap",
    "smallvec",
    "syn",
    "thiserror",
    "thiserror-impl",
    "typenum",
    "unicode-ident",
    "xxhash-rust",
];

/// Of those, what runs at compile time only (macros): it is not in the program.
const AT_COMPILE_TIME: &[&str] = &[
    "proc-macro2",
    "quote",
    "serde_derive",
    "syn",
    "thiserror-impl",
    "unicode-ident",
];

fn tree() -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "-p",
            "park-core",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--offline",
        ])
        .current_dir(walk::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints text");
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "park-core")
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_core_links_few_crates() {
    let found = tree();
    let new: Vec<&String> = found.iter().filter(|name| !ALLOWED.contains(&name.as_str())).collect();
    assert!(new.is_empty(), "new dependencies of park-core: {new:?}");
    let gone: Vec<&&str> = ALLOWED
        .iter()
        .filter(|name| !found.iter().any(|found| found == *name))
        .collect();
    assert!(
        gone.is_empty(),
        "not dependencies any more, take them off the list: {gone:?}"
    );
    assert_eq!(
        ALLOWED.len() - AT_COMPILE_TIME.len(),
        37,
        "crates that a program with park-core links"
    );
}
