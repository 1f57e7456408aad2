//! Typed access to shared bytes: an offset becomes a reference only to atomics, and only inside the segment.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Result, bail};
use crate::sync::Shared;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sys::memfd;
use crate::sys::mmap::Mapping;

/// The control segment: a mapping in which every word is an atomic.
#[derive(Debug)]
pub struct Segment {
    fd: OwnedFd,
    map: Mapping,
}

// SAFETY: the mapping is only reached through `at`, `must` and `words`, which hand out references to atomics.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// A fresh, zeroed segment.
    pub fn create(name: &str, len: u64) -> Result<Self> {
        let fd = memfd::create(name, len)?;
        let map = Mapping::read_write(&fd, len)?;
        Ok(Self { fd, map })
    }

    /// Maps a segment received from a peer, after checking that it cannot shrink.
    pub fn open(fd: OwnedFd) -> Result<Self> {
        let len = memfd::verify(&fd)?;
        if len < 4096 {
            bail!(BadSegment, "truncated segment: {len} bytes");
        }
        let map = Mapping::read_write(&fd, len)?;
        Ok(Self { fd, map })
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.map.size() as u64
    }

    /// The descriptor, to pass on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn address(&self, offset: u64, size: usize, align: usize) -> Option<*mut u8> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(size)?;
        (end <= self.map.size() && offset.is_multiple_of(align)).then(|| self.map.base().wrapping_add(offset))
    }

    /// The `T` at `offset`, or `BadSegment` if it does not lie inside.
    pub fn at<T: Shared>(&self, offset: u64) -> Result<&T> {
        match self.address(offset, size_of::<T>(), align_of::<T>()) {
            // SAFETY: in bounds and aligned (checked in `address`; mappings are page aligned), mapped as long as `self`, and
            // `T: Shared` is valid for any bits and any concurrent access.
            Some(address) => Ok(unsafe { &*address.cast::<T>() }),
            None => bail!(
                BadSegment,
                "offset {offset} lies outside a segment of {} bytes",
                self.map.size()
            ),
        }
    }

    /// The `T` at an offset that the layout computed from checked sizes.
    pub(crate) fn must<T: Shared>(&self, offset: u64) -> &T {
        match self.at(offset) {
            Ok(value) => value,
            Err(error) => unreachable!("the layout was checked against the segment's length: {error}"),
        }
    }

    /// `count` words from `offset` on, at an offset that the layout computed from checked sizes.
    pub(crate) fn words(&self, offset: u64, count: usize) -> &[AtomicU64] {
        match self.address(offset, count * 8, 8) {
            // SAFETY: in bounds and aligned, mapped as long as `self`, atomics are valid for any bits.
            Some(address) => unsafe { std::slice::from_raw_parts(address.cast(), count) },
            None => unreachable!("the layout was checked against the segment's length"),
        }
    }
}

impl Segment {
    /// `count` half words from `offset` on, at an offset that the layout computed from checked sizes.
    pub(crate) fn words32(&self, offset: u64, count: usize) -> &[AtomicU32] {
        match self.address(offset, count * 4, 4) {
            // SAFETY: in bounds and aligned, mapped as long as `self`, atomics are valid for any bits.
            Some(address) => unsafe { std::slice::from_raw_parts(address.cast(), count) },
            None => unreachable!("the layout was checked against the segment's length"),
        }
    }
}

/// The arena segment: object bytes, mapped once for writing and once for reading; in a process that may only look, for reading alone.
#[derive(Debug)]
pub struct Arena {
    fd: OwnedFd,
    /// None if the descriptor is for reading only.
    write: Option<Mapping>,
    read: Mapping,
}

// SAFETY: raw addresses are handed out, never references; who may use them is decided by the object protocol (store/README.md).
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// A fresh arena of `len` bytes, of which none is reserved yet.
    pub fn create(name: &str, len: u64) -> Result<Self> {
        Self::map(memfd::create(name, len)?, len)
    }

    /// Maps an arena received from a peer.
    pub fn open(fd: OwnedFd) -> Result<Self> {
        let len = memfd::verify(&fd)?;
        Self::map(fd, len)
    }

    fn map(fd: OwnedFd, len: u64) -> Result<Self> {
        let write = if memfd::is_writable(&fd)? {
            Some(Mapping::read_write(&fd, len)?)
        } else {
            None
        };
        let read = Mapping::read_only(&fd, len)?;
        Ok(Self { fd, write, read })
    }

    /// Whether this process may not write here.
    pub fn is_read_only(&self) -> bool {
        self.write.is_none()
    }

    fn writable(&self) -> Result<*mut u8> {
        match &self.write {
            Some(mapping) => Ok(mapping.base()),
            None => bail!(PermissionDenied, "the arena is mapped for reading only"),
        }
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.read.size() as u64
    }

    /// The descriptor, to pass on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Asks for huge pages in this process's mappings. False if the machine does not allow them.
    pub fn advise_huge_pages(&self) -> bool {
        let written = self.write.as_ref().is_none_or(Mapping::advise_huge_pages);
        written & self.read.advise_huge_pages()
    }

    /// Fills in this process's page tables for writing.
    pub fn populate(&self) -> Result<()> {
        match &self.write {
            Some(write) => write.populate(self.size()),
            None => Ok(()),
        }
    }

    fn check(&self, offset: u64, len: u64) -> Result<usize> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size() => Ok(usize::try_from(offset).unwrap_or(usize::MAX)),
            _ => bail!(
                Corrupt,
                "{len} bytes at offset {offset} lie outside an arena of {} bytes",
                self.size()
            ),
        }
    }

    /// Address of `len` bytes for their one writer.
    pub fn write_address(&self, offset: u64, len: u64) -> Result<*mut u8> {
        Ok(self.writable()?.wrapping_add(self.check(offset, len)?))
    }

    /// Address of `len` sealed bytes for readers; a write there faults.
    pub fn read_address(&self, offset: u64, len: u64) -> Result<*const u8> {
        Ok(self.read.base().wrapping_add(self.check(offset, len)?).cast_const())
    }

    /// The word at `offset` of a block header.
    pub fn word(&self, offset: u64) -> Result<&AtomicU64> {
        let at = self.check(offset, 8)?;
        if !at.is_multiple_of(8) {
            bail!(Corrupt, "arena word offset {offset} is not aligned");
        }
        // SAFETY: in bounds and aligned, mapped as long as `self`; block headers are only ever accessed as atomics.
        Ok(unsafe { &*self.writable()?.wrapping_add(at).cast::<AtomicU64>() })
    }
}
