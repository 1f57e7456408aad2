//! The arena allocator: two-level segregated fit (Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems",
//! 2004) over 64-byte granules, constant time, neighbours merged at once.
//!
//! | file | what |
//! |---|---|
//! | `alloc` | lending and taking back, under the lock |
//! | `alloc/blocks` | block headers in the arena, each offset checked before use |
//! | `alloc/bins` | free blocks by size, and which of them is lent next |
//! | `alloc/pages` | which pages have memory: reserving before lending, giving back when idle |
//! | `alloc/rebuild` | everything anew from the slots |
//! | `alloc/walk` | whether everything adds up |
//!
//! The root (bitmaps and bins) lies in the control segment under a `RobustMutex`; block headers lie before each payload in the
//! arena. All of it is derived: the truth is "which slot owns which bytes". `allocate` writes the owner slot's words and
//! `release` clears them *inside* the critical section, so whoever finds the lock of a dead owner can rebuild everything from the
//! slots, and neither loses nor doubles a byte.
//!
//! The lock is never held for the length of an object: what a large block still lacks in memory its new owner reserves after the
//! lock is free, and memory is given back to the system in bounded steps.

mod bins;
mod blocks;
mod pages;
mod rebuild;
pub mod walk;

use std::ops::Range;

use self::bins::{BINS, FIRST_LEVELS};
pub(crate) use self::blocks::HEADER;
use self::blocks::{FIRST, FREE, GRANULE, MIN_BLOCK, PREVIOUS, SIZE};
pub use self::pages::{TrimStep, address_bytes, map_words};
use super::Arena;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ParticipantId;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{RobustGuard, RobustMutex, Shared};
use crate::sys::failpoint::fail_point;

/// Blocks below this size are cut from the high end of free memory and larger ones from the low end, so that a small object that
/// lives long does not come to lie in the middle of room for large ones.
const SMALL: u64 = 64 << 10;

/// The allocator's shared root. Zeroed memory is an arena that was not set up yet. All of it is written under `lock`, except
/// `watched`.
#[derive(Debug)]
#[repr(C)]
pub struct ArenaRoot {
    lock: RobustMutex,
    /// 1 if the whole arena was reserved when the session was opened: nothing is ever given back.
    kept: AtomicU32,
    /// Bytes that may be lent at once, block headers included: written once.
    capacity: AtomicU64,
    /// Units that may have pages; see `alloc/pages`.
    touched: AtomicU64,
    /// Bytes lent, block headers included.
    used: AtomicU64,
    /// The most that was ever lent at once.
    peak: AtomicU64,
    /// Counts allocations and releases, so that the head can tell an idle arena.
    activity: AtomicU64,
    /// 1 while the head sleeps without a limit and wants to hear of the next release. Stored by the head, swapped by a releaser.
    watched: AtomicU32,
    /// 1 if whoever maps the arena should ask for huge pages. Written once.
    huge: AtomicU32,
    first: AtomicU64,
    second: [AtomicU64; FIRST_LEVELS],
    bins: [AtomicU64; BINS],
}

// SAFETY: `repr(C)` over `Shared` fields; the 32-bit ones come in pairs, so there is no padding.
unsafe impl Shared for ArenaRoot {}

/// What the slot of an object says about its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Offset of the payload in the arena; 0 = nothing is lent.
    pub offset: u64,
    /// Payload bytes lent: those asked for, and what is left of the block.
    pub len: u64,
}

impl Allocation {
    /// Nothing is lent.
    pub const NONE: Self = Self { offset: 0, len: 0 };
}

/// One process's access to the allocator.
pub struct Allocator<'a, Dead, Live> {
    /// The shared root.
    pub root: &'a ArenaRoot,
    /// The bytes.
    pub arena: &'a Arena,
    /// Which pages have memory; see `alloc/pages`.
    pub map: &'a [AtomicU64],
    /// Who is asking.
    pub me: ParticipantId,
    /// Whether a participant's process is known to have ended.
    pub is_dead: Dead,
    /// Every allocation that a slot owns; asked for only to rebuild.
    pub live: Live,
}

