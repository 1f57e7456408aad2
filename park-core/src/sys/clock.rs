//! A clock that every process of the machine reads alike.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since some moment before any process of this boot started. Never goes back, stands still while the machine sleeps.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1000 + nanos / 1_000_000
}
