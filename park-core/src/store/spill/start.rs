//! Offering, starting, asking and ending the spiller's thread.
//!
//! The head offers it (`Board::mode`); the first process that needs it makes the head start it; it ends with the session.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::spiller;
use crate::config::Config;
use crate::error::Error;
use crate::id::{ObjectId, ParticipantId};
use crate::shm::board::{Board, OFF, OFFERED, RUNNING};
use crate::store::Store;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;

/// Told of an object whose bytes on disk are gone. It takes over a hold on it, and ends its RESTORING by `give_up_lost` or `reopen_lost`.
pub(crate) type Lost = Box<dyn Fn(ObjectId, Error) + Send + Sync>;

/// Where to, and how much.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) parent: PathBuf,
    pub(crate) limit: Option<u64>,
}

/// In the head process's store: how to run the thread, and the thread.
pub(crate) struct SpillThread {
    plan: Plan,
    thread: Mutex<Option<JoinHandle<()>>>,
    lost: OnceLock<Lost>,
}

impl Store {
    pub(crate) fn board(&self) -> &Board {
        &self.header().board
    }

    /// Lets objects of this session be spilled, as the configuration says. For the head.
    pub fn offer_spilling(&self, config: &Config) {
        let Some(plan) = config.spill_plan() else { return };
        let offered = self.spill_thread.set(SpillThread {
            plan: Plan {
                parent: plan.0,
                limit: plan.1,
            },
            thread: Mutex::new(None),
            lost: OnceLock::new(),
        });
        if offered.is_ok() {
            self.board().mode.store(OFFERED, Ordering::Release);
        }
    }

    /// Who decides about objects that were lost on disk. Without anyone they become errors.
    pub(crate) fn on_lost(&self, hook: Lost) {
        if let Some(spilling) = self.spill_thread.get() {
            // A second hook would mean two runtimes on one store; the first stays.
            let _ = spilling.lost.set(hook);
        }
    }

    /// Starts the thread if somebody asked for it. For the head, whenever it looks around.
    pub(crate) fn tend_spilling(self: &Arc<Self>) {
        if self.board().mode.load(Ordering::Relaxed) == OFFERED && !self.header().line.is_empty() {
            self.start_spiller();
        }
    }

    fn start_spiller(self: &Arc<Self>) {
        let Some(spilling) = self.spill_thread.get() else {
            return;
        };
        let mut thread = spilling.thread.lock();
        if thread.is_some() || self.check_open().is_err() {
            return;
        }
        let store = self.clone();
        let started = std::thread::Builder::new().name("park-spill".into()).spawn(move || {
            if let Some(spilling) = store.spill_thread.get() {
                spiller::run(&store, &spilling.plan, spilling.lost.get());
            }
        });
        // Without a thread nothing is spilled for now; the next one that asks tries again.
        if let Ok(started) = started {
            *thread = Some(started);
            self.board().mode.store(RUNNING, Ordering::Release);
        }
    }

    /// Makes the spiller look around: somebody joined the line, or wants an object back.
    pub(crate) fn ask_spiller(self: &Arc<Self>) {
        match self.board().mode.load(Ordering::Acquire) {
            OFF => return,
            OFFERED if self.is_head() => self.start_spiller(),
            OFFERED => self.participant(ParticipantId::HEAD).doorbell.ring(),
            _ => {}
        }
        self.board().bell.ring();
        self.header().space.ring();
    }

    /// Waits until the spiller's thread has ended, and with it the files. For the head, once the session is closed.
    pub(crate) fn end_spilling(&self) {
        let thread = self
            .spill_thread
            .get()
            .and_then(|spilling| spilling.thread.lock().take());
        self.board().bell.ring();
        self.header().space.ring();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there has been printed; there is nothing more to do about it while closing.
            let _ = thread.join();
        }
    }
}
