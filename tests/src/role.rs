//! Processes of a test: the test's own program, started again to play a role.
//!
//! A test file that needs other processes has one test named `role`, which does nothing unless `PARK_ROLE` is set; [`spawn`] starts the
//! same program with that test alone. What a role says goes to its standard output as lines that begin with `= `.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "PARK_ROLE";
const ARGUMENT: &str = "PARK_ROLE_ARGUMENT";

/// The role that this process was started to play, and its argument.
pub fn asked() -> Option<(String, String)> {
    let role = std::env::var(ROLE).ok()?;
    Some((role, std::env::var(ARGUMENT).unwrap_or_default()))
}

/// Says a line to whoever started the role.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A starter that does not listen any more is no reason to fail.
    let _ = writeln!(out, "\n= {line}").and_then(|()| out.flush());
}

/// A process that plays a role; killed when dropped.
#[derive(Debug)]
pub struct Role {
    child: Child,
    out: BufReader<ChildStdout>,
}

/// Starts one.
pub fn spawn(role: &str, argument: &str) -> Role {
    let exe = std::env::current_exe().expect("a test has a path");
    let mut child = Command::new(exe)
        .args(["role", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(ARGUMENT, argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test's own program starts");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    Role { child, out }
}

impl Role {
    /// The next line that the role says; None when it has ended.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.out.read_line(&mut line).expect("a role speaks text") > 0 {
            if let Some(said) = line.trim_end().strip_prefix("= ") {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Waits for the end; None if it has not ended in time.
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Already ended is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
