//! Taking slots from the object table and giving them back.
//!
//! Each process keeps a short private list of slots (CACHED by it), refilled and drained in batches under the free-list lock, so
//! that a put and its release touch no shared list. The list is derived: whoever takes over the lock of a dead owner relinks it
//! from the slots that are FREE.

use super::Store;
use super::slot::{Phase, State};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::shm::Allocation;
use crate::sync::RobustGuard;
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

const BATCH: usize = 64;

impl Store {
    /// A slot that is CACHED by this process.
    pub(super) fn take_slot(&self) -> Result<u32> {
        loop {
            let taken = {
                let mut cache = self.cache.lock();
                if cache.is_empty() {
                    self.refill(&mut cache)?;
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

    fn lock_free_list(&self) -> Result<RobustGuard<'_>> {
        let guard = self.header().free_lock.lock(self.me(), self.is_dead())?;
        if guard.recovered() {
            self.relink();
        }
        Ok(guard)
    }

    fn refill(&self, cache: &mut Vec<u32>) -> Result<()> {
        let header = self.header();
        let _guard = self.lock_free_list()?;
        while cache.len() < BATCH {
            let first = header.free_slots.load(Ordering::Relaxed);
            let index = if let Some(index) = first.checked_sub(1).filter(|index| *index < self.layout.max_objects) {
                header
                    .free_slots
                    .store(self.slot(index).next_free().load(Ordering::Relaxed), Ordering::Relaxed);
                fail_point!("table.refill.unlinked");
                index
            } else {
                let fresh = header.slots_used.load(Ordering::Relaxed);
                if fresh >= self.layout.max_objects {
                    break;
                }
                header.slots_used.store(fresh + 1, Ordering::Release);
                fail_point!("table.refill.extended");
                fresh
            };
            let slot = self.slot(index);
            let seen = slot.state()?;
            if seen.phase != Phase::Free {
                bail!(Corrupt, "object slot {index} is in the free list and {:?}", seen.phase);
            }
            slot.next_free().store(0, Ordering::Relaxed);
            slot.assign(State {
                owner: self.me(),
                flags: 0,
                phase: Phase::Cached,
                ..seen
            });
            fail_point!("table.refill.taken");
            cache.push(index);
        }
        // Slots are handed out from the end: lowest first keeps the table dense.
        cache.reverse();
        Ok(())
    }

    /// Makes slots FREE for everyone. They are CACHED by this process, or by a dead one.
    pub(super) fn free_slots(&self, indices: &[u32]) {
        let header = self.header();
        // Without the lock they stay CACHED, and are lost to the session: that beats a list that two processes write.
        let Ok(_guard) = self.lock_free_list() else { return };
        for &index in indices {
            let slot = self.slot(index);
            if let Ok(seen) = slot.state() {
                slot.next_free()
                    .store(header.free_slots.load(Ordering::Relaxed), Ordering::Relaxed);
                slot.assign(State {
                    owner: ParticipantId::HEAD,
                    flags: 0,
                    phase: Phase::Free,
                    ..seen
                });
                fail_point!("table.free.assigned");
                header.free_slots.store(index + 1, Ordering::Relaxed);
                fail_point!("table.free.linked");
            }
        }
    }

    /// Rebuilds the free list from the slots' own states. The free-list lock is held.
    fn relink(&self) {
        let header = self.header();
        let mut first = 0;
        for index in (0..self.slots_used()).rev() {
            let slot = self.slot(index);
            if slot.state().is_ok_and(|state| state.phase == Phase::Free) {
                slot.next_free().store(first, Ordering::Relaxed);
                first = index + 1;
            }
        }
        header.free_slots.store(first, Ordering::Relaxed);
    }

    /// The free list, first to last, at most as many as there are slots.
    pub(super) fn free_list(&self) -> Vec<u32> {
        let _guard = self.lock_free_list();
        let mut listed = Vec::new();
        let mut next = self.header().free_slots.load(Ordering::Relaxed);
        while let Some(index) = next.checked_sub(1).filter(|index| *index < self.layout.max_objects) {
            listed.push(index);
            if listed.len() > self.slots_used() as usize {
                break;
            }
            next = self.slot(index).next_free().load(Ordering::Relaxed);
        }
        listed
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
