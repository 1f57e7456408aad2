//! A clock that every process of the machine reads alike.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since some moment before any process of this boot started. Never goes back, stands still while the machine sleeps.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1000 + nanos / 1_000_000
}

/// Microseconds of the same clock.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

/// As `now_ms`, as of the kernel's last tick, some milliseconds ago: a few nanoseconds to ask.
pub fn coarse_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// Seconds of the same clock.
pub fn coarse_seconds() -> u32 {
    u32::try_from(coarse_ms() / 1000).unwrap_or(u32::MAX)
}
