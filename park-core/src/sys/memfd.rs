//! Anonymous shared memory: sized once, then sealed against shrinking, so that no peer can turn a mapping into SIGBUS.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fcntl_getfl,
    fstat, ftruncate, memfd_create, open,
};

use crate::error::{Error, ErrorKind, Result, bail};

/// Creates a memfd of exactly `len` bytes. Pages take memory only once they are reserved or touched.
pub fn create(name: &str, len: u64) -> Result<OwnedFd> {
    let fail = |what: &str, error: rustix::io::Errno| {
        Error::new(
            ErrorKind::Io,
            format!("cannot {what} a shared memory segment of {len} bytes: {error}"),
        )
    };
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(|e| fail("create", e))?;
    ftruncate(&fd, len).map_err(|e| fail("size", e))?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).map_err(|e| fail("seal", e))?;
    Ok(fd)
}

/// A file that nothing but its descriptors leads to, and that grows as it is written.
pub fn scratch(name: &str) -> Result<std::fs::File> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC);
    fd.map(std::fs::File::from)
        .map_err(|error| Error::new(ErrorKind::Io, format!("cannot create a file in memory: {error}")))
}

/// Checks that a descriptor received from a peer is a memfd that cannot shrink, and returns its length in bytes.
pub fn verify(fd: impl AsFd) -> Result<u64> {
    let seals = match fcntl_get_seals(&fd) {
        Ok(seals) => seals,
        Err(error) => bail!(BadSegment, "the descriptor received is not a memory segment: {error}"),
    };
    if !seals.contains(SealFlags::SHRINK) {
        bail!(BadSegment, "the segment received is not sealed against shrinking");
    }
    let stat = fstat(&fd).map_err(|error| Error::new(ErrorKind::Io, format!("cannot stat a segment: {error}")))?;
    u64::try_from(stat.st_size)
        .map_err(|_| Error::new(ErrorKind::BadSegment, "the segment received has a negative size"))
}

/// The same memory under a descriptor that cannot be mapped for writing.
pub fn read_only(fd: impl AsFd) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
        Error::new(
            ErrorKind::Io,
            format!("cannot reopen a segment for reading only: {error}"),
        )
    })
}

/// Whether memory may be mapped for writing through this descriptor.
pub fn is_writable(fd: impl AsFd) -> Result<bool> {
    let flags = fcntl_getfl(&fd).map_err(|error| {
        Error::new(
            ErrorKind::Io,
            format!("cannot ask for a segment's access mode: {error}"),
        )
    })?;
    Ok(flags & OFlags::RWMODE == OFlags::RDWR)
}
/// Memory is committed in pieces of this size: a signal that interrupts the kernel undoes one piece, not all.
const RESERVE_PIECE: u64 = 64 << 20;

/// Makes the kernel commit pages `[offset, offset + len)` now, so that writing to them later cannot fail.
pub fn reserve(fd: impl AsFd, offset: u64, len: u64) -> Result<()> {
    let end = offset + len;
    let mut at = offset;
    while at < end {
        let piece = RESERVE_PIECE.min(end - at);
        match fallocate(&fd, FallocateFlags::empty(), at, piece) {
            Ok(()) => at += piece,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!(
                StoreFull,
                "the system refused {len} bytes of memory for the store: {error}"
            ),
        }
    }
    Ok(())
}

/// Gives the memory of whole pages inside `[offset, offset + len)` back to the system. They read as zeros afterwards.
pub fn give_back(fd: impl AsFd, offset: u64, len: u64) -> Result<()> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match fallocate(&fd, punch, offset, len) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!(Io, "cannot give {len} bytes of the store back to the system: {error}"),
        }
    }
}

/// Bytes of memory that the segment takes now.
pub fn resident(fd: impl AsFd) -> Result<u64> {
    let stat = fstat(&fd).map_err(|error| Error::new(ErrorKind::Io, format!("cannot stat a segment: {error}")))?;
    Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
}
