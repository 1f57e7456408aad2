//! The session's spill files together: append an object, read it back, forget it.
//!
//! One thread uses it, in the head process (io.rs). Objects are appended to one file until that has 128 MB, then to the next; a
//! forgotten object's range is punched out of its file, and a file without objects is removed, so there is nothing to compact.
//! The disk is untouched until the first append.
//!
//! Durability: none, on purpose. Spilled objects end with their session, so nothing is ever synced and the page cache may keep what
//! it likes. But a write must not fail after the object's memory was given away: the file system sets the bytes aside (fallocate)
//! before they are written; where it cannot promise that, the file is synced after each record, because only that reports a disk
//! that filled up late.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::Directory;
use super::directory::file_name;
use super::file::{FILE_HEAD, RECORD_HEAD, RecordHead, Sum, file_head};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ObjectId;
use crate::sys::disk;

/// A file that is this long gets no further records.
const FILE_BYTES: u64 = 128 << 20;
/// Bytes go through the checksum and to or from the disk in pieces that stay in the cache.
const PIECE: usize = 1 << 20;

/// Where an object's record lies. Kept in the memory of the process that wrote it, so it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    file: u32,
    at: u64,
    len: u64,
}

/// Why an object cannot be written to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As much as the session may have is on disk already.
    Limit {
        /// What it may have, in bytes.
        limit: u64,
    },
    /// The system said no, with this error number (28: no space left on the device).
    Disk {
        /// As in `errno`.
        errno: i32,
    },
}

#[derive(Debug)]
struct SpillFile {
    file: File,
    end: u64,
    /// Objects in it that were not forgotten.
    live: u32,
    /// Bytes of it that the disk holds.
    bytes: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Volume {
    parent: PathBuf,
    session: u64,
    limit: Option<u64>,
    directory: Option<Directory>,
    files: BTreeMap<u32, SpillFile>,
    next: u32,
    bytes: u64,
    piece: Vec<u8>,
}

impl Volume {
    /// Files below `parent`, of at most `limit` bytes together; without a limit, of 90 % of what is free there as the first one is
    /// made. Nothing is made yet.
    pub fn new(parent: PathBuf, session: u64, limit: Option<u64>) -> Self {
        Self {
            parent,
            session,
            limit,
            directory: None,
            files: BTreeMap::new(),
            next: 1,
            bytes: 0,
            piece: Vec::new(),
        }
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Which file an object is in, for people.
    pub fn path_of(&self, location: Location) -> PathBuf {
        let directory = self.directory.as_ref().map_or(self.parent.as_path(), Directory::path);
        directory.join(file_name(location.file))
    }

    /// Writes an object. On refusal nothing has changed.
    pub fn append(&mut self, head: RecordHead, stored: &[u8]) -> Result<Location, Refusal> {
        let len = RECORD_HEAD + stored.len() as u64;
        if let Some(limit) = self.limit
            && self.bytes.saturating_add(len) > limit
        {
            return Err(Refusal::Limit { limit });
        }
        let number = match self.files.last_key_value() {
            Some((number, last)) if last.end < FILE_BYTES => *number,
            _ => self.start_file().map_err(|error| refused(&error))?,
        };
        let Some(file) = self.files.get_mut(&number) else {
            return Err(Refusal::Disk { errno: 0 });
        };
        let at = file.end;
        if let Err(error) = write_record(&file.file, at, head, stored) {
            // What was set aside or written goes back; if even that fails, the next record overwrites it.
            let _ = file.file.set_len(at);
            return Err(refused(&error));
        }
        file.end += len;
        file.live += 1;
        file.bytes += len;
        self.bytes += len;
        Ok(Location { file: number, at, len })
    }

    fn start_file(&mut self) -> std::io::Result<u32> {
        let directory = match &mut self.directory {
            Some(directory) => directory,
            none => none.insert(Directory::create(&self.parent, self.session)?),
        };
        self.limit.get_or_insert(directory.free_bytes() / 10 * 9);
        let number = self.next;
        let file = directory.create_file(number)?;
        if let Err(error) = file.write_all_at(&file_head(number, self.session), 0) {
            directory.remove_file(number);
            return Err(error);
        }
        self.next += 1;
        self.bytes += FILE_HEAD;
        self.files.insert(
            number,
            SpillFile {
                file,
                end: FILE_HEAD,
                live: 0,
                bytes: FILE_HEAD,
            },
        );
        Ok(number)
    }

    /// Reads an object back, piece by piece. The pieces are right only if this succeeds: the checksum comes last.
    pub fn read(&mut self, id: ObjectId, location: Location, mut sink: impl FnMut(u64, &[u8])) -> Result<RecordHead> {
        let Some(file) = self.files.get(&location.file) else {
            bail!(Corrupt, "spill file {} is gone", location.file);
        };
        let mut head = [0; RECORD_HEAD as usize];
        let read = |bytes: &mut [u8], at: u64| {
            file.file.read_exact_at(bytes, at).map_err(|error| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("reading {} bytes at {at} failed: {error}", bytes.len()),
                )
            })
        };
        read(&mut head, location.at)?;
        let head = RecordHead::parse(&head)?;
        if head.id != id || head.stored() != Some(location.len - RECORD_HEAD) {
            bail!(Corrupt, "the record of object {id} is that of object {}", head.id);
        }
        let (mut sum, mut done, all) = (Sum::default(), 0, location.len - RECORD_HEAD);
        self.piece.resize(PIECE, 0);
        while done < all {
            let len = (all - done).min(PIECE as u64);
            let piece = &mut self.piece[..usize::try_from(len).unwrap_or(PIECE)];
            read(piece, location.at + RECORD_HEAD + done)?;
            sum.add(piece);
            sink(done, piece);
            done += len;
        }
        sum.check(&head)?;
        Ok(head)
    }

