//! Reference counts, their ledgers, and what happens when the last one goes.

use std::sync::Arc;

use super::Store;
use super::format::Format;
use super::slot::{EMPTIED, INLINE_BYTES, PROMISED, Phase, Slot, State};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, ParticipantId};
use crate::shm::Layout;
use crate::sync::atomic::{AtomicU32, Ordering};

impl Store {
    fn ledger(&self, participant: ParticipantId, index: u32) -> &AtomicU32 {
        let layout: &Layout = &self.layout;
        layout.ledger(&self.control, participant.index(), index)
    }

    /// The first reference on a slot that this process has CACHED or is about to write.
    pub(super) fn start_reference(&self, index: u32) {
        let slot = self.slot(index);
        slot.refs.store(1, Ordering::Relaxed);
        slot.watch.store(0, Ordering::Relaxed);
        self.ledger(self.me(), index).fetch_add(1, Ordering::Relaxed);
    }

    /// One more reference of this process, beside one it can vouch for.
    pub(super) fn add_reference(&self, index: u32) {
        self.slot(index).refs.fetch_add(1, Ordering::Relaxed);
        self.ledger(self.me(), index).fetch_add(1, Ordering::Relaxed);
    }

    /// Gives one of this process's references back.
    pub(super) fn drop_reference(self: &Arc<Self>, index: u32, generation: u32) {
        self.ledger(self.me(), index).fetch_sub(1, Ordering::Relaxed);
        self.drop_hold(ObjectId {
            session: self.session(),
            index,
            generation,
        });
    }

    /// A reference by id: only if something else keeps the object alive right now.
    pub(super) fn try_reference(self: &Arc<Self>, id: ObjectId) -> bool {
        if !self.try_hold(id) {
            return false;
        }
        self.ledger(self.me(), id.index).fetch_add(1, Ordering::Relaxed);
        true
    }

