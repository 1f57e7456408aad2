//! park inside two Rust programs, and nothing else on the machine: no Python, no daemon, no file.
//!
//! ```text
//! embed                 opens a session, starts itself a second time, and prints what came of it
//! embed ADDRESS OBJECT  is that second process
//! ```
//!
//! The first process puts a million numbers into the store and has a native task ready. The second one attaches, reads the numbers
//! where they lie, runs a task of its own over them on its own threads, and answers with the id of the result, which the first one
//! resolves before the second one lets it go.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use park_core::{Config, Error, ErrorKind, Result, Session};

const COUNT: u64 = 1_000_000;
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn main() -> Result<()> {
    match (env::args().nth(1), env::args().nth(2)) {
        (Some(address), Some(object)) => second(&address, &object),
        _ => first(),
    }
}

/// A native task: sums little-endian numbers, in place.
fn register_sum(session: &Session) -> Result<()> {
    session.pool()?.register("sum", |call| {
        let numbers = call.arg(0)?.bytes().as_chunks::<8>().0;
        let sum: u64 = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).sum();
        call.put(0, &sum.to_le_bytes())
    })
}

fn first() -> Result<()> {
    let session = Session::open(&Config::default().capacity(64 << 20))?;
    register_sum(&session)?;
    let store = session.store();
    let numbers: Vec<u8> = (0..COUNT).flat_map(u64::to_le_bytes).collect();
    let object = store.put(&numbers)?;
    let here = session.pool()?.submit("sum", std::slice::from_ref(&object), 1)?;

    let mut other = Command::new(env::current_exe()?)
        .args([session.address(), &object.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(to), Some(from)) = (other.stdin.take(), other.stdout.take()) else {
        return Err(Error::new(ErrorKind::Internal, "the second process has no pipes"));
    };
    let mut line = String::new();
    BufReader::new(from).read_line(&mut line)?;
    // A reference of our own, while the other process still holds its one.
    let there = store.resolve(line.trim().parse()?)?;
    drop(to);
    if !other.wait()?.success() {
        return Err(Error::new(ErrorKind::TaskFailed, "the second process failed"));
    }
    let value = |object| -> Result<u64> {
        let bytes = store.get(object, PATIENCE)?.bytes().try_into();
        Ok(u64::from_le_bytes(bytes.map_err(|_| {
            Error::new(ErrorKind::WrongFormat, "a sum is eight bytes")
        })?))
    };
    let [here] = here.as_slice() else {
        return Err(Error::new(ErrorKind::Internal, "one return was asked for"));
    };
    writeln!(io::stdout(), "here {}, there {}", value(here)?, value(&there)?)?;
    Ok(())
}

fn second(address: &str, object: &str) -> Result<()> {
    let session = Session::attach(address)?;
    register_sum(&session)?;
    let numbers = session.store().resolve(object.parse()?)?;
    let sums = session.pool()?.submit("sum", &[numbers], 1)?;
    for sum in &sums {
        session.store().get(sum, PATIENCE)?;
        writeln!(io::stdout(), "{}", sum.id())?;
    }
    io::stdout().flush()?;
    // Holds its results until the other process has a reference of its own, and closes our input.
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
