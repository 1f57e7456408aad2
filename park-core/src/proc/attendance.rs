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

#[cfg(not(loom))]
use parking_lot::{Condvar, Mutex};

#[cfg(loom)]
use loom::sync::{Condvar, Mutex};

use crate::error::Result;
use crate::store::Interrupt;
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
        let mut state = lock(&self.state);
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
        let mut state = lock(&self.state);
        change(&mut state);
        self.attended.store(state.attended, Ordering::Relaxed);
        self.left.notify_all();
    }

    /// For the sleeper: waits while somebody attends, asking the interrupt now and then. True if it had to.
    pub(super) fn wait(&self, interrupt: Interrupt<'_>) -> Result<bool> {
        if !self.attended.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut state = lock(&self.state);
        while state.attended {
            state = match told(&self.left, state) {
                Some(state) => state,
                None => {
                    interrupt()?;
                    lock(&self.state)
                }
            };
        }
        Ok(true)
    }
}

#[cfg(not(loom))]
fn lock(state: &Mutex<State>) -> parking_lot::MutexGuard<'_, State> {
    state.lock()
}

/// Sleeps until something changes. `None` after a while.
#[cfg(not(loom))]
fn told<'a>(
    left: &Condvar,
    mut state: parking_lot::MutexGuard<'a, State>,
) -> Option<parking_lot::MutexGuard<'a, State>> {
    let timed_out = left.wait_for(&mut state, crate::store::TICK).timed_out();
    (!timed_out).then_some(state)
}

#[cfg(loom)]
fn lock(state: &Mutex<State>) -> loom::sync::MutexGuard<'_, State> {
    state.lock().expect("no thread panics while it holds the lock")
}

/// As above; the while is not modelled, so that a sleeper whom nobody tells shows up as a deadlock.
#[cfg(loom)]
fn told<'a>(left: &Condvar, state: loom::sync::MutexGuard<'a, State>) -> Option<loom::sync::MutexGuard<'a, State>> {
    Some(left.wait(state).expect("no thread panics while it holds the lock"))
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::store::never;
    use crate::sync::Doorbell;
    use crate::sync::atomic::AtomicUsize;
    use loom::sync::Arc;
    use loom::thread;

    /// Jobs that have come, and how many of them were taken.
    struct World {
        attendance: Attendance,
        bell: Doorbell,
        jobs: AtomicUsize,
        taken: AtomicUsize,
    }

    impl World {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                attendance: Attendance::default(),
                bell: Doorbell::new(),
                jobs: AtomicUsize::new(0),
                taken: AtomicUsize::new(0),
            })
        }

        fn send(&self) {
            self.jobs.fetch_add(1, Ordering::Release);
            self.bell.ring();
        }

        /// Takes what has come.
        fn look(&self) {
            let came = self.jobs.swap(0, Ordering::AcqRel);
            self.taken.fetch_add(came, Ordering::AcqRel);
        }

        /// As `Inbox::next`, until so many were taken by anybody, or the inbox is stopped.
        fn sleeper(&self, until: usize, stopped: &AtomicBool) {
            loop {
                let ticket = self.bell.ticket();
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                if self.attendance.wait(&mut never).unwrap() {
                    continue;
                }
                self.look();
                if self.taken.load(Ordering::Acquire) >= until {
                    return;
                }
                self.bell.wait(ticket, None);
            }
        }

        /// As `Inbox::attend`, and then to sleep in epoll.
        fn attends_once(&self) {
            if self.attendance.attend() {
                self.look();
                self.attendance.leave();
            }
        }
    }

    /// A job comes at any moment of an attendance: somebody takes it. If nobody did, the sleeper would sleep for ever.
    #[test]
    fn loom_attendance_overlooks_no_job() {
        loom::model(|| {
            let world = World::new();
            let attendant = {
                let world = world.clone();
                thread::spawn(move || {
                    world.attends_once();
                    // The sleeper may be asleep on the doorbell of a job that was taken here: it is rung once more to look and end.
                    world.bell.ring();
                })
            };
            let sender = {
                let world = world.clone();
                thread::spawn(move || world.send())
            };
            world.sleeper(1, &AtomicBool::new(false));
            attendant.join().unwrap();
            sender.join().unwrap();
            assert_eq!(world.taken.load(Ordering::Acquire), 1);
        });
    }

    /// Whoever stops the inbox reaches the sleeper, also one that stays away from the doorbell.
    #[test]
    fn loom_attendance_ends_for_the_sleeper() {
        loom::model(|| {
            let shared = Arc::new((World::new(), AtomicBool::new(false)));
            let stopper = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.0.attendance.attend();
                    shared.1.store(true, Ordering::Release);
                    shared.0.attendance.end();
                    shared.0.bell.ring();
                    assert!(!shared.0.attendance.attend());
                })
            };
            shared.0.sleeper(1, &shared.1);
            stopper.join().unwrap();
        });
    }
}
