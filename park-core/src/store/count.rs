//! The count of an object's references, changed so that afterwards it can be told whether a dead process's change took place.
//!
//! ```text
//! counts u64   count:32 | stamp:32       count  references of all kinds
//!                                        stamp  who changed it last: operation:16 | lane:3 | participant + 1 : 13; 0 = nobody
//! ```
//! A change is one CAS of the whole word, and leaves the stamp of the operation (shm/journal.rs) that made it. Whoever changes the word
//! next wipes that stamp out; so it first *acknowledges*: if the stamp's lane is still in the middle of that operation, it raises
//! the lane's `seen` to it. Hence, for an operation that was open when its process died:
//!
//! * its stamp is in the word, or its number is in `seen`: the change took place;
//! * neither: it did not, and never will.
//!
//! `seen` is raised before the CAS that wipes the stamp (AcqRel), and the reaper reads the word first and `seen` second, so it cannot
//! miss both. Stamps hold only 16 bits of the operation number. A stale stamp cannot be taken for a new operation, because an
//! operation never starts with the number that its own slot already shows (`Lane::begin`), and acknowledging compares the slot too.
//! This is detectable compare-and-swap as in Ben-David, Blelloch, Friedman, Wei: "Delay-Free Concurrency on Faulty Persistent
//! Memory" (2019), cut down to what one counter needs.

use crate::id::ParticipantId;
use crate::shm::journal::{Journal, Lane};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::failpoint::fail_point;

const LANE_BITS: u32 = 3;
const PARTICIPANT_BITS: u32 = 13;
const OPERATION_SHIFT: u32 = LANE_BITS + PARTICIPANT_BITS;

/// Which operation changed a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u32);

impl Stamp {
    /// Of a change that nobody will ever ask about: the session ends with the process that makes it.
    pub(super) const NOBODY: Self = Self(0);

    pub(super) fn new(who: ParticipantId, lane: usize, operation: u64) -> Self {
        let lane = u32::try_from(lane).unwrap_or(0) << PARTICIPANT_BITS;
        let operation = u32::try_from(operation & 0xffff).unwrap_or(0) << OPERATION_SHIFT;
        Self(operation | lane | (u32::from(who.0) + 1))
    }

    fn parts(self) -> Option<(ParticipantId, usize, u64)> {
        let who = (self.0 & ((1 << PARTICIPANT_BITS) - 1)).checked_sub(1)?;
        let lane = self.0 >> PARTICIPANT_BITS & ((1 << LANE_BITS) - 1);
        Some((
            ParticipantId(u16::try_from(who).ok()?),
            lane as usize,
            u64::from(self.0 >> OPERATION_SHIFT),
        ))
    }
}

/// The count word of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<'a> {
    pub(super) word: &'a AtomicU64,
    /// The slot's number, as lanes name it.
    pub(super) slot: u32,
}

fn count_of(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
}

fn stamp_of(word: u64) -> Stamp {
    Stamp(u32::try_from(word >> 32).unwrap_or(0))
}

/// The lane that a stamp names; none for a stamp that no process of ours made.
pub(super) trait Lanes<'a> {
    fn journal(&self, who: ParticipantId) -> Option<&'a Journal>;
}

impl<'a, F: Fn(ParticipantId) -> Option<&'a Journal>> Lanes<'a> for F {
    fn journal(&self, who: ParticipantId) -> Option<&'a Journal> {
        self(who)
    }
}

impl Count<'_> {
    pub(super) fn get(self) -> u32 {
        count_of(self.word.load(Ordering::Acquire))
    }

    /// The first references on a slot that only the caller can reach. Acknowledges too: whoever gave the last reference to the slot's
    /// former object back may have died before it wrote that down, while somebody else freed the slot.
    pub(super) fn start<'a>(self, count: u32, lanes: &impl Lanes<'a>) {
        self.acknowledge(self.stamp(), lanes);
        self.word.store(count.into(), Ordering::Release);
    }

    pub(super) fn stamp(self) -> Stamp {
        stamp_of(self.word.load(Ordering::Acquire))
    }

    /// Adds `change` and leaves `stamp`. Returns the new count; `None`, with nothing changed, if the count is 0 already (then the
    /// object is gone) or would leave its range.
    pub(super) fn change<'a>(self, change: i64, stamp: Stamp, lanes: &impl Lanes<'a>) -> Option<u32> {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let count = count_of(seen);
            let next = u32::try_from(i64::from(count) + change).ok()?;
            if count == 0 {
                return None;
            }
            self.acknowledge(stamp_of(seen), lanes);
            let word = u64::from(stamp.0) << 32 | u64::from(next);
            match self
                .word
                .compare_exchange_weak(seen, word, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(next),
                Err(now) => seen = now,
            }
        }
    }

    /// Tells the lane behind `stamp` that its change was seen, if it is still waiting to know.
    fn acknowledge<'a>(self, stamp: Stamp, lanes: &impl Lanes<'a>) {
        let Some((who, lane, operation)) = stamp.parts() else {
            return;
        };
        let Some(lane) = lanes.journal(who).and_then(|journal| journal.lanes.get(lane)) else {
            return;
        };
        let open = lane.open.load(Ordering::Acquire);
        if open & 1 == 0 || (open >> 1) & 0xffff != operation || lane.slot.load(Ordering::Relaxed) != self.slot {
            return;
        }
        // Raised, never lowered: somebody may be late with an older one.
        lane.seen.fetch_max(open >> 1, Ordering::AcqRel);
        fail_point!("reference.change.acknowledged");
    }

    /// Whether the operation that a dead process had open in `lane` changed this count.
    pub(super) fn was_changed(self, who: ParticipantId, number: usize, lane: &Lane, operation: u64) -> bool {
        self.stamp() == Stamp::new(who, number, operation) || lane.seen.load(Ordering::Acquire) == operation
    }
}

impl Lane {
    /// The number of the next operation on a slot that shows `stamp`.
    pub(super) fn next_operation(&self, who: ParticipantId, number: usize, stamp: Stamp) -> u64 {
        let next = (self.open.load(Ordering::Relaxed) >> 1) + 1;
        if Stamp::new(who, number, next) == stamp {
            next + 1
        } else {
            next
        }
    }

    /// The fields of the operation are written: it is open from here on.
    pub(super) fn begin(&self, operation: u64) {
        self.open.store(operation << 1 | 1, Ordering::Release);
    }

    /// The operation is over.
    pub(super) fn end(&self, operation: u64) {
        self.open.store(operation << 1, Ordering::Release);
    }

    /// The operation that is open, if one is.
    pub(super) fn opened(&self) -> Option<u64> {
        let open = self.open.load(Ordering::Acquire);
        (open & 1 == 1).then_some(open >> 1)
    }
}
