//! References: taking them, giving them back, and what happens when the last one goes.
//!
//! Each reference is one of a process (its ledger says so), or one inside another object (that object's `nested` says so), or one
//! that a record in a ring owns. `journal` keeps the two sides of each change together.

use std::sync::Arc;

use super::Store;
use super::format::Format;
use super::journal::{Second, references};
use super::slot::{INLINE_BYTES, PROMISED, Phase, Slot, State};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, ParticipantId};
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

/// One pin in a ledger word.
const PIN: u64 = 1 << 32;

impl Store {
    /// How many references a participant holds, and how many of its pins there are.
    pub(super) fn held_by(&self, participant: ParticipantId, index: u32) -> (u32, u32) {
        let word = self.ledger(participant, index).load(Ordering::Relaxed);
        (references(word), u32::try_from(word >> 32).unwrap_or(u32::MAX))
    }

    /// The first references of this process on a slot that it has CACHED or is about to write.
    pub(super) fn start_references(&self, index: u32, count: u32) {
        self.count(index).start(count, &|who| self.journal(who));
        self.slot(index).watch.store(0, Ordering::Relaxed);
        fail_point!("reference.start.counted");
        self.ledger(self.me(), index).fetch_add(count.into(), Ordering::Relaxed);
        fail_point!("reference.start.entered");
    }

    /// One more reference of this process, beside one it can vouch for.
    pub(super) fn add_reference(&self, index: u32) {
        // Refused only where the count was scribbled over; then giving it back is refused too.
        let _ = self.change(index, 1, Second::Ledger);
    }

    /// Gives one of this process's references back.
    pub(super) fn drop_reference(self: &Arc<Self>, index: u32, generation: u32) {
        if self.change(index, -1, Second::Ledger) == Some(0) {
            fail_point!("reference.drop.last");
            self.reclaim(index, Some(generation), self.me());
        }
    }

    /// Takes a reference of this process by id: only if something else keeps the object alive right now.
    pub(super) fn try_reference(self: &Arc<Self>, id: ObjectId) -> bool {
        let Ok(slot) = self.checked_slot(id) else { return false };
        let current = || {
            slot.state().is_ok_and(|s| {
                // What is written and was never promised is its writer's alone: the reaper frees it without asking who refers to it.
                let open = s.phase == Phase::Writing && s.flags & PROMISED != 0;
                let exists = open || s.phase == Phase::Pending || slot.is_sealed(id.generation);
                s.generation == id.generation && exists
            })
        };
        if !current() || self.change(id.index, 1, Second::Ledger).is_none() {
            return false;
        }
        if !current() {
            // The slot was reused in between: what we took is a reference on its new object.
            let generation = slot.state().map_or(0, |s| s.generation);
            self.drop_reference(id.index, generation);
            return false;
        }
        true
    }

    /// A reference of this process that no `ObjectRef` stands for: it is given away with a message, or given back by `drop_hold`.
    /// Fails if the object is gone.
    pub fn hold(self: &Arc<Self>, id: ObjectId) -> Result<()> {
        if self.try_reference(id) {
            return Ok(());
        }
        self.checked_slot(id)?;
        Err(Error::new(
            ErrorKind::NotFound,
            format!("object {id} does not exist any more: nothing refers to it"),
        ))
    }

    /// Gives a hold back.
    pub fn drop_hold(self: &Arc<Self>, id: ObjectId) {
        if self.checked_slot(id).is_ok() {
            self.drop_reference(id.index, id.generation);
        }
    }

