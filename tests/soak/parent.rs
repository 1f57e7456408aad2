//! The parent: leads the children, kills some, and keeps the books that the store must agree with.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use park_core::{Config, ErrorKind, ObjectRef, Session};

use crate::Options;
use crate::pattern::{Random, mismatch};

/// An object that the parent holds.
struct Kept {
    object: ObjectRef,
    seed: u64,
    len: u64,
}

/// A child, and what it was last asked.
struct Led {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Led {
    fn start(address: &str) -> Self {
        let program = std::env::current_exe().expect("this program has a file");
        let mut child = Command::new(program)
            .env("PARK_SOAK_CHILD", address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child starts");
        let input = child.stdin.take().expect("it was asked for");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self { child, input, output }
    }

    fn ask(&mut self, line: &str) {
        // A child that was killed meanwhile shows when its answer is read.
        let _ = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
    }

    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(n) if n > 0 => Some(line.trim_end().to_owned()),
            _ => None,
        }
    }

    fn kill(mut self) {
        // It may have ended already; that shows elsewhere.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By how much the parent's own memory may grow after a fifth of the time: its list of what it holds, and the allocator's slack.
const GROWTH_MB: u64 = 16;

#[derive(Default)]
struct Tally {
    made: u64,
    bytes: u64,
    read: u64,
    full: u64,
    kills: u64,
}

/// Runs for `time` and returns what went wrong.
pub(crate) fn run(options: &Options, time: Duration) -> Vec<String> {
    crate::child::self_check();
    let config = Config::default()
        .capacity(options.capacity)
        .max_objects(1 << 16)
        .full_timeout(Duration::from_millis(200));
    let session = Session::open(&config).expect("a session opens");
    let mut random = Random(options.seed);
    let mut children: Vec<Led> = (0..options.processes).map(|_| Led::start(session.address())).collect();
    let (mut kept, mut faults, mut tally) = (Vec::<Kept>::new(), Vec::new(), Tally::default());
    let start = Instant::now();
    let mut told = Duration::ZERO;
    let mut grown_up = None;
    while start.elapsed() < time && faults.is_empty() {
        round(
            &session,
            options,
            &mut random,
            &mut children,
            &mut kept,
            &mut tally,
            &mut faults,
        );
        if grown_up.is_none() && start.elapsed() > time / 5 {
            grown_up = Some(resident_mb());
        }
        if start.elapsed() >= told {
            report(&session, &tally, start.elapsed(), kept.len());
            told += (time / 20).max(Duration::from_secs(1));
        }
    }
    verify_all(&session, &kept, &mut faults);
    drop(kept);
    children.into_iter().for_each(Led::kill);
    close_books(&session, &mut faults);
    if let Some(before) = grown_up
        && resident_mb() > before + GROWTH_MB
    {
        faults.push(format!(
            "the parent grew from {before} to {} MB of its own",
            resident_mb()
        ));
    }
    report(&session, &tally, start.elapsed(), 0);
    faults
}

/// Every child is asked for something at once; some are killed while they work; then the answers are read.
fn round(
    session: &Session,
    options: &Options,
    random: &mut Random,
    children: &mut [Led],
    kept: &mut Vec<Kept>,
    tally: &mut Tally,
    faults: &mut Vec<String>,
) {
    let mut asked = Vec::new();
    for child in children.iter_mut() {
        if kept.is_empty() || random.below(2) == 0 {
            let (seed, len) = (random.next(), random.size(options.largest));
            child.ask(&format!("make {seed} {len}"));
            asked.push((seed, len));
        } else {
            let at = usize::try_from(random.below(kept.len() as u64)).unwrap_or(0);
            child.ask(&format!("take {} {}", kept[at].object.id(), kept[at].seed));
            asked.push((0, kept[at].len));
        }
    }
    if random.below(4) == 0 {
        let victim = usize::try_from(random.below(children.len() as u64)).unwrap_or(0);
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        let fresh = Led::start(session.address());
        std::mem::replace(&mut children[victim], fresh).kill();
        asked[victim] = (0, u64::MAX);
        tally.kills += 1;
    }
    for (child, (seed, len)) in children.iter_mut().zip(asked) {
        if len == u64::MAX {
            continue;
        }
        match child
            .answer()
            .as_deref()
            .map(|answer| answer.split_once(' ').unwrap_or((answer, "")))
        {
            Some(("made", id)) => {
                match id.parse().and_then(|id| session.store().resolve(id)) {
                    Ok(object) => kept.push(Kept { object, seed, len }),
                    Err(error) => faults.push(format!("an object that a child holds cannot be had: {error}")),
                }
                child.ask("drop");
                if child.answer().is_none() {
                    faults.push("a child ended unasked".to_owned());
                }
                tally.made += 1;
                tally.bytes += len;
            }
            Some(("read", got)) if got.parse() == Ok(len) => tally.read += 1,
            Some(("full", _)) => tally.full += 1,
            Some(other) => faults.push(format!("a child says {other:?}, expected something about {len} bytes")),
            None => faults.push("a child ended unasked".to_owned()),
        }
    }
    // The store stays as full as it was told: some go, and now and then many at once.
    let most = (options.capacity as f64 * options.keep) as u64;
    while kept.iter().map(|kept| kept.len).sum::<u64>() > most || kept.len() > 4000 {
        kept.swap_remove(usize::try_from(random.below(kept.len() as u64)).unwrap_or(0));
    }
    if random.below(50) == 0 {
        kept.truncate(kept.len() / 2);
    }
}

/// Nothing is lost, whoever made it and however that one ended.
fn verify_all(session: &Session, kept: &[Kept], faults: &mut Vec<String>) {
    for kept in kept {
        match session.store().get(&kept.object, Some(Duration::from_secs(60))) {
            Ok(object) if object.bytes().len() as u64 != kept.len => {
                faults.push(format!(
                    "{} has {} bytes, had {}",
                    kept.object.id(),
                    object.bytes().len(),
                    kept.len
                ));
            }
            Ok(object) => {
                if let Some(at) = mismatch(object.bytes(), kept.seed) {
                    faults.push(format!("{} differs at byte {at} of {}", kept.object.id(), kept.len));
                }
            }
            Err(error) if error.kind() == ErrorKind::StoreFull => {}
            Err(error) => faults.push(format!("{} cannot be read: {error}", kept.object.id())),
        }
    }
}

/// With everything dropped and everybody gone, nothing is left and all adds up.
fn close_books(session: &Session, faults: &mut Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let stats = session.store().stats();
        if (stats.objects, stats.promised, stats.used) == (0, 0, 0) {
            break;
        }
        if Instant::now() > deadline {
            faults.push(format!("left behind: {stats:?}"));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    faults.extend(session.audit(Duration::from_secs(5)).complaints);
}

fn report(session: &Session, tally: &Tally, elapsed: Duration, kept: usize) {
    let stats = session.store().stats();
    println!(
        "{:7.1} s: {} made ({} MB), {} read, {} refused as full, {} killed; {kept} kept, {} MB in use, {} MB on disk, parent {} MB resident",
        elapsed.as_secs_f64(),
        tally.made,
        tally.bytes >> 20,
        tally.read,
        tally.full,
        tally.kills,
        stats.used >> 20,
        stats.spilled >> 20,
        resident_mb()
    );
}

/// Private memory of this process: what it would keep if it leaked, without the store's pages.
fn resident_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        >> 10
}
