//! Walking the arena from end to end, to check that blocks, free lists, page map and slots say the same: for audits and tests.

use std::collections::{HashMap, HashSet};

use super::bins::{BINS, bin_of};
use super::blocks::{FIRST, FREE, HEADER, PREVIOUS};
use super::{Allocation, Allocator};
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
        let _guard = self.lock()?;
        let mut owned: HashMap<u64, u64> = HashMap::new();
        let mut walk = Walk::default();
        for allocation in owners() {
            if owned.insert(allocation.offset, allocation.len).is_some() {
                walk.complaints
                    .push(format!("two slots own the block at {}", allocation.offset));
            }
        }
        let mut listed = self.listed(&mut walk)?;
        let (mut at, mut previous, mut follows_free) = (FIRST, 0, false);
        while at < self.arena.size() {
            let word = self.size(at)?;
            let size = word & !FREE;
            let back = self.word(at, PREVIOUS)?.load(Ordering::Relaxed);
            if back != previous {
                walk.complaints
                    .push(format!("block at {at} says that {back} is before it, not {previous}"));
            }
            if !self.pages().has_memory(at, HEADER) {
                walk.complaints
                    .push(format!("the header of the block at {at} lies on a page without memory"));
            }
            let is_free = word & FREE != 0;
            if is_free != listed.remove(&at) {
                walk.complaints.push(format!(
                    "block at {at} and the free lists disagree on whether it is free"
                ));
            }
            if is_free {
                walk.free += size;
                walk.largest_free = walk.largest_free.max(size);
                if follows_free {
                    walk.complaints
                        .push(format!("free blocks at {previous} and {at} were not merged"));
                }
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
            (previous, follows_free, at) = (at, is_free, at + size);
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
        for block in listed {
            walk.complaints
                .push(format!("a free list names {block}, where no block is free"));
        }
        let touched = self.root.touched.load(Ordering::Relaxed);
        if touched != self.pages().count() {
            walk.complaints.push(format!(
                "{touched} units are counted as touched, the page map has {}",
                self.pages().count()
            ));
        }
        Ok(walk)
    }

    /// Every block in a free list.
    fn listed(&self, walk: &mut Walk) -> Result<HashSet<u64>> {
        let mut listed = HashSet::new();
        for bin in 0..BINS {
            for entry in self.blocks_of(bin, self.most_blocks()) {
                let (block, size) = entry?;
                if bin_of(size) != bin {
                    walk.complaints
                        .push(format!("free block at {block} of {size} bytes lies in bin {bin}"));
                }
                if !listed.insert(block) {
                    walk.complaints.push(format!("free block at {block} is listed twice"));
                    break;
                }
            }
        }
        Ok(listed)
    }
}
