//! A second process for a bench: the same program started again, asked by lines on its stdin, answering by lines on its stdout.
//!
//! It knows nothing of park: the peer iceoryx2, a crate of its own, includes this file.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::measure::Result;

/// The first argument of a program that is to be a child.
pub const CHILD: &str = "child";
/// How long a child may take to end after its stdin was closed.
const FAREWELL: Duration = Duration::from_secs(3);

/// The parent's side.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Child {
    /// Starts this program again with `child` and `arguments`, and waits until it says that it is ready.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let from = process.stdout.take().ok_or("the child has no stdout")?;
        let to = process.stdin.take();
        let mut child = Self {
            process,
            to,
            from: BufReader::new(from),
        };
        match child.hear()?.as_str() {
            "ready" => Ok(child),
            other => Err(format!("a child said {other:?} instead of being ready").into()),
        }
    }

    /// Sends one line.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        self.send(format!("{line}\n").as_bytes())
    }

    /// Waits for one line.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("a child ended before it answered".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Sends a line and waits for the answer.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.tell(line)?;
        self.hear()
    }

    /// Sends bytes as they are, in one write.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.to.as_mut().ok_or("the child has no stdin")?.write_all(bytes)?)
    }

    /// Waits for as many bytes as `bytes` holds.
    pub fn receive(&mut self, bytes: &mut [u8]) -> Result<()> {
        Ok(std::io::Read::read_exact(&mut self.from, bytes)?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The end of its stdin ends a child that listens. One that hangs in the middle of something is killed: a bench that failed
        // must say so instead of waiting for it.
        drop(self.to.take());
        let step = Duration::from_millis(1);
        for _ in 0..FAREWELL.as_millis() {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            sleep(step);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child's side: says that it is ready, then answers each line with what `with` makes of it, until the parent closes the pipe.
pub fn answer(mut with: impl FnMut(&str) -> Result<String>) -> Result<()> {
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        say(&with(&line?)?)?;
    }
    Ok(())
}

/// The child's side of `send` and `receive`: sends back every `len` bytes that come.
pub fn echo(len: usize) -> Result<()> {
    say("ready")?;
    let (mut from, mut to) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut message = vec![0; len];
    loop {
        match std::io::Read::read_exact(&mut from, &mut message) {
            Err(end) if end.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        to.write_all(&message)?;
        to.flush()?;
    }
}

fn say(line: &str) -> Result<()> {
    let mut to = std::io::stdout().lock();
    writeln!(to, "{line}")?;
    Ok(to.flush()?)
}
