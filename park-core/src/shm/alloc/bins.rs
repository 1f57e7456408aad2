//! Free blocks by size: 16 bins for each power of two, a bitmap that says which are not empty, and the choice among them.
//!
//! A block of a larger bin always fits, so the lowest such bin that is not empty is two bit scans away. Among the blocks of a bin
//! the smallest that fits is taken, looking at a bounded number: the cost stays constant, holes fill before large extents are cut,
//! and memory that was used before is used again before fresh pages are touched.

use super::blocks::{FREE, GRANULE, NEXT_FREE, PREVIOUS_FREE, SIZE};
use super::{Allocation, Allocator, SMALL};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::sync::atomic::Ordering;

const SECOND_BITS: u32 = 4;
const SECOND: usize = 1 << SECOND_BITS;
pub(super) const FIRST_LEVELS: usize = 44;
pub(super) const BINS: usize = FIRST_LEVELS * SECOND;
/// How many blocks of one bin are looked at.
const LOOKS: usize = 32;

/// The bin of blocks of this size.
pub(super) fn bin_of(size: u64) -> usize {
    let granules = size / GRANULE;
    if granules < SECOND as u64 {
        return usize::try_from(granules).unwrap_or(0);
    }
    let level = 63 - granules.leading_zeros();
    let second = (granules >> (level - SECOND_BITS)) & (SECOND as u64 - 1);
    let first = usize::try_from(level - SECOND_BITS + 1).unwrap_or(0);
    first.min(FIRST_LEVELS - 1) * SECOND + usize::try_from(second).unwrap_or(0)
}

fn checked_bin(level: usize, second: u32) -> Option<usize> {
    let second = second as usize;
    (level < FIRST_LEVELS && second < SECOND).then_some(level * SECOND + second)
}

