//! Kills a process at every fail point of the core, and looks at what is left.
//!
//! Each step of park-core that changes shared state carries a named fail point (`park_core::sys::failpoint`). For each operation
//! (`operations`) and each role that can perform it, this program first lets a process perform it and say which fail points it
//! passed; then, for each of them, another process performs it and dies there by SIGKILL. After each death (`check`): the audit
//! finds that everything adds up, what the dead process owed is raised, survivors go on, and the memory is back where it was.
//!
//! | role | the process |
//! |---|---|
//! | peer, reader | attached to the session by its address (`peer`), a reader read-only |
//! | task, call | started by the zygote, runs a task or is an actor (`worker`) |
//! | head | opened the session: it ends, and whoever was attached keeps what it can see (`head`) |
//!
//! In the end the set of fail points that killed must be the set in the source. The processes are this program itself, started again.
//! `--list` prints the fail points, `--only NAME` runs one operation or one fail point.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program reports on its standard output"
)]

mod check;
mod child;
mod head;
mod made;
mod operations;
mod peer;
mod points;
mod scene;
mod scripts;
mod watchdog;
mod work;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Instant;

use operations::{OPERATIONS, Operation, Role};
use scene::Scene;

/// What goes wrong in a test process is a text for whoever reads the report.
pub(crate) type Fallible<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How a case ended.
pub(crate) enum Outcome {
    /// The process died at the fail point that it was armed with.
    Killed,
    /// It lived, and passed these.
    Passed(Vec<String>),
}

/// The columns of the table.
const ROLES: [&str; 5] = ["peer", "reader", "task", "call", "head"];

/// Failures after which the rest is not tried.
const ENOUGH: usize = 20;

/// Attempts at a fail point that is passed by chance.
const TRIES: u32 = 3;

/// Kills by fail point and role.
type Kills = BTreeMap<String, BTreeMap<&'static str, u32>>;

