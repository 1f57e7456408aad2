//! The disk tier: blocks in segment files that outlive the process, of a bounded size.
//!
//! The index is in memory and is built again at a restart from the heads of the records. One process at a time has the directory, by a
//! lock that goes with it, however it ends. README.md of `physical` has the format and what a crash leaves.
//!
//! | file | what |
//! |---|---|
//! | `format` | the bytes |
//! | `segment` | one file |

mod format;
mod segment;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::format::{HEAD, Record};
use self::segment::Segment;
use super::{Layout, Shape};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::kv::{Key, Label};
use crate::sync::Mutex;
use crate::sys::disk::{self, Lock};

/// What a disk tier is made of.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// A directory of its own; made, mode 0700, if it is not there.
    pub directory: PathBuf,
    /// Bytes of all files together at most.
    pub capacity: u64,
    /// A file that is this long gets no further records. A quarter of the capacity at most.
    pub segment_bytes: u64,
    /// Whether files of another layout or model are removed, instead of being an error.
    pub discard_other_layouts: bool,
}

impl DiskConfig {
    /// Files of 64 MiB; files of other layouts are an error.
    pub fn new(directory: impl Into<PathBuf>, capacity: u64) -> Self {
        Self {
            directory: directory.into(),
            capacity,
            segment_bytes: 64 << 20,
            discard_other_layouts: false,
        }
    }
}

/// What a disk tier has counted since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskStats {
    /// Records that can be found.
    pub records: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Records that were there when it was opened.
    pub reloaded: u64,
    /// Heads and contents that did not match their checksums.
    pub corrupt: u64,
    /// Files that end in the middle of a record, or of their own head.
    pub torn: u64,
    /// Files that were removed, unread, because they are no segment files, or of another layout where that was asked for.
    pub discarded: u64,
    /// Records that were written.
    pub written: u64,
    /// Records that were read, and right.
    pub read: u64,
    /// Records that went with the oldest file to make room.
    pub evicted: u64,
    /// Records that the disk refused.
    pub refused: u64,
}

/// Where a record is. Of this process's own memory, so it can be believed.
#[derive(Clone, Copy, Debug)]
struct Location {
    file: u32,
    at: u64,
    record: Record,
}

struct Inner {
    /// Oldest first; the last one is appended to if this process made it.
    segments: VecDeque<Segment>,
    appending: bool,
    index: HashMap<Key, Location>,
    next: u32,
    bytes: u64,
    stats: DiskStats,
}

/// See the module.
pub struct DiskTier {
    path: PathBuf,
    directory: OwnedFd,
    shape: Shape,
    capacity: u64,
    segment_bytes: u64,
    inner: Mutex<Inner>,
}

impl DiskTier {
    /// Opens a directory and finds what an earlier process left there.
    ///
    /// # Errors
    /// `InvalidArgument` for a capacity in which not even two blocks have room; `AlreadyExists` while another process has the directory;
    /// `WrongFormat` for files of another layout, model or version, unless they are to be discarded; `Io` if the system refuses.
    pub fn open(config: &DiskConfig, layout: &Layout) -> Result<Self> {
        Self::open_for(config, Shape::of(layout)?)
    }

