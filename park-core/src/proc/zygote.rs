//! The zygote: a single-threaded interpreter that forks worker processes, as the head asks.
//!
//! Forking a process with threads is unsafe and copies the page tables of everything the user loaded; forking the zygote costs
//! about a millisecond and every worker shares its imports. The zygote is the workers' parent: it reaps them and tells the head.
//!
//! ```text
//! head -> zygote   first: the text given by the language layer, with the two segments' descriptors
//!                  "S" u16        fork a worker that takes the participant entry
//! zygote -> head   "P" u16 u32    it runs as this process, with a pidfd
//!                  "D" u16 i32    it ended, with its wait status
//!                  "R"            it is ready, with its own pidfd: from zygotes of other interpreters (`foreign`), before all else
//! ```
//! Lifetimes: workers get a parent-death signal from the zygote; the zygote watches the head by pidfd and by this socket and ends
//! when either ends. So a session's processes end within moments of its head, however it ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ParticipantId;
use crate::sys::{process, socket};

/// How long a zygote may take to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How to start the language layer's worker interpreter.
#[derive(Debug)]
pub struct ZygoteCommand {
    /// Program and arguments. Its standard input is the socket to the head.
    pub argv: Vec<String>,
    /// Environment variables to set.
    pub env: Vec<(String, String)>,
    /// What to tell it first; the core does not look inside.
    pub hello: String,
    /// One that runs already and waits to be told. Should it end, the next one is started by the command.
    pub ready: Option<ReadyZygote>,
    /// The socket over which zygotes tell where their workers print, for those that cannot inherit it.
    pub output: Option<OwnedFd>,
}

/// A zygote that somebody else has forked, and that reads from its socket first of all.
#[derive(Debug)]
pub struct ReadyZygote {
    /// The head's end of the socket.
    pub socket: OwnedFd,
    /// Its process.
    pub pid: u32,
    /// To watch it by: it is no child of the head's.
    pub pidfd: OwnedFd,
}

/// What the zygote reports.
#[derive(Debug)]
pub enum ZygoteEvent {
    /// A worker runs.
    Started {
        /// Its entry.
        participant: ParticipantId,
        /// Its process id.
        pid: u32,
        /// Readable when it ends; kills only it.
        pidfd: OwnedFd,
    },
    /// A worker ended.
    Ended {
        /// Its entry.
        participant: ParticipantId,
        /// As `wait` reports it.
        status: i32,
    },
    /// The zygote of another interpreter is ready.
    Ready {
        /// Readable when it ends: whoever started it may be between.
        pidfd: OwnedFd,
    },
    /// The zygote itself ended, and its workers with it.
    Gone,
}

/// The head's link to its zygote.
#[derive(Debug)]
pub struct Zygote {
    socket: OwnedFd,
    process: Process,
}

/// The zygote's process, as whoever started it knows it.
#[derive(Debug)]
enum Process {
    Child(Child),
    Foreign { pid: u32, pidfd: OwnedFd },
}

impl Zygote {
    /// Starts the interpreter, or takes the one that is ready. Returns at once: it becomes ready on its own, and requests queue in the
    /// socket.
    pub fn start(command: &mut ZygoteCommand, segments: [BorrowedFd<'_>; 2]) -> Result<Self> {
        if let Some(ReadyZygote { socket, pid, pidfd }) = command.ready.take() {
            socket::send(&socket, command.hello.as_bytes(), &segments)?;
            let process = Process::Foreign { pid, pidfd };
            return Ok(Self { socket, process });
        }
        let zygote = Self::launch(&command.argv, &command.env, |_| {})?;
        socket::send(&zygote.socket, command.hello.as_bytes(), &segments)?;
        Ok(zygote)
    }

    /// Starts an interpreter that has been told nothing yet.
    pub(super) fn launch(
        argv: &[String],
        env: &[(String, String)],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let Some((program, arguments)) = argv.split_first() else {
            bail!(InvalidArgument, "the worker command is empty");
        };
        let (socket, theirs) = socket::pair()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(theirs))
            // Ctrl-C in the terminal is for the driver, also while the interpreter is still starting.
            .process_group(0);
        prepare(&mut command);
        let child = command.spawn().map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("cannot start the worker interpreter {program:?}: {error}"),
            )
        })?;
        let process = Process::Child(child);
        Ok(Self { socket, process })
    }

    /// Asks for one worker.
    pub fn spawn(&self, participant: ParticipantId) -> Result<()> {
        let [low, high] = participant.0.to_le_bytes();
        socket::send(&self.socket, &[b'S', low, high], &[])
    }

    /// The zygote's process id.
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Foreign { pid, .. } => *pid,
        }
    }

    /// To wait on.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Receives the next report; blocks until there is one.
    pub fn event(socket: BorrowedFd<'_>) -> Result<ZygoteEvent> {
        let Some((bytes, mut fds)) = socket::receive(socket)? else {
            return Ok(ZygoteEvent::Gone);
        };
        match (bytes.as_slice(), fds.pop()) {
            ([b'P', low, high, pid @ ..], Some(pidfd)) if pid.len() == 4 => Ok(ZygoteEvent::Started {
                participant: ParticipantId(u16::from_le_bytes([*low, *high])),
                pid: u32::from_le_bytes(pid.try_into().unwrap_or_default()),
                pidfd,
            }),
            ([b'D', low, high, status @ ..], None) if status.len() == 4 => Ok(ZygoteEvent::Ended {
                participant: ParticipantId(u16::from_le_bytes([*low, *high])),
                status: i32::from_le_bytes(status.try_into().unwrap_or_default()),
            }),
            (b"R", Some(pidfd)) => Ok(ZygoteEvent::Ready { pidfd }),
            _ => bail!(Corrupt, "the zygote sent {bytes:?}"),
        }
    }

    /// Tells the zygote to end, and with it every worker. It takes a few milliseconds to kill and reap them.
    pub(super) fn dismiss(&self) {
        socket::hang_up(&self.socket);
    }

    /// Whether its process has ended, and been reaped.
    pub(super) fn has_ended(&mut self) -> bool {
        match &mut self.process {
            Process::Child(child) => !matches!(child.try_wait(), Ok(None)),
            Process::Foreign { pidfd, .. } => process::has_ended(pidfd.as_fd()),
        }
    }

    /// Waits until its process has ended, at most so long; then it is killed, and all that it started. Its wait status, if it is this
    /// process's child.
    pub(super) fn end_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        match &mut self.process {
            Process::Child(child) => {
                let deadline = Instant::now() + patience;
                loop {
                    match child.try_wait() {
                        Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(500)),
                        Ok(None) => break,
                        Ok(status) => return status,
                        Err(_) => return None,
                    }
                }
                process::kill_group(child.id());
                child.wait().ok()
            }
            Process::Foreign { pidfd, .. } => {
                if !process::wait_ended(pidfd.as_fd(), patience) {
                    process::kill(&*pidfd);
                    process::wait_ended(pidfd.as_fd(), PATIENCE);
                }
                None
            }
        }
    }

    /// Ends the zygote and with it every worker, and waits until they are gone.
    pub fn stop(mut self) {
        self.dismiss();
        // One that hangs is killed: its workers die with it by their parent-death signal.
        let _ = self.end_within(PATIENCE);
    }
}
