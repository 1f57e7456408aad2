//! What the crates may depend on. The core knows no language binding, no framework and no async runtime under any feature; the two
//! bindings know the core and never each other.

use std::fs;

use crate::walk;

/// Folder of the crate, and the crates its manifest must not name (a trailing `*` stands for any ending).
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "park-core",
        &[
            "park-c",
            "park-py",
            "pyo3*",
            "numpy",
            "cxx*",
            "tokio*",
            "async-std",
            "smol",
            "torch*",
            "tch",
            "ray*",
        ],
    ),
    ("park-c", &["park-py", "pyo3*", "numpy", "tokio*", "torch*", "tch"]),
    ("park-py", &["park-c", "cxx*", "tokio*", "torch*", "tch"]),
];

fn is_match(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// The dependency a manifest line declares: `name = …`, `name.workspace = …`, or a `[dependencies.name]` table; also the crate a
/// rename stands for (`package = "name"`), so that renaming hides nothing.
fn names(section: &str, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(table) = section.split("dependencies.").nth(1) {
        found.push(table.trim_matches('"').to_owned());
    }
    if section.ends_with("dependencies") {
        found.extend(
            line.split(['=', '.'])
                .next()
                .map(|name| name.trim().trim_matches('"').to_owned()),
        );
    }
    if section.contains("dependencies")
        && let Some(rest) = line.split("package").nth(1)
    {
        found.extend(rest.split('"').nth(1).map(str::to_owned));
    }
    found
}

fn complaints(folder: &str, manifest: &str, forbidden: &[&str]) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(inner) = line.strip_prefix('[') {
            section = inner.trim_end_matches(']').to_owned();
        }
        let content = if line.starts_with('[') { "" } else { line };
        for name in names(&section, content) {
            if forbidden.iter().any(|pattern| is_match(pattern, &name)) {
                found.push(format!("{folder}/Cargo.toml, [{section}]: {name} is not allowed here"));
            }
        }
    }
    found.dedup();
    found
}

#[test]
fn no_crate_names_what_it_must_not_know() {
    let mut found = Vec::new();
    for (folder, forbidden) in FORBIDDEN {
        let manifest =
            fs::read_to_string(walk::root().join(folder).join("Cargo.toml")).expect("the crate has a manifest");
        assert!(
            manifest.contains("[dependencies]"),
            "{folder}: the rule expects a [dependencies] table"
        );
        found.extend(complaints(folder, &manifest, forbidden));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_rule_sees_each_way_to_name_a_crate() {
    let forbidden: &[&str] = FORBIDDEN[0].1;
    for bad in [
        "[dependencies]\npyo3.workspace = true",
        "[dependencies]\ntokio = \"1\"",
        "[dependencies.cxx]\nversion = \"1\"",
        "[dev-dependencies]\npyo3-ffi = { version = \"0.30\", optional = true }",
        "[target.'cfg(unix)'.dependencies]\ntokio-util = \"0.7\"",
        "[build-dependencies]\nbridge = { package = \"cxx-build\", version = \"1\" }",
    ] {
        assert_eq!(complaints("park-core", bad, forbidden).len(), 1, "{bad}");
    }
    let good = "[package]\nname = \"park-core\"\n[features]\ncxx = []\n[dependencies]\nserde = \"1\"\n";
    assert!(complaints("park-core", good, forbidden).is_empty());
}