    fn try_hold(self: &Arc<Self>, id: ObjectId) -> bool {
        let Ok(slot) = self.checked_slot(id) else { return false };
        let current = || {
            slot.state().is_ok_and(|s| {
                s.generation == id.generation && matches!(s.phase, Phase::Pending | Phase::Writing | Phase::Sealed)
            })
        };
        if !current() {
            return false;
        }
        let taken = slot.refs.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |refs| {
            if refs == 0 { None } else { refs.checked_add(1) }
        });
        if taken.is_err() {
            return false;
        }
        if !current() {
            // The slot was reused in between: what we took is a reference on its new object.
            let generation = slot.state().map_or(0, |s| s.generation);
            self.drop_hold(ObjectId { generation, ..id });
            return false;
        }
        true
    }

    /// A reference that no process's ledger counts: it belongs to a message or to another object. Fails if the object is gone.
    pub fn hold(self: &Arc<Self>, id: ObjectId) -> Result<()> {
        if self.try_hold(id) {
            return Ok(());
        }
        self.checked_slot(id)?;
        Err(Error::new(
            ErrorKind::NotFound,
            format!("object {id} does not exist any more"),
        ))
    }

    /// Gives a hold back.
    pub fn drop_hold(self: &Arc<Self>, id: ObjectId) {
        let Ok(slot) = self.checked_slot(id) else { return };
        if slot.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.reclaim(id.index, Some(id.generation), self.me());
        }
    }

    /// Frees a slot whose count reached zero. Nested references may free more: an explicit stack, since chains can be long.
    pub(super) fn reclaim(self: &Arc<Self>, index: u32, generation: Option<u32>, me: ParticipantId) {
        let mut stack = vec![(index, generation)];
        while let Some((index, generation)) = stack.pop() {
            let slot = self.slot(index);
            while let Ok(seen) = slot.state() {
                if generation.is_some_and(|g| g != seen.generation)
                    || !matches!(seen.phase, Phase::Sealed | Phase::Pending)
                {
                    break;
                }
                let freeing = State {
                    owner: self.freer(me),
                    flags: seen.flags & PROMISED,
                    phase: Phase::Freeing,
                    ..seen
                };
                if slot.advance(seen, freeing) {
                    if self.is_read_only() {
                        self.tell_head(index, freeing.generation);
                    } else {
                        self.empty(slot, freeing, &mut stack);
                        self.recycle(index, freeing.generation, me);
                    }
                    break;
                }
            }
        }
    }

    /// FREEING: gives back nested references, then memory. Also finishes what a dead process began.
    pub(super) fn empty(self: &Arc<Self>, slot: &Slot, freeing: State, stack: &mut Vec<(u32, Option<u32>)>) {
        if freeing.flags & EMPTIED == 0 {
            let nested = self.nested_ids(slot);
            slot.assign(State {
                flags: freeing.flags | EMPTIED,
                ..freeing
            });
            for id in nested {
                let Ok(inner) = self.checked_slot(id) else { continue };
                if inner.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
                    stack.push((id.index, Some(id.generation)));
                }
            }
        }
        if u8::try_from(slot.meta.load(Ordering::Relaxed) & 0xff) == Ok(Format::Actor as u8)
            && let Some(freed) = self.actor_freed.get()
        {
            let index = self.index_of(slot);
            freed(ObjectId {
                session: self.session(),
                index,
                generation: freeing.generation,
            });
        }
        self.release_memory(slot);
    }

    /// Gives a slot's arena bytes back, if it has any.
    pub(super) fn release_memory(&self, slot: &Slot) {
        if slot.offset.load(Ordering::Relaxed) != 0 {
            let taken = self
                .allocator(self.me())
                .release(|| Some(slot.offset.swap(0, Ordering::Relaxed)).filter(|offset| *offset != 0));
            // Fails only where block headers were scribbled over: those bytes are lost to the session, which goes on.
            let _ = taken;
            self.header().space.ring();
        }
    }

    /// The slot's next life begins: CACHED, generation + 1.
    pub(super) fn recycle(&self, index: u32, generation: u32, me: ParticipantId) {
        let slot = self.slot(index);
        slot.meta.store(0, Ordering::Relaxed);
        slot.nested.store(0, Ordering::Relaxed);
        // Matches no attempt of any generation: zero would be the first attempt of generation 0, which a stale record may still name.
        slot.claim.store(u64::MAX, Ordering::Relaxed);
        slot.assign(State {
            generation: generation.wrapping_add(1),
            owner: me,
            flags: 0,
            phase: Phase::Cached,
        });
        self.give_slot(index);
    }

    fn index_of(&self, slot: &Slot) -> u32 {
        let distance = std::ptr::from_ref(slot).addr() - std::ptr::from_ref(self.slot(0)).addr();
        u32::try_from(distance / size_of::<Slot>()).unwrap_or(0)
    }

    /// Bytes the slot's payload and nested references take in memory.
    pub(super) fn stored_len(&self, slot: &Slot) -> u64 {
        stored_len(slot.len.load(Ordering::Relaxed), slot.nested.load(Ordering::Relaxed))
    }

    /// The references stored after the payload.
    pub(super) fn nested_ids(&self, slot: &Slot) -> Vec<ObjectId> {
        let count = slot.nested.load(Ordering::Relaxed);
        if count == 0 {
            return Vec::new();
        }
        let start = padded(slot.len.load(Ordering::Relaxed));
        self.payload(slot, start, u64::from(count) * ObjectId::SIZE as u64)
            .map(|bytes| {
                bytes
                    .as_chunks::<{ ObjectId::SIZE }>()
                    .0
                    .iter()
                    .map(|id| ObjectId::from_bytes(*id))
                    .collect()
            })
            .unwrap_or_default()
    }

    /// What this process's ledger holds in total; for tests and audits.
    pub fn references_held(&self) -> u64 {
        (0..self.slots_used())
            .map(|index| u64::from(self.ledger(self.me(), index).load(Ordering::Relaxed)))
            .sum()
    }

    /// Gives back everything a dead participant's ledger says.
    pub(super) fn settle_ledger(self: &Arc<Self>, dead: ParticipantId) {
        for index in 0..self.slots_used() {
            let held = self.ledger(dead, index).swap(0, Ordering::Relaxed);
            if held > 0 && self.slot(index).refs.fetch_sub(held, Ordering::AcqRel) == held {
                self.reclaim(index, None, self.me());
            }
        }
    }
}

/// Payload, padding to 8 bytes if references follow, and the references.
pub(super) fn stored_len(len: u64, nested: u32) -> u64 {
    if nested == 0 {
        len
    } else {
        padded(len).saturating_add(u64::from(nested) * ObjectId::SIZE as u64)
    }
}

/// Where references begin behind `len` bytes. Saturates: a length in shared memory may be anything.
fn padded(len: u64) -> u64 {
    len.checked_next_multiple_of(8).unwrap_or(u64::MAX)
}

/// Whether so many bytes live in the slot itself.
pub(super) fn fits_inline(stored: u64) -> bool {
    stored <= INLINE_BYTES as u64
}
