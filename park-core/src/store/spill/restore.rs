//! Every process's side of spilling: wanting an object back and waiting for it; and the steps on a slot that the spiller takes.
//!
//! A reader that finds its object on disk sets WANTED and WATCHED in the state word, enters the slot on the board and rings the
//! spiller; then it sleeps on its own doorbell, as for an object that is not made yet. It renews the wish whenever it wakes.

#![allow(
    unsafe_code,
    reason = "writes the text of an error into a slot that nobody else may touch"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::shm::Allocation;
use crate::shm::board::OFF;
use crate::store::format::{Format, KEPT, encode_error};
use crate::store::slot::{BLOCK_UNIT, INLINE_BYTES, PROMISED, Phase, REMADE, Slot, State, WANTED, WATCHED, Want};
use crate::store::wait::TICK;
use crate::store::{Interrupt, ObjectRef, Store};
use crate::sync::Turn;
use crate::sync::atomic::Ordering;
use crate::sys::clock;
use crate::sys::failpoint::fail_point;

impl Store {
    /// Whether an object of this id is an error.
    pub fn has_failed(&self, id: ObjectId) -> bool {
        self.contains(id) && self.slot(id.index).meta.load(Ordering::Relaxed).to_le_bytes()[0] == Format::Error as u8
    }
}

impl ObjectRef {
    /// Whether the object can be read at once: it is sealed, and in memory.
    pub fn is_resident(&self) -> bool {
        let id = self.id();
        self.store().slot(id.index).is_resident(id.generation)
    }

    /// Whether the object is sealed and an error: known without its bytes.
    pub fn is_error(&self) -> bool {
        let id = self.id();
        let slot = self.store().slot(id.index);
        let meta = slot.meta.load(Ordering::Relaxed).to_le_bytes();
        slot.is_sealed(id.generation) && meta[0] == Format::Error as u8
    }

    /// Waits until a sealed object is in memory. It may be on disk again when this returns, if nobody looks at it. False if it was
    /// lost on disk and is being made again: then it is to be waited for like any that is not made yet.
    pub fn restore(&self, timeout: Option<Duration>, interrupt: Interrupt<'_>) -> Result<bool> {
        let (store, id) = (self.store(), self.id());
        let slot = store.slot(id.index);
        let bell = &store.participant(store.me()).doorbell;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut patience = store.patience();
        loop {
            let ticket = bell.ticket();
            match slot.want(id.generation, store.me())? {
                Want::Here => return Ok(true),
                Want::Open => return Ok(false),
                Want::Moving => patience = store.patience(),
                Want::Asked => {
                    store.board().wish(id.index);
                    store.ask_spiller();
                }
                Want::Gone => bail!(NotFound, "object {id} is not sealed"),
            }
            if left() == Some(Duration::ZERO) {
                bail!(
                    Timeout,
                    "object {id} was not read back from disk within {:?}",
                    timeout.unwrap_or_default()
                );
            }
            let patient = patience.left(store);
            if patient.is_zero() {
                let cause = "the object is on disk, and nothing leaves memory to make room for it";
                return Err(store.full_error(slot.len.load(Ordering::Relaxed), cause));
            }
            bell.wait(ticket, Some(left().map_or(TICK, |left| left.min(TICK))));
            interrupt()?;
            store.check_head()?;
        }
    }
}

/// A gatherer that was stopped holds the others up for so long.
const GATHER_MS: u64 = 30_000;