struct Report {
    only: Option<String>,
    kills: Kills,
    cases: u32,
    failures: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let played = match words.as_slice() {
        ["role:peer", rest @ ..] => peer::main(rest, false),
        ["role:reader", rest @ ..] => peer::main(rest, true),
        ["role:survivor", address] => peer::survive(address),
        ["role:zygote"] => worker::zygote(),
        ["role:worker", rest @ ..] => worker::main(rest),
        ["role:head", folder] => head::main(folder),
        ["--list", ..] => {
            points::in_source().iter().for_each(|name| println!("{name}"));
            Ok(())
        }
        ["--only", name, ..] => return run(Some((*name).to_owned())),
        _ => return run(None),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(only: Option<String>) -> ExitCode {
    let started = Instant::now();
    let mut report = Report {
        only,
        kills: Kills::new(),
        cases: 0,
        failures: Vec::new(),
    };
    for operation in OPERATIONS {
        for role in operation.roles {
            if report.failures.len() < ENOUGH {
                report.operation(operation, *role);
            }
        }
    }
    if report.failures.len() < ENOUGH {
        report.heads();
    }
    let unreached = report.print();
    let failed = report.failures.len() + unreached;
    println!(
        "test result: {}. {} passed; {failed} failed; 0 ignored; finished in {:.1}s",
        if failed == 0 { "ok" } else { "FAILED" },
        report.cases as usize - report.failures.len().min(report.cases as usize),
        started.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Report {
    /// Whether `--only` leaves this case in.
    fn wants(&self, operation: &str, point: &str) -> bool {
        self.only
            .as_deref()
            .is_none_or(|only| only == operation || only == point)
    }

    /// Every fail point of one operation, performed in one role.
    fn operation(&mut self, operation: &Operation, role: Role) {
        if self
            .only
            .as_deref()
            .is_some_and(|only| !only.contains('.') && only != operation.name)
        {
            return;
        }
        watchdog::watch(operation.name);
        let mut scene = match Scene::open() {
            Ok(scene) => scene,
            Err(error) => return self.failures.push(format!("cannot open a session: {error}")),
        };
        let what = format!("{} as {}", operation.name, role.name());
        let (begun, before) = (Instant::now(), self.cases);
        let passed = match scene.case(operation, role, None) {
            Ok(Outcome::Passed(passed)) => passed,
            Ok(Outcome::Killed) => return self.failures.push(format!("{what}, unharmed: it died")),
            Err(error) => return self.failures.push(format!("{what}, unharmed: {error}")),
        };
        for (name, pass) in points::chosen(&passed) {
            if !self.wants(operation.name, &name) {
                continue;
            }
            let by_chance = operation.meets_others() || points::is_by_chance(&name);
            let tries = if by_chance { TRIES } else { 1 };
            watchdog::watch(&format!("{what}, killed at {name} after {pass} passes"));
            let mut done = Ok(Outcome::Passed(Vec::new()));
            for _ in 0..tries {
                if points::needs_fresh(&name) {
                    scene = match Scene::open() {
                        Ok(scene) => scene,
                        Err(error) => return self.failures.push(format!("cannot open a session: {error}")),
                    };
                }
                done = scene.case(operation, role, Some((&name, pass)));
                if !matches!(done, Ok(Outcome::Passed(_))) {
                    break;
                }
            }
            let error = match done {
                Ok(Outcome::Killed) => {
                    self.cases += 1;
                    *self.kills.entry(name).or_default().entry(role.name()).or_default() += 1;
                    continue;
                }
                Ok(Outcome::Passed(_)) if by_chance => continue,
                Ok(Outcome::Passed(_)) => "it was not killed".into(),
                Err(error) => error,
            };
            self.cases += 1;
            let text = format!("{what}, killed at {name} after {pass} passes: {error}");
            println!("FAILED {text}");
            self.failures.push(text);
            // What one case left behind must not be counted against the next.
            scene.abandon();
            scene = match Scene::open() {
                Ok(scene) => scene,
                Err(error) => return self.failures.push(format!("cannot open a session: {error}")),
            };
            if self.failures.len() >= ENOUGH {
                return;
            }
        }
        println!(
            "{what:<24} {:>4} deaths in {:>5.1} s",
            self.cases - before,
            begun.elapsed().as_secs_f64()
        );
    }

    /// Every fail point that a head passes.
    fn heads(&mut self) {
        if self
            .only
            .as_deref()
            .is_some_and(|only| !only.contains('.') && only != "head")
        {
            return;
        }
        watchdog::watch("a head, unharmed");
        let folder = match tempfile::tempdir() {
            Ok(folder) => folder,
            Err(error) => return self.failures.push(format!("cannot make a folder: {error}")),
        };
        let passed = match head::case(folder.path(), None) {
            Ok(Outcome::Passed(passed)) => passed,
            Ok(Outcome::Killed) => return self.failures.push("a head, unharmed: it died".into()),
            Err(error) => return self.failures.push(format!("a head, unharmed: {error}")),
        };
        // Its threads share the work in an order of their own, so only the first pass is certain to come.
        for name in passed.iter().collect::<BTreeSet<_>>() {
            if !self.wants("head", name) || self.failures.len() >= ENOUGH {
                continue;
            }
            self.cases += 1;
            watchdog::watch(&format!("a head killed at {name}"));
            let mut done = head::case(folder.path(), Some(name));
            for _ in 1..TRIES {
                if let Ok(Outcome::Passed(_)) = done {
                    done = head::case(folder.path(), Some(name));
                }
            }
            match done {
                Ok(Outcome::Killed) => *self.kills.entry(name.clone()).or_default().entry("head").or_default() += 1,
                Ok(Outcome::Passed(_)) => self.cases -= 1,
                Err(error) => {
                    let text = format!("a head killed at {name}: {error}");
                    println!("FAILED {text}");
                    self.failures.push(text);
                }
            }
        }
        watchdog::watch("what heads left on disk");
        if let Err(error) = head::sweep(folder.path()) {
            self.failures.push(format!("what heads left on disk: {error}"));
        }
    }

    /// Prints the table and returns how many fail points killed nobody.
    fn print(&self) -> usize {
        let line = |name: &str, cells: [String; ROLES.len()]| {
            let cells = cells.map(|cell| format!(" {cell:>6}")).concat();
            println!("{name:<34}{cells}");
        };
        println!();
        line("fail point", ROLES.map(str::to_owned));
        let all = points::in_source();
        let mut unreached = 0;
        for name in &all {
            let kills = |role: &str| {
                self.kills
                    .get(name)
                    .and_then(|kills| kills.get(role))
                    .copied()
                    .unwrap_or(0)
            };
            let row = ROLES.map(kills);
            line(name, row.map(|kills| kills.to_string()));
            if row.iter().all(|kills| *kills == 0) && self.only.is_none() {
                unreached += 1;
                println!("FAILED {name}: no process was killed there");
            }
        }
        for failure in &self.failures {
            println!("FAILED {failure}");
        }
        println!(
            "{} fail points, {unreached} unreached, {} deaths",
            all.len(),
            self.cases
        );
        unreached
    }
}
