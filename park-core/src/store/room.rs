//! Waiting for room: producers that find the store full stand in line (sync/waiting_line.rs) until their timeout.

use std::time::{Duration, Instant};

use super::wait::TICK;
use super::{Interrupt, Store};
use crate::error::{ErrorKind, Result, bail};
use crate::sys::clock;

/// How long a place in the line counts after its owner should have left it: time to wake up on a busy machine.
const GRACE: Duration = Duration::from_secs(1);

/// The moment `wait` from now, as the line counts.
pub(super) fn until(wait: Duration) -> u64 {
    let wait = u64::try_from(wait.saturating_add(GRACE).as_millis()).unwrap_or(u64::MAX);
    clock::now_ms().saturating_add(wait)
}

impl Store {
    /// Does `attempt`, which needs `asked` bytes of the arena; in turn, as soon as there is room. `StoreFull` if that takes longer
    /// than the configuration says. While nobody waits, this costs one load.
    pub(super) fn with_room<T>(
        &self,
        asked: u64,
        interrupt: Interrupt<'_>,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let (line, space) = (&self.header().line, &self.header().space);
        let mut cause = None;
        if super::refs::fits_inline(asked) || line.lets_pass(asked) {
            match attempt() {
                Err(error) if error.kind() == ErrorKind::StoreFull => cause = Some(error),
                other => return other,
            }
        }
        if asked + 128 > self.capacity() {
            bail!(
                StoreFull,
                "the object of {asked} bytes is larger than the store of {} bytes",
                self.capacity()
            );
        }
        let deadline = Instant::now() + self.full_wait;
        let until = until(self.full_wait);
        let mut turn = None;
        loop {
            let ticket = space.ticket();
            if turn.is_none() {
                turn = line.join(self.me(), asked, until, space);
            }
            if turn
                .as_ref()
                .is_some_and(|turn| turn.is_first(clock::now_ms(), self.is_dead()))
            {
                match attempt() {
                    Err(error) if error.kind() == ErrorKind::StoreFull => cause = Some(error),
                    other => {
                        if let Some(turn) = turn.filter(|_| other.is_ok()) {
                            turn.serve();
                        }
                        return other;
                    }
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let cause = cause.map_or("others came first".into(), |error| error.to_string());
                return Err(self.full_error(asked, &cause));
            }
            interrupt()?;
            self.check_open()?;
            space.wait(ticket, Some(left.min(TICK)));
        }
    }
}
