//! Waiting at one end of a channel: look, look a little longer, sleep on the bell, and now and then see who is still there.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::store::{Interrupt, TICK};
use crate::sync::{Bell, SpinPolicy, Wake};

/// The first sleep between two looks at who has died; doubles up to `TICK`.
const FIRST_TICK: Duration = Duration::from_millis(2);

/// Waits until `look` finds something, which may be an error. `None` after `timeout`. `tick` runs whenever a sleep ended by itself, and
/// once before giving up: it looks for deaths, which ring no bell.
pub(super) fn wait_until<T>(
    bell: &Bell,
    spin: &SpinPolicy,
    timeout: Option<Duration>,
    interrupt: Interrupt<'_>,
    mut look: impl FnMut() -> Result<Option<T>>,
    mut tick: impl FnMut() -> Result<()>,
) -> Result<Option<T>> {
    if let Some(found) = look()? {
        return Ok(Some(found));
    }
    if timeout == Some(Duration::ZERO) {
        // Who only looks does not arm the bell: it would cost the ringer a system call for nobody.
        tick()?;
        return look();
    }
    let mut seen = None;
    spin.look(|| {
        seen = look().transpose();
        seen.is_some()
    });
    if let Some(seen) = seen {
        return seen.map(Some);
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut pause = FIRST_TICK;
    loop {
        let ticket = bell.arm();
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            tick()?;
            return look();
        }
        let wake = bell.sleep(ticket, Some(left.map_or(pause, |left| left.min(pause))));
        if wake != Wake::Changed {
            interrupt()?;
            tick()?;
            pause = (pause * 2).min(TICK);
        }
    }
}
