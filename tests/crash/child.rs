//! A process that is told what to do by lines on its standard input, and answers by lines on its standard output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::Fallible;

/// Longer than anything takes that works; a test asserts no run time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// See the module's documentation. Killed when dropped.
pub(crate) struct Child {
    process: Process,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    /// This program again, in a role.
    pub(crate) fn start(arguments: &[&str]) -> Fallible<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("a child without output")?;
        let (send, lines) = channel();
        std::thread::Builder::new().name("listen".into()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { process, input, lines })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a line. That a dead child does not read it is seen elsewhere.
    pub(crate) fn say(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}").and_then(|()| input.flush());
        }
    }

    /// The next line; `None` when it has ended or closed its output.
    pub(crate) fn hear(&self) -> Fallible<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err("it hangs".into()),
        }
    }

    /// What follows `word` in the next line.
    pub(crate) fn expect(&self, word: &str) -> Fallible<String> {
        match self.hear()? {
            Some(line) => match line.strip_prefix(word) {
                Some(rest) => Ok(rest.trim().to_owned()),
                None => Err(format!("expected {word:?}, it said {line:?}").into()),
            },
            None => Err(format!("expected {word:?}, it ended").into()),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        // Already dead is what the caller wants.
        let _ = self.process.kill();
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> Fallible<ExitStatus> {
        drop(self.input.take());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Err("it does not end".into())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.process.wait();
    }
}
