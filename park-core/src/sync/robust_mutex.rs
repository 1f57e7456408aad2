//! A mutex in shared memory whose owner may be killed while it holds it.
//!
//! ```text
//! word  u32   0               free
//!             owner + 1       held by participant `owner`
//!             WAITERS | ...   held, and somebody sleeps on the word
//!             STUCK | ...     held for too long by an owner that lives: nobody waits for it any more
//! ```
//! Transitions: free -> held by CAS (Acquire); held -> held|WAITERS by a waiter's CAS; held -> free by the owner's swap
//! (Release), which wakes one sleeper if WAITERS was set; held by a *dead* owner -> held by me, by a waiter's CAS, which then gets
//! a guard that says `recovered`. Who is dead is decided by the head alone (participant state; the head itself also asks the system,
//! since it cannot wait for its own decision), so two waiters never disagree.
//!
//! A live owner that does not let go (it was stopped inside, or a hostile process wrote its number here) would be waited for without
//! end. So a waiter that sees one and the same owner for ten seconds adds STUCK by CAS and fails, and who comes later fails at
//! once. The lock is never taken from a live owner: its own unlock, or its death, clears the word as ever.
//!
//! The data under such a lock must be derived: after `recovered` the new owner rebuilds it from words that are always
//! consistent (slot states, ring cursors). Critical sections are short and never block.

use std::time::Duration;

use super::Shared;
use super::atomic::{AtomicU32, Ordering, spin_loop};
use super::futex::{self, Wake};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::sys::failpoint::fail_point;

const WAITERS: u32 = 1 << 31;
const STUCK: u32 = 1 << 30;
const SPINS: u32 = 64;
/// How often a sleeping waiter asks whether the owner still lives.
const OWNER_CHECK: Duration = Duration::from_millis(2);
/// After how many of those checks a waiter gives up on an owner that lives and does not move.
const PATIENCE: u32 = if cfg!(test) { 500 } else { 5_000 };

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
    /// An owner that lives and keeps it for ten seconds is an error.
    pub fn lock(&self, me: ParticipantId, is_dead: impl Fn(ParticipantId) -> bool) -> Result<RobustGuard<'_>> {
        let mine = u32::from(me.0) + 1;
        if self
            .word
            .compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            fail_point!("lock.taken");
            return Ok(RobustGuard {
                mutex: self,
                recovered: false,
            });
        }
        self.lock_slow(mine, is_dead)
    }

    #[cold]
    fn lock_slow(&self, mine: u32, is_dead: impl Fn(ParticipantId) -> bool) -> Result<RobustGuard<'_>> {
        let mut spins = 0;
        let (mut checks, mut suspect) = (0, 0);
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
                    return Ok(RobustGuard {
                        mutex: self,
                        recovered: false,
                    });
                }
                continue;
            }
            if spins < SPINS && !cfg!(any(loom, shuttle)) {
                spins += 1;
                spin_loop();
                continue;
            }
            let owner = u16::try_from((seen & !(WAITERS | STUCK)).wrapping_sub(1)).map(ParticipantId);
            // An owner that cannot exist was never a process of ours: garbage in the word counts as a dead owner.
            if owner.map_or(true, &is_dead) {
                if self
                    .word
                    .compare_exchange(seen, mine | WAITERS, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    fail_point!("lock.taken_over");
                    return Ok(RobustGuard {
                        mutex: self,
                        recovered: true,
                    });
                }
                continue;
            }
            if seen & STUCK != 0 || checks >= PATIENCE {
                // If the owner lets go in between, the word is 0 by then and this fails, which is as well.
                let marked = self
                    .word
                    .compare_exchange(seen, seen | STUCK, Ordering::Relaxed, Ordering::Relaxed);
                if seen & STUCK == 0 && marked.is_err() {
                    checks = 0;
                    continue;
                }
                bail!(
                    Corrupt,
                    "participant {} holds a lock for more than {:?} and lives: it is stopped, or the lock was overwritten",
                    owner.map_or(0, |owner| owner.0),
                    OWNER_CHECK * PATIENCE
                );
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
            if seen & !WAITERS != suspect {
                (checks, suspect) = (0, seen & !WAITERS);
            }
            fail_point!("lock.waiting");
            if futex::wait(&self.word, seen | WAITERS, Some(OWNER_CHECK)) == Wake::TimedOut {
                checks += 1;
            }
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
        if cfg!(shuttle) && std::thread::panicking() {
            // Killed in a test: a dead process lets go of nothing.
            return;
        }
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
        std::mem::forget(mutex.lock(dead, |_| false).unwrap());
        let guard = mutex.lock(ParticipantId(1), |owner| owner == dead).unwrap();
        assert!(guard.recovered());
        drop(guard);
        assert!(!mutex.lock(ParticipantId(1), |_| false).unwrap().recovered());
    }

    #[test]
    fn garbage_in_the_word_does_not_wedge_the_lock() {
        for garbage in [0x7fff_ffff, u32::MAX, WAITERS, 1 << 20] {
            let mutex = RobustMutex {
                word: AtomicU32::new(garbage),
            };
            assert!(
                mutex.lock(ParticipantId(1), |_| false).unwrap().recovered(),
                "{garbage:#x}"
            );
        }
    }

    #[test]
    fn an_owner_that_lives_and_never_lets_go_is_an_error() {
        let mutex = RobustMutex {
            word: AtomicU32::new(3),
        };
        let error = mutex.lock(ParticipantId(1), |_| false).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt);
        assert!(error.message().contains("participant 2 "), "{error}");
        // The next one does not wait, and the lock heals when its owner comes back, or dies.
        assert!(mutex.lock(ParticipantId(1), |_| false).is_err());
        assert!(mutex.lock(ParticipantId(1), |_| true).unwrap().recovered());
        assert!(!mutex.lock(ParticipantId(1), |_| false).unwrap().recovered());
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
                        let _guard = shared.0.lock(ParticipantId(me), |_| false).unwrap();
                        // SAFETY: the lock is held.
                        shared.1.with_mut(|n| unsafe { *n += 1 });
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let _guard = shared.0.lock(ParticipantId(0), |_| false).unwrap();
            // SAFETY: the lock is held.
            assert_eq!(shared.1.with(|n| unsafe { *n }), 2);
        });
    }
}
