//! The fail points: which there are, by reading the source, and which passes of them a process is killed at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Kills at one fail point in one operation and role: at the first pass, the second, the middle one and the last.
const MOST: usize = 4;

/// How often these are passed depends on who is how fast, and on where free memory lies, so only the first pass is certain to come.
const BY_CHANCE: &[&str] = &[
    "arena.",
    "warm.",
    "doorbell.wait.",
    "lock.waiting",
    "lock.taken_over",
    "reference.change.acknowledged",
];

/// Whether it is no failure if a process that passed this fail point once does not pass it the next time.
pub(crate) fn is_by_chance(name: &str) -> bool {
    // A worker rings the head at once, or after a moment, depending on what else it has to do.
    is_passed_once(name) || name.starts_with("doorbell.ring.")
}

fn is_passed_once(name: &str) -> bool {
    BY_CHANCE.iter().any(|start| name.starts_with(start))
}

/// Whether only a session in which nothing has happened yet passes it: others take slots that were used before.
pub(crate) fn needs_fresh(name: &str) -> bool {
    name == "table.refill.extended"
}

/// The names of all fail points in park-core's source.
pub(crate) fn in_source() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../park-core/src");
    let mut names = BTreeSet::new();
    for file in files(&source) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        names.extend(code.flat_map(names_in));
    }
    names
}

fn names_in(line: &str) -> impl Iterator<Item = String> + '_ {
    line.split("fail_point!(\"")
        .skip(1)
        .filter_map(|rest| Some(rest.split('"').next()?.to_owned()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Where to kill, given what was passed: fail points and how often each is passed before.
pub(crate) fn chosen(passed: &[String]) -> Vec<(String, u32)> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for name in passed {
        *counts.entry(name).or_default() += 1;
    }
    let mut chosen = Vec::new();
    for (name, count) in counts {
        let passes = if is_passed_once(name) {
            BTreeSet::from([0])
        } else {
            BTreeSet::from([0, 1, count / 2, count - 1])
        };
        let within = passes.into_iter().filter(|pass| *pass < count);
        chosen.extend(within.take(MOST).map(|pass| (name.to_owned(), pass)));
    }
    chosen
}
