//! Sealed objects: views of bytes that nobody can change any more.
#![allow(
    unsafe_code,
    reason = "makes slices over sealed bytes; the references held keep them sealed"
)]

use std::mem::ManuallyDrop;
use std::time::Duration;

use super::format::{Format, TENSOR_HEADER, TensorSpec, View, decode_error};
use super::mapped::Elements;
use super::slot::Slot;
use super::{Interrupt, ObjectRef, Store, never};
use crate::error::{Result, bail};
use crate::sync::atomic::Ordering;

/// A borrowed view of a sealed object, valid while the `ObjectRef` is borrowed. It pins the object.
#[derive(Debug)]
pub struct Sealed<'a> {
    /// The payload.
    pub bytes: &'a [u8],
    /// What it means.
    pub format: Format,
    /// For tensors: the Python type.
    pub view: View,
    store: &'a Store,
    index: u32,
}

impl Drop for Sealed<'_> {
    fn drop(&mut self) {
        if !self.store.is_forked() {
            self.store.unpin(self.index);
        }
    }
}

/// A sealed object that keeps itself alive: as long as one exists, anywhere, its bytes stay where they are.
#[derive(Debug)]
pub struct Object {
    reference: ObjectRef,
    address: *const u8,
    len: usize,
    format: Format,
    view: View,
    /// For MAPPED objects: the file that the address points into.
    file: Option<Elements>,
}

// SAFETY: the bytes are sealed and stay mapped and unfreed while `reference` lives; reading them is safe from any thread.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl Object {
    /// Takes over the view's pin.
    fn new(reference: ObjectRef, sealed: Sealed<'_>) -> Result<Self> {
        let file = match sealed.format {
            Format::Mapped => Some(reference.store().open_mapped(sealed.bytes)?),
            _ => None,
        };
        let sealed = ManuallyDrop::new(sealed);
        let bytes = file.as_ref().map_or(sealed.bytes, Elements::bytes);
        let (address, len) = (bytes.as_ptr(), bytes.len());
        Ok(Self {
            file,
            reference,
            address,
            len,
            format: sealed.format,
            view: sealed.view,
        })
    }

    /// The payload; of a MAPPED object, the elements in the file.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `sealed` checked that the range lies in a mapping, and the reference we hold keeps it sealed and mapped; or
        // `open_mapped` did, and `file` keeps that mapping.
        unsafe { std::slice::from_raw_parts(self.address, self.len) }
    }

    /// What the payload means.
    pub fn format(&self) -> Format {
        self.format
    }

    /// For tensors: the Python type.
    pub fn view(&self) -> View {
        self.view
    }

    /// The reference behind this view.
    pub fn reference(&self) -> &ObjectRef {
        &self.reference
    }

    /// The references that the object holds, as references of the caller's own.
    pub fn nested(&self) -> Result<Vec<ObjectRef>> {
        let store = self.reference.store();
        let slot = store.checked_slot(self.reference.id())?;
        store.nested_ids(slot).into_iter().map(|id| store.resolve(id)).collect()
    }

    /// Type and shape of a TENSOR or MAPPED object, and its elements.
    pub fn tensor(&self) -> Result<(TensorSpec, &[u8])> {
        if self.format == Format::Mapped {
            let record = self.reference.sealed()?.bytes;
            return Ok((Store::mapped_spec(record, self.view)?, self.bytes()));
        }
        if self.format != Format::Tensor {
            bail!(
                WrongFormat,
                "object {} is {:?}, not a tensor",
                self.reference.id(),
                self.format
            );
        }
        let spec = TensorSpec::parse(self.bytes(), self.view)?;
        let elements = self
            .bytes()
            .get(usize::try_from(TENSOR_HEADER).unwrap_or(0)..)
            .unwrap_or_default();
        Ok((spec, elements))
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        let reference = self.reference.clone();
        if !reference.store().is_forked() {
            reference.store().pin(reference.id().index);
        }
        let file = self.file.clone();
        Self {
            reference,
            file,
            ..*self
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let store = self.reference.store();
        // In a forked child the pin belongs to the parent.
        if !store.is_forked() {
            store.unpin(self.reference.id().index);
        }
    }
}

