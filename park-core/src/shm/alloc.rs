//! The arena allocator: two-level segregated fit (Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems",
//! 2004) over 64-byte granules, constant time, neighbours merged at once.
//!
//! The root (bitmaps, bins, warm end) lies in the control segment under a `RobustMutex`; block headers lie before each payload in
//! the arena. All of it is derived: the truth is "which slot owns which bytes". `allocate` writes the owner slot's `offset` and
//! `release` clears it *inside* the critical section, so whoever finds the lock of a dead owner can rebuild everything from the
//! slots, and neither loses nor doubles a byte.
//!
//! Block: `size | FREE`, offset of the block before it, next free, previous free. The block list covers the arena from 64 to the
//! end without a hole. Offsets read from the arena are checked before use, since every process of the session can write them.

use super::Arena;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ParticipantId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{RobustMutex, Shared};
use crate::sys::memfd;

const GRANULE: u64 = 64;
const HEADER: u64 = 64;
const FIRST: u64 = 64;
const MIN_BLOCK: u64 = 2 * GRANULE;
const FREE: u64 = 1;
const SECOND_BITS: u32 = 4;
const SECOND: usize = 1 << SECOND_BITS;
const FIRST_LEVELS: usize = 44;
/// Pages are reserved in steps of this size, to keep system calls rare.
const WARM_STEP: u64 = 8 << 20;

const SIZE: u64 = 0;
const PREVIOUS: u64 = 8;
const NEXT_FREE: u64 = 16;
const PREVIOUS_FREE: u64 = 24;

/// The allocator's shared root. Zeroed memory is an arena that was not set up yet.
#[derive(Debug)]
#[repr(C)]
pub struct ArenaRoot {
    lock: RobustMutex,
    _pad: crate::sync::atomic::AtomicU32,
    /// Pages below this offset are reserved.
    warm_end: AtomicU64,
    /// Bytes lent, block headers included.
    used: AtomicU64,
    /// The most that was ever lent at once.
    peak: AtomicU64,
    first: AtomicU64,
    second: [AtomicU64; FIRST_LEVELS],
    bins: [AtomicU64; FIRST_LEVELS * SECOND],
}

// SAFETY: `repr(C)` over `Shared` fields; the lock is padded to 8 bytes by hand.
unsafe impl Shared for ArenaRoot {}

/// What the slot of an object says about its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Offset of the payload in the arena.
    pub offset: u64,
    /// Payload bytes lent: those asked for, and what is left of the block.
    pub len: u64,
}

/// One process's access to the allocator.
pub struct Allocator<'a, Dead, Live> {
    /// The shared root.
    pub root: &'a ArenaRoot,
    /// The bytes.
    pub arena: &'a Arena,
    /// Who is asking.
    pub me: ParticipantId,
    /// Whether a participant's process is known to have ended.
    pub is_dead: Dead,
    /// Every allocation that a slot owns; asked for only to rebuild.
    pub live: Live,
}

fn bin_of(size: u64) -> (usize, usize) {
    let granules = size / GRANULE;
    if granules < SECOND as u64 {
        return (0, usize::try_from(granules).unwrap_or(0));
    }
    let level = 63 - granules.leading_zeros();
    let second = (granules >> (level - SECOND_BITS)) & (SECOND as u64 - 1);
    (
        usize::try_from(level - SECOND_BITS + 1)
            .unwrap_or(0)
            .min(FIRST_LEVELS - 1),
        usize::try_from(second).unwrap_or(0),
    )
}

fn block_size(len: u64) -> Option<u64> {
    len.max(1).checked_next_multiple_of(GRANULE)?.checked_add(HEADER)
}

