//! Other interpreters than the session's own, for work whose environment asks for one (Ray's `py_executable`).
//!
//! Each environment has a zygote of its own, started by the environment's command when the first worker of it is asked for. From then on
//! it is a zygote as any: its workers are forked in milliseconds, watched, killed and reaped as all others, however the command comes to
//! run the interpreter. (A wrapper such as `uv run` stays between the head and the zygote, but never between the zygote and a worker.)
//!
//! ```text
//! head -> zygote   the session's text with the two segments' descriptors and, if workers' output is read, the socket for that
//!                  then the environment's text
//! zygote -> head   "R" with its pidfd once it is ready; until then it may look for packages, or end and say why
//! ```
//! Until it is ready, what it prints goes to a file in memory: if it ends, or takes longer than the environment allows, the work that
//! waits for it fails with the end of that. Requests for workers wait here meanwhile. It ends with its last worker.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::id::ParticipantId;
use crate::ipc::placement::Environment;
use crate::sys::{memfd, process, socket};

use super::zygote::{PATIENCE, Zygote, ZygoteCommand};

/// How much of what a zygote printed before it ended is shown.
const SHOWN: u64 = 4096;

/// One zygote of another interpreter.
#[derive(Debug)]
pub struct Foreign {
    serial: u64,
    environment: Environment,
    zygote: Zygote,
    printed: File,
    started: Instant,
    /// Its process, once it is ready.
    pidfd: Option<OwnedFd>,
    /// Workers to ask it for then.
    asked: Vec<ParticipantId>,
}

impl Foreign {
    /// What it is the zygote of.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Whether it was ready once.
    pub fn is_ready(&self) -> bool {
        self.pidfd.is_some()
    }

    fn spawn(&mut self, participant: ParticipantId) {
        if self.is_ready() {
            // One that has just ended is about to be found out, and what it was asked for with it.
            let _ = self.zygote.spawn(participant);
        } else {
            // It does not listen yet, and the socket holds only so much.
            self.asked.push(participant);
        }
    }

    fn is_overdue(&self) -> bool {
        !self.is_ready() && self.started.elapsed() >= Duration::from_secs(self.environment.patience.into())
    }

    /// Ends it, if it has not ended, and says how it went.
    pub fn end(mut self) -> Error {
        let how = if self.is_overdue() {
            let _ = self.zygote.end_within(Duration::ZERO);
            format!(
                "it was not ready after {} s (runtime_env[\"config\"][\"setup_timeout_seconds\"])",
                self.environment.patience
            )
        } else {
            // Its end of the socket is closed a moment before it has ended.
            match self.zygote.end_within(Duration::from_secs(1)) {
                Some(status) if self.is_ready() => format!("it ended ({status})"),
                Some(status) => format!("it ended before it was ready ({status})"),
                None => "it ended".to_owned(),
            }
        };
        let said = self.said();
        let said = match said.trim() {
            "" => "it printed nothing".to_owned(),
            said => format!("it printed:\n{said}"),
        };
        setup_error(&self.environment, &format!("{how}; {said}"))
    }

