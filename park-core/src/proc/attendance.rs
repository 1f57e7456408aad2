//! Which thread of a worker process looks for jobs.
//!
//! By rule one thread does nothing else: it sleeps on the process's doorbell (`Inbox::next`), and whoever rings wakes it by a system
//! call. An event loop that is awake anyway can look by itself, at the price of one load, and save both the system call and the hop
//! from thread to thread. It *attends*: from `attend` to `leave` the sleeper stays away from the doorbell. Before the event loop goes to
//! sleep where no doorbell can wake it, it leaves.
//!
//! ```text
//! event loop:  attend . (take a ticket, look for jobs)* . leave . sleep in epoll
//! sleeper:     (take a ticket, attended? then sleep here until left . look for jobs . sleep on the doorbell)*
//! ```
//! No job is overlooked: what came before `leave` and was not seen is found by the sleeper, which looks after it was told of the
//! leaving; what comes later rings the sleeper, who either sleeps on the doorbell or will look before it does.

use parking_lot::{Condvar, Mutex};

use crate::error::Result;
use crate::store::{Interrupt, TICK};
use crate::sync::atomic::{AtomicBool, Ordering};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Attendance {
    /// A copy of the first flag of `state`, for a look without the lock. Written under the lock.
    attended: AtomicBool,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug)]
struct State {
    attended: bool,
    /// Nobody attends any more: what comes now is the sleeper's.
    over: bool,
}

impl Default for Attendance {
    fn default() -> Self {
        Self {
            attended: AtomicBool::new(false),
            state: Mutex::new(State {
                attended: false,
                over: false,
            }),
            left: Condvar::new(),
        }
    }
}

impl Attendance {
    /// This thread looks for jobs from now on. False if that is over.
    pub(super) fn attend(&self) -> bool {
        if self.attended.load(Ordering::Relaxed) {
            return true;
        }
        let mut state = self.state.lock();
        state.attended = !state.over;
        self.attended.store(state.attended, Ordering::Relaxed);
        state.attended
    }

    /// It does so no more.
    pub(super) fn leave(&self) {
        self.change(|state| state.attended = false);
    }

    /// It never will again.
    pub(super) fn end(&self) {
        self.change(|state| (state.attended, state.over) = (false, true));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.attended.store(state.attended, Ordering::Relaxed);
        self.left.notify_all();
    }

    /// For the sleeper: waits while somebody attends, asking the interrupt now and then. True if it had to.
    pub(super) fn wait(&self, interrupt: Interrupt<'_>) -> Result<bool> {
        if !self.attended.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut state = self.state.lock();
        while state.attended {
            if self.left.wait_for(&mut state, TICK).timed_out() {
                drop(state);
                interrupt()?;
                state = self.state.lock();
            }
        }
        Ok(true)
    }
}
