//! A doorbell: "something that you wait for may have changed, look again".
//!
//! ```text
//! seq       u32  counts rings.            Written by ringers (add), read by sleepers.
//! sleepers  u32  threads in or near wait. Written by the owner's threads (add/sub), read by ringers.
//! ```
//! One participant owns a doorbell and its threads sleep on it; any process rings it. The rule for a sleeper is: take a
//! `ticket`, look at everything it waits for, then `wait(ticket)`. The rule for a ringer is: make the change visible, then
//! `ring`. Either the sleeper's look sees the change, or its wait sees a `seq` other than its ticket and returns at once.
//!
//! A ringer skips the system call when nobody sleeps. That is the store-buffer shape (ringer: write seq, read sleepers;
//! sleeper: write sleepers, read seq), so both sides put a SeqCst fence between their write and their read: at least one of
//! them sees the other. A process killed in `wait` leaves `sleepers` too high, which costs system calls, never a lost ring;
//! the reaper resets it.

use std::time::Duration;

use super::Shared;
use super::atomic::{AtomicU32, Ordering, fence};
use super::futex::{self, Wake};
use crate::sys::failpoint::fail_point;

/// See the module's documentation.
#[derive(Debug)]
#[repr(C)]
pub struct Doorbell {
    seq: AtomicU32,
    sleepers: AtomicU32,
}

// SAFETY: two atomics, `repr(C)`.
unsafe impl Shared for Doorbell {}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self {
            seq: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
        }
    }

    /// What to pass to `wait`, taken before looking.
    pub fn ticket(&self) -> u32 {
        self.seq.load(Ordering::Acquire)
    }

    /// Tells the owner to look again.
    pub fn ring(&self) {
        self.seq.fetch_add(1, Ordering::Release);
        fail_point!("doorbell.ring.counted");
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            futex::wake(&self.seq, u32::MAX >> 1);
        }
    }

    /// Sleeps until rung after `ticket` was taken, at most `timeout`.
    pub fn wait(&self, ticket: u32, timeout: Option<Duration>) -> Wake {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fail_point!("doorbell.wait.entered");
        fence(Ordering::SeqCst);
        let wake = futex::wait(&self.seq, ticket, timeout);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        fail_point!("doorbell.wait.left");
        wake
    }

    /// Whether it was rung since `ticket` was taken.
    pub fn rung_since(&self, ticket: u32) -> bool {
        self.ticket() != ticket
    }

    /// Forgets sleepers that died. Only for a participant entry without a living process.
    pub fn reset(&self) {
        self.sleepers.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_doorbell_never_loses_a_ring() {
        loom::model(|| {
            let shared = Arc::new((Doorbell::new(), AtomicU32::new(0)));
            let ringer = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1.store(1, Ordering::Release);
                    shared.0.ring();
                })
            };
            loop {
                let ticket = shared.0.ticket();
                if shared.1.load(Ordering::Acquire) == 1 {
                    break;
                }
                // Were a ring lost here, the model would report a deadlock.
                shared.0.wait(ticket, None);
            }
            ringer.join().unwrap();
        });
    }

    #[test]
    fn loom_doorbell_wakes_two_sleepers() {
        loom::model(|| {
            let shared = Arc::new((Doorbell::new(), AtomicU32::new(0)));
            let sleeper = {
                let shared = shared.clone();
                thread::spawn(move || {
                    loop {
                        let ticket = shared.0.ticket();
                        if shared.1.load(Ordering::Acquire) == 1 {
                            break;
                        }
                        shared.0.wait(ticket, None);
                    }
                })
            };
            shared.1.store(1, Ordering::Release);
            shared.0.ring();
            sleeper.join().unwrap();
        });
    }
}
