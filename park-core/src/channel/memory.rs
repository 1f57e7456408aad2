//! `Channel`: the memory of a channel as one process sees it, its sizes checked once and never read again.
#![allow(
    unsafe_code,
    reason = "makes references to atomics, and addresses of slots, out of the store's memory"
)]

use std::mem::offset_of;
use std::sync::Arc;

use super::cursors::{Cursors, MAX_READERS, RESERVED, Seat};
use super::{ChannelReader, ChannelWriter};
use crate::error::{Result, bail};
use crate::store::format::TENSOR_HEADER;
use crate::store::{ObjectRef, Store, never};
use crate::sync::Shared;
use crate::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u64 = u64::from_le_bytes(*b"PARKCHN1");
const SLOT_HEADER: u64 = 64;
/// More slots than this are not a ring but an object.
const MAX_SLOTS: u64 = 1 << 20;

/// How large a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSpec {
    /// Messages that fit at once.
    pub slots: u64,
    /// Bytes of the longest message; for a tensor, of its elements.
    pub slot_bytes: u64,
    /// Readers that are waited for from the first message on.
    pub readers: u64,
}

#[derive(Debug)]
#[repr(C)]
struct Header {
    magic: AtomicU64,
    slots: AtomicU64,
    slot_bytes: AtomicU64,
    readers: AtomicU64,
    cursors: Cursors,
}

// SAFETY: `repr(C)` over `Shared` fields.
unsafe impl Shared for Header {}

const HEADER_BYTES: u64 = size_of::<Header>() as u64;
#[cfg(not(loom))]
const _: () = assert!(HEADER_BYTES == 4352 && offset_of!(Header, cursors) == 64 && align_of::<Header>() == 64);

/// What stands before the bytes of a slot; published with them.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct SlotHeader {
    pub(super) len: AtomicU64,
    pub(super) meta: AtomicU64,
}

// SAFETY: `repr(C)` over atomics.
unsafe impl Shared for SlotHeader {}

impl ChannelSpec {
    fn check(self) -> Result<Self> {
        if self.slots == 0 || self.slots > MAX_SLOTS {
            bail!(
                InvalidArgument,
                "a channel has 1 to {MAX_SLOTS} slots, got {}",
                self.slots
            );
        }
        if self.readers > MAX_READERS as u64 {
            bail!(
                InvalidArgument,
                "a channel has at most {MAX_READERS} readers, got {}",
                self.readers
            );
        }
        if self.bytes().is_none() {
            bail!(
                InvalidArgument,
                "{} slots of {} bytes are too large",
                self.slots,
                self.slot_bytes
            );
        }
        Ok(self)
    }

    /// Bytes from one slot to the next.
    fn stride(self) -> Option<u64> {
        (SLOT_HEADER + TENSOR_HEADER)
            .checked_add(self.slot_bytes)?
            .checked_next_multiple_of(64)
    }

    /// Bytes of the whole channel.
    fn bytes(self) -> Option<u64> {
        self.stride()?.checked_mul(self.slots)?.checked_add(HEADER_BYTES)
    }
}

/// A channel, seen by one process. Cheap to clone; keeps the channel's object alive.
#[derive(Clone, Debug)]
pub struct Channel {
    reference: ObjectRef,
    header: *const u8,
    write: *mut u8,
    read: *const u8,
    spec: ChannelSpec,
    stride: u64,
}

// SAFETY: the addresses are of the store's mappings, which outlive `reference`; they are reached only as atomics (`cursors`,
// `slot_header`) or by whom the protocol allows (`write_address`, `read_address`).
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

