//! Which pages of the arena have memory. Nothing is lent, and no header written, on a page that was not reserved before: a full
//! machine is a `StoreFull` error, never SIGBUS. Free memory goes back to the system when the arena is idle.
//!
//! The arena has twice as many addresses as the session may take memory. So holes between objects are no loss: what is too large for
//! every hole gets fresh addresses, and the holes give up their pages for it. Memory taken is the session's capacity at most, and
//! `SLACK` for units that headers and ends of blocks share.
//!
//! ```text
//! map   one pair of words for 64 units of 64 KiB each, in the control segment
//!         touched   the unit may have pages:           set before they are reserved, cleared after they are given back
//!         reserved  every page of the unit is there:   set after they are reserved, cleared before they are given back
//! ```
//! `touched`, and the count of it in the root, change under the allocator's lock only. `reserved` is changed by the holder of the
//! lock, if the unit has a part in free memory; else by the one to whom its block was just lent (it reserves the inside of a large
//! block after the lock is free). A process killed anywhere between leaves a unit that is touched and not reserved: it is reserved
//! again before it is lent, and given back like any other. The map is a fact about the segment and outlives a rebuild, which only
//! counts it anew. Units of several owners share a word, hence atomic `or` and `and`; the order between owners is the lock's.
//!
//! The unit that holds a block's header is always reserved.

use std::ops::Range;

use super::bins::{BINS, bin_of};
use super::blocks::HEADER;
use super::{Allocation, Allocator};
use crate::error::Result;
use crate::id::ParticipantId;
use crate::shm::Arena;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::failpoint::fail_point;
use crate::sys::memfd;

/// Bytes of one unit.
pub(super) const UNIT: u64 = 64 << 10;
/// Fresh memory is reserved in steps of this size, to keep system calls rare. Larger blocks reserve their inside outside the lock.
pub(super) const STEP: u64 = 2 << 20;
/// How many units are given back under one hold of the lock.
const TRIM_UNITS: u64 = (32 << 20) / UNIT;
/// Units taken beyond the capacity: this many, or one in sixteen.
const SLACK: u64 = 32;

/// How many addresses an arena of this capacity has.
pub fn address_bytes(capacity: u64) -> u64 {
    capacity.saturating_mul(2)
}

/// Words of the map of an arena of `bytes` bytes.
pub fn map_words(bytes: u64) -> u64 {
    bytes.div_ceil(UNIT).div_ceil(64) * 2
}

/// What one step of giving memory back did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrimStep {
    /// Bytes the system got back.
    pub bytes: u64,
    /// Units that may have pages no more.
    pub(super) units: u64,
    /// Where to go on, if there may be more.
    pub next: Option<usize>,
}

/// The arena and its map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages<'a> {
    arena: &'a Arena,
    map: &'a [AtomicU64],
}

#[derive(Clone, Copy)]
enum Kind {
    Touched = 0,
    Reserved = 1,
}

