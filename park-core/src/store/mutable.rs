//! An object that is being written: lent memory with exactly one writer, until `seal` or `abort`.
#![allow(unsafe_code, reason = "copies bytes into memory that only this writer may touch")]

use std::sync::Arc;

use super::copy::copy;
use super::format::KEPT;
use super::handle::Spec;
use super::journal::Second;
use super::refs::{fits_inline, stored_len};
use super::slot::{PROMISED, Phase, State};
use super::{ObjectRef, Store};
use crate::error::{Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::shm::Allocation;
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

/// See the module's documentation. Dropping it without sealing aborts.
#[derive(Debug)]
#[must_use]
pub struct MutableObject {
    store: Arc<Store>,
    index: u32,
    generation: u32,
    address: *mut u8,
    len: u64,
    done: bool,
}

// SAFETY: the address is lent to this value alone until it is sealed or aborted, whichever thread does that.
unsafe impl Send for MutableObject {}

impl MutableObject {
    /// Lends memory for a slot that is WRITING by this process. The nested references are held from here on.
    pub(super) fn lend(store: &Arc<Store>, index: u32, generation: u32, spec: Spec<'_>) -> Result<Self> {
        let slot = store.slot(index);
        let count = u32::try_from(spec.nested.len()).unwrap_or(u32::MAX);
        let stored = stored_len(spec.len, count);
        slot.nested.store(0, Ordering::Relaxed);
        slot.len.store(spec.len, Ordering::Relaxed);
        fail_point!("object.create.described");
        // From what was allocated, not from what the slot says a moment later: others can write there.
        let address = if fits_inline(stored) {
            slot.inline.as_ptr().cast_mut().cast()
        } else {
            let lent = match slot.offset.load(Ordering::Relaxed) {
                0 => store.place(slot, stored)?,
                // A warm slot has its block already.
                offset => Allocation {
                    offset,
                    len: slot.block_bytes(),
                },
            };
            if lent.len < stored {
                bail!(
                    Corrupt,
                    "object slot {index} has a block of {} bytes, {stored} were to fit",
                    lent.len
                );
            }
            store.arena.write_address(lent.offset, stored)?
        };
        let mut object = Self {
            store: store.clone(),
            index,
            generation,
            address,
            len: stored,
            done: false,
        };
        slot.meta.store(
            u32::from(spec.format as u8) | u32::from(spec.view as u8) << 8,
            Ordering::Relaxed,
        );
        slot.born.store(store.age(), Ordering::Relaxed);
        fail_point!("object.create.formatted");
        let start = spec.len.next_multiple_of(8);
        for (id, at) in spec.nested.iter().zip((start..).step_by(ObjectId::SIZE)) {
            object.nest(*id, at)?;
        }
        object.len = spec.len;
        Ok(object)
    }

    /// Stores a reference behind the payload. `nested` always says how many are there, whoever has to give them back.
    fn nest(&mut self, id: ObjectId, at: u64) -> Result<()> {
        // Vouched for by a reference of this process meanwhile, so that the object cannot go between the look and the count.
        self.store.hold(id)?;
        let written = self.write(at, &id.to_bytes());
        if written.is_ok() {
            fail_point!("object.create.named");
            self.store.change(id.index, 1, Second::Nested(self.index));
            fail_point!("object.create.nested");
        }
        self.store.drop_hold(id);
        written
    }

    /// Payload bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The id the object will have.
    pub fn id(&self) -> ObjectId {
        ObjectId {
            session: self.store.session(),
            index: self.index,
            generation: self.generation,
        }
    }

    /// Copies `bytes` to `offset` of the payload.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: a slice is readable for its length.
        unsafe { self.write_from(offset, bytes.as_ptr(), bytes.len()) }
    }

    /// Copies `len` bytes from `source`, which other threads may be writing to: what arrives then is some mixture, as with any copy
    /// of memory in use.
    ///
    /// # Safety
    /// `source` is readable for `len` bytes.
    pub unsafe fn write_from(&mut self, offset: u64, source: *const u8, len: usize) -> Result<()> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len) {
            bail!(
                InvalidArgument,
                "writing {len} bytes at offset {offset} of an object of {} bytes",
                self.len
            );
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        // SAFETY: the range lies inside the lent payload (checked above), which nobody reads before it is sealed; the source is
        // readable (the caller's promise) and cannot overlap memory that is lent to this writer alone.
        unsafe { copy(source, self.address.wrapping_add(offset), len) };
        self.store.count_copied(len as u64);
        Ok(())
    }

    /// Address of the payload, `len()` bytes, 64-byte aligned. Valid until this value is sealed, aborted or dropped.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.address
    }

    /// The object will never be moved to disk: whoever reads it must not wait for that.
    pub(crate) fn keep_in_memory(&mut self) {
        self.store.slot(self.index).meta.fetch_or(KEPT, Ordering::Relaxed);
    }

    /// Makes the object immutable and visible, and wakes everyone who waits for it.
    pub fn seal(mut self) -> Result<ObjectRef> {
        let slot = self.store.slot(self.index);
        fail_point!("object.seal.written");
        let watched = slot.seal(self.generation, self.store.me())?;
        self.done = true;
        fail_point!("object.seal.sealed");
        if watched {
            self.store.ring_watchers(slot.take_watchers());
        }
        Ok(ObjectRef::owned(&self.store, self.index, self.generation))
    }

    /// Gives the memory back; the object never existed. A promised object stays promised.
    pub fn abort(self) {
        drop(self);
    }
}

