//! Where workers come from: a zygote forks them (the session's, or that of another interpreter), or they are threads of the head's own
//! process.
//!
//! With threads every protocol is that of worker processes; only what a worker *is* differs:
//!
//! * **A worker's own** is its participant entry, of which it uses the ring and the doorbell: the head sends it the same records, and what
//!   it says to the head carries its number. **Its process's** are mapping, ledger, journal, slots and the doorbell for objects. A
//!   reference that one worker holds is the process's: every thread can use it, and nothing is to be recovered when a worker ends.
//! * **Starting**: the head hands a [`Seat`] to the language layer's [`ThreadHost`]. A thread takes it (`Session::take_seat`), tells the
//!   head that it runs (`tell_seated`), and then lives as a worker process does.
//! * **Ending**: whoever knows of it, the thread or its host, says so, once (`Session::leave_seat`). The head does what it does when a
//!   process ends: the entry is declared dead, what it left undone is repeated or raised, the entry goes to another worker.
//! * **Being killed**: a thread cannot be, so the host makes it harmless. It marks the worker, so that it takes no job, begins none and
//!   keeps no result any more; it waits until no such step is under way (each is short, and one that waits asks whether it is wanted);
//!   then it says that the worker has ended. What the thread does until it notices concerns nobody.
//! * **The session's end**: `ThreadHost::stop` interrupts every thread and waits a little. One that cannot be reached, in a call into C,
//!   is left behind, and finds the session closed.
//!
//! The head calls its host under its own lock, so a host only takes notes: it must not wait, least of all for an interpreter that some
//! thread holds while it waits for the head.

use std::sync::{Arc, Weak};

use crate::actor::call::Caller;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ParticipantId;
use crate::ipc::placement::Environment;
use crate::proc::foreign::Foreigners;
use crate::proc::pool::Hold;
use crate::proc::zygote::{Zygote, ZygoteCommand};
use crate::sched::task::Interruption;
use crate::store::Store;
use crate::sync::atomic::Ordering;
use crate::sys::process;

use super::head::Head;

/// The language layer's side of workers that are threads. See the module's documentation.
pub trait ThreadHost: std::fmt::Debug + Send + Sync {
    /// Have a thread take this seat.
    fn start(&self, seat: Seat);
    /// Make what the worker does end, or the worker itself.
    fn interrupt(&self, worker: ParticipantId, how: Interruption);
    /// The session ends: end every worker. Waits for them, but not for ever.
    fn stop(&self);
}

/// What workers are, and how they are started.
#[derive(Debug)]
pub enum WorkerSource {
    /// Processes, forked by the interpreter that this starts.
    Processes(ZygoteCommand),
    /// Threads of this process.
    Threads(Arc<dyn ThreadHost>),
}

/// A place for a worker thread: what it needs to join the session.
#[derive(Debug)]
pub struct Seat {
    pub(super) head: Arc<Head>,
    pub(super) store: Arc<Store>,
    pub(super) caller: Arc<Caller>,
    pub(super) participant: ParticipantId,
}

impl Seat {
    /// Nobody takes it: no thread could be started.
    pub fn refuse(self) {
        self.head.worker_took(self.participant);
        self.head.worker_left(self.participant, FAILED);
    }
}

/// The wait status of a process that exited with 1: how a worker ends that could not begin.
const FAILED: i32 = 1 << 8;

/// What the head starts workers by.
#[derive(Debug)]
pub(super) enum Spawner {
    Zygote {
        own: Zygote,
        foreign: Foreigners,
    },
    Threads {
        host: Arc<dyn ThreadHost>,
        head: Weak<Head>,
        caller: Arc<Caller>,
    },
}

impl Spawner {
    pub(super) fn start(
        source: &mut WorkerSource,
        store: &Store,
        head: &Weak<Head>,
        caller: &Arc<Caller>,
    ) -> Result<Self> {
        Ok(match source {
            WorkerSource::Processes(command) => Self::Zygote {
                foreign: Foreigners::new(command),
                own: Zygote::start(command, store.fds())?,
            },
            WorkerSource::Threads(host) => Self::Threads {
                host: host.clone(),
                head: head.clone(),
                caller: caller.clone(),
            },
        })
    }

    /// Asks for one worker, with another interpreter if there is an `environment`. True if the watcher has one more thing to watch.
    pub(super) fn spawn(
        &mut self,
        store: &Arc<Store>,
        environment: Option<&Environment>,
        participant: ParticipantId,
    ) -> Result<bool> {
        match (self, environment) {
            (Self::Zygote { own, .. }, None) => own.spawn(participant).map(|()| false),
            (Self::Zygote { foreign, .. }, Some(environment)) => foreign.spawn(environment, store.fds(), participant),
            (Self::Threads { .. }, Some(_)) => Err(Error::new(
                ErrorKind::EnvironmentSetup,
                "workers that are threads of one process have one interpreter",
            )),
            (Self::Threads { host, head, caller }, None) => {
                let Some(head) = head.upgrade() else {
                    return Err(Error::new(ErrorKind::SessionClosed, "the park session is closed"));
                };
                let entry = store.participant(participant);
                entry.pid.store(process::pid(), Ordering::Relaxed);
                host.start(Seat {
                    head,
                    store: store.clone(),
                    caller: caller.clone(),
                    participant,
                });
                Ok(false)
            }
        }
    }

    /// Interrupts a worker that is a thread.
    pub(super) fn interrupt(&self, worker: ParticipantId, how: Interruption) {
        if let Self::Threads { host, .. } = self {
            host.interrupt(worker, how);
        }
    }

    pub(super) fn zygote(&self) -> Option<&Zygote> {
        match self {
            Self::Zygote { own, .. } => Some(own),
            Self::Threads { .. } => None,
        }
    }

    pub(super) fn foreign(&self) -> Option<&Foreigners> {
        match self {
            Self::Zygote { foreign, .. } => Some(foreign),
            Self::Threads { .. } => None,
        }
    }

    pub(super) fn foreign_mut(&mut self) -> Option<&mut Foreigners> {
        match self {
            Self::Zygote { foreign, .. } => Some(foreign),
            Self::Threads { .. } => None,
        }
    }

    /// Ends every worker.
    pub(super) fn stop(self) {
        match self {
            Self::Zygote { own, foreign } => {
                foreign.stop();
                own.stop();
            }
            Self::Threads { host, .. } => host.stop(),
        }
    }
}

impl Head {
    /// A thread has taken its seat.
    pub(super) fn worker_took(&self, id: ParticipantId) {
        let mut state = self.lock();
        if !state.closed {
            state.worker_started(id, process::pid(), Hold::Thread);
        }
    }

    /// The worker in this seat has ended, as a process with this wait status would have.
    pub(super) fn worker_left(&self, id: ParticipantId, status: i32) {
        let mut state = self.lock();
        if !state.closed {
            state.worker_ended(id, status);
        }
    }
}
