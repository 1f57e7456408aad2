//! Warm slots: slots that keep their arena block when their object is gone, so that the next object of about that size needs neither
//! the allocator's lock nor fresh pages.
//!
//! Each process has a short list of them, newest last. They are CACHED by it like other spare slots, and their `offset` still says
//! which block is theirs: the slot table stays the whole truth, and a dead process's warm slots are found by the reaper. Unlike
//! other spare slots they can be taken away: whoever finds the store full cools them, whoever they belong to. So both sides move by
//! CAS: the owner CACHED -> WRITING, a starving process CACHED -> FREEING. The list is a hint, checked by that CAS.
//!
//! A starving process looks through the table only if some participant's `warm` word says that there may be something to find. The
//! owner sets it after the slot is CACHED; if it was clear, it then rings the space doorbell. The starving process clears it before
//! it looks. Both are swaps of one word, so they come one after the other: if the owner finds the word set, whoever starves has yet
//! to clear it and will find the slot; else somebody may have looked too early, and is rung. A process that nobody starves beside
//! thus writes to no word that others use.

use std::collections::VecDeque;

use super::Store;
use super::refs::fits_inline;
use super::slot::{Phase, Slot, State};
use crate::id::ParticipantId;
use crate::shm::alloc::HEADER;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sys::failpoint::fail_point;

/// Larger blocks are not kept: copying into them takes many times as long as lending them.
const LARGEST: u64 = 64 << 10;
/// What one process keeps at most, in slots and in bytes; of a small arena at most 1/64.
const MOST_SLOTS: usize = 128;
const MOST_BYTES: u64 = 2 << 20;

/// One process's warm slots.
#[derive(Debug, Default)]
pub(super) struct WarmSlots {
    slots: VecDeque<WarmSlot>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct WarmSlot {
    index: u32,
    generation: u32,
    /// Payload bytes of its block.
    bytes: u64,
}

impl WarmSlots {
    /// The newest block that holds `stored` bytes and wastes a quarter of that at most.
    fn take(&mut self, stored: u64) -> Option<WarmSlot> {
        let most = stored + stored / 4 + HEADER;
        let fits = |slot: &WarmSlot| (stored..=most).contains(&slot.bytes);
        let at = self.slots.iter().rposition(fits)?;
        let slot = self.slots.remove(at)?;
        self.bytes -= slot.bytes;
        Some(slot)
    }

    /// The oldest one, if there are more than the limits allow.
    fn surplus(&mut self, most_bytes: u64) -> Option<WarmSlot> {
        if self.slots.len() <= MOST_SLOTS && self.bytes <= most_bytes {
            return None;
        }
        let slot = self.slots.pop_front()?;
        self.bytes -= slot.bytes;
        Some(slot)
    }
}

impl Store {
    fn most_warm_bytes(&self) -> u64 {
        MOST_BYTES.min(self.capacity() / 64)
    }

    /// A slot that is WRITING by this process and has a block for `stored` bytes: index and generation.
    pub(super) fn take_warm(&self, stored: u64) -> Option<(u32, u32)> {
        if fits_inline(stored) || stored > LARGEST {
            return None;
        }
        loop {
            let WarmSlot { index, generation, .. } = self.warm.lock().take(stored)?;
            let cached = cached(generation, self.me());
            let writing = State {
                phase: Phase::Writing,
                ..cached
            };
            // Else somebody who starved was first.
            if self.slot(index).advance(cached, writing) {
                fail_point!("warm.take.writing");
                return Some((index, generation));
            }
        }
    }

    /// Whether a slot that is FREEING by this process may keep its block.
    pub(super) fn stays_warm(&self, slot: &Slot) -> bool {
        slot.offset.load(Ordering::Relaxed) != 0 && slot.block_bytes() <= LARGEST.min(self.most_warm_bytes())
    }

