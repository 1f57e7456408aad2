//! One libFuzzer program for all targets: `PARK_FUZZ_TARGET` says which.
#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("PARK_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    found
        .unwrap_or_else(|| panic!("PARK_FUZZ_TARGET is {name:?}, not one of {names:?}"))
        .1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (*TARGET)(data));
