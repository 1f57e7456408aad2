//! The session's own directory: made when the first object is spilled, removed with the session.
//!
//! It is `park-spill-<session>` below the configured parent, mode 0700, and its owner holds an flock on the directory itself: there is
//! no lock file that could be missing, and the lock of a process that was killed is gone with it. Whoever makes a directory first
//! sweeps its parent: directories of that name which belong to this user and which nobody has locked are what sessions left behind
//! that were killed with SIGKILL. Only files named as ours are removed; a directory with anything else in it stays.
//!
//! Making one: mkdir, open, lock, and look whether the path still leads to what was locked. A sweeper can come between mkdir and lock;
//! then the look fails, and it is made again.

use std::fs::{DirBuilder, File};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::sys::{disk, fork};

const PREFIX: &str = "park-spill-";

/// See the module's documentation. Dropping it removes it.
#[derive(Debug)]
pub struct Directory {
    parent: OwnedFd,
    name: String,
    path: PathBuf,
    /// Open and locked as long as this lives.
    own: OwnedFd,
    fork_epoch: u32,
}

/// The name of file `number`.
pub fn file_name(number: u32) -> String {
    format!("{number:06}.park")
}

fn is_ours(name: &str) -> bool {
    name.strip_suffix(".park")
        .is_some_and(|number| number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit()))
}

fn is_directory_name(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|tag| tag.len() == 16 && tag.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Directory {
    /// Makes the directory of `session` below `parent`, which is made too if it does not exist, and sweeps what others left there.
    pub fn create(parent: &Path, session: u64) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let name = format!("{PREFIX}{session:016x}");
        let path = parent.join(&name);
        let parent = disk::open_directory(parent)?;
        sweep(&parent);
        // Each further round means that a sweeper came in between; it comes once for each session that starts.
        for _ in 0..64 {
            disk::make_directory(&parent, &name)?;
            let Some(own) = disk::open_own_directory(&parent, &name) else {
                continue;
            };
            if disk::lock(&own)? == disk::Lock::Busy {
                std::thread::yield_now();
                continue;
            }
            if disk::is_still(&own, &parent, &name) {
                return Ok(Self {
                    parent,
                    name,
                    path,
                    own,
                    fork_epoch: fork::epoch(),
                });
            }
        }
        Err(Error::from(ErrorKind::ResourceBusy))
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in it.
    pub fn create_file(&self, number: u32) -> Result<File> {
        disk::create_file(&self.own, &file_name(number))
    }

    /// Removes a file.
    pub fn remove_file(&self, number: u32) {
        disk::remove_file(&self.own, &file_name(number));
    }

    /// Bytes that may still be written to its file system.
    pub fn free_bytes(&self) -> u64 {
        disk::free_bytes(&self.own)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // In a forked child it belongs to the parent.
        if !fork::crossed(self.fork_epoch) {
            empty(&self.own);
            disk::remove_directory(&self.parent, &self.name);
        }
    }
}

fn empty(directory: &OwnedFd) {
    for name in disk::names(directory, is_ours) {
        if disk::is_file(directory, &name) {
            disk::remove_file(directory, &name);
        }
    }
}

/// Removes the directories of sessions that no longer run. Returns how many.
pub fn sweep(parent: &OwnedFd) -> usize {
    let mut removed = 0;
    for name in disk::names(parent, is_directory_name) {
        let Some(stale) = disk::open_own_directory(parent, &name) else {
            continue;
        };
        // The lock is held until it is gone: nobody can start to use it in between.
        if disk::lock(&stale).is_ok_and(|lock| lock == disk::Lock::Taken) {
            empty(&stale);
            removed += usize::from(disk::remove_directory(parent, &name));
        }
    }
    removed
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn entries(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_private_and_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let below = parent.path().join("made/on/demand");
        let directory = Directory::create(&below, 0xabc).unwrap();
        drop(directory.create_file(1).unwrap());
        let path = below.join("park-spill-0000000000000abc");
        assert_eq!(directory.path(), path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(path.join("000001.park")).unwrap().mode() & 0o7777, 0o600);
        assert!(directory.create_file(1).is_err(), "a name is used once");
        assert!(directory.free_bytes() > 0);
        drop(directory);
        assert_eq!(entries(&below), Vec::<String>::new());
    }

    #[test]
    fn what_a_killed_session_left_is_swept_and_what_lives_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let living = Directory::create(parent.path(), 1).unwrap();
        drop(living.create_file(1).unwrap());
        // As SIGKILL leaves it: the files are there, the lock is not.
        fs::create_dir(at("park-spill-0000000000000002")).unwrap();
        fs::write(at("park-spill-0000000000000002/000001.park"), b"left").unwrap();
        // Not ours to remove.
        fs::create_dir(at("park-spill-0000000000000003")).unwrap();
        fs::write(at("park-spill-0000000000000003/letter.txt"), b"mine").unwrap();
        fs::create_dir(at("park-spill-notes")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("000001.park"), b"far").unwrap();
        symlink(elsewhere.path(), at("park-spill-0000000000000004")).unwrap();
        let next = Directory::create(parent.path(), 5).unwrap();
        assert_eq!(
            entries(parent.path()),
            [
                "park-spill-0000000000000001",
                "park-spill-0000000000000003",
                "park-spill-0000000000000004",
                "park-spill-0000000000000005",
                "park-spill-notes",
            ]
        );
        assert_eq!(entries(living.path()), ["000001.park"]);
        assert_eq!(entries(elsewhere.path()), ["000001.park"]);
        drop((living, next));
    }

    #[test]
    fn many_that_start_at_once_do_not_sweep_each_other() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|session| {
                    let parent = parent.path();
                    scope.spawn(move || {
                        for round in 0..20 {
                            let directory = Directory::create(parent, session << 32 | round).unwrap();
                            drop(directory.create_file(1).unwrap());
                            assert_eq!(entries(directory.path()), ["000001.park"]);
                        }
                    })
                })
                .collect();
            all.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_eq!(entries(parent.path()), Vec::<String>::new());
    }
}
