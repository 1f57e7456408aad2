//! A bell for sleepers of any process, which needs no cleaning up after those that were killed.
//!
//! ```text
//! seq    u32  counts rings that woke.   Written by ringers (add), read by sleepers.
//! armed  u32  1: somebody may sleep.    Set by sleepers, taken back (swap to 0) by the ringer that wakes them.
//! ```
//! The rule for a sleeper is: `arm`, look at what it waits for, then `sleep` with the ticket that `arm` gave. The rule for a ringer is:
//! make the change visible, then `ring`.
//!
//! As in `Doorbell` both sides put a SeqCst fence between their write and their read, so either the sleeper's look sees the change or
//! the ringer sees `armed`. Unlike there, sleepers are not counted: the ringer takes the flag and wakes all, and who still waits arms it
//! again. So a sleeper that is killed costs one needless system call, and not one for each ring until somebody notices.
//!
//! Why a ticket cannot be too new: a sleeper that reads the `seq` of a ring synchronizes with it, so it comes to its look knowing what was
//! rung for. Why a ringer may leave the waking to another one that has taken the flag: that one wakes everybody whose arming it took, and
//! they fence again before they look. A ringer killed between taking the flag and waking leaves sleepers to their timeout: a sleep
//! without one is only for tests.

use std::time::Duration;

use super::Shared;
use super::atomic::{AtomicU32, Ordering, fence};
use super::futex::{self, Wake};

/// See the module's documentation. Zeroed memory is a bell.
#[derive(Debug)]
#[repr(C)]
pub struct Bell {
    seq: AtomicU32,
    armed: AtomicU32,
}

// SAFETY: two atomics, `repr(C)`.
unsafe impl Shared for Bell {}

impl Bell {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            seq: AtomicU32::new(0),
            armed: AtomicU32::new(0),
        }
    }

    /// Announces a sleeper. Look after this, then pass the ticket to `sleep`.
    pub fn arm(&self) -> u32 {
        let ticket = self.seq.load(Ordering::Acquire);
        self.armed.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        ticket
    }

    /// Sleeps until rung after `arm`, at most `timeout`.
    pub fn sleep(&self, ticket: u32, timeout: Option<Duration>) -> Wake {
        futex::wait(&self.seq, ticket, timeout)
    }

    /// Tells everyone who sleeps to look again.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        // Looked at before it is taken: as a rule nobody sleeps, and then the line stays shared.
        if self.armed.load(Ordering::Relaxed) != 0 && self.armed.swap(0, Ordering::AcqRel) != 0 {
            self.seq.fetch_add(1, Ordering::Release);
            futex::wake(&self.seq, u32::MAX >> 1);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Two ringers, one of which may find the flag already taken, and a sleeper that waits for both.
    #[test]
    fn loom_bell_never_loses_a_ring() {
        loom::model(|| {
            let shared = Arc::new((Bell::new(), AtomicU32::new(0)));
            let ringers: Vec<_> = (0..2)
                .map(|_| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        shared.1.fetch_add(1, Ordering::Release);
                        shared.0.ring();
                    })
                })
                .collect();
            while shared.1.load(Ordering::Acquire) != 2 {
                let ticket = shared.0.arm();
                if shared.1.load(Ordering::Acquire) != 2 {
                    // Were a ring lost here, the model would report a deadlock.
                    shared.0.sleep(ticket, None);
                }
            }
            for ringer in ringers {
                ringer.join().unwrap();
            }
        });
    }

    #[test]
    fn loom_bell_wakes_two_sleepers() {
        loom::model(|| {
            let shared = Arc::new((Bell::new(), AtomicU32::new(0)));
            let wait = |shared: &(Bell, AtomicU32)| {
                while shared.1.load(Ordering::Acquire) == 0 {
                    let ticket = shared.0.arm();
                    if shared.1.load(Ordering::Acquire) == 0 {
                        shared.0.sleep(ticket, None);
                    }
                }
            };
            let sleeper = {
                let shared = shared.clone();
                thread::spawn(move || wait(&shared))
            };
            let ringer = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1.store(1, Ordering::Release);
                    shared.0.ring();
                })
            };
            wait(&shared);
            ringer.join().unwrap();
            sleeper.join().unwrap();
        });
    }
}