impl Drop for MutableObject {
    fn drop(&mut self) {
        if !self.done && !self.store.is_forked() {
            self.store.discard(self.index, self.generation);
        }
    }
}

impl Store {
    /// WRITING by this process -> gone, or back to PENDING if it was promised. Gives the writer's reference back.
    pub(super) fn discard(self: &Arc<Self>, index: u32, generation: u32) {
        self.unwrite(index, self.me());
        // For an object that was never promised this is the last reference, and FREE already: only the ledger needs telling.
        self.drop_reference(index, generation);
        let slot = self.slot(index);
        if slot
            .state()
            .is_ok_and(|s| s.phase == Phase::Freeing && s.generation == generation && s.owner == self.me())
        {
            self.recycle(index, generation, self.me());
        }
    }

    /// Takes a slot out of WRITING by `writer` (this process, or a dead one) and frees what was lent.
    pub(super) fn unwrite(self: &Arc<Self>, index: u32, writer: ParticipantId) {
        let slot = self.slot(index);
        let Ok(seen) = slot.state() else { return };
        if seen.phase != Phase::Writing || seen.owner != writer {
            return;
        }
        let mut stack = Vec::new();
        self.release_nested(index, &mut stack);
        fail_point!("object.abort.unnested");
        self.release_memory(slot);
        for (index, generation) in stack {
            self.reclaim(index, generation, self.me());
        }
        loop {
            let Ok(seen) = slot.state() else { return };
            let back = if seen.flags & PROMISED != 0 {
                State {
                    // Still the writer's to keep, and raised by its death; a dead writer's becomes the head's.
                    owner: if writer == self.me() {
                        writer
                    } else {
                        ParticipantId::HEAD
                    },
                    phase: Phase::Pending,
                    ..seen
                }
            } else {
                State {
                    owner: self.me(),
                    phase: Phase::Freeing,
                    ..seen
                }
            };
            if slot.advance(seen, back) {
                fail_point!("object.abort.left");
                return;
            }
        }
    }

    pub(super) fn ring_watchers(&self, watchers: u64) {
        fail_point!("object.seal.watchers");
        for index in 0..self.participants_used() {
            if watchers & 1 << (index % 64) != 0 {
                self.participant(ParticipantId(index)).doorbell.ring();
            }
        }
    }
}