impl<Dead: Fn(ParticipantId) -> bool, Live: Fn() -> Vec<Allocation>> Allocator<'_, Dead, Live> {
    /// Lends `len` bytes and records them in the owner's slot through `record`, inside the critical section.
    pub fn allocate(&self, len: u64, record: impl FnOnce(Allocation)) -> Result<Allocation> {
        let guard = self.root.lock.lock(self.me, &self.is_dead);
        if guard.recovered() {
            self.rebuild()?;
        }
        let full = || Error::new(ErrorKind::StoreFull, format!("no room for {len} bytes"));
        let size = block_size(len).ok_or_else(full)?;
        let block = self.find(size)?.ok_or_else(full)?;
        let found = self.size(block)? & !FREE;
        self.unlink(block, found)?;
        let size = if found - size >= MIN_BLOCK { size } else { found };
        if let Err(error) = self.warm(block + size) {
            self.link(block, found)?;
            return Err(error);
        }
        if size < found {
            let rest = block + size;
            self.word(rest, PREVIOUS)?.store(block, Ordering::Relaxed);
            self.set_previous_of_next(rest, found - size)?;
            self.link(rest, found - size)?;
        }
        self.word(block, SIZE)?.store(size, Ordering::Relaxed);
        let used = self.root.used.fetch_add(size, Ordering::Relaxed) + size;
        self.root.peak.fetch_max(used, Ordering::Relaxed);
        // The whole block, so that a rebuild finds exactly what was lent.
        let allocation = Allocation {
            offset: block + HEADER,
            len: size - HEADER,
        };
        record(allocation);
        Ok(allocation)
    }

    /// Takes the bytes back; `take` reads and clears the owner's slot inside the critical section.
    pub fn release(&self, take: impl FnOnce() -> Option<u64>) -> Result<()> {
        let guard = self.root.lock.lock(self.me, &self.is_dead);
        if guard.recovered() {
            self.rebuild()?;
        }
        let Some(offset) = take() else { return Ok(()) };
        let mut block = offset.wrapping_sub(HEADER);
        let mut size = self.size(block)?;
        if size & FREE != 0 {
            bail!(Corrupt, "arena block at {block} is released twice");
        }
        self.root.used.fetch_sub(size, Ordering::Relaxed);
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
        self.set_previous_of_next(block, size)?;
        self.link(block, size)
    }

    /// Sets up a fresh arena: one free block. Also what remains after `rebuild` of an arena without live objects.
    pub fn format(&self) -> Result<()> {
        let _guard = self.root.lock.lock(self.me, &self.is_dead);
        self.rebuild()
    }

    fn rebuild(&self) -> Result<()> {
        self.root.first.store(0, Ordering::Relaxed);
        for word in self.root.second.iter().chain(&self.root.bins) {
            word.store(0, Ordering::Relaxed);
        }
        let mut live = (self.live)();
        live.sort_unstable_by_key(|allocation| allocation.offset);
        let (mut at, mut previous, mut used) = (FIRST, 0, 0);
        let end = self.arena.size();
        let gap = |at: &mut u64, upto: u64, previous: &mut u64| -> Result<()> {
            if upto > *at {
                // Pages of the gap may never have been reserved, and a block header is about to be written there.
                self.warm(*at + HEADER)?;
                self.word(*at, PREVIOUS)?.store(*previous, Ordering::Relaxed);
                self.link(*at, upto - *at)?;
                *previous = *at;
                *at = upto;
            }
            Ok(())
        };
        for allocation in live {
            let block = allocation.offset.wrapping_sub(HEADER);
            let Some(size) = block_size(allocation.len) else {
                bail!(Corrupt, "a slot claims {} bytes", allocation.len)
            };
            if block < at || block + size > end || !block.is_multiple_of(GRANULE) {
                bail!(
                    Corrupt,
                    "a slot claims {size} bytes at {block}, which overlap another slot's or the arena's end"
                );
            }
            gap(&mut at, block, &mut previous)?;
            self.word(block, SIZE)?.store(size, Ordering::Relaxed);
            self.word(block, PREVIOUS)?.store(previous, Ordering::Relaxed);
            previous = block;
            at = block + size;
            used += size;
        }
        gap(&mut at, end, &mut previous)?;
        self.root.used.store(used, Ordering::Relaxed);
        Ok(())
    }

    fn warm(&self, upto: u64) -> Result<()> {
        let warm = self.root.warm_end.load(Ordering::Relaxed);
        // One header beyond: the free block that follows keeps its header there.
        let need = (upto + HEADER).min(self.arena.size());
        if need > warm {
            let target = need.next_multiple_of(WARM_STEP).min(self.arena.size());
            memfd::reserve(self.arena.fd(), warm, target - warm)?;
            self.root.warm_end.store(target, Ordering::Relaxed);
        }
        Ok(())
    }

    fn word(&self, block: u64, field: u64) -> Result<&AtomicU64> {
        if block < FIRST || !block.is_multiple_of(GRANULE) {
            bail!(Corrupt, "arena block offset {block} is not a block");
        }
        self.arena.word(block + field)
    }

    fn size(&self, block: u64) -> Result<u64> {
        let word = self.word(block, SIZE)?.load(Ordering::Relaxed);
        let size = word & !FREE;
        if size < GRANULE || !size.is_multiple_of(GRANULE) || size > self.arena.size() - block {
            bail!(Corrupt, "arena block at {block} claims {size} bytes");
        }
        Ok(word)
    }

    fn set_previous_of_next(&self, block: u64, size: u64) -> Result<()> {
        let next = block + size;
        if next < self.arena.size() {
            self.word(next, PREVIOUS)?.store(block, Ordering::Relaxed);
        }
        Ok(())
    }

    fn find(&self, size: u64) -> Result<Option<u64>> {
        // A fit in a larger bin always suffices; the size's own bin may hold one too and is searched only if that fails.
        let (level, second) = bin_of(size);
        let after = |level: usize, second: usize| -> Option<(usize, usize)> {
            let here =
                self.root.second[level].load(Ordering::Relaxed) & u64::MAX.checked_shl(u32::try_from(second).ok()?)?;
            if here != 0 {
                return Some((level, here.trailing_zeros() as usize));
            }
            let up = self.root.first.load(Ordering::Relaxed) & u64::MAX.checked_shl(u32::try_from(level + 1).ok()?)?;
            let level = up.trailing_zeros() as usize;
            let second = self.root.second.get(level)?.load(Ordering::Relaxed);
            (up != 0 && second != 0).then(|| (level, second.trailing_zeros() as usize))
        };
        let own = self.first_fit(level, second, size)?;
        if own.is_some() {
            return Ok(own);
        }
        match after(level, second + 1) {
            Some((level, second)) => self.first_fit(level, second, size),
            None => Ok(None),
        }
    }

    fn first_fit(&self, level: usize, second: usize, size: u64) -> Result<Option<u64>> {
        let mut block = self.root.bins[level * SECOND + second].load(Ordering::Relaxed);
        let mut steps = 0;
        while block != 0 {
            let found = self.size(block)?;
            if found & FREE == 0 {
                bail!(Corrupt, "arena block at {block} is in a free list and lent");
            }
            if found & !FREE >= size {
                return Ok(Some(block));
            }
            steps += 1;
            if steps > 64 {
                // Bounded search keeps the worst case constant; a larger bin is tried next.
                return Ok(None);
            }
            block = self.word(block, NEXT_FREE)?.load(Ordering::Relaxed);
        }
        Ok(None)
    }

    fn link(&self, block: u64, size: u64) -> Result<()> {
        let (level, second) = bin_of(size);
        let bin = &self.root.bins[level * SECOND + second];
        let next = bin.load(Ordering::Relaxed);
        self.word(block, SIZE)?.store(size | FREE, Ordering::Relaxed);
        self.word(block, NEXT_FREE)?.store(next, Ordering::Relaxed);
        self.word(block, PREVIOUS_FREE)?.store(0, Ordering::Relaxed);
        if next != 0 {
            self.word(next, PREVIOUS_FREE)?.store(block, Ordering::Relaxed);
        }
        bin.store(block, Ordering::Relaxed);
        self.root.second[level].fetch_or(1 << second, Ordering::Relaxed);
        self.root.first.fetch_or(1 << level, Ordering::Relaxed);
        Ok(())
    }

    fn unlink(&self, block: u64, size: u64) -> Result<()> {
        let (level, second) = bin_of(size);
        let next = self.word(block, NEXT_FREE)?.load(Ordering::Relaxed);
        let previous = self.word(block, PREVIOUS_FREE)?.load(Ordering::Relaxed);
        if next != 0 {
            self.word(next, PREVIOUS_FREE)?.store(previous, Ordering::Relaxed);
        }
        if previous != 0 {
            self.word(previous, NEXT_FREE)?.store(next, Ordering::Relaxed);
            return Ok(());
        }
        self.root.bins[level * SECOND + second].store(next, Ordering::Relaxed);
        if next == 0 && self.root.second[level].fetch_and(!(1 << second), Ordering::Relaxed) == 1 << second {
            self.root.first.fetch_and(!(1 << level), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl ArenaRoot {
    /// Bytes lent now, and the most ever, block headers included.
    pub fn usage(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed))
    }
}

pub mod walk;

#[cfg(all(test, not(loom)))]
mod tests;