    /// The end of what it printed.
    fn said(&mut self) -> String {
        let mut bytes = Vec::new();
        let length = self.printed.metadata().map_or(0, |of| of.len());
        // What cannot be read is not shown.
        let _ = self.printed.seek(SeekFrom::Start(length.saturating_sub(SHOWN)));
        let _ = (&mut self.printed).take(SHOWN).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// That an environment's interpreter cannot be had.
fn setup_error(environment: &Environment, why: &str) -> Error {
    Error::new(
        ErrorKind::EnvironmentSetup,
        format!(
            "the interpreter `{}` of the runtime environment could not be set up: {why}",
            environment.name
        ),
    )
}

/// The zygotes of other interpreters, and what they are told.
#[derive(Debug)]
pub struct Foreigners {
    hello: String,
    env: Vec<(String, String)>,
    output: Option<OwnedFd>,
    next: u64,
    running: Vec<Foreign>,
    leaving: Vec<Zygote>,
}

impl Foreigners {
    /// None yet; the session's own zygote is started by `command`.
    pub fn new(command: &ZygoteCommand) -> Self {
        Self {
            hello: command.hello.clone(),
            env: command.env.clone(),
            output: command.output.as_ref().and_then(|fd| fd.try_clone().ok()),
            next: 0,
            running: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Asks for one worker of this environment. True if its zygote had to be started.
    pub fn spawn(
        &mut self,
        environment: &Environment,
        segments: [BorrowedFd<'_>; 2],
        participant: ParticipantId,
    ) -> Result<bool> {
        if let Some(foreign) = self.running.iter_mut().find(|of| of.environment == *environment) {
            foreign.spawn(participant);
            return Ok(false);
        }
        let mut foreign = self
            .start(environment, segments)
            .map_err(|error| setup_error(environment, error.message()))?;
        foreign.spawn(participant);
        self.running.push(foreign);
        Ok(true)
    }

    fn start(&mut self, environment: &Environment, segments: [BorrowedFd<'_>; 2]) -> Result<Foreign> {
        let printed = memfd::scratch("park-interpreter")?;
        let (to, also) = (printed.try_clone()?, printed.try_clone()?);
        let mut env = self.env.clone();
        env.extend(environment.variables.iter().cloned());
        let zygote = Zygote::launch(&environment.command, &env, |command| {
            command.stdout(Stdio::from(to)).stderr(Stdio::from(also));
            if !environment.folder.is_empty() {
                command.current_dir(&environment.folder);
            }
        })?;
        let mut fds = segments.to_vec();
        fds.extend(self.output.as_ref().map(AsFd::as_fd));
        // One that has ended already is found out by its socket.
        let _ = socket::send(zygote.socket(), self.hello.as_bytes(), &fds)
            .and_then(|()| socket::send(zygote.socket(), environment.text.as_bytes(), &[]));
        self.next += 1;
        Ok(Foreign {
            serial: self.next,
            environment: environment.clone(),
            zygote,
            printed,
            started: Instant::now(),
            pidfd: None,
            asked: Vec::new(),
        })
    }

    /// To wait on: the socket of each, and its pidfd once it is ready, by its serial number.
    pub fn descriptors(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, Option<BorrowedFd<'_>>)> {
        self.running
            .iter()
            .map(|of| (of.serial, of.zygote.socket(), of.pidfd.as_ref().map(AsFd::as_fd)))
    }

    /// It is ready, and this process.
    pub fn ready(&mut self, serial: u64, pidfd: OwnedFd) {
        if let Some(of) = self.running.iter_mut().find(|of| of.serial == serial) {
            of.pidfd = Some(pidfd);
            let asked = std::mem::take(&mut of.asked);
            asked.into_iter().for_each(|participant| of.spawn(participant));
        }
    }

    /// Takes one off the list.
    pub fn remove(&mut self, serial: u64) -> Option<Foreign> {
        let at = self.running.iter().position(|of| of.serial == serial)?;
        Some(self.running.swap_remove(at))
    }

    /// One that takes too long to be ready.
    pub fn overdue(&self) -> Option<u64> {
        self.running.iter().find(|of| of.is_overdue()).map(|of| of.serial)
    }

    /// Nobody needs this environment any more.
    pub fn let_go(&mut self, environment: &Environment) {
        if let Some(at) = self.running.iter().position(|of| of.environment == *environment) {
            let foreign = self.running.swap_remove(at);
            foreign.zygote.dismiss();
            self.leaving.push(foreign.zygote);
        }
    }

    /// Reaps those that were let go and have ended.
    pub fn reap(&mut self) {
        self.leaving.retain_mut(|zygote| !zygote.has_ended());
    }

    /// Ends all of them, with their workers, and waits until they are gone.
    pub fn stop(self) {
        // Told first, so that they end beside each other.
        self.running.iter().for_each(|of| of.zygote.dismiss());
        for mut foreign in self.running {
            // One that is not ready may be looking for packages, and does not listen.
            if let Some(pidfd) = &foreign.pidfd
                && !process::wait_ended(pidfd.as_fd(), PATIENCE)
            {
                process::kill(pidfd);
                process::wait_ended(pidfd.as_fd(), PATIENCE);
            }
            let patience = if foreign.is_ready() { PATIENCE } else { Duration::ZERO };
            let _ = foreign.zygote.end_within(patience);
        }
        self.leaving.into_iter().for_each(Zygote::stop);
    }
}
