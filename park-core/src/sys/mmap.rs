//! Mappings of shared segments, as raw addresses: no reference to their bytes is ever made here.

use std::os::fd::AsFd;

use memmap2::{MmapOptions, MmapRaw};

use crate::error::{Error, ErrorKind, Result};

/// One mapping of a whole segment; unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Maps `len` bytes for reading and writing.
    pub fn read_write(fd: impl AsFd, len: u64) -> Result<Self> {
        Self::map(&fd, len, true)
    }

    /// Maps `len` bytes so that a write through this mapping faults.
    pub fn read_only(fd: impl AsFd, len: u64) -> Result<Self> {
        Self::map(&fd, len, false)
    }

    fn map(fd: &impl AsFd, len: u64, writable: bool) -> Result<Self> {
        use std::os::fd::AsRawFd;
        let mut options = MmapOptions::new();
        options.len(
            usize::try_from(len)
                .map_err(|_| Error::new(ErrorKind::InvalidArgument, "segment exceeds the address space"))?,
        );
        let fd = fd.as_fd().as_raw_fd();
        let raw = if writable {
            options.map_raw(fd)
        } else {
            options.map_raw_read_only(fd)
        };
        let raw = raw.map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("cannot map {len} bytes of shared memory: {error}"),
            )
        })?;
        Ok(Self { raw })
    }

    /// Address of the first byte.
    pub fn base(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }

    /// Length in bytes.
    pub fn size(&self) -> usize {
        self.raw.len()
    }
}