impl Channel {
    /// Makes a channel in the store.
    pub fn create(store: &Arc<Store>, spec: ChannelSpec) -> Result<Self> {
        let spec = spec.check()?;
        let mut object = store.create_channel_object(spec.bytes().unwrap_or(u64::MAX), &mut never)?;
        // Memory of the arena is handed out as it was left. Slots are not read before a message was published in them.
        object.write(0, &[0; size_of::<Header>()])?;
        let mut set = |at: usize, value: u64| object.write(at as u64, &value.to_le_bytes());
        set(offset_of!(Header, magic), MAGIC)?;
        set(offset_of!(Header, slots), spec.slots)?;
        set(offset_of!(Header, slot_bytes), spec.slot_bytes)?;
        set(offset_of!(Header, readers), spec.readers)?;
        set(
            offset_of!(Header, cursors) + offset_of!(Cursors, seats_used),
            spec.readers,
        )?;
        let seats = offset_of!(Header, cursors) + offset_of!(Cursors, seats);
        for seat in (seats..)
            .step_by(size_of::<Seat>())
            .take(usize::try_from(spec.readers).unwrap_or(0))
        {
            set(seat + offset_of!(Seat, who), RESERVED)?;
        }
        Self::open(object.seal()?)
    }

    /// The channel that an object of this session is; `WrongFormat` if it is none.
    pub fn open(reference: ObjectRef) -> Result<Self> {
        let memory = reference.channel_bytes()?;
        if memory.len < HEADER_BYTES {
            bail!(Corrupt, "channel {} has only {} bytes", reference.id(), memory.len);
        }
        // SAFETY: at least `HEADER_BYTES` of the arena, aligned to 64 (checked by `channel_bytes`), mapped while `reference` lives;
        // atomics are valid for any bits and any concurrent access.
        let header = unsafe { &*memory.write.cast::<Header>() };
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let spec = ChannelSpec {
            slots: word(&header.slots),
            slot_bytes: word(&header.slot_bytes),
            readers: word(&header.readers),
        };
        let fits = spec.check().is_ok() && spec.bytes() == Some(memory.len);
        let (Some(stride), true, MAGIC) = (spec.stride(), fits, word(&header.magic)) else {
            bail!(
                Corrupt,
                "channel {} of {} bytes says it is {spec:?}",
                reference.id(),
                memory.len
            );
        };
        let first = usize::try_from(HEADER_BYTES).unwrap_or(0);
        Ok(Self {
            reference,
            header: memory.write,
            write: memory.write.wrapping_add(first),
            read: memory.read.wrapping_add(first),
            spec,
            stride,
        })
    }

    /// Claims the writer's end. `AlreadyExists` while another writer lives; after one was killed, whoever claims goes on behind the
    /// last message that it published.
    pub fn writer(&self) -> Result<ChannelWriter> {
        ChannelWriter::claim(self.clone())
    }

    /// Takes a seat among the readers. `TableFull` if all are taken.
    pub fn reader(&self) -> Result<ChannelReader> {
        ChannelReader::join(self.clone())
    }

    /// The reference that keeps the channel, to pass on.
    pub fn reference(&self) -> &ObjectRef {
        &self.reference
    }

    /// How large it is.
    pub fn spec(&self) -> ChannelSpec {
        self.spec
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        self.reference.store()
    }

    pub(super) fn cursors(&self) -> &Cursors {
        // SAFETY: as in `open`, which checked the same address; `reference` is still here.
        unsafe { &(*self.header.cast::<Header>()).cursors }
    }

    /// Offset of message `position` behind the first slot.
    fn offset(&self, position: u64) -> usize {
        // Below the size of the object, which is mapped.
        usize::try_from(position % self.spec.slots * self.stride).unwrap_or(0)
    }

    pub(super) fn slot_header(&self, position: u64) -> &SlotHeader {
        // SAFETY: inside the object (`open` compared its length with the slots), 64-byte aligned like all slots, mapped while
        // `reference` lives; atomics are valid for any bits and any concurrent access.
        unsafe { &*self.write.wrapping_add(self.offset(position)).cast::<SlotHeader>() }
    }

    /// Where message `position` is written: `slot_bytes` and a tensor header's room.
    pub(super) fn write_address(&self, position: u64) -> *mut u8 {
        self.write.wrapping_add(self.offset(position) + size_of::<SlotHeader>())
    }

    /// Where message `position` is read; a write there faults.
    pub(super) fn read_address(&self, position: u64) -> *const u8 {
        self.read.wrapping_add(self.offset(position) + size_of::<SlotHeader>())
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn header_words(&self) -> &[AtomicU64] {
        // SAFETY: as in `open`.
        unsafe { std::slice::from_raw_parts(self.header.cast(), size_of::<Header>() / 8) }
    }
}