    /// Frees a slot whose count reached zero. Nested references may free more: an explicit stack, since chains can be long.
    pub(super) fn reclaim(self: &Arc<Self>, index: u32, generation: Option<u32>, me: ParticipantId) {
        // Most objects hold no references, and an empty stack costs no allocation.
        let (mut next, mut stack) = (Some((index, generation)), Vec::new());
        while let Some((index, generation)) = next.take().or_else(|| stack.pop()) {
            let slot = self.slot(index);
            while let Ok(seen) = slot.state() {
                if generation.is_some_and(|g| g != seen.generation)
                    || !matches!(seen.phase, Phase::Sealed | Phase::Pending | Phase::Spilled)
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
                    fail_point!("object.free.begun");
                    if seen.phase == Phase::Spilled {
                        self.tell_spiller_freed();
                    }
                    if self.is_read_only() {
                        self.tell_head(index, freeing.generation);
                    } else {
                        self.empty(index, freeing, &mut stack);
                        self.recycle(index, freeing.generation, me);
                    }
                    break;
                }
            }
        }
    }

    /// FREEING: gives back nested references, then memory, unless the slot stays warm. Also finishes what a dead process began.
    pub(super) fn empty(self: &Arc<Self>, index: u32, freeing: State, stack: &mut Vec<(u32, Option<u32>)>) {
        let slot = self.slot(index);
        self.release_nested(index, stack);
        if u8::try_from(slot.meta.load(Ordering::Relaxed) & 0xff) == Ok(Format::Actor as u8)
            && let Some(freed) = self.actor_freed.get()
        {
            freed(ObjectId {
                session: self.session(),
                index,
                generation: freeing.generation,
            });
        }
        if !self.stays_warm(slot) {
            self.release_memory(slot);
        }
    }

    /// Gives back the references inside an object, the last one first: `nested` always says how many are left.
    pub(super) fn release_nested(self: &Arc<Self>, index: u32, stack: &mut Vec<(u32, Option<u32>)>) {
        let slot = self.slot(index);
        for id in self.nested_ids(slot).into_iter().rev() {
            let gone = self.checked_slot(id).is_err();
            let counted = if gone {
                // Shared memory was scribbled over: there is no such object to give back to.
                None
            } else {
                self.change(id.index, -1, Second::Nested(index))
            };
            match counted {
                Some(0) => stack.push((id.index, Some(id.generation))),
                Some(_) => {}
                None => {
                    slot.nested.fetch_sub(1, Ordering::Relaxed);
                }
            }
            fail_point!("object.free.unnested");
        }
    }

    /// Gives a slot's arena bytes back, if it has any.
    pub(super) fn release_memory(&self, slot: &Slot) {
        if slot.offset.load(Ordering::Relaxed) != 0 {
            let taken = self.allocator(self.me()).release(|| {
                let offset = slot.offset.swap(0, Ordering::Relaxed);
                fail_point!("object.free.taken");
                slot.block.store(0, Ordering::Relaxed);
                (offset != 0).then_some(offset)
            });
            fail_point!("object.free.released");
            // Fails only where block headers were scribbled over: those bytes are lost to the session, which goes on.
            if taken.is_ok_and(|watched| watched) {
                self.wake_trimmer();
            }
            self.header().space.ring();
        }
    }

    /// The slot's next life begins: CACHED, generation + 1.
    pub(super) fn recycle(&self, index: u32, generation: u32, me: ParticipantId) {
        let slot = self.slot(index);
        slot.meta.store(0, Ordering::Relaxed);
        slot.nested.store(0, Ordering::Relaxed);
        slot.len.store(0, Ordering::Relaxed);
        // Matches no attempt of any generation: zero would be the first attempt of generation 0, which a stale record may still name.
        slot.claim.store(u64::MAX, Ordering::Relaxed);
        fail_point!("object.free.cleared");
        slot.assign(State {
            generation: generation.wrapping_add(1),
            owner: me,
            flags: 0,
            phase: Phase::Cached,
        });
        fail_point!("object.free.recycled");
        if slot.offset.load(Ordering::Relaxed) == 0 {
            self.give_slot(index);
        } else {
            self.give_warm(index, generation.wrapping_add(1));
        }
    }

    /// The references stored after the payload: `nested` says how many there are by now.
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

    // --- pins -----------------------------------------------------------------------------------------------------------------

    /// This process is looking at the object's bytes: they stay where they are. SeqCst, because whoever wants to move them first says
    /// so in the slot's state and then looks for pins, while a reader pins first and then looks at the state: one sees the other.
    pub(super) fn pin(&self, index: u32) {
        self.ledger(self.me(), index).fetch_add(PIN, Ordering::SeqCst);
        fail_point!("object.pin.pinned");
    }

    /// The look is over.
    pub(super) fn unpin(&self, index: u32) {
        self.ledger(self.me(), index).fetch_sub(PIN, Ordering::Release);
        fail_point!("object.pin.unpinned");
    }

    /// Whether any process looks at the object's bytes.
    pub(super) fn is_pinned(&self, index: u32) -> bool {
        (0..self.participants_used()).any(|who| self.ledger(ParticipantId(who), index).load(Ordering::SeqCst) >= PIN)
    }

    // --- ledgers --------------------------------------------------------------------------------------------------------------

    /// What this process's ledger holds in total; for tests and audits.
    pub fn references_held(&self) -> u64 {
        (0..self.slots_used())
            .map(|index| u64::from(references(self.ledger(self.me(), index).load(Ordering::Relaxed))))
            .sum()
    }

    /// Gives back everything a dead participant's ledger says.
    pub(super) fn settle_ledger(self: &Arc<Self>, dead: ParticipantId) {
        for index in 0..self.slots_used() {
            let word = self.ledger(dead, index);
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let held = references(word.swap(0, Ordering::Relaxed));
            let count = self.count(index);
            let lanes = |who| self.journal(who);
            if held > 0 && count.change(-i64::from(held), super::count::Stamp::NOBODY, &lanes) == Some(0) {
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
