//! Looking for a moment before sleeping.
//!
//! A sleep and a wake across cores cost tens of microseconds, several times what a short call takes, so whoever waits looks first. Not for
//! long, and without `sched_yield`: two processes that spin on one core and yield to each other stay there for ever, while a sleeper is
//! moved to an idle core by the very wake that ends its sleep. An idle process spins once and then sleeps for good.

use std::time::{Duration, Instant};

use super::atomic::spin_loop;

const SPELL: Duration = Duration::from_micros(20);

/// One bounded spell of looking.
#[derive(Debug)]
pub struct Spin {
    since: Instant,
}

impl Spin {
    /// Begins now.
    #[allow(clippy::new_without_default, reason = "a default would hide that the clock starts here")]
    pub fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Pauses briefly. False when it is time to sleep.
    pub fn pause(&self) -> bool {
        for _ in 0..16 {
            spin_loop();
        }
        self.since.elapsed() < SPELL
    }
}
