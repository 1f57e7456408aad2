//! Sleeping without work, and being woken by it.
//!
//! ```text
//! sleepers  usize  threads between "I will look once more" and "I woke". Written by sleepers (add/sub), read by wakers.
//! lock             held by a sleeper from before it counts itself until it sleeps; taken by a waker before it notifies.
//! ```
//! The rule for a waker is: make the work visible, then `wake_one` or `wake_all`. The rule for a sleeper is: `sleep_unless(look)`,
//! where `look` says whether there is work. A waker skips the lock when nobody sleeps, which makes this the store-buffer shape
//! (waker: write work, read sleepers; sleeper: write sleepers, read work), so both sides put a SeqCst fence between their write
//! and their read: at least one of them sees the other. A waker that sees a sleeper takes the lock once: the sleeper either has
//! not looked yet and will see the work, or is already waiting and gets the notification.

use crate::sync::atomic::{AtomicUsize, Ordering, fence};

#[cfg(not(loom))]
use parking_lot::{Condvar, Mutex};

#[cfg(loom)]
use loom::sync::{Condvar, Mutex};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Idle {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Idle {
    pub(super) fn new() -> Self {
        Self {
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    /// Sleeps until woken, unless `look` finds work. May return without a reason: the caller looks again.
    pub(super) fn sleep_unless(&self, look: impl FnOnce() -> bool) {
        let guard = lock(&self.lock);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !look() {
            wait(&self.wake, guard);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes one sleeper, if there is one. The work was made visible before.
    pub(super) fn wake_one(&self) {
        if self.somebody_sleeps() {
            self.wake.notify_one();
        }
    }

    /// Wakes every sleeper.
    pub(super) fn wake_all(&self) {
        if self.somebody_sleeps() {
            self.wake.notify_all();
        }
    }

    fn somebody_sleeps(&self) -> bool {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return false;
        }
        // Through the lock once: whoever counted itself and has not looked yet is past its look, or waiting, after this.
        drop(lock(&self.lock));
        true
    }
}

#[cfg(not(loom))]
fn lock(mutex: &Mutex<()>) -> parking_lot::MutexGuard<'_, ()> {
    mutex.lock()
}

#[cfg(not(loom))]
fn wait(wake: &Condvar, mut guard: parking_lot::MutexGuard<'_, ()>) {
    wake.wait(&mut guard);
}

#[cfg(loom)]
fn lock(mutex: &Mutex<()>) -> loom::sync::MutexGuard<'_, ()> {
    mutex.lock().expect("no thread panics while it holds the lock")
}

#[cfg(loom)]
fn wait(wake: &Condvar, guard: loom::sync::MutexGuard<'_, ()>) {
    drop(wake.wait(guard).expect("no thread panics while it holds the lock"));
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Takes one piece of work, sleeping until there is some; were a wake lost, the model would report a deadlock.
    fn take(shared: &(Idle, AtomicUsize)) {
        loop {
            let seen = shared.1.load(Ordering::Acquire);
            if seen == 0 {
                shared.0.sleep_unless(|| shared.1.load(Ordering::Acquire) != 0);
            } else if shared
                .1
                .compare_exchange(seen, seen - 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    fn give(shared: &(Idle, AtomicUsize)) {
        shared.1.fetch_add(1, Ordering::Release);
        shared.0.wake_one();
    }

    #[test]
    fn loom_idle_never_loses_a_wake() {
        loom::model(|| {
            let shared = Arc::new((Idle::new(), AtomicUsize::new(0)));
            let worker = {
                let shared = shared.clone();
                thread::spawn(move || take(&shared))
            };
            give(&shared);
            worker.join().unwrap();
        });
    }

    #[test]
    fn loom_idle_two_workers_get_two_pieces() {
        loom::model(|| {
            let shared = Arc::new((Idle::new(), AtomicUsize::new(0)));
            let worker = {
                let shared = shared.clone();
                thread::spawn(move || take(&shared))
            };
            give(&shared);
            give(&shared);
            take(&shared);
            worker.join().unwrap();
        });
    }

    #[test]
    fn loom_idle_closing_reaches_every_sleeper() {
        loom::model(|| {
            let shared = Arc::new((Idle::new(), AtomicUsize::new(0)));
            let sleeper = {
                let shared = shared.clone();
                thread::spawn(move || {
                    while shared.1.load(Ordering::Acquire) == 0 {
                        shared.0.sleep_unless(|| shared.1.load(Ordering::Acquire) != 0);
                    }
                })
            };
            shared.1.store(1, Ordering::Release);
            shared.0.wake_all();
            while shared.1.load(Ordering::Acquire) == 0 {
                shared.0.sleep_unless(|| shared.1.load(Ordering::Acquire) != 0);
            }
            sleeper.join().unwrap();
        });
    }
}