    /// Puts a slot that is CACHED by this process, and has a block, into the list. What is too much then is cooled, oldest first.
    pub(super) fn give_warm(&self, index: u32, generation: u32) {
        let bytes = self.slot(index).block_bytes();
        let mut surplus = {
            let mut warm = self.warm.lock();
            warm.slots.push_back(WarmSlot {
                index,
                generation,
                bytes,
            });
            warm.bytes += bytes;
            warm.surplus(self.most_warm_bytes())
        };
        while let Some(WarmSlot { index, generation, .. }) = surplus {
            self.cool(index, cached(generation, self.me()));
            surplus = self.warm.lock().surplus(self.most_warm_bytes());
        }
        if hint(&self.participant(self.me()).warm) {
            self.header().space.ring();
        }
    }

    /// Gives the blocks of all warm slots back, this process's first. False if there was none.
    pub(super) fn cool_all(&self) -> bool {
        let mut cooled = false;
        let own = std::mem::take(&mut *self.warm.lock());
        for WarmSlot { index, generation, .. } in own.slots {
            cooled |= self.cool(index, cached(generation, self.me()));
        }
        let hints = (0..self.participants_used()).map(|who| &self.participant(ParticipantId(who)).warm);
        // Every word is cleared, before anything is looked at.
        if hints.fold(false, |hinted, warm| take_hint(warm) | hinted) {
            for index in 0..self.slots_used() {
                if let Some(seen) = self.warm_state(index) {
                    cooled |= self.cool(index, seen);
                }
            }
        }
        cooled
    }

    /// The state of a slot that is warm now.
    pub(super) fn warm_state(&self, index: u32) -> Option<State> {
        let slot = self.slot(index);
        let seen = slot.state().ok().filter(|seen| seen.phase == Phase::Cached)?;
        (slot.offset.load(Ordering::Relaxed) != 0).then_some(seen)
    }

    /// Takes a warm slot from whoever has it, gives its block back and keeps the slot. False if it is not in state `seen` any more.
    pub(super) fn cool(&self, index: u32, seen: State) -> bool {
        let slot = self.slot(index);
        let freeing = State {
            owner: self.me(),
            phase: Phase::Freeing,
            ..seen
        };
        if !slot.advance(seen, freeing) {
            return false;
        }
        fail_point!("warm.cool.freeing");
        self.release_memory(slot);
        self.recycle(index, seen.generation, self.me());
        true
    }
}

/// After a slot became warm: whether the space doorbell is to be rung.
fn hint(warm: &AtomicU32) -> bool {
    warm.swap(1, Ordering::AcqRel) == 0
}

/// Before looking for warm slots: whether there may be any.
fn take_hint(warm: &AtomicU32) -> bool {
    warm.swap(0, Ordering::AcqRel) != 0
}

/// The state of a spare slot.
fn cached(generation: u32, owner: ParticipantId) -> State {
    State {
        generation,
        owner,
        flags: 0,
        phase: Phase::Cached,
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Doorbell;
    use loom::sync::Arc;
    use loom::thread;

    struct Shared {
        slots: [Slot; 2],
        warm: AtomicU32,
        space: Doorbell,
    }

    /// Two slots become warm one after the other; a process that starves finds both, and does not sleep while one is there.
    #[test]
    fn loom_warm_slots_are_found_or_rung_for() {
        loom::model(|| {
            let shared = Arc::new(Shared {
                slots: [Slot::new(), Slot::new()],
                warm: AtomicU32::new(0),
                space: Doorbell::new(),
            });
            let owner = {
                let shared = shared.clone();
                thread::spawn(move || {
                    for slot in &shared.slots {
                        slot.assign(cached(1, ParticipantId(1)));
                        if hint(&shared.warm) {
                            shared.space.ring();
                        }
                    }
                })
            };
            let mut cooled = 0;
            while cooled < 2 {
                let ticket = shared.space.ticket();
                if take_hint(&shared.warm) {
                    for slot in &shared.slots {
                        let Ok(seen) = slot.state() else { continue };
                        let freeing = State {
                            phase: Phase::Freeing,
                            ..seen
                        };
                        if seen.phase == Phase::Cached && slot.advance(seen, freeing) {
                            cooled += 1;
                        }
                    }
                    continue;
                }
                shared.space.wait(ticket, None);
            }
            owner.join().unwrap();
        });
    }
}
