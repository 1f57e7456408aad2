//! Inside park-core, modules import downward only.
//!
//! The rule reads every path that starts at the crate root (`crate::x`, `use crate::{x, y::z}`, `$crate::x`) or climbs there by
//! `super::super::x`, and looks the pair (importing module, imported module) up in [`MAY_IMPORT`]. Tests inside the modules obey it
//! too. A module that the table does not know is a complaint, so the table cannot fall behind.

use std::fs;
use std::path::Path;

use crate::walk;

/// Module, and the modules it may import. `metrics` is a leaf that every layer may use, so it is not repeated in the rows.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // the alphabet
    ("error", &[]),
    ("id", &["error"]),
    ("config", &["error", "id"]),
    ("metrics", &[]),
    // the machine
    ("sys", &["error", "id", "config"]),
    ("sync", &["error", "id", "config", "sys"]),
    ("shm", &["error", "id", "config", "sys", "sync"]),
    // data, then messages about it
    ("store", &["error", "id", "config", "sys", "sync", "shm"]),
    ("channel", &["error", "id", "config", "sys", "sync", "shm", "store"]),
    ("ipc", &["error", "id", "config", "sys", "sync", "shm", "store"]),
    // work: specs and resources, then actors, then the processes that carry both
    (
        "sched",
        &["error", "id", "config", "sys", "sync", "shm", "store", "ipc"],
    ),
    (
        "actor",
        &["error", "id", "config", "sys", "sync", "shm", "store", "ipc", "sched"],
    ),
    (
        "proc",
        &[
            "error", "id", "config", "sys", "sync", "shm", "store", "ipc", "sched", "actor",
        ],
    ),
    // the paged cache and its kernels, which could leave the crate without an edit
    ("kernels", &["error", "sys"]),
    (
        "kv",
        &["error", "id", "config", "sys", "sync", "shm", "store", "kernels"],
    ),
    // the wiring
    (
        "runtime",
        &[
            "error", "id", "config", "sys", "sync", "shm", "store", "ipc", "sched", "actor", "proc", "kv", "kernels",
        ],
    ),
];

fn row(module: &str) -> Option<&'static [&'static str]> {
    MAY_IMPORT
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, imports)| *imports)
}

/// The text without comments and without the contents of string literals, so that prose about `crate::x` is not an import.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if c == '"' {
            string_end(rest)
        } else {
            out.push(c);
            c.len_utf8()
        };
        rest = &rest[skip..];
    }
    out
}

/// Length of the string literal that `text` starts with, quotes included.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn ident(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// First segments of what follows a root path: one name, or the heads of a `{…}` group.
fn heads(after: &str) -> Vec<&str> {
    let after = after.trim_start();
    let Some(group) = after.strip_prefix('{') else {
        return vec![ident(after)];
    };
    let (mut depth, mut at_head, mut found) = (1_usize, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => at_head = true,
            _ if at_head && !c.is_whitespace() => {
                found.push(ident(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    found
}

/// What `module` imports from the crate root in `text`, `depth` being how many folders and files lie between the two.
fn imports(text: &str, depth: usize) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `pub(in crate::x)` is a visibility, and `mycrate::` or `$crate::` differ only in what stands before.
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || code[..at].ends_with("in ") {
            continue;
        }
        for head in heads(&code[at + "crate::".len()..]) {
            let is_macro = code[at..].starts_with(&format!("crate::{head}!"));
            if !is_macro && head != "self" {
                found.push(head.to_owned());
            }
        }
    }
    let climb = "super::".repeat(depth);
    for (at, _) in code.match_indices(&climb) {
        // An inline module adds a level that is not in the path, so only names of the table count here.
        let after = &code[at + climb.len()..];
        if !code[..at].ends_with("super::") && !after.starts_with("super") {
            found.extend(
                heads(after)
                    .into_iter()
                    .filter(|head| row(head).is_some())
                    .map(str::to_owned),
            );
        }
    }
    found
}

/// Complaints about one file; `path` is relative to `park-core/src`.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let module = path
        .iter()
        .next()
        .map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned())
        .unwrap_or_default();
    if module == "lib" {
        return Vec::new();
    }
    let shown = path.display();
    let Some(allowed) = row(&module) else {
        return vec![format!(
            "{shown}: module `{module}` is not in the table of tests/arch/imports.rs: give it a layer"
        )];
    };
    let depth = path.components().count() - usize::from(path.ends_with("mod.rs"));
    let mut found = Vec::new();
    for target in imports(text, depth) {
        if target == module || target == "metrics" || allowed.contains(&target.as_str()) {
            continue;
        }
        found.push(match row(&target) {
            Some(_) => format!("{shown}: `{module}` must not import `{target}`, which is not below it"),
            None => format!(
                "{shown}: `crate::{target}` names no module of the table: write the full path, crate::<module>::…"
            ),
        });
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn modules_import_downward_only() {
    let source = walk::root().join("park-core/src");
    let files = walk::files(&source, &["rs"]);
    assert!(files.len() > 1, "no sources found under {}", source.display());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file is UTF-8 text");
        found.extend(complaints(
            file.strip_prefix(&source).expect("below the source folder"),
            &text,
        ));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_table_itself_points_downward() {
    for (at, (module, imports)) in MAY_IMPORT.iter().enumerate() {
        for import in *imports {
            let below = MAY_IMPORT
                .iter()
                .position(|(name, _)| name == import)
                .expect("a row for each name");
            assert!(
                below < at,
                "{module} imports {import}, which stands above it in the table"
            );
        }
    }
}

#[test]
fn the_rule_sees_each_way_to_climb() {
    let sees = |path: &str, text: &str| complaints(Path::new(path), text).len();
    assert_eq!(
        sees(
            "shm/segment.rs",
            "use crate::sys::memfd;\nuse crate::error::{Error, Result};\nuse crate::shm::Offset;"
        ),
        0
    );
    assert_eq!(sees("shm/segment.rs", "use crate::store::Object;"), 1, "an up-import");
    assert_eq!(
        sees(
            "shm/segment.rs",
            "use crate::{error::Error, store::{Object, Table}, runtime};"
        ),
        2,
        "a group"
    );
    assert_eq!(
        sees("shm/segment.rs", "fn f() { let x = crate::runtime::now(); }"),
        1,
        "a path in code"
    );
    assert_eq!(
        sees("shm/segment.rs", "use super::super::store::Object;"),
        1,
        "by super"
    );
    assert_eq!(
        sees("shm/mod.rs", "use super::store::Object;"),
        1,
        "by super from mod.rs"
    );
    assert_eq!(
        sees("shm/segment.rs", "use super::offset::Offset;"),
        0,
        "a sibling file"
    );
    assert_eq!(
        sees(
            "shm/segment.rs",
            "// crate::store is above\nlet s = \"crate::store\"; /* crate::store */"
        ),
        0,
        "prose"
    );
    assert_eq!(sees("store/table.rs", "use crate::ipc::Message;"), 1, "a neighbour");
    assert_eq!(
        sees("kernels/plan.rs", "use crate::shm::Segment;"),
        1,
        "kernels stand alone"
    );
    assert_eq!(sees("config.rs", "use crate::metrics::Counter;"), 0, "the leaf");
    assert_eq!(
        sees("gossip/mod.rs", "use crate::error::Error;"),
        1,
        "a module without a layer"
    );
    assert_eq!(
        sees("sys/memfd.rs", "use crate::Error;"),
        1,
        "a re-export hides its module"
    );
    assert_eq!(sees("sys/memfd.rs", "crate::bail!(\"no\");"), 0, "a macro of the root");
}
