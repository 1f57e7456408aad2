//! Waiting for room: producers that find the store full stand in line (sync/waiting_line.rs) until their timeout.
//!
//! The timeout counts from the last time that anything moved: somebody left the line, or an object left memory or came back. Whoever
//! waits behind a large object that is just being written to disk has not waited in vain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wait::TICK;
use super::{Interrupt, Store};
use crate::error::{ErrorKind, Result, bail};
use crate::sync::Wake;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::clock;

/// How long a place in the line counts after its owner last said that it waits: time to wake up on a busy machine.
const GRACE: Duration = Duration::from_secs(1);

/// How long somebody still waits for room: the configured time, anew whenever something moves.
pub(super) struct Patience {
    until: Instant,
    seen: (u64, u64, u64),
}

impl Patience {
    /// What is left; zero once nothing has moved for as long as the configuration says.
    pub(super) fn left(&mut self, store: &Store) -> Duration {
        if self.seen != store.movements() {
            *self = store.patience();
        }
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Store {
    pub(super) fn patience(&self) -> Patience {
        Patience {
            until: Instant::now() + self.full_wait,
            seen: self.movements(),
        }
    }

    /// Changes whenever somebody left the line, or an object left memory or came back.
    fn movements(&self) -> (u64, u64, u64) {
        let now = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let board = self.board();
        (self.header().line.departures(), now(&board.out), now(&board.back))
    }

    /// Does `attempt`, which needs `asked` bytes of the arena; in turn, as soon as there is room. `StoreFull` if that takes longer
    /// than the configuration says. While nobody waits, this costs one load.
    pub(super) fn with_room<T>(
        self: &Arc<Self>,
        asked: u64,
        interrupt: Interrupt<'_>,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        // What processes keep warm is room too; it is asked for before anybody waits.
        let mut attempt = || match attempt() {
            Err(error) if error.kind() == ErrorKind::StoreFull && self.cool_all() => attempt(),
            other => other,
        };
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
        let mut patience = self.patience();
        let counts_until = || {
            let wait = u64::try_from(self.full_wait.saturating_add(GRACE).as_millis()).unwrap_or(u64::MAX);
            clock::now_ms().saturating_add(wait)
        };
        let mut turn = None;
        loop {
            if turn.is_none() {
                turn = line.join(self.me(), asked, counts_until(), space);
                if turn.is_some() {
                    self.ask_spiller();
                }
            }
            let ticket = space.ticket();
            if let Some(turn) = &turn {
                turn.stay(counts_until());
                if turn.is_first(clock::now_ms(), self.is_dead()) {
                    match attempt() {
                        Err(error) if error.kind() == ErrorKind::StoreFull => cause = Some(error),
                        other => return other,
                    }
                }
            }
            let left = patience.left(self);
            if left.is_zero() {
                let cause = cause.map_or("others came first".into(), |error| error.to_string());
                return Err(self.full_error(asked, &cause));
            }
            interrupt()?;
            self.check_open()?;
            if space.wait(ticket, Some(left.min(TICK))) == Wake::TimedOut {
                self.ask_spiller();
            }
        }
    }
}
