//! Block headers: `size | FREE`, offset of the block before it, next free, previous free. The block list covers the arena from
//! `FIRST` to the end without a hole. Every process of the session can write these words, so each offset read from one is checked
//! before it is used: nonsense is a `Corrupt` error, never an access outside the arena.

use super::{Allocation, Allocator};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::sync::atomic::{AtomicU64, Ordering};

pub(super) const GRANULE: u64 = 64;
/// Bytes before each payload.
pub(crate) const HEADER: u64 = 64;
pub(super) const FIRST: u64 = 64;
pub(super) const MIN_BLOCK: u64 = 2 * GRANULE;
pub(super) const FREE: u64 = 1;

pub(super) const SIZE: u64 = 0;
pub(super) const PREVIOUS: u64 = 8;
pub(super) const NEXT_FREE: u64 = 16;
pub(super) const PREVIOUS_FREE: u64 = 24;

impl<Dead: Fn(ParticipantId) -> bool, Live: Fn() -> Vec<Allocation>> Allocator<'_, Dead, Live> {
    /// One word of the header of the block at `block`.
    pub(super) fn word(&self, block: u64, field: u64) -> Result<&AtomicU64> {
        if block < FIRST || !block.is_multiple_of(GRANULE) {
            bail!(Corrupt, "arena block offset {block} is not a block");
        }
        self.arena.word(block + field)
    }

    /// Size and FREE bit of the block at `block`; the size lies inside the arena.
    pub(super) fn size(&self, block: u64) -> Result<u64> {
        let word = self.word(block, SIZE)?.load(Ordering::Relaxed);
        let size = word & !FREE;
        if size < GRANULE || !size.is_multiple_of(GRANULE) || size > self.arena.size() - block {
            bail!(Corrupt, "arena block at {block} claims {size} bytes");
        }
        Ok(word)
    }

    /// Tells the block after `block` where `block` begins.
    pub(super) fn set_previous_of_next(&self, block: u64, size: u64) -> Result<()> {
        let next = block + size;
        if next < self.arena.size() {
            self.word(next, PREVIOUS)?.store(block, Ordering::Relaxed);
        }
        Ok(())
    }
}
