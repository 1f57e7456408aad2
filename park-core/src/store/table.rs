//! Taking slots from the object table and giving them back.
//!
//! Each process keeps a short private list of slots (CACHED by it), refilled and drained in batches under the free-list lock, so
//! that a put and its release touch no shared list.

use super::Store;
use super::free_list::FreeList;
use super::slot::{Phase, Slot};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::shm::Allocation;
use crate::sync::atomic::Ordering;

const BATCH: usize = 64;

impl Store {
    /// A slot that is CACHED by this process.
    pub(super) fn take_slot(&self) -> Result<u32> {
        loop {
            let taken = {
                let mut cache = self.cache.lock();
                if cache.is_empty() {
                    // Slots are handed out from the end: the lowest first.
                    *cache = self.free_list().take(BATCH)?;
                    cache.reverse();
                }
                cache.pop()
            };
            match taken {
                Some(index) => return Ok(index),
                // Warm slots are spare slots too.
                None if self.cool_all() => {}
                None => bail!(
                    TableFull,
                    "the session already has {} objects, its maximum",
                    self.layout.max_objects
                ),
            }
        }
    }

    /// Gives back a slot that is CACHED by this process.
    pub(super) fn give_slot(&self, index: u32) {
        let mut cache = self.cache.lock();
        cache.push(index);
        if cache.len() > 2 * BATCH {
            let drained: Vec<u32> = cache.drain(..BATCH).collect();
            drop(cache);
            self.free_slots(&drained);
        }
    }

    /// The list of FREE slots, as this process reaches it.
    fn free_list<'a>(&'a self) -> FreeList<'a, impl Fn(u32) -> &'a Slot, impl Fn(ParticipantId) -> bool> {
        let header = self.header();
        FreeList {
            lock: &header.free_lock,
            first: &header.free_slots,
            used: &header.slots_used,
            max: self.layout.max_objects,
            slot: |index| self.slot(index),
            me: self.me(),
            is_dead: self.is_dead(),
        }
    }

    /// Makes slots FREE for everyone. They are CACHED by this process.
    pub(super) fn free_slots(&self, indices: &[u32]) {
        self.free_list().give(indices);
    }

    /// The slots in the free list, first to last.
    pub(super) fn listed_slots(&self) -> Vec<u32> {
        self.free_list().listed()
    }

    /// Whether an object in this phase is complete, wherever its bytes are.
    pub(super) fn is_whole(&self, phase: Phase) -> bool {
        matches!(
            phase,
            Phase::Sealed | Phase::Evicting | Phase::Spilled | Phase::Restoring
        )
    }

    pub(super) fn slots_used(&self) -> u32 {
        self.header()
            .slots_used
            .load(Ordering::Acquire)
            .min(self.layout.max_objects)
    }

    /// Every allocation that a slot owns: the truth from which the allocator is rebuilt.
    pub(super) fn live_allocations(&self) -> Vec<Allocation> {
        (0..self.slots_used())
            .filter_map(|index| {
                let slot = self.slot(index);
                let offset = slot.offset.load(Ordering::Relaxed);
                (offset != 0).then(|| Allocation {
                    offset,
                    len: slot.block_bytes(),
                })
            })
            .collect()
    }
}
