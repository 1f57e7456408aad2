//! Which thread of a worker process looks for jobs.
//!
//! By rule one thread does nothing else: it sleeps on the process's doorbell (`Inbox::next`). An event loop looks by itself, at the price
//! of one load, and saves the hop from thread to thread. It *attends*: from `attend` to `leave` the sleeper stays away from the process's
//! doorbell, which is the attendant's to sleep on. Before the event loop goes to sleep elsewhere, it leaves.
//!
//! ```text
//! event loop:  attend . (take a ticket, look for jobs, sleep on the process's doorbell)* . leave . sleep in epoll
//! sleeper:     (take a ticket, attended? then sleep here until left . look for jobs . sleep on the process's doorbell)*
//!
//! state   AWAY -> ATTENDED   the attendant        AWAY, ATTENDED -> OVER   whoever stops the inbox
//!         ATTENDED -> AWAY   the attendant        OVER is the last
//! left    a doorbell of this process's own, rung after each change that lets the sleeper go on
//! ```
//! No job is overlooked: what came before `leave` and was not seen is found by the sleeper, which looks after it was told of the
//! leaving; what comes later rings the sleeper, who either sleeps on the doorbell or will look before it does.

use crate::error::Result;
use crate::store::Interrupt;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Doorbell, Wake};

const AWAY: u32 = 0;
const ATTENDED: u32 = 1;
const OVER: u32 = 2;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Attendance {
    state: AtomicU32,
    left: Doorbell,
}

impl Default for Attendance {
    fn default() -> Self {
        Self {
            state: AtomicU32::new(AWAY),
            left: Doorbell::new(),
        }
    }
}

impl Attendance {
    /// This thread looks for jobs from now on. False if that is over.
    pub(super) fn attend(&self) -> bool {
        match self
            .state
            .compare_exchange(AWAY, ATTENDED, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => true,
            Err(found) => found == ATTENDED,
        }
    }

    /// It does so no more.
    pub(super) fn leave(&self) {
        // If it is over, it stays so.
        let _ = self
            .state
            .compare_exchange(ATTENDED, AWAY, Ordering::Release, Ordering::Relaxed);
        self.left.ring();
    }

    /// It never will again.
    pub(super) fn end(&self) {
        self.state.store(OVER, Ordering::Release);
        self.left.ring();
    }

    /// For the sleeper: waits while somebody attends, asking the interrupt after each signal. True if it had to.
    pub(super) fn wait(&self, interrupt: Interrupt<'_>) -> Result<bool> {
        let mut waited = false;
        loop {
            let ticket = self.left.ticket();
            if self.state.load(Ordering::Acquire) != ATTENDED {
                return Ok(waited);
            }
            waited = true;
            if self.left.wait(ticket, None) == Wake::Interrupted {
                interrupt()?;
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::store::never;
    use crate::sync::atomic::{AtomicBool, AtomicUsize};
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

    /// An attendant that sleeps on the doorbell is woken by a job and by a knock, and the sleeper takes over what comes after it has left.
    #[test]
    fn loom_attendance_sleeps_on_the_doorbell() {
        loom::model(|| {
            let shared = Arc::new((World::new(), AtomicBool::new(false)));
            let attendant = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (world, knocked) = &*shared;
                    assert!(world.attendance.attend());
                    loop {
                        let ticket = world.bell.ticket();
                        world.look();
                        if knocked.swap(false, Ordering::Acquire) {
                            break;
                        }
                        world.bell.wait(ticket, None);
                    }
                    world.attendance.leave();
                    world.bell.ring();
                })
            };
            let sender = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.0.send();
                    // As in `Inbox::knock`. Loom does not know that a plain store comes after the exchanges that it follows.
                    shared.1.swap(true, Ordering::Release);
                    shared.0.bell.ring();
                })
            };
            shared.0.sleeper(1, &AtomicBool::new(false));
            attendant.join().unwrap();
            sender.join().unwrap();
            assert_eq!(shared.0.taken.load(Ordering::Acquire), 1);
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
