//! Files in a private directory, reached through the directory's descriptor only: a path that is renamed or replaced meanwhile
//! changes nothing, and no symbolic link is ever followed.

use std::ffi::CStr;
use std::fs::File;
use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, fallocate, flock, fstat, fstatvfs,
    mkdirat, openat, statat, unlinkat,
};
use rustix::io::Errno;

/// What a lock attempt found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is ours.
    Taken,
    /// Another process holds it.
    Busy,
}

/// Makes `name` below `parent`, mode 0700. False if it exists already.
pub fn make_directory(parent: &OwnedFd, name: &str) -> Result<bool> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory that is named from outside.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Opens `name` in `parent` if it is a directory of this user; `None` if it is anything else or nothing.
pub fn open_own_directory(parent: &OwnedFd, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty()).ok()?;
    let owner = fstat(&directory).ok()?.st_uid;
    (owner == rustix::process::geteuid().as_raw()).then_some(directory)
}

/// Locks a directory for this process, without waiting. The lock goes with the last copy of the descriptor, however that ends.
pub fn lock(directory: &OwnedFd) -> Result<Lock> {
    loop {
        match flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock::Taken),
            Err(Errno::WOULDBLOCK) => return Ok(Lock::Busy),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether `name` in `parent` still is this open directory.
pub fn is_still(directory: &OwnedFd, parent: &OwnedFd, name: &str) -> bool {
    match (fstat(directory), statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)) {
        (Ok(open), Ok(named)) => (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

/// Names of the entries for which `wanted` says yes.
pub fn names(directory: &OwnedFd, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = Dir::read_from(directory) else {
        return Vec::new();
    };
    let name = |name: &CStr| name.to_str().ok().map(str::to_owned);
    entries
        .filter_map(|entry| name(entry.ok()?.file_name()))
        .filter(|name| wanted(name))
        .collect()
}

/// Whether `name` in `directory` is a regular file.
pub fn is_file(directory: &OwnedFd, name: &str) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// Removes a file; one that is gone already is what the caller wants.
pub fn remove_file(directory: &OwnedFd, name: &str) {
    let _ = unlinkat(directory, name, AtFlags::empty());
}

/// Removes an empty directory. False if it is not empty, or gone.
pub fn remove_directory(parent: &OwnedFd, name: &str) -> bool {
    unlinkat(parent, name, AtFlags::REMOVEDIR).is_ok()
}

/// A new file of mode 0600.
pub fn create_file(directory: &OwnedFd, name: &str) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// An existing regular file, for reading.
pub fn open_file(directory: &OwnedFd, name: &str) -> Result<File> {
    // Without waiting: a pipe of that name would be waited for until somebody writes to it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = openat(directory, name, flags, Mode::empty())?.into();
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Errno::INVAL.into()),
    }
}

/// Makes the file system set `len` bytes aside, so that writing them cannot run out of space later. False if it cannot promise that
/// for any file (writing then has to find out).
pub fn set_aside(file: &File, offset: u64, len: u64) -> Result<bool> {
    loop {
        match fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gives the disk space of a range back and leaves the file as long as it is. False if the file system cannot.
pub fn punch(file: &File, offset: u64, len: u64) -> bool {
    fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        offset,
        len,
    )
    .is_ok()
}

/// Bytes that this user may still write to the file system a descriptor is on.
pub fn free_bytes(file: impl AsFd) -> u64 {
    fstatvfs(file).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}
