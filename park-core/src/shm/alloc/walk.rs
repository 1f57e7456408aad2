//! Walking the arena from end to end, to check that its blocks add up: for audits and tests.

use std::collections::HashMap;

use super::{Allocation, Allocator, FIRST, FREE, HEADER, PREVIOUS};
use crate::error::Result;
use crate::id::ParticipantId;
use crate::sync::atomic::Ordering;

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Bytes of all lent blocks, headers included.
    pub lent: u64,
    /// Bytes of all free blocks, headers included.
    pub free: u64,
    /// Bytes of the largest free block.
    pub largest_free: u64,
    /// What does not add up.
    pub complaints: Vec<String>,
}

impl<Dead: Fn(ParticipantId) -> bool, Live: Fn() -> Vec<Allocation>> Allocator<'_, Dead, Live> {
    /// Compares the blocks with what `owners`, asked under the lock, says that slots own.
    pub fn walk(&self, owners: impl FnOnce() -> Vec<Allocation>) -> Result<Walk> {
        let guard = self.root.lock.lock(self.me, &self.is_dead);
        if guard.recovered() {
            self.rebuild()?;
        }
        let mut owned: HashMap<u64, u64> = HashMap::new();
        let mut walk = Walk::default();
        for allocation in owners() {
            if owned.insert(allocation.offset, allocation.len).is_some() {
                walk.complaints
                    .push(format!("two slots own the block at {}", allocation.offset));
            }
        }
        let (mut at, mut previous) = (FIRST, 0);
        while at < self.arena.size() {
            let word = self.size(at)?;
            let size = word & !FREE;
            let back = self.word(at, PREVIOUS)?.load(Ordering::Relaxed);
            if back != previous {
                walk.complaints
                    .push(format!("block at {at} says that {back} is before it, not {previous}"));
            }
            if word & FREE != 0 {
                walk.free += size;
                walk.largest_free = walk.largest_free.max(size);
            } else {
                walk.lent += size;
                match owned.remove(&(at + HEADER)) {
                    Some(len) if len + HEADER == size => {}
                    Some(len) => walk.complaints.push(format!(
                        "block at {at} has {size} bytes, its slot says {len} and a header"
                    )),
                    None => walk
                        .complaints
                        .push(format!("block at {at} of {size} bytes is lent to no slot")),
                }
            }
            previous = at;
            at += size;
        }
        for (offset, len) in owned {
            walk.complaints
                .push(format!("a slot owns {len} bytes at {offset}, where no block is lent"));
        }
        let (used, _) = self.root.usage();
        if used != walk.lent {
            walk.complaints
                .push(format!("{used} bytes are counted as lent, blocks have {}", walk.lent));
        }
        Ok(walk)
    }
}
