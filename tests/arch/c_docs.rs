//! Every function of the C ABI says of itself who owns what, on which threads it may be called, and how it fails.
//!
//! The last sentences of its documentation are `Ownership: ... Threads: shared|movable|pinned. Errors: PARK_A, PARK_B.` (the words of
//! the header's head), and every status named there exists. cbindgen copies them into `park.h`.

use std::fs;

use crate::walk;

const RULES: &[&str] = &["shared", "movable", "pinned"];

/// What follows `label` in a text, up to the next label or the end.
fn section<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(label)?;
    let end = ["Ownership:", "Threads:", "Errors:"]
        .iter()
        .filter_map(|next| rest.find(next))
        .min();
    Some(rest[..end.unwrap_or(rest.len())].trim())
}

fn complaint(name: &str, doc: &str, statuses: &[String]) -> Option<String> {
    let owner = section(doc, "Ownership:").unwrap_or_default();
    let threads = section(doc, "Threads:").unwrap_or_default();
    let errors = section(doc, "Errors:").unwrap_or_default();
    if owner.is_empty() {
        return Some(format!("{name} does not say who owns what (`Ownership:`)"));
    }
    if !RULES.iter().any(|rule| threads == format!("{rule}.")) {
        return Some(format!("{name} says `Threads: {threads}`, not one of {RULES:?}"));
    }
    let named = errors
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("PARK_"));
    let unknown: Vec<&str> = named
        .clone()
        .filter(|word| !statuses.iter().any(|s| s == word))
        .collect();
    if !unknown.is_empty() {
        return Some(format!("{name} names errors that do not exist: {unknown:?}"));
    }
    if !errors.starts_with("none") && named.count() == 0 {
        return Some(format!("{name} does not say how it fails (`Errors:`)"));
    }
    None
}

/// Name and documentation of each exported function in a source text.
fn functions(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut doc = String::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text);
        } else if line.starts_with("#[") {
            // An attribute between documentation and function.
        } else {
            let name = line
                .contains("extern \"C\" fn park_")
                .then(|| line.split("fn ").nth(1))
                .flatten()
                .and_then(|rest| rest.split('(').next());
            if let Some(name) = name.filter(|_| line.starts_with("pub")) {
                found.push((name.to_owned(), doc.clone()));
            }
            doc.clear();
        }
    }
    found
}

#[test]
fn every_c_function_says_ownership_threads_and_errors() {
    let folder = walk::root().join("park-c/src");
    let errors = fs::read_to_string(folder.join("error.rs")).expect("park-c has its table of statuses");
    let statuses: Vec<String> = errors
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .map(str::to_owned)
        .collect();
    let mut count = 0;
    let mut found = Vec::new();
    for file in walk::files(&folder, &["rs"]) {
        let source = fs::read_to_string(&file).expect("a source file is UTF-8 text");
        for (name, doc) in functions(&source) {
            count += 1;
            found.extend(complaint(&name, &doc, &statuses));
        }
    }
    let header = fs::read_to_string(walk::root().join("include/park.h")).expect("the header is committed");
    let declared = header.matches("Ownership:").count();
    assert!(count > 50 && statuses.len() > 20, "the rule sees {count} functions");
    assert_eq!(declared, count, "functions with `Ownership:` in park.h, and in park-c");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_rule_sees_what_is_missing() {
    let statuses = ["PARK_TIMEOUT".to_owned()];
    let good = " Waits. Ownership: takes nothing. Threads: shared. Errors: PARK_TIMEOUT.";
    assert_eq!(complaint("f", good, &statuses), None);
    for bad in [
        good.replace("Ownership", "Owner"),
        good.replace("shared", "any"),
        good.replace("PARK_TIMEOUT", "PARK_LATE"),
        good.replace("PARK_TIMEOUT", "some"),
        good.replace(" Threads: shared.", ""),
    ] {
        assert!(complaint("f", &bad, &statuses).is_some(), "{bad}");
    }
    let source = "/// One.\n#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn park_a_b(\n    x: u8,\n)\n";
    assert_eq!(functions(source), [("park_a_b".to_owned(), " One.".to_owned())]);
}
