//! The soak: eight processes put, pass on, read and drop objects of random sizes while some of them are killed at random.
//!
//! The parent opens the session and holds every object that a child has announced; children are this program again, attached by
//! address and led by lines over pipes. An object's bytes follow from its seed, so whoever reads it checks all of them: a torn,
//! reused or lost object shows. At the end the parent drops everything: nothing may be left, the audit must be clean, and the
//! parent must not have grown. With `--keep 2.5` it holds two and a half times the store's capacity, so most objects are on disk.
//!
//! ```text
//! child:  made ID SEED LEN    an object that it holds until told "drop"      parent:  drop
//!         full                there was no room in time
//!         read LEN            the object was there and right                 parent:  take ID SEED LEN
//!         wrong TEXT          it was not                                     parent:  make
//! ```
//!
//!     cargo test -p park-tests --release --test soak -- --minutes 10 --seed 1 --keep 0.5

#![allow(clippy::print_stdout, reason = "a program that reports to its terminal")]

mod child;
mod parent;
mod pattern;

use std::process::ExitCode;
use std::time::Duration;

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    minutes: f64,
    seed: u64,
    processes: usize,
    capacity: u64,
    largest: u64,
    /// How much the parent holds, in capacities of the store.
    keep: f64,
}

fn options() -> Options {
    let mut options = Options {
        minutes: 0.05,
        seed: 1,
        processes: 8,
        capacity: 1 << 30,
        largest: 512 << 20,
        keep: 0.5,
    };
    let args: Vec<String> = std::env::args().collect();
    for pair in args.windows(2) {
        match pair[0].as_str() {
            "--minutes" => options.minutes = pair[1].parse().expect("--minutes takes a number"),
            "--seed" => options.seed = pair[1].parse().expect("--seed takes a number"),
            "--processes" => options.processes = pair[1].parse().expect("--processes takes a number"),
            "--capacity-mb" => options.capacity = pair[1].parse::<u64>().expect("--capacity-mb takes a number") << 20,
            "--largest-mb" => options.largest = pair[1].parse::<u64>().expect("--largest-mb takes a number") << 20,
            "--keep" => options.keep = pair[1].parse().expect("--keep takes a number"),
            _ => {}
        }
    }
    options
}

fn main() -> ExitCode {
    if let Ok(address) = std::env::var("PARK_SOAK_CHILD") {
        child::run(&address);
        return ExitCode::SUCCESS;
    }
    let options = options();
    let faults = parent::run(&options, Duration::from_secs_f64(options.minutes * 60.0));
    for fault in &faults {
        println!("FAULT: {fault}");
    }
    let (passed, verdict) = if faults.is_empty() { (1, "ok") } else { (0, "FAILED") };
    println!("test result: {verdict}. {passed} passed; {} failed", faults.len());
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
