//! Noticing `fork()`.
//!
//! A child made by a bare `fork()` has the parent's mappings and handles but none of its threads, and the session does not know
//! it. Every handle remembers the epoch in which it was made; a child hook moves the epoch on, so a handle that crossed a fork
//! is recognised by one relaxed load.

use std::sync::Once;

use std::sync::atomic::{AtomicU32, Ordering};

static EPOCH: AtomicU32 = AtomicU32::new(0);
static HOOK: Once = Once::new();

/// The current process's epoch. The first call installs the hook.
pub fn epoch() -> u32 {
    HOOK.call_once(|| {
        // SAFETY: `child` is async-signal-safe (one atomic add) and stays valid for the life of the process.
        unsafe { libc::pthread_atfork(None, None, Some(child)) };
    });
    EPOCH.load(Ordering::Relaxed)
}

/// Whether a handle made in `epoch` is now in a forked child.
pub fn crossed(epoch: u32) -> bool {
    EPOCH.load(Ordering::Relaxed) != epoch
}

extern "C" fn child() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}