    /// Gives an object's disk space back.
    pub fn forget(&mut self, location: Location) {
        let Some(file) = self.files.get_mut(&location.file) else {
            return;
        };
        file.live = file.live.saturating_sub(1);
        if file.live == 0 {
            self.bytes = self.bytes.saturating_sub(file.bytes);
            self.files.remove(&location.file);
            if let Some(directory) = &self.directory {
                directory.remove_file(location.file);
            }
        } else if disk::punch(&file.file, location.at, location.len) {
            file.bytes -= location.len;
            self.bytes -= location.len;
        }
    }
}

fn refused(error: &std::io::Error) -> Refusal {
    Refusal::Disk {
        errno: error.raw_os_error().unwrap_or(0),
    }
}

fn write_record(file: &File, at: u64, mut head: RecordHead, stored: &[u8]) -> std::io::Result<()> {
    let promised = disk::set_aside(file, at, RECORD_HEAD + stored.len() as u64)?;
    let mut sum = Sum::default();
    let mut offset = at + RECORD_HEAD;
    for piece in stored.chunks(PIECE) {
        sum.add(piece);
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    head.sum = sum.value();
    file.write_all_at(&head.encode(), at)?;
    if promised { Ok(()) } else { file.sync_data() }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs;

    fn id(index: u32) -> ObjectId {
        ObjectId {
            session: 7,
            index,
            generation: 2,
        }
    }

    fn head(index: u32, len: usize) -> RecordHead {
        RecordHead {
            id: id(index),
            meta: 0,
            len: len as u64,
            nested: 0,
            sum: 0,
        }
    }

    fn bytes(len: usize, seed: u8) -> Vec<u8> {
        (0..len).map(|i| (i % 251).to_le_bytes()[0] ^ seed).collect()
    }

    fn read(volume: &mut Volume, index: u32, location: Location) -> Result<Vec<u8>> {
        let mut back = Vec::new();
        volume.read(id(index), location, |_, piece| back.extend_from_slice(piece))?;
        Ok(back)
    }

    #[test]
    fn objects_come_back_and_leave_no_file() {
        let parent = tempfile::tempdir().unwrap();
        let mut volume = Volume::new(parent.path().into(), 7, Some(1 << 30));
        assert_eq!(
            fs::read_dir(parent.path()).unwrap().count(),
            0,
            "nothing before the first append"
        );
        let sizes = [1, 100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 77];
        let put: Vec<_> = (0..)
            .zip(sizes)
            .map(|(index, len)| volume.append(head(index, len), &bytes(len, 9)).unwrap())
            .collect();
        for ((index, len), location) in (0..).zip(sizes).zip(&put) {
            assert_eq!(read(&mut volume, index, *location).unwrap(), bytes(len, 9));
        }
        assert_eq!(
            read(&mut volume, 0, put[1]).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "another object's record"
        );
        assert!(volume.bytes() > 6 * PIECE as u64);
        let path = volume.path_of(put[0]);
        assert!(path.exists());
        put.into_iter().for_each(|location| volume.forget(location));
        assert_eq!((volume.bytes(), path.exists()), (0, false));
        drop(volume);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let mut volume = Volume::new(parent.path().into(), 7, Some(1 << 30));
        let a = volume.append(head(1, 5000), &bytes(5000, 1)).unwrap();
        let b = volume.append(head(2, 5000), &bytes(5000, 2)).unwrap();
        let path = volume.path_of(a);
        let mut content = fs::read(&path).unwrap();
        content[4000] ^= 4;
        fs::write(&path, &content).unwrap();
        assert_eq!(read(&mut volume, 1, a).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(read(&mut volume, 2, b).unwrap(), bytes(5000, 2));
        fs::write(&path, &content[..content.len() - 1]).unwrap();
        assert_eq!(read(&mut volume, 2, b).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn the_limit_holds_and_space_comes_back() {
        let parent = tempfile::tempdir().unwrap();
        let mut volume = Volume::new(parent.path().into(), 7, Some(100_000));
        let first = volume.append(head(1, 60_000), &bytes(60_000, 1)).unwrap();
        let refused = volume.append(head(2, 60_000), &bytes(60_000, 2)).unwrap_err();
        assert_eq!(refused, Refusal::Limit { limit: 100_000 });
        let small = volume.append(head(3, 100), &bytes(100, 3)).unwrap();
        volume.forget(first);
        assert!(volume.bytes() < 10_000, "its range was punched out: {}", volume.bytes());
        volume.append(head(2, 60_000), &bytes(60_000, 2)).unwrap();
        assert_eq!(read(&mut volume, 3, small).unwrap(), bytes(100, 3));
    }

    #[test]
    fn large_amounts_are_grouped_into_files() {
        let parent = tempfile::tempdir().unwrap();
        let mut volume = Volume::new(parent.path().into(), 7, Some(1 << 30));
        let content = bytes(40 << 20, 5);
        let put: Vec<_> = (0..5)
            .map(|index| volume.append(head(index, content.len()), &content).unwrap())
            .collect();
        let files = fs::read_dir(volume.path_of(put[0]).parent().unwrap()).unwrap().count();
        assert_eq!(files, 2);
        assert!(read(&mut volume, 4, put[4]).unwrap() == content);
    }

    #[test]
    fn a_parent_that_cannot_be_is_a_refusal() {
        let mut volume = Volume::new("/proc/nowhere".into(), 7, Some(1 << 30));
        assert!(matches!(
            volume.append(head(1, 10), &bytes(10, 1)).unwrap_err(),
            Refusal::Disk { errno } if errno != 0
        ));
    }
}