/// What an attempt to lend came to.
enum Lent {
    /// The payload, and the range of its block.
    Block(Allocation, Range<u64>),
    /// These pages would be more than the session may take.
    Short(Range<u64>),
}

/// Bytes of the block that holds a payload of `len` bytes.
fn block_size(len: u64) -> Option<u64> {
    len.max(1).checked_next_multiple_of(GRANULE)?.checked_add(HEADER)
}

impl<Dead: Fn(ParticipantId) -> bool, Live: Fn() -> Vec<Allocation>> Allocator<'_, Dead, Live> {
    /// Lends `len` bytes, all of them reserved, and records them in the owner's slot through `record`, inside the critical section.
    /// If the system then refuses the memory, `record` is told `Allocation::NONE`, also inside, and nothing has changed.
    pub fn allocate(&self, len: u64, record: impl Fn(Allocation)) -> Result<Allocation> {
        let (got, block) = loop {
            let _guard = self.lock()?;
            match self.lend(len, &record)? {
                Lent::Block(got, block) => break (got, block),
                // In bounded steps: others get the lock in between.
                Lent::Short(need) => {
                    if self.give_back(BINS - 1, &need)?.units == 0 {
                        bail!(
                            StoreFull,
                            "no room for {len} bytes: free memory shares its pages with objects in use"
                        );
                    }
                }
            }
        };
        fail_point!("arena.lend.unlocked");
        if let Err(error) = self.pages().reserve(block.start, block.end) {
            self.release(|| {
                record(Allocation::NONE);
                Some(got.offset)
            })?;
            return Err(error);
        }
        Ok(got)
    }

    /// Whether `allocate` would find a block for so many bytes now.
    pub fn has_room(&self, len: u64) -> Result<bool> {
        let _guard = self.lock()?;
        match block_size(len).filter(|size| *size <= self.left()) {
            Some(size) => self.find(size).map(|found| found.is_some()),
            None => Ok(false),
        }
    }

    /// Takes the bytes back; `take` reads and clears the owner's slot inside the critical section. True if the head sleeps and wants
    /// to be told.
    pub fn release(&self, take: impl FnOnce() -> Option<u64>) -> Result<bool> {
        let _guard = self.lock()?;
        let Some(offset) = take() else { return Ok(false) };
        let mut block = offset.wrapping_sub(HEADER);
        let mut size = self.size(block)?;
        if size & FREE != 0 {
            bail!(Corrupt, "arena block at {block} is released twice");
        }
        self.root.used.fetch_sub(size, Ordering::Relaxed);
        self.root.activity.fetch_add(1, Ordering::Relaxed);
        fail_point!("arena.release.counted");
        let next = block + size;
        if next < self.arena.size() {
            let next_size = self.size(next)?;
            if next_size & FREE != 0 {
                self.unlink(next, next_size & !FREE)?;
                size += next_size & !FREE;
            }
        }
        if block > FIRST {
            let previous = self.word(block, PREVIOUS)?.load(Ordering::Relaxed);
            let previous_size = self.size(previous)?;
            if previous_size & FREE != 0 {
                if previous + (previous_size & !FREE) != block {
                    bail!(
                        Corrupt,
                        "arena block at {previous} does not end at its neighbour {block}"
                    );
                }
                self.unlink(previous, previous_size & !FREE)?;
                block = previous;
                size += previous_size & !FREE;
            }
        }
        fail_point!("arena.release.merged");
        self.set_previous_of_next(block, size)?;
        self.link(block, size)?;
        fail_point!("arena.release.linked");
        let watched = self.root.watched.load(Ordering::Relaxed) != 0;
        Ok(watched && self.root.watched.swap(0, Ordering::AcqRel) != 0)
    }

    /// Sets up a fresh arena of which `capacity` bytes may be in use: one free block.
    pub fn format(&self, capacity: u64) -> Result<()> {
        let _guard = self.root.lock.lock(self.me, &self.is_dead)?;
        self.root.capacity.store(capacity, Ordering::Relaxed);
        self.rebuild()
    }

    /// The largest payload that could be lent now, and the bytes that are free in all.
    pub fn free_extent(&self) -> Result<(u64, u64)> {
        let _guard = self.lock()?;
        let free = self.left();
        Ok((self.largest()?.min(free).saturating_sub(HEADER), free))
    }

    fn lock(&self) -> Result<RobustGuard<'_>> {
        let guard = self.root.lock.lock(self.me, &self.is_dead)?;
        if guard.recovered() {
            self.rebuild()?;
        }
        Ok(guard)
    }

    /// Bytes that may still be lent.
    fn left(&self) -> u64 {
        let capacity = self.root.capacity.load(Ordering::Relaxed).min(self.arena.size());
        capacity.saturating_sub(FIRST.saturating_add(self.root.used.load(Ordering::Relaxed)))
    }

    /// Cuts a block out of the free one that fits best. Everything that can fail for want of memory comes before the first change.
    fn lend(&self, len: u64, record: &impl Fn(Allocation)) -> Result<Lent> {
        let full = || Error::new(ErrorKind::StoreFull, format!("no room for {len} bytes"));
        let size = block_size(len).filter(|size| *size <= self.left()).ok_or_else(full)?;
        let free = self.find(size)?.ok_or_else(full)?;
        let found = self.size(free)? & !FREE;
        if found < size {
            bail!(
                Corrupt,
                "arena block at {free} shrank from {size} bytes or more to {found}"
            );
        }
        let size = if found - size >= MIN_BLOCK { size } else { found };
        let rest = found - size;
        let block = if size < SMALL { free + rest } else { free };
        // One header beyond: the free block that follows keeps its own there.
        let need = block..(block + size + HEADER).min(free + found);
        if !self.open(&(free..free + found), &need)? {
            return Ok(Lent::Short(need));
        }
        fail_point!("arena.lend.opened");
        self.unlink(free, found)?;
        fail_point!("arena.lend.unlinked");
        if block > free {
            self.word(block, PREVIOUS)?.store(free, Ordering::Relaxed);
            self.set_previous_of_next(block, size)?;
            self.link(free, rest)?;
        } else if rest > 0 {
            let rest_at = block + size;
            self.word(rest_at, PREVIOUS)?.store(block, Ordering::Relaxed);
            self.set_previous_of_next(rest_at, rest)?;
            self.link(rest_at, rest)?;
        }
        fail_point!("arena.lend.split");
        self.word(block, SIZE)?.store(size, Ordering::Relaxed);
        let used = self.root.used.fetch_add(size, Ordering::Relaxed).wrapping_add(size);
        self.root.peak.fetch_max(used, Ordering::Relaxed);
        self.root.activity.fetch_add(1, Ordering::Relaxed);
        // The whole block, so that a rebuild finds exactly what was lent.
        let got = Allocation {
            offset: block + HEADER,
            len: size - HEADER,
        };
        fail_point!("arena.lend.cut");
        record(got);
        Ok(Lent::Block(got, block..block + size))
    }
}

impl ArenaRoot {
    /// Bytes lent now, and the most ever, block headers included.
    pub fn usage(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed))
    }

    /// Bytes that may be lent at once.
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// A number that changes with each allocation and release.
    pub fn activity(&self) -> u64 {
        self.activity.load(Ordering::Relaxed)
    }

    /// Whether whoever maps the arena should ask for huge pages.
    pub fn wants_huge_pages(&self) -> bool {
        self.huge.load(Ordering::Relaxed) != 0
    }

    /// Asks those who map the arena later for huge pages.
    pub fn want_huge_pages(&self) {
        self.huge.store(1, Ordering::Relaxed);
    }

    /// Asks the next release to say so. Call it before the look that decides to sleep.
    pub fn watch(&self) {
        self.watched.store(1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, not(loom)))]
mod trace;
