//! Above `sync`, park-core takes atomics and cells from the facade `crate::sync` and names its threads.
//!
//! What a module takes from std directly, loom does not see: its models would pass without having looked. (Clippy's
//! `disallowed-types` cannot say this: it resolves the facade's re-export to the same type and flags that too.)

use std::fs;
use std::path::Path;

use crate::walk;

/// Modules that stand below the facade, or are it.
const EXEMPT: &[&str] = &["error", "id", "config", "metrics", "sys", "sync"];

/// What must not be named, and what to write instead. `Ordering` is the same type in loom and std.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::sync::atomic", "take atomics from crate::sync"),
    ("core::sync::atomic", "take atomics from crate::sync"),
    ("cell::UnsafeCell", "take cells from crate::sync"),
    ("thread::spawn(", "name the thread: std::thread::Builder"),
];
const ALLOWED: &str = "sync::atomic::Ordering";

fn complaints(path: &Path, text: &str) -> Vec<String> {
    let module = path
        .iter()
        .next()
        .map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned())
        .unwrap_or_default();
    if EXEMPT.contains(&module.as_str()) {
        return Vec::new();
    }
    // A file of tests belongs to a `#[cfg(test)] mod` elsewhere.
    if path
        .file_stem()
        .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // Unit tests close a file, and may do as they like.
        if line.trim_start().starts_with("#[cfg(test)]") || line.trim_start().starts_with("#[cfg(all(test") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default().replace(ALLOWED, "");
        for (bad, instead) in FORBIDDEN {
            if code.contains(bad) {
                found.push(format!("{}:{}: `{bad}`: {instead}", path.display(), number + 1));
            }
        }
    }
    found
}

#[test]
fn atomics_come_from_the_facade() {
    let source = walk::root().join("park-core/src");
    let mut found = Vec::new();
    for file in walk::files(&source, &["rs"]) {
        let text = fs::read_to_string(&file).expect("a source file is UTF-8 text");
        found.extend(complaints(
            file.strip_prefix(&source).expect("below the source folder"),
            &text,
        ));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_rule_sees_what_goes_round_the_facade() {
    let sees = |path: &str, text: &str| complaints(Path::new(path), text).len();
    assert_eq!(sees("store/table.rs", "use std::sync::atomic::AtomicU64;"), 1);
    assert_eq!(
        sees("store/table.rs", "use std::sync::atomic::{AtomicU64, Ordering};"),
        1
    );
    assert_eq!(sees("runtime.rs", "x: core::cell::UnsafeCell<u8>,"), 1);
    assert_eq!(sees("sched/queue.rs", "std::thread::spawn(|| {});"), 1);
    assert_eq!(sees("store/table.rs", "use std::sync::atomic::Ordering;"), 0);
    assert_eq!(sees("store/table.rs", "// std::sync::atomic is not used here"), 0);
    assert_eq!(sees("sync/facade.rs", "pub use std::sync::atomic::AtomicU64;"), 0);
    assert_eq!(
        sees(
            "store/table.rs",
            "#[cfg(test)]\nmod tests { use std::sync::atomic::AtomicU64; }"
        ),
        0
    );
}
