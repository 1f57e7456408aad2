//! A mutex in shared memory whose owner may be killed while it holds it.
//!
//! ```text
//! word  u32   0               free
//!             owner + 1       held by participant `owner`
//!             WAITERS | ...   held, and somebody sleeps on the word
//! ```
//! Transitions: free -> held by CAS (Acquire); held -> held|WAITERS by a waiter's CAS; held -> free by the owner's swap
//! (Release), which wakes one sleeper if WAITERS was set; held by a *dead* owner -> held by me, by a waiter's CAS, which then gets
//! a guard that says `recovered`. Who is dead is decided by the head alone (participant state; the head itself also asks the system,
//! since it cannot wait for its own decision), so two waiters never disagree.
//!
//! The data under such a lock must be derived: after `recovered` the new owner rebuilds it from words that are always
//! consistent (slot states, ring cursors). Critical sections are short and never block.

use std::time::Duration;

use super::Shared;
use super::atomic::{AtomicU32, Ordering, spin_loop};
use super::futex;
use crate::id::ParticipantId;
use crate::sys::failpoint::fail_point;

const WAITERS: u32 = 1 << 31;
const SPINS: u32 = 64;
/// How often a sleeping waiter asks whether the owner still lives.
const OWNER_CHECK: Duration = Duration::from_millis(2);

/// See the module's documentation.
#[derive(Debug)]
#[repr(C)]
pub struct RobustMutex {
    word: AtomicU32,
}

// SAFETY: one atomic, `repr(C)`.
unsafe impl Shared for RobustMutex {}

/// Holds the lock until dropped.
#[derive(Debug)]
#[must_use]
pub struct RobustGuard<'a> {
    mutex: &'a RobustMutex,
    recovered: bool,
}

impl RobustMutex {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
        }
    }

    /// Takes the lock for participant `me`. `is_dead` says whether a participant's process is known to have ended.
    pub fn lock(&self, me: ParticipantId, is_dead: impl Fn(ParticipantId) -> bool) -> RobustGuard<'_> {
        let mine = u32::from(me.0) + 1;
        if self
            .word
            .compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            fail_point!("lock.taken");
            return RobustGuard {
                mutex: self,
                recovered: false,
            };
        }
        self.lock_slow(mine, is_dead)
    }

    #[cold]
    fn lock_slow(&self, mine: u32, is_dead: impl Fn(ParticipantId) -> bool) -> RobustGuard<'_> {
        let mut spins = 0;
        // After sleeping once, others may sleep too: keep WAITERS set so that our unlock wakes the next.
        let mut claim = mine;
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            if seen == 0 {
                if self
                    .word
                    .compare_exchange(0, claim, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    fail_point!("lock.taken");
                    return RobustGuard {
                        mutex: self,
                        recovered: false,
                    };
                }
                continue;
            }
            if spins < SPINS && !cfg!(loom) {
                spins += 1;
                spin_loop();
                continue;
            }
            let owner = u16::try_from((seen & !WAITERS) - 1).map(ParticipantId);
            // An owner that cannot exist was never a process of ours: garbage in the word counts as a dead owner.
            if owner.map_or(true, &is_dead) {
                if self
                    .word
                    .compare_exchange(seen, mine | WAITERS, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    fail_point!("lock.taken_over");
                    return RobustGuard {
                        mutex: self,
                        recovered: true,
                    };
                }
                continue;
            }
            if seen & WAITERS == 0
                && self
                    .word
                    .compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            claim = mine | WAITERS;
            fail_point!("lock.waiting");
            futex::wait(&self.word, seen | WAITERS, Some(OWNER_CHECK));
        }
    }
}

impl RobustGuard<'_> {
    /// Whether the previous owner died inside its critical section, so that the data must be rebuilt.
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for RobustGuard<'_> {
    fn drop(&mut self) {
        let word = self.mutex.word.swap(0, Ordering::Release);
        fail_point!("lock.released");
        if word & WAITERS != 0 {
            futex::wake(&self.mutex.word, 1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_dead_owner_is_replaced_and_reported() {
        let mutex = RobustMutex::new();
        let dead = ParticipantId(3);
        std::mem::forget(mutex.lock(dead, |_| false));
        let guard = mutex.lock(ParticipantId(1), |owner| owner == dead);
        assert!(guard.recovered());
        drop(guard);
        assert!(!mutex.lock(ParticipantId(1), |_| false).recovered());
    }

    #[test]
    fn garbage_in_the_word_does_not_wedge_the_lock() {
        let mutex = RobustMutex {
            word: AtomicU32::new(0x7fff_ffff),
        };
        assert!(mutex.lock(ParticipantId(1), |_| false).recovered());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Guarded(RobustMutex, UnsafeCell<u32>);
    // SAFETY: the cell is only touched under the mutex; loom itself checks that claim.
    unsafe impl Sync for Guarded {}

    #[test]
    fn loom_robust_mutex_excludes_and_wakes() {
        loom::model(|| {
            let shared = Arc::new(Guarded(RobustMutex::new(), UnsafeCell::new(0)));
            let threads: Vec<_> = (1..3)
                .map(|me| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let _guard = shared.0.lock(ParticipantId(me), |_| false);
                        // SAFETY: the lock is held.
                        shared.1.with_mut(|n| unsafe { *n += 1 });
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let _guard = shared.0.lock(ParticipantId(0), |_| false);
            // SAFETY: the lock is held.
            assert_eq!(shared.1.with(|n| unsafe { *n }), 2);
        });
    }
}
