//! The arena's memory as the system sees it: set up as the configuration asks, measured, and given back when nobody needs it.
//!
//! The head's thread gives memory back by itself once nothing was lent or released for ten seconds (`IdleTrim`). It costs an idle
//! session nothing: while nothing changes the thread sleeps without a limit, and the first release afterwards rings it.

use std::time::{Duration, Instant};

use super::Store;
use crate::config::Config;
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::sync::atomic::Ordering;
use crate::sys::{cgroup, memfd};

/// How long an arena is left alone before its free memory goes back.
const IDLE: Duration = Duration::from_secs(10);

impl Store {
    /// The arena of a fresh session.
    pub(super) fn set_up_arena(&self, config: &Config, capacity: u64) -> Result<()> {
        let root = self.layout.arena_root(&self.control);
        if config.wants_huge_pages() {
            root.want_huge_pages();
            self.follow_huge_pages();
        }
        let allocator = self.allocator(ParticipantId::HEAD);
        allocator.format(capacity)?;
        if config.reserves() {
            // Asked first: the system rather kills somebody than refuse memory that a process insists on.
            let available = cgroup::memory_available();
            if capacity > available {
                bail!(
                    StoreFull,
                    "{capacity} bytes were to be reserved for the store, and the machine has {available} left"
                );
            }
            allocator.reserve_all()?;
        }
        if config.prefaults() {
            self.arena.populate()?;
        }
        root.watch();
        Ok(())
    }

    /// Asks for huge pages in this process if the session wants them.
    pub(super) fn follow_huge_pages(&self) {
        if self.layout.arena_root(&self.control).wants_huge_pages() {
            let got = self.arena.advise_huge_pages();
            self.huge_pages.store(got, Ordering::Relaxed);
        }
    }

    /// Whether the session asked for huge pages and this machine allows them for shared memory. Under the policy `advise` the kernel
    /// collapses pages in the background; under `always` and `within_size` it uses huge ones from the start.
    pub fn huge_pages(&self) -> bool {
        self.huge_pages.load(Ordering::Relaxed)
    }

    /// Gives the memory of free parts of the arena, and of blocks that processes keep for their next objects, back to the system, and
    /// returns how many bytes that were. Others can allocate in between: the allocator's lock is held for a few milliseconds at a time
    /// at most. The head does this by itself when the store is idle.
    pub fn trim(&self) -> Result<u64> {
        self.check_open()?;
        self.check_writable()?;
        self.cool_all();
        let mut step = self.allocator(self.me()).trim_step(None)?;
        let mut bytes = step.bytes;
        while let Some(next) = step.next {
            step = self.allocator(self.me()).trim_step(Some(next))?;
            bytes += step.bytes;
        }
        Ok(bytes)
    }

    /// Bytes of memory that the arena takes now; 0 if the system does not say.
    pub(super) fn resident(&self) -> u64 {
        memfd::resident(self.arena.fd()).unwrap_or(0)
    }

    /// After a release that said so: the head sleeps, and may have something to give back soon.
    pub(super) fn wake_trimmer(&self) {
        self.participant(ParticipantId::HEAD).doorbell.ring();
    }
}

/// The head's memory of how long the arena has been idle.
#[derive(Debug)]
pub(crate) struct IdleTrim {
    after: Duration,
    activity: u64,
    since: Instant,
    done: bool,
}

impl Default for IdleTrim {
    fn default() -> Self {
        Self::after(IDLE)
    }
}

impl IdleTrim {
    pub(super) fn after(after: Duration) -> Self {
        Self {
            after,
            activity: 0,
            since: Instant::now(),
            done: true,
        }
    }

    /// Trims if it is time to, and says how long to sleep at most before asking again; `None`: until rung.
    pub(crate) fn step(&mut self, store: &Store) -> Option<Duration> {
        let root = store.layout.arena_root(&store.control);
        let activity = root.activity();
        if activity != self.activity {
            (self.activity, self.since, self.done) = (activity, Instant::now(), false);
        }
        if self.done {
            return None;
        }
        let left = self.after.saturating_sub(self.since.elapsed());
        if !left.is_zero() {
            return Some(left);
        }
        // Asked first: a release that the trim comes too early for rings the doorbell, whose ticket is older than this.
        root.watch();
        // An arena that cannot be trimmed keeps its memory, which `resident` of the statistics shows.
        let _ = store.trim();
        self.done = true;
        None
    }
}
