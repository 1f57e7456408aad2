//! The fuzz targets as an ordinary test: every input of the committed corpora, and two thousand random ones for each target. What a
//! fuzzer once found stays found, and CI needs no libFuzzer (`make fuzz` does).
#![allow(unsafe_code, reason = "one target calls the C ABI")]

#[path = "targets/mod.rs"]
mod targets;

use std::fs;
use std::path::Path;

use park_tests::random::Random;

const RANDOM_INPUTS: u64 = 2_000;

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).expect("each target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a readable file")))
        .collect()
}

/// Runs a target and names its input if it panics.
fn run(target: targets::Target, label: &str, bytes: &[u8]) {
    // A signal leaves no other trace: with this set, the input in work lies there.
    if let Some(path) = std::env::var_os("PARK_FUZZ_LAST") {
        fs::write(path, bytes).expect("a file that can be written");
    }
    if std::panic::catch_unwind(|| target(bytes)).is_err() {
        panic!("{label}: {bytes:02x?}");
    }
}

fn replay(name: &str) {
    let (_, target) = targets::ALL.iter().find(|(known, _)| *known == name).expect("a target");
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (path, bytes) in &corpus {
        run(*target, path, bytes);
    }
    let mut random = Random::new(1);
    for number in 0..RANDOM_INPUTS {
        let mut bytes: Vec<u8> = match corpus.get(random.below(corpus.len() * 2)) {
            // Half of them are something known with a few bytes changed: random ones seldom get past the first check.
            Some((_, known)) => known.clone(),
            None => (0..random.below(300)).map(|_| random.next() as u8).collect(),
        };
        for _ in 0..random.below(4) {
            let len = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(random.below(len)) {
                *byte = random.next() as u8;
            }
        }
        run(*target, &format!("{name}, random input {number}"), &bytes);
    }
}

macro_rules! replays {
    ($($name:ident)+) => {
        $( #[test] fn $name() { replay(stringify!($name)); } )+

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
        }
    };
}

replays! { c_abi c_kv messages formats spill ring segment welcome join kv kv_events }
