//! Looking for a moment before sleeping, where that pays.
//!
//! A sleep and a wake across cores cost tens of microseconds, several times what a short call takes, so whoever waits looks first. But
//! when both sides share a core, looking keeps the other side from running, and when answers take long it only burns power. So each
//! place that waits keeps count: after a few looks in vain it sleeps at once, and tries again only now and then.
//!
//! There is no `sched_yield`: two processes that yield to each other stay on one core for ever, while a sleeper can be moved to an
//! idle one by the wake that ends its sleep.

use std::time::{Duration, Instant};

use super::atomic::{AtomicU32, Ordering, spin_loop};

/// How long one look lasts.
const SPELL: Duration = Duration::from_micros(20);
/// Looks in vain before giving up looking.
const PATIENCE: u32 = 3;
/// Without patience, one wait in so many looks all the same: things may have changed.
const RETRY: u32 = 64;

/// What one waiting place has learnt. Shared by the threads of a process; the count is a hint, so plain relaxed accesses do.
#[derive(Debug)]
pub struct SpinPolicy {
    misses: AtomicU32,
}

impl Default for SpinPolicy {
    fn default() -> Self {
        Self {
            misses: AtomicU32::new(0),
        }
    }
}

impl SpinPolicy {
    /// Looks until `found` says so. False when it is time to sleep.
    pub fn look(&self, mut found: impl FnMut() -> bool) -> bool {
        let misses = self.misses.load(Ordering::Relaxed);
        if misses >= PATIENCE && !misses.is_multiple_of(RETRY) {
            self.misses
                .store(misses.wrapping_add(1).max(PATIENCE), Ordering::Relaxed);
            return false;
        }
        let since = Instant::now();
        while since.elapsed() < SPELL {
            for _ in 0..16 {
                spin_loop();
            }
            if found() {
                self.misses.store(0, Ordering::Relaxed);
                return true;
            }
        }
        self.misses.store(misses.wrapping_add(1).max(1), Ordering::Relaxed);
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_end_and_a_hit_restores_patience() {
        let policy = SpinPolicy::default();
        let mut looks = 0;
        for _ in 0..RETRY + 8 {
            let mut looked = false;
            policy.look(|| {
                looked = true;
                false
            });
            looks += u32::from(looked);
        }
        assert_eq!(looks, PATIENCE + 1, "patience, then one retry");
        policy.misses.store(RETRY, Ordering::Relaxed);
        assert!(policy.look(|| true));
        assert!(policy.look(|| true), "patient again");
    }
}