impl Store {
    /// The right to bring several objects back and keep them, one process after another: two that each hold half of what they
    /// need, and wait for room for the other half, would wait for ever. `None` if all are in memory. Ends when dropped.
    pub fn gather(&self, objects: &[&ObjectRef], interrupt: Interrupt<'_>) -> Result<Option<Turn<'_>>> {
        if objects.len() < 2 || objects.iter().all(|object| object.is_resident()) {
            return Ok(None);
        }
        let (line, space) = (&self.header().gatherers, &self.header().space);
        let until = || clock::now_ms().saturating_add(GATHER_MS);
        let Some(turn) = line.join(self.me(), 0, until(), space) else {
            // As many as there are CPUs gather at most; should all places be taken, going on at once risks no more than an error.
            return Ok(None);
        };
        loop {
            let ticket = space.ticket();
            turn.stay(until());
            if turn.is_first(clock::now_ms(), self.is_dead()) {
                return Ok(Some(turn));
            }
            interrupt()?;
            self.check_head()?;
            space.wait(ticket, Some(TICK));
        }
    }

    /// Whether a sealed object's bytes could live elsewhere.
    pub(super) fn may_be_spilled(&self, slot: &Slot) -> bool {
        let meta = slot.meta.load(Ordering::Relaxed);
        let format = Format::from_number(meta.to_le_bytes()[0]);
        slot.offset.load(Ordering::Relaxed) != 0
            && slot.nested.load(Ordering::Relaxed) == 0
            && meta & KEPT == 0
            && matches!(
                format,
                Ok(Format::Raw | Format::Pickle5 | Format::Tensor | Format::Arrow)
            )
    }

    /// Whether an object is sealed, and could be on disk now or later.
    pub(crate) fn may_go_to_disk(&self, id: ObjectId) -> bool {
        let Ok(slot) = self.checked_slot(id) else { return false };
        slot.is_sealed(id.generation) && (!slot.is_resident(id.generation) || self.may_be_spilled(slot))
    }

    pub(super) fn id_of(&self, index: u32, generation: u32) -> ObjectId {
        ObjectId {
            session: self.session(),
            index,
            generation,
        }
    }

    /// Whether one block of so many bytes could be lent now.
    pub(super) fn has_room(&self, len: u64) -> bool {
        self.allocator(self.me()).has_room(len).unwrap_or(false)
    }

    /// Lends a block to a slot.
    pub(in crate::store) fn place(&self, slot: &Slot, len: u64) -> Result<Allocation> {
        self.allocator(self.me()).allocate(len, |got| {
            // `offset` last: it is what makes the block this slot's.
            let units = u32::try_from(got.len / BLOCK_UNIT).unwrap_or(u32::MAX);
            slot.block.store(units, Ordering::Relaxed);
            fail_point!("object.create.sized");
            slot.offset.store(got.offset, Ordering::Relaxed);
            fail_point!("object.create.placed");
        })
    }

    /// EVICTING or RESTORING -> SEALED, without these flags; whoever waits is rung.
    pub(super) fn come_back(&self, id: ObjectId, from: Phase, flags: u8) {
        let slot = self.slot(id.index);
        if let Some(had) = slot.shift(id.generation, from, Phase::Sealed, flags)
            && had & WATCHED != 0
        {
            self.ring_watchers(slot.take_watchers());
        }
    }

    /// RESTORING -> SEALED, as an error that everyone reads. Gives the hold back.
    pub(crate) fn give_up_lost(self: &Arc<Self>, id: ObjectId, error: &Error) {
        let slot = self.slot(id.index);
        let inline = slot.inline.as_ptr().cast_mut().cast();
        let mut bytes = encode_error(error);
        let placed = if bytes.len() <= INLINE_BYTES {
            Ok(inline)
        } else {
            let placed = self.place(slot, bytes.len() as u64);
            placed.and_then(|lent| self.arena.write_address(lent.offset, bytes.len() as u64))
        };
        let address = placed.unwrap_or_else(|_| {
            // No room even for the text: the kind fits into the slot itself.
            bytes = encode_error(&Error::new(ErrorKind::ObjectLost, ""));
            inline
        });
        slot.meta.store(u32::from(Format::Error as u8), Ordering::Relaxed);
        slot.len.store(bytes.len() as u64, Ordering::Relaxed);
        // SAFETY: as long as the block that was just lent, or short enough for the slot itself; nobody else touches either while the
        // slot is RESTORING.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address, bytes.len()) };
        self.come_back(id, Phase::Restoring, WATCHED | WANTED);
        self.drop_hold(id);
    }

    /// Says that an object was freed which may have been on disk.
    pub(in crate::store) fn tell_spiller_freed(&self) {
        self.board().count_freed();
        self.board().bell.ring();
    }

    /// RESTORING -> PENDING: the object will be made again, by whoever the head asks to. The hold stays the caller's.
    pub(crate) fn reopen_lost(&self, id: ObjectId) {
        let slot = self.slot(id.index);
        slot.len.store(0, Ordering::Relaxed);
        slot.meta.store(0, Ordering::Relaxed);
        while let Ok(seen) = slot.state() {
            let reopened = State {
                owner: ParticipantId::HEAD,
                flags: seen.flags & WATCHED | PROMISED | REMADE,
                phase: Phase::Pending,
                ..seen
            };
            let ours = seen.generation == id.generation && seen.phase == Phase::Restoring;
            if !ours || slot.advance(seen, reopened) {
                return;
            }
        }
    }

    /// Whether objects of this session may be on disk.
    pub fn may_spill(&self) -> bool {
        self.board().mode.load(Ordering::Relaxed) != OFF
    }
}
