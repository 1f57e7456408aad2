//! Everything derived, anew from the slots: run under the lock, after its owner died inside the critical section, and once to set
//! up a fresh arena.
//!
//! It needs no new memory, so it cannot fail for want of it: gaps begin where a lent block ends, or at the arena's start, and the
//! page after a lent block was reserved before the block was lent. Which pages have memory is not derived and stays as it is.

use super::blocks::{FIRST, GRANULE, HEADER, PREVIOUS, SIZE};
use super::{Allocation, Allocator, block_size};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

impl<Dead: Fn(ParticipantId) -> bool, Live: Fn() -> Vec<Allocation>> Allocator<'_, Dead, Live> {
    /// Rebuilds block headers, bins and byte counts. The lock is held.
    pub(super) fn rebuild(&self) -> Result<()> {
        self.root.first.store(0, Ordering::Relaxed);
        for word in self.root.second.iter().chain(&self.root.bins) {
            word.store(0, Ordering::Relaxed);
        }
        fail_point!("arena.rebuild.cleared");
        let mut live = (self.live)();
        live.sort_unstable_by_key(|allocation| allocation.offset);
        let (mut at, mut previous, mut used) = (FIRST, 0, 0);
        let end = self.arena.size();
        for allocation in live {
            let block = allocation.offset.wrapping_sub(HEADER);
            let Some(size) = block_size(allocation.len) else {
                bail!(Corrupt, "a slot claims {} bytes", allocation.len)
            };
            if block < at || block > end || size > end - block || !block.is_multiple_of(GRANULE) {
                bail!(
                    Corrupt,
                    "a slot claims {size} bytes at {block}, which overlap another slot's or the arena's end"
                );
            }
            self.gap(&mut at, block, &mut previous)?;
            self.word(block, SIZE)?.store(size, Ordering::Relaxed);
            self.word(block, PREVIOUS)?.store(previous, Ordering::Relaxed);
            previous = block;
            at = block + size;
            used += size;
        }
        self.gap(&mut at, end, &mut previous)?;
        self.root.used.store(used, Ordering::Relaxed);
        self.root.touched.store(self.pages().count(), Ordering::Relaxed);
        fail_point!("arena.rebuild.done");
        Ok(())
    }

    /// The bytes between two lent blocks become a free one.
    fn gap(&self, at: &mut u64, upto: u64, previous: &mut u64) -> Result<()> {
        if upto > *at {
            // A no-op except in a fresh arena.
            self.pages().touch(&(*at..*at + HEADER));
            self.pages().reserve(*at, *at + HEADER)?;
            self.word(*at, PREVIOUS)?.store(*previous, Ordering::Relaxed);
            self.link(*at, upto - *at)?;
            *previous = *at;
            *at = upto;
        }
        Ok(())
    }
}
