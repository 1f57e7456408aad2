//! Mappings of shared segments, as raw addresses: no reference to their bytes is ever made here.

use std::os::fd::AsFd;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::error::{Error, ErrorKind, Result, bail};

/// Page tables are filled in pieces of this size, so that signals are seen in between.
const POPULATE_PIECE: usize = 64 << 20;

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

    /// Asks the kernel to back the mapping with huge pages where it can. False if the machine does not allow that for shared memory.
    pub fn advise_huge_pages(&self) -> bool {
        huge_pages_allowed() && self.raw.advise(Advice::HugePage).is_ok()
    }

    /// Fills in the page tables for the first `len` bytes, so that the first write to a page is no slower than the next.
    pub fn populate(&self, len: u64) -> Result<()> {
        let end = usize::try_from(len).unwrap_or(usize::MAX).min(self.raw.len());
        let mut at = 0;
        while at < end {
            let piece = POPULATE_PIECE.min(end - at);
            match self.raw.advise_range(Advice::PopulateWrite, at, piece) {
                Ok(()) => at += piece,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => bail!(
                    Unsupported,
                    "prefault was asked for, and this kernel cannot populate a mapping (Linux 5.14 and later can)"
                ),
                Err(error) => bail!(
                    StoreFull,
                    "the system refused to populate {len} bytes of the store: {error}"
                ),
            }
        }
        Ok(())
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

/// Whether the administrator lets shared memory use huge pages, by itself or where asked for.
fn huge_pages_allowed() -> bool {
    let policy = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    ["[always]", "[within_size]", "[advise]", "[force]"]
        .iter()
        .any(|allowed| policy.contains(allowed))
}