impl<Dead: Fn(ParticipantId) -> bool, Live: Fn() -> Vec<Allocation>> Allocator<'_, Dead, Live> {
    /// A free block of at least `size` bytes: the one that fits best. A small one that fits into no hole of its kind is cut from the
    /// largest extent, so that small objects lie together and apart from the room of large ones.
    pub(super) fn find(&self, size: u64) -> Result<Option<u64>> {
        let own = bin_of(size);
        // The size's own bin holds blocks that are a little larger and such that are a little too small.
        if let Some(block) = self.best_of(own, size)? {
            return Ok(Some(block));
        }
        let Some(mut bin) = self.bin_from(own + 1) else {
            return Ok(None);
        };
        if size < SMALL && bin >= bin_of(2 * SMALL) {
            bin = self.bin_to(BINS - 1).unwrap_or(bin);
        }
        self.best_of(bin, size)
    }

    /// The lowest bin at or above `bin` that is not empty.
    fn bin_from(&self, bin: usize) -> Option<usize> {
        let (level, second) = (bin / SECOND, bin % SECOND);
        let here = self.root.second.get(level)?.load(Ordering::Relaxed) & (u64::MAX << second);
        if here != 0 {
            return checked_bin(level, here.trailing_zeros());
        }
        let up = self.root.first.load(Ordering::Relaxed) & u64::MAX.checked_shl(u32::try_from(level + 1).ok()?)?;
        let level = up.trailing_zeros() as usize;
        let second = self.root.second.get(level)?.load(Ordering::Relaxed);
        checked_bin(level, second.trailing_zeros())
    }

    /// The highest bin at or below `bin` that is not empty.
    pub(super) fn bin_to(&self, bin: usize) -> Option<usize> {
        let (level, second) = (bin / SECOND, bin % SECOND);
        let here = self.root.second.get(level)?.load(Ordering::Relaxed) & (u64::MAX >> (63 - second));
        if let Some(second) = here.checked_ilog2() {
            return checked_bin(level, second);
        }
        let down = self.root.first.load(Ordering::Relaxed) & ((1 << level) - 1);
        let level = down.checked_ilog2()? as usize;
        let second = self.root.second.get(level)?.load(Ordering::Relaxed).checked_ilog2()?;
        checked_bin(level, second)
    }

    /// The free blocks of a bin, with their sizes, at most `limit` of them.
    pub(super) fn blocks_of(&self, bin: usize, limit: usize) -> impl Iterator<Item = Result<(u64, u64)>> {
        let mut next = self.root.bins[bin].load(Ordering::Relaxed);
        std::iter::from_fn(move || {
            if next == 0 {
                return None;
            }
            let block = next;
            let read = || {
                let word = self.size(block)?;
                if word & FREE == 0 {
                    bail!(Corrupt, "arena block at {block} is in a free list and lent");
                }
                Ok((word & !FREE, self.word(block, NEXT_FREE)?.load(Ordering::Relaxed)))
            };
            Some(read().map(|(size, after)| {
                next = after;
                (block, size)
            }))
        })
        .take(limit)
    }

    fn best_of(&self, bin: usize, size: u64) -> Result<Option<u64>> {
        let mut best: Option<(u64, u64)> = None;
        for entry in self.blocks_of(bin, LOOKS) {
            let (block, found) = entry?;
            if found >= size && best.is_none_or(|(least, at)| (found, block) < (least, at)) {
                best = Some((found, block));
            }
        }
        Ok(best.map(|(_, block)| block))
    }

    /// Size of the largest free block, 0 if there is none. Looks at every block of one bin.
    pub(super) fn largest(&self) -> Result<u64> {
        let Some(bin) = self.bin_to(BINS - 1) else { return Ok(0) };
        self.blocks_of(bin, self.most_blocks())
            .try_fold(0, |largest: u64, entry| Ok(largest.max(entry?.1)))
    }

    /// No list is longer than this; a walk that is not bounded otherwise stops here, whatever the links say.
    pub(super) fn most_blocks(&self) -> usize {
        usize::try_from(self.arena.size() / GRANULE).unwrap_or(usize::MAX)
    }

    /// Makes a block free.
    pub(super) fn link(&self, block: u64, size: u64) -> Result<()> {
        let bin = bin_of(size);
        let head = &self.root.bins[bin];
        let next = head.load(Ordering::Relaxed);
        self.word(block, SIZE)?.store(size | FREE, Ordering::Relaxed);
        self.word(block, NEXT_FREE)?.store(next, Ordering::Relaxed);
        self.word(block, PREVIOUS_FREE)?.store(0, Ordering::Relaxed);
        if next != 0 {
            self.word(next, PREVIOUS_FREE)?.store(block, Ordering::Relaxed);
        }
        head.store(block, Ordering::Relaxed);
        self.root.second[bin / SECOND].fetch_or(1 << (bin % SECOND), Ordering::Relaxed);
        self.root.first.fetch_or(1 << (bin / SECOND), Ordering::Relaxed);
        Ok(())
    }

    /// Takes a block of this size out of its free list.
    pub(super) fn unlink(&self, block: u64, size: u64) -> Result<()> {
        let bin = bin_of(size);
        let next = self.word(block, NEXT_FREE)?.load(Ordering::Relaxed);
        let previous = self.word(block, PREVIOUS_FREE)?.load(Ordering::Relaxed);
        if next != 0 {
            self.word(next, PREVIOUS_FREE)?.store(previous, Ordering::Relaxed);
        }
        if previous != 0 {
            self.word(previous, NEXT_FREE)?.store(next, Ordering::Relaxed);
            return Ok(());
        }
        self.root.bins[bin].store(next, Ordering::Relaxed);
        let bit = 1 << (bin % SECOND);
        if next == 0 && self.root.second[bin / SECOND].fetch_and(!bit, Ordering::Relaxed) == bit {
            self.root.first.fetch_and(!(1 << (bin / SECOND)), Ordering::Relaxed);
        }
        Ok(())
    }
}
