//! The object behind a channel: memory that is sealed as an object is and written all the same, by the channel's protocol.
//!
//! Beside an actor's handle it is the only exception to "sealed bytes never change". `ObjectRef::sealed` gives no bytes of it, so
//! nothing in the store reads it as data. Two get its addresses from here, and tell what they have made by its magic word: `channel/`
//! (channel/README.md says who may touch what) and the directory of cache blocks (kv/physical/README.md).

use std::sync::Arc;

use super::{Format, Interrupt, MutableObject, ObjectRef, Spec, Store, View};
use crate::error::{Result, bail};
use crate::sync::atomic::Ordering;

/// Where a channel's memory is mapped: for writing, and for reading (a write there faults). Valid while its reference lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelBytes {
    pub(crate) write: *mut u8,
    pub(crate) read: *const u8,
    pub(crate) len: u64,
}

impl Store {
    /// Lends `len` bytes for a new channel, to be filled in and sealed by its maker.
    pub(crate) fn create_channel_object(self: &Arc<Self>, len: u64, interrupt: Interrupt<'_>) -> Result<MutableObject> {
        self.create(
            Spec {
                len,
                format: Format::Channel,
                view: View::Numpy,
                nested: &[],
            },
            interrupt,
        )
    }
}

impl ObjectRef {
    /// The memory of a channel, which lies in the arena whole and 64-byte aligned.
    pub(crate) fn channel_bytes(&self) -> Result<ChannelBytes> {
        let (store, id) = (self.store(), self.id());
        store.check_open()?;
        let slot = store.checked_slot(id)?;
        let format = self.sealed()?.format;
        if format != Format::Channel {
            bail!(WrongFormat, "object {id} is {format:?}, not a channel");
        }
        let (offset, len) = (slot.offset.load(Ordering::Relaxed), slot.len.load(Ordering::Relaxed));
        if offset == 0 || !offset.is_multiple_of(64) {
            bail!(Corrupt, "channel {id} of {len} bytes lies at offset {offset}");
        }
        Ok(ChannelBytes {
            write: store.arena.write_address(offset, len)?,
            read: store.arena.read_address(offset, len)?,
            len,
        })
    }
}
