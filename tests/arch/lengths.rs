//! No source file is over 900 lines: past that a file holds more than one type or one role.

use std::fs;

use crate::walk;

const CEILING: usize = 900;
/// Written by cbindgen and PyO3, from files that are each short enough.
const GENERATED: &[&str] = &["include/park.h", "python/park/_park.pyi"];
const EXTENSIONS: &[&str] = &["rs", "py", "pyi", "c", "cc", "cpp", "h", "hpp", "cu", "cuh", "sh"];

fn complaint(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > CEILING && !GENERATED.contains(&name))
        .then(|| format!("{name}: {lines} lines, the ceiling is {CEILING}: split it by type or by role"))
}

#[test]
fn no_source_file_is_over_the_ceiling() {
    let root = walk::root();
    let files = walk::files(&root, EXTENSIONS);
    assert!(
        files.iter().any(|path| path.ends_with("tests/arch/lengths.rs")),
        "the walk does not even see this file"
    );
    let complaints: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let text = fs::read_to_string(path).expect("a source file is UTF-8 text");
            complaint(
                &path.strip_prefix(&root).expect("below the root").to_string_lossy(),
                &text,
            )
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_rule_sees_a_long_file() {
    assert_eq!(complaint("short.rs", &"x\n".repeat(CEILING)), None);
    assert!(complaint("long.rs", &"x\n".repeat(CEILING + 1)).is_some());
}