impl ObjectRef {
    /// A borrowed view of the object, which must be sealed; waits if it is on disk. An ERROR object is a view too.
    pub fn sealed(&self) -> Result<Sealed<'_>> {
        self.sealed_within(None, &mut never)
    }

    /// As `sealed`, and says how long to wait for an object that is on disk.
    pub fn sealed_within(&self, timeout: Option<Duration>, interrupt: Interrupt<'_>) -> Result<Sealed<'_>> {
        loop {
            if let Some(sealed) = self.look()? {
                return Ok(sealed);
            }
            if !self.restore(timeout, interrupt)? {
                self.store().wait(&[self], 1, timeout, interrupt)?;
            }
        }
    }

    /// A borrowed view of the object, if it is in memory.
    fn look(&self) -> Result<Option<Sealed<'_>>> {
        let id = self.id();
        if self.store().is_forked() {
            self.store().check_open()?;
        }
        let slot = self.store().checked_slot(id)?;
        // Pinned first and looked at second: whoever wants to move the bytes does it the other way round (`Store::pin`).
        self.store().pin(id.index);
        let mut view = Sealed {
            bytes: &[],
            format: Format::Raw,
            view: View::Numpy,
            store: self.store(),
            index: id.index,
        };
        if !slot.is_resident(id.generation) {
            if slot.is_sealed(id.generation) || slot.is_remade(id.generation) {
                return Ok(None);
            }
            bail!(NotFound, "object {id} is not sealed");
        }
        slot.touch(id.generation);
        let meta = slot.meta.load(Ordering::Relaxed).to_le_bytes();
        let format = Format::from_number(meta[0])?;
        // These change while they are sealed (actor_cell.rs, channel_cell.rs): no slice may cover them.
        let len = if matches!(format, Format::Actor | Format::Channel) {
            0
        } else {
            slot.len.load(Ordering::Relaxed)
        };
        view.bytes = self.store().payload(slot, 0, len)?;
        view.format = format;
        view.view = View::from_number(meta[1]);
        Ok(Some(view))
    }

    /// A view that keeps the object alive; waits if it is on disk. ERROR objects become their error.
    pub fn open(&self) -> Result<Object> {
        self.open_within(None, &mut never)
    }

    /// As `open`, and says how long to wait for an object that is on disk.
    pub fn open_within(&self, timeout: Option<Duration>, interrupt: Interrupt<'_>) -> Result<Object> {
        let sealed = self.sealed_within(timeout, interrupt)?;
        if sealed.format == Format::Error {
            return Err(decode_error(sealed.bytes));
        }
        let object = Object::new(self.clone(), sealed)?;
        self.store().count_shared(object.bytes().len() as u64);
        Ok(object)
    }
}

impl Store {
    /// Bytes of a slot's stored payload. The caller knows that the slot is sealed or being freed by itself.
    pub(super) fn payload(&self, slot: &Slot, start: u64, len: u64) -> Result<&[u8]> {
        let stored = match slot.offset.load(Ordering::Relaxed) {
            0 => super::slot::INLINE_BYTES as u64,
            _ => slot.block_bytes(),
        };
        let Some(end) = start.checked_add(len).filter(|end| *end <= stored) else {
            bail!(Corrupt, "object of {stored} bytes was asked for {len} bytes at {start}");
        };
        let address = match slot.offset.load(Ordering::Relaxed) {
            0 if end <= super::slot::INLINE_BYTES as u64 => slot.inline.as_ptr().cast::<u8>(),
            0 => bail!(Corrupt, "object of {stored} bytes has no memory"),
            odd if !odd.is_multiple_of(64) => bail!(Corrupt, "object lies at {odd}, which is not aligned"),
            offset => self.arena.read_address(offset, stored)?,
        };
        let (start, len) = (usize::try_from(start).unwrap_or(0), usize::try_from(len).unwrap_or(0));
        // SAFETY: in bounds of the slot or the arena (checked above), and sealed, so no process writes there while the caller's
        // reference lives; the mapping lives as long as `self`.
        Ok(unsafe { std::slice::from_raw_parts(address.wrapping_add(start), len) })
    }
}