impl Pages<'_> {
    /// Reserves the pages that lending `need`, a part of the free range `free`, writes to under the lock: those of all headers, and a
    /// small block's own. With `ahead` also some of the free memory beside a small block.
    pub(super) fn open(&self, free: &Range<u64>, need: &Range<u64>, ahead: bool) -> Result<()> {
        if need.end - need.start > STEP {
            self.reserve(need.start, need.start + HEADER)?;
            return self.reserve(need.end - 2 * HEADER, need.end);
        }
        if ahead {
            let more = step_beside(free, need);
            if self.reserve(more.start, more.end).is_ok() {
                return Ok(());
            }
            // A machine that is nearly full may still have what is needed now.
        }
        self.reserve(need.start, need.end)
    }

    /// How many units of the bytes are not touched.
    pub(super) fn untouched(&self, bytes: &Range<u64>) -> u64 {
        let mut units = units_of(bytes);
        let mut count = 0;
        while let Some(run) = self.run(Kind::Touched, false, units.clone(), u64::MAX) {
            count += run.end - run.start;
            units.start = run.end;
        }
        count
    }

    pub(super) fn touch(&self, bytes: &Range<u64>) {
        self.change(Kind::Touched, &units_of(bytes), true);
    }

    /// How many units of the whole arena are touched.
    pub(super) fn count(&self) -> u64 {
        let words = self.map.iter().step_by(2);
        words
            .map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()))
            .sum()
    }

    /// Reserves every page of `[from, to)`, touched before. On failure nothing that was reserved is lost.
    pub(super) fn reserve(&self, from: u64, to: u64) -> Result<()> {
        let mut rest = units_of(&(from..to));
        while let Some(run) = self.run(Kind::Reserved, false, rest.clone(), u64::MAX) {
            let (from, to) = (run.start * UNIT, (run.end * UNIT).min(self.arena.size()));
            memfd::reserve(self.arena.fd(), from, to - from)?;
            fail_point!("arena.pages.filled");
            self.change(Kind::Reserved, &run, true);
            rest.start = run.end;
        }
        Ok(())
    }

    /// Whether every page of the bytes is reserved.
    pub(super) fn has_memory(&self, from: u64, len: u64) -> bool {
        let units = units_of(&(from..from + len));
        self.seek(Kind::Reserved, false, units.start, units.end).is_none()
    }

    /// The units that lie wholly inside a free block, behind its header.
    fn inside(&self, block: u64, size: u64) -> Range<u64> {
        let end = block + size;
        let last = if end == self.arena.size() {
            end.div_ceil(UNIT)
        } else {
            end / UNIT
        };
        (block + HEADER).div_ceil(UNIT)..last
    }

    /// Gives the pages of a run of units back.
    fn give_back(&self, run: &Range<u64>) -> Result<u64> {
        let before = memfd::resident(self.arena.fd())?;
        self.change(Kind::Reserved, run, false);
        fail_point!("arena.trim.unreserved");
        let (from, to) = (run.start * UNIT, (run.end * UNIT).min(self.arena.size()));
        memfd::give_back(self.arena.fd(), from, to - from)?;
        fail_point!("arena.trim.punched");
        self.change(Kind::Touched, run, false);
        fail_point!("arena.trim.untouched");
        // Others may reserve inside their own blocks at the same time, so the difference is what can be vouched for.
        Ok(before.saturating_sub(memfd::resident(self.arena.fd())?))
    }

    /// The first touched units among these, at most `limit` of them.
    fn touched_run(&self, units: &Range<u64>, limit: u64) -> Option<Range<u64>> {
        (limit > 0)
            .then(|| self.run(Kind::Touched, true, units.clone(), limit))
            .flatten()
    }

    /// The first run of units in `units` whose bit is `set`, at most `limit` units long.
    fn run(&self, kind: Kind, set: bool, units: Range<u64>, limit: u64) -> Option<Range<u64>> {
        let start = self.seek(kind, set, units.start, units.end)?;
        let bound = units.end.min(start.saturating_add(limit));
        let end = self.seek(kind, !set, start, bound).unwrap_or(bound);
        Some(start..end)
    }

    /// The first unit in `[from, to)` whose bit is `set`.
    fn seek(&self, kind: Kind, set: bool, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            let word = self.word(kind, at).map_or(0, |word| word.load(Ordering::Relaxed));
            let word = if set { word } else { !word } & (u64::MAX << (at % 64));
            if word != 0 {
                let found = at / 64 * 64 + u64::from(word.trailing_zeros());
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    fn change(&self, kind: Kind, run: &Range<u64>, set: bool) {
        let mut at = run.start;
        while at < run.end {
            let upto = run.end.min((at / 64 + 1) * 64);
            let mask = (u64::MAX >> (64 - (upto - at))) << (at % 64);
            if let Some(word) = self.word(kind, at) {
                if set {
                    word.fetch_or(mask, Ordering::Relaxed);
                } else {
                    word.fetch_and(!mask, Ordering::Relaxed);
                }
            }
            at = upto;
        }
    }

    fn word(&self, kind: Kind, unit: u64) -> Option<&AtomicU64> {
        self.map.get(usize::try_from(unit / 64).ok()? * 2 + kind as usize)
    }
}

/// The units that the bytes lie in.
fn units_of(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / UNIT..bytes.end.div_ceil(UNIT)
}

/// What of `units` lies before and behind `hole`.
fn without(units: Range<u64>, hole: &Range<u64>) -> [Range<u64>; 2] {
    if hole.is_empty() {
        return [units.clone(), units.end..units.end];
    }
    let before = units.start..units.end.min(hole.start);
    [before, units.start.max(hole.end)..units.end]
}

/// A small block and the free memory beside it, one step in all.
fn step_beside(free: &Range<u64>, need: &Range<u64>) -> Range<u64> {
    if need.start == free.start {
        need.start..(need.start + STEP).min(free.end)
    } else {
        need.end.saturating_sub(STEP).max(free.start)..need.end
    }
}

impl<Dead: Fn(ParticipantId) -> bool, Live: Fn() -> Vec<Allocation>> Allocator<'_, Dead, Live> {
    pub(super) fn pages(&self) -> Pages<'_> {
        Pages {
            arena: self.arena,
            map: self.map,
        }
    }

    /// Reserves the whole arena, for good: an error at once if the machine does not have it.
    pub fn reserve_all(&self) -> Result<()> {
        let _guard = self.lock()?;
        let all = 0..self.arena.size();
        self.pages().touch(&all);
        self.root.touched.store(self.pages().count(), Ordering::Relaxed);
        self.pages().reserve(all.start, all.end)?;
        self.root.kept.store(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes room for the pages of `need`, a part of the free range `free`, and reserves those that are written to under the lock.
    /// False if that would take more memory than the session may: then other free memory has to give up its pages first.
    pub(super) fn open(&self, free: &Range<u64>, need: &Range<u64>) -> Result<bool> {
        let missing = self.pages().untouched(need);
        if missing == 0 {
            return self.pages().open(free, need, false).map(|()| true);
        }
        let touched = self.root.touched.load(Ordering::Relaxed);
        let limit = self.root.capacity.load(Ordering::Relaxed).div_ceil(UNIT);
        let left = (limit + SLACK.max(limit / 16)).saturating_sub(touched);
        if missing > left {
            return Ok(false);
        }
        let more = step_beside(free, need);
        let ahead = need.end - need.start <= STEP && self.pages().untouched(&more) <= left;
        let claimed = if ahead { &more } else { need };
        self.root
            .touched
            .store(touched + self.pages().untouched(claimed), Ordering::Relaxed);
        self.pages().touch(claimed);
        fail_point!("arena.pages.touched");
        self.pages().open(free, need, ahead).map(|()| true)
    }

    /// One step of giving the memory of free blocks back to the system: holds the lock for a bounded time. Begin with `None` and go
    /// on with `next`. Blocks that hold no whole unit are left alone.
    pub fn trim_step(&self, from: Option<usize>) -> Result<TrimStep> {
        let _guard = self.lock()?;
        self.give_back(from.unwrap_or(BINS - 1), &(0..0))
    }

    /// As `trim_step`, under the lock, from bin `from` downwards, and not from `except`.
    pub(super) fn give_back(&self, from: usize, except: &Range<u64>) -> Result<TrimStep> {
        let mut step = TrimStep::default();
        if self.root.kept.load(Ordering::Relaxed) != 0 {
            return Ok(step);
        }
        let mut at = Some(from.min(BINS - 1));
        while let Some(bin) = at.and_then(|at| self.bin_to(at)).filter(|bin| *bin >= bin_of(UNIT)) {
            for entry in self.blocks_of(bin, self.most_blocks()) {
                let (block, size) = entry?;
                for units in without(self.pages().inside(block, size), &units_of(except)) {
                    self.give_back_units(units, &mut step)?;
                }
                if step.units == TRIM_UNITS {
                    step.next = Some(bin);
                    return Ok(step);
                }
            }
            at = bin.checked_sub(1);
        }
        Ok(step)
    }

    /// Gives back what is touched of these units, as far as the step allows.
    fn give_back_units(&self, mut units: Range<u64>, step: &mut TrimStep) -> Result<()> {
        while let Some(run) = self.pages().touched_run(&units, TRIM_UNITS - step.units) {
            step.bytes += self.pages().give_back(&run)?;
            step.units += run.end - run.start;
            self.root.touched.fetch_sub(run.end - run.start, Ordering::Relaxed);
            units.start = run.end;
        }
        Ok(())
    }
}
