//! One segment file: appended to by the process that made it, read by that one and by those that come after a restart.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::format::{HEAD, Head, RECORD_MAGIC, Record, file_head, parse_file_head};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::kv::Label;
use crate::sys::disk;

/// Content goes through the checksum, and heads are looked for, in pieces that stay in the cache. A multiple of `HEAD`.
const PIECE: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) file: Arc<File>,
    /// Where the next record goes, or would go.
    pub(super) end: u64,
}

/// What a restart found in a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Records, and where each begins.
    pub(super) records: Vec<(Record, u64)>,
    /// Places where a head was damaged.
    pub(super) damaged: u64,
    /// Whether the last record is cut off.
    pub(super) torn: bool,
}

/// The name of file `number`.
pub(super) fn name(number: u32) -> String {
    format!("kv-{number:08x}.seg")
}

/// The number of the file with this name.
pub(super) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("kv-")?.strip_suffix(".seg")?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (self::name(number) == name).then_some(number)
}

fn failed(what: &str, number: u32, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} {}: {error}", name(number)))
}

impl Segment {
    /// A new file.
    pub(super) fn create(directory: &OwnedFd, number: u32, fingerprint: u64) -> Result<Self> {
        let file = disk::create_file(directory, &name(number)).map_err(|error| failed("make", number, &error))?;
        if let Err(error) = file.write_all_at(&file_head(number, fingerprint), 0) {
            // Else the name would be taken when there is room again.
            disk::remove_file(directory, &name(number));
            return Err(failed("write to", number, &error));
        }
        Ok(Self {
            number,
            file: Arc::new(file),
            end: HEAD,
        })
    }

    /// A file of an earlier process, and its fingerprint. None if it is shorter than its head: that process was killed as it made it.
    ///
    /// # Errors
    /// `Corrupt` if it is no segment file, `WrongFormat` if it is one of another version, `Io` if it cannot be read.
    pub(super) fn open(directory: &OwnedFd, number: u32) -> Result<Option<(Self, u64)>> {
        let file = disk::open_file(directory, &name(number)).map_err(|error| failed("open", number, &error))?;
        let len = file.metadata().map_err(|error| failed("stat", number, &error))?.len();
        if len < HEAD {
            return Ok(None);
        }
        let mut head = [0; HEAD as usize];
        file.read_exact_at(&mut head, 0)
            .map_err(|error| failed("read", number, &error))?;
        let fingerprint = parse_file_head(&head, number)?;
        let segment = Self {
            number,
            file: Arc::new(file),
            end: len,
        };
        Ok(Some((segment, fingerprint)))
    }

    /// Reads the heads of all records. Content is not looked at: that is checked when it is read.
    pub(super) fn scan(&self) -> Result<Found> {
        let mut found = Found::default();
        let mut at = HEAD;
        while at < self.end {
            let mut head: Head = [0; HEAD as usize];
            let there = self.read_up_to(&mut head, at)?;
            let record = (there == head.len())
                .then(|| Record::parse(&head, self.number, at))
                .flatten();
            match record.and_then(|record| Some((record, at.checked_add(record.stored()?)?))) {
                Some((record, end)) if end <= self.end => {
                    found.records.push((record, at));
                    at = end;
                }
                Some(_) => {
                    found.torn = true;
                    break;
                }
                None => match self.next_head(at + HEAD)? {
                    Some(next) => {
                        found.damaged += 1;
                        at = next;
                    }
                    None => {
                        // Nothing follows: a record whose head was never written, or one at the end that is damaged.
                        found.torn = true;
                        break;
                    }
                },
            }
        }
        Ok(found)
    }

    /// Where the next good head is, from `at` on.
    fn next_head(&self, mut at: u64) -> Result<Option<u64>> {
        let mut piece = vec![0; PIECE];
        while at < self.end {
            let there = self.read_up_to(&mut piece, at)?;
            for (nth, head) in piece[..there].as_chunks::<{ HEAD as usize }>().0.iter().enumerate() {
                let place = at + nth as u64 * HEAD;
                if head.starts_with(&RECORD_MAGIC) && Record::parse(head, self.number, place).is_some() {
                    return Ok(Some(place));
                }
            }
            at += PIECE as u64;
        }
        Ok(None)
    }

    fn read_up_to(&self, bytes: &mut [u8], at: u64) -> Result<usize> {
        let mut there = 0;
        while there < bytes.len() {
            match self.file.read_at(&mut bytes[there..], at + there as u64) {
                Ok(0) => break,
                Ok(read) => there += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", self.number, &error)),
            }
        }
        Ok(there)
    }

    /// Appends a record; returns it and where it begins. The content is there before the head that says so. On an error nothing is there:
    /// the next record goes to the same place.
    pub(super) fn append(&mut self, label: Label, content: &[u8]) -> Result<(Record, u64)> {
        let record = Record {
            label,
            len: content.len() as u64,
            sum: xxh3_64(content),
        };
        let at = self.end;
        let Some(end) = record.stored().and_then(|stored| at.checked_add(stored)) else {
            bail!(InvalidArgument, "a record of {} bytes fits into no file", record.len);
        };
        let zeros = [0; HEAD as usize];
        let padding = &zeros[..(end - at - HEAD - record.len) as usize];
        let written = self
            .file
            .write_all_at(content, at + HEAD)
            .and_then(|()| self.file.write_all_at(padding, at + HEAD + record.len))
            .and_then(|()| self.file.write_all_at(&record.head(self.number, at), at));
        if let Err(error) = written {
            // What was written goes back; if even that fails, the next record overwrites it.
            let _ = self.file.set_len(at);
            return Err(failed("write to", self.number, &error));
        }
        self.end = end;
        Ok((record, at))
    }
}

/// Reads the content of the record at `at`, piece by piece, into `take`. False if it does not match its checksum, or is cut off: then
/// what was taken is worth nothing.
pub(super) fn read(
    file: &File,
    number: u32,
    record: &Record,
    at: u64,
    take: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<bool> {
    let mut head: Head = [0; HEAD as usize];
    match file.read_exact_at(&mut head, at) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(failed("read", number, &error)),
    }
    if Record::parse(&head, number, at) != Some(*record) {
        return Ok(false);
    }
    let mut sum = Xxh3::new();
    let mut piece = vec![0; PIECE.min(record.len as usize)];
    let mut done = 0;
    while done < record.len {
        let len = (record.len - done).min(PIECE as u64) as usize;
        match file.read_exact_at(&mut piece[..len], at + HEAD + done) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(failed("read", number, &error)),
        }
        sum.update(&piece[..len]);
        take(done, &piece[..len])?;
        done += len as u64;
    }
    Ok(sum.digest() == record.sum)
}