    /// As `open`, for blocks of any shape.
    pub(super) fn open_for(config: &DiskConfig, shape: Shape) -> Result<Self> {
        has_room(config.capacity, shape.largest())?;
        let path = &config.directory;
        let explain = |what: &str, error: &std::io::Error| {
            Error::new(ErrorKind::Io, format!("cannot {what} {}: {error}", path.display()))
        };
        let directory = open_directory(path).map_err(|error| explain("open", &error))?;
        if disk::lock(&directory).map_err(|error| explain("lock", &error))? == Lock::Busy {
            bail!(AlreadyExists, "another process has the disk tier in {}", path.display());
        }
        let tier = Self {
            path: path.clone(),
            directory,
            shape,
            capacity: config.capacity,
            segment_bytes: config.segment_bytes.min(config.capacity / 4).max(HEAD),
            inner: Mutex::new(Inner {
                segments: VecDeque::new(),
                appending: false,
                index: HashMap::new(),
                next: 0,
                bytes: 0,
                stats: DiskStats::default(),
            }),
        };
        tier.reload(config.discard_other_layouts)?;
        Ok(tier)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was counted.
    pub fn stats(&self) -> DiskStats {
        let inner = self.inner.lock();
        DiskStats {
            records: inner.index.len() as u64,
            bytes: inner.bytes,
            ..inner.stats
        }
    }

    /// How long a block of this key is that was computed in this epoch, if it is here.
    pub(super) fn len_of(&self, key: Key, epoch: u32) -> Option<u64> {
        let inner = self.inner.lock();
        let record = inner.index.get(&key)?.record;
        (record.label.epoch == epoch).then_some(record.len)
    }

    /// What is known of a block that was computed in this epoch, if it is here. Its content is checked when it is read.
    pub fn find(&self, key: Key, epoch: u32) -> Option<Label> {
        let inner = self.inner.lock();
        let label = inner.index.get(&key)?.record.label;
        (label.epoch == epoch).then_some(label)
    }

    /// Writes a block, unless it is here already. The oldest file goes if there is no room.
    ///
    /// # Errors
    /// `InvalidArgument` for a group that does not exist or bytes that are not as many as its blocks have; `Io` if the disk refuses, and
    /// then nothing has changed.
    pub fn append(&self, label: Label, content: &[u8]) -> Result<()> {
        let mut inner = self.inner.lock();
        if let Some(there) = inner.index.get(&label.key)
            && there.record.label == label
        {
            return Ok(());
        }
        let appended = self.append_to(&mut inner, label, content);
        if appended.is_err() {
            inner.stats.refused += 1;
        }
        appended
    }

    fn append_to(&self, inner: &mut Inner, label: Label, content: &[u8]) -> Result<()> {
        let len = content.len() as u64;
        self.shape.check(label.group, len)?;
        has_room(self.capacity, len)?;
        let stored = (len + HEAD).next_multiple_of(HEAD);
        self.make_room(inner, stored + HEAD);
        let full = |last: &Segment| last.end > HEAD && last.end + stored > self.segment_bytes;
        if !inner.appending || inner.segments.back().is_none_or(full) {
            let segment = Segment::create(&self.directory, inner.next, self.shape.fingerprint())?;
            inner.next = inner.next.saturating_add(1);
            inner.bytes += segment.end;
            inner.segments.push_back(segment);
            inner.appending = true;
        }
        let Some(segment) = inner.segments.back_mut() else {
            bail!(Internal, "the file that was to be appended to is gone");
        };
        let (record, at) = segment.append(label, content)?;
        let file = segment.number;
        inner.bytes += stored;
        inner.stats.written += 1;
        inner.index.insert(label.key, Location { file, at, record });
        Ok(())
    }

    /// Reads a block's content, in pieces, into `take`. False if it is not here, or was damaged: then what was taken is worth nothing, and
    /// it is not found any more.
    ///
    /// # Errors
    /// `Io` if the disk fails; what `take` returns.
    pub fn read(&self, key: Key, epoch: u32, take: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<bool> {
        let (location, file) = {
            let inner = self.inner.lock();
            let Some(location) = inner.index.get(&key).filter(|at| at.record.label.epoch == epoch) else {
                return Ok(false);
            };
            let file: Option<Arc<File>> = inner
                .segments
                .iter()
                .find(|segment| segment.number == location.file)
                .map(|segment| segment.file.clone());
            let Some(file) = file else {
                bail!(Internal, "the index names file {}, which is gone", location.file);
            };
            (*location, file)
        };
        // Without the lock: a file that is removed meanwhile stays readable.
        let right = segment::read(&file, location.file, &location.record, location.at, take)?;
        let mut inner = self.inner.lock();
        if right {
            inner.stats.read += 1;
        } else {
            inner.stats.corrupt += 1;
            let same = |now: &Location| now.file == location.file && now.at == location.at;
            if inner.index.get(&key).is_some_and(same) {
                inner.index.remove(&key);
            }
        }
        Ok(right)
    }

    /// Reads every record and forgets those that are damaged. Returns how many were.
    ///
    /// # Errors
    /// `Io` if the disk fails.
    pub fn scrub(&self) -> Result<u64> {
        let all: Vec<Label> = self.inner.lock().index.values().map(|at| at.record.label).collect();
        let mut damaged = 0;
        for label in all {
            let there = self.find(label.key, label.epoch).is_some();
            if there && !self.read(label.key, label.epoch, &mut |_, _| Ok(()))? {
                damaged += 1;
            }
        }
        Ok(damaged)
    }

    /// Forgets all blocks of other epochs, and removes files that have no others. Returns how many blocks.
    pub fn retire(&self, epoch: u32) -> u64 {
        let mut inner = self.inner.lock();
        let before = inner.index.len();
        inner.index.retain(|_, at| at.record.label.epoch == epoch);
        let used: std::collections::HashSet<u32> = inner.index.values().map(|at| at.file).collect();
        let all = std::mem::take(&mut inner.segments);
        let last = inner
            .appending
            .then(|| all.back().map(|segment| segment.number))
            .flatten();
        for segment in all {
            if used.contains(&segment.number) || last == Some(segment.number) {
                inner.segments.push_back(segment);
            } else {
                self.remove(&mut inner, &segment);
            }
        }
        (before - inner.index.len()) as u64
    }

    /// Waits until everything that was written is on the disk itself.
    ///
    /// # Errors
    /// `Io` if the disk fails.
    pub fn flush(&self) -> Result<()> {
        let files: Vec<Arc<File>> = self
            .inner
            .lock()
            .segments
            .iter()
            .map(|segment| segment.file.clone())
            .collect();
        for file in files {
            file.sync_data()?;
        }
        Ok(())
    }

    // --- files ----------------------------------------------------------------------------------------------------------------

    fn reload(&self, discard: bool) -> Result<()> {
        let mut inner = self.inner.lock();
        let mut numbers: Vec<u32> = disk::names(&self.directory, |name| segment::number(name).is_some())
            .iter()
            .filter_map(|name| segment::number(name))
            .collect();
        numbers.sort_unstable();
        let mut removed = Vec::new();
        for number in numbers {
            inner.next = number.saturating_add(1);
            let (segment, fingerprint) = match Segment::open(&self.directory, number) {
                Ok(Some(opened)) => opened,
                Ok(None) => {
                    inner.stats.discarded += 1;
                    inner.stats.torn += 1;
                    removed.push(number);
                    continue;
                }
                // Somebody wrote over it: nothing in it can be believed.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    inner.stats.discarded += 1;
                    inner.stats.corrupt += 1;
                    removed.push(number);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WrongFormat && discard => {
                    inner.stats.discarded += 1;
                    removed.push(number);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if fingerprint != self.shape.fingerprint() {
                if !discard {
                    bail!(
                        WrongFormat,
                        "{} in {} is of blocks with fingerprint {fingerprint:016x}, and the layout has {:016x}",
                        segment::name(number),
                        self.path.display(),
                        self.shape.fingerprint()
                    );
                }
                inner.stats.discarded += 1;
                removed.push(number);
                continue;
            }
            let found = segment.scan()?;
            inner.stats.corrupt += found.damaged;
            inner.stats.torn += u64::from(found.torn);
            inner.bytes += segment.end;
            for (record, at) in found.records {
                let file = segment.number;
                if self.shape.check(record.label.group, record.len).is_err() {
                    inner.stats.corrupt += 1; // sealed, and yet none that this layout writes
                    continue;
                }
                inner.index.insert(record.label.key, Location { file, at, record });
            }
            inner.segments.push_back(segment);
        }
        // Only now: an error above leaves everything as it was.
        for number in removed {
            disk::remove_file(&self.directory, &segment::name(number));
        }
        inner.stats.reloaded = inner.index.len() as u64;
        self.make_room(&mut inner, 0);
        Ok(())
    }

    /// Removes the oldest files until `more` bytes have room. The one that is appended to is the last to go, and then begins anew.
    fn make_room(&self, inner: &mut Inner, more: u64) {
        while inner.bytes + more > self.capacity {
            let Some(oldest) = inner.segments.pop_front() else {
                return;
            };
            let before = inner.index.len();
            inner.index.retain(|_, at| at.file != oldest.number);
            inner.stats.evicted += (before - inner.index.len()) as u64;
            self.remove(inner, &oldest);
            inner.appending &= !inner.segments.is_empty();
        }
    }

    fn remove(&self, inner: &mut Inner, segment: &Segment) {
        disk::remove_file(&self.directory, &segment::name(segment.number));
        inner.bytes -= segment.end;
    }
}

/// # Errors
/// `InvalidArgument` if a disk of so many bytes has no room for two blocks of so many.
fn has_room(capacity: u64, block: u64) -> Result<()> {
    let least = block.saturating_add(3 * HEAD).saturating_mul(2);
    if capacity < least {
        bail!(
            InvalidArgument,
            "a disk tier of {capacity} bytes was asked for, and two blocks take {least}"
        );
    }
    Ok(())
}

fn open_directory(path: &Path) -> std::io::Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    disk::open_directory(path)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
