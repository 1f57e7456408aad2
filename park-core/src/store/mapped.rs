//! MAPPED objects: tensors whose elements stay in the file that they come from (safetensors, say).
//!
//! ```text
//! 192 bytes  the header of a TENSOR (format.rs)
//! u64 device, u64 inode, u64 file size, i64 mtime seconds, u32 mtime nanoseconds, u32 path length, u64 offset of the elements
//! the path, absolute and without links
//! ```
//! The object is this record; whoever opens it maps the file, once per process however many tensors it holds, and reads it in place.
//! A mapping lives as long as a view into it. Before a view is given out the file must be the one that was loaded: same inode, size
//! and time of change; else the object is lost, and the error names the file.
//!
//! What no check can do: a file is not sealed as shared memory is. Who truncates it while views exist makes their readers die of
//! SIGBUS, and who writes into it changes what they read (a write within the clock tick of the last one, too, goes unnoticed).
//! Replace such a file by renaming a new one over it, as safetensors and every package manager do: the old one then stays whole for
//! those who have it mapped. Hence `Store::map_file` is `unsafe`: that nobody does otherwise is its caller's promise.
#![allow(
    unsafe_code,
    reason = "makes slices over a mapped file, which its loader promised not to change"
)]

use std::collections::HashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use super::format::{Format, TENSOR_HEADER, TensorSpec, View};
use super::handle::Spec;
use super::{ObjectRef, Store, never};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::sync::Mutex;
use crate::sys::mmap::Mapping;

const HEADER: usize = TENSOR_HEADER as usize;
const FIXED: usize = HEADER + 48;

/// Which file, and which state of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Stamp {
    /// The state that an open file is in. Only regular files can be mapped.
    fn of(fd: &OwnedFd, path: &Path) -> Result<Self> {
        let stat = fstat(fd).map_err(|error| unreadable(path, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            bail!(InvalidArgument, "{} is not a regular file", path.display());
        }
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        })
    }
}

fn unreadable(path: &Path, error: rustix::io::Errno) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read {}: {error}", path.display()))
}

/// A file in this process's memory, read-only.
pub struct MappedFile {
    path: PathBuf,
    fd: OwnedFd,
    stamp: Stamp,
    /// None for an empty file, of which the system maps nothing.
    mapping: Option<Mapping>,
}

impl MappedFile {
    fn open(path: &Path) -> Result<Self> {
        // NONBLOCK: a pipe of that name must be refused, not waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = open(path, flags, Mode::empty()).map_err(|error| unreadable(path, error))?;
        let stamp = Stamp::of(&fd, path)?;
        let mapping = (stamp.size > 0)
            .then(|| Mapping::read_only(&fd, stamp.size))
            .transpose()?;
        Ok(Self {
            path: path.to_owned(),
            fd,
            stamp,
            mapping,
        })
    }

    /// Where the file was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        match &self.mapping {
            // SAFETY: mapped for reading over its whole length as long as `self`; that the file is neither truncated nor written to
            // was promised to `Store::map_file` by whoever loaded it.
            Some(mapping) => unsafe { std::slice::from_raw_parts(mapping.base(), mapping.size()) },
            None => &[],
        }
    }

    /// Fails unless the file is still as it was loaded.
    fn check(&self, loaded: Stamp) -> Result<()> {
        let now = Stamp::of(&self.fd, &self.path)?;
        if now == loaded && self.stamp == loaded {
            return Ok(());
        }
        let what = if (now.device, now.inode) != (loaded.device, loaded.inode) {
            "was replaced".to_owned()
        } else if now.size != loaded.size {
            format!("had {} bytes and now has {}", loaded.size, now.size)
        } else {
            "was written to".to_owned()
        };
        bail!(
            ObjectLost,
            "the file {} {what} since it was loaded",
            self.path.display()
        );
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("path", &self.path)
            .field("size", &self.stamp.size)
            .finish_non_exhaustive()
    }
}

/// The files that this process has mapped: a mapping is shared as long as anybody has a view of it.
pub(super) struct FileTable(Mutex<HashMap<Stamp, Weak<MappedFile>>>);

impl Default for FileTable {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl FileTable {
    fn find(&self, stamp: &Stamp) -> Option<Arc<MappedFile>> {
        self.0.lock().get(stamp)?.upgrade()
    }

    /// The mapping of the file at `path`, new or known.
    fn open(&self, path: &Path) -> Result<Arc<MappedFile>> {
        let fresh = MappedFile::open(path)?;
        let mut table = self.0.lock();
        if let Some(known) = table.get(&fresh.stamp).and_then(Weak::upgrade) {
            return Ok(known);
        }
        table.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(fresh);
        table.insert(file.stamp, Arc::downgrade(&file));
        Ok(file)
    }
}

/// What a MAPPED object says.
struct Record<'a> {
    stamp: Stamp,
    offset: u64,
    path: &'a Path,
    spec: TensorSpec,
}

impl<'a> Record<'a> {
    fn encode(file: &MappedFile, offset: u64, spec: &TensorSpec) -> Vec<u8> {
        let path = file.path.as_os_str().as_bytes();
        let stamp = &file.stamp;
        let mut record = spec.header().to_vec();
        for word in [stamp.device, stamp.inode, stamp.size] {
            record.extend_from_slice(&word.to_le_bytes());
        }
        record.extend_from_slice(&stamp.seconds.to_le_bytes());
        record.extend_from_slice(&stamp.nanoseconds.to_le_bytes());
        record.extend_from_slice(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(&offset.to_le_bytes());
        record.extend_from_slice(path);
        record
    }

    /// Reads a record; every number may be anything.
    fn parse(record: &'a [u8], view: View) -> Result<Self> {
        let spec = TensorSpec::parse_header(record, view)?;
        let word = |at: usize| {
            let bytes = record.get(HEADER + at..)?.first_chunk::<8>()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let parsed = || {
            let (times, offset) = (word(32)?, word(40)?);
            let path = record.get(FIXED..)?;
            (path.len() as u64 == times >> 32).then_some(Self {
                stamp: Stamp {
                    device: word(0)?,
                    inode: word(8)?,
                    size: word(16)?,
                    seconds: word(24)?.cast_signed(),
                    nanoseconds: times as u32,
                },
                offset,
                path: Path::new(std::ffi::OsStr::from_bytes(path)),
                spec: spec.clone(),
            })
        };
        parsed().ok_or_else(|| {
            let text = format!("the record of a mapped tensor, {} bytes, is malformed", record.len());
            Error::new(ErrorKind::Corrupt, text)
        })
    }
}

/// A range of a mapped file that is a tensor's elements.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    file: Arc<MappedFile>,
    start: usize,
    len: usize,
}

impl Elements {
    pub(super) fn bytes(&self) -> &[u8] {
        // `of` checked the range, and a mapping does not change its length.
        self.file
            .bytes()
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    fn of(file: Arc<MappedFile>, offset: u64, spec: &TensorSpec) -> Result<Self> {
        let size = file.bytes().len() as u64;
        if offset.checked_add(spec.nbytes()).is_none_or(|end| end > size) {
            bail!(
                InvalidArgument,
                "{} bytes at {offset} are not inside {}, which has {size}",
                spec.nbytes(),
                file.path.display()
            );
        }
        if !offset.is_multiple_of(spec.dtype.alignment()) {
            bail!(
                InvalidArgument,
                "{} elements at offset {offset} of {} are not aligned: copy them into the store instead",
                spec.dtype,
                file.path.display()
            );
        }
        Ok(Self {
            file,
            start: usize::try_from(offset).unwrap_or(0),
            len: usize::try_from(spec.nbytes()).unwrap_or(0),
        })
    }
}

impl Store {
    /// Maps a file of tensors. `put_mapped` makes objects of its parts.
    ///
    /// # Safety
    /// As long as an object or a view of a part of it exists, in any process, nobody truncates the file or writes to it. To rename
    /// another file over it, or to remove it, is fine for those who have it mapped.
    pub unsafe fn map_file(&self, path: &Path) -> Result<Arc<MappedFile>> {
        // Other processes have other working directories.
        let whole = path
            .canonicalize()
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {}: {error}", path.display())))?;
        self.files.open(&whole)
    }

    /// A tensor object whose elements lie at `offset` of a mapped file. Nothing is copied.
    pub fn put_mapped(self: &Arc<Self>, file: &Arc<MappedFile>, offset: u64, spec: &TensorSpec) -> Result<ObjectRef> {
        Elements::of(file.clone(), offset, spec)?;
        let record = Record::encode(file, offset, spec);
        let mut object = self.create(
            Spec {
                len: record.len() as u64,
                format: Format::Mapped,
                view: spec.view,
                nested: &[],
            },
            &mut never,
        )?;
        object.write(0, &record)?;
        object.seal()
    }

    /// The elements that a MAPPED object's record names.
    pub(super) fn open_mapped(&self, record: &[u8]) -> Result<Elements> {
        let record = Record::parse(record, View::Plain)?;
        let file = match self.files.find(&record.stamp) {
            Some(file) => file,
            None => self.files.open(record.path).map_err(|error| {
                let text = format!("a tensor's elements are gone with the file they lie in: {error}");
                Error::new(ErrorKind::ObjectLost, text)
            })?,
        };
        file.check(record.stamp)?;
        Elements::of(file, record.offset, &record.spec)
    }

    /// The type and shape that a MAPPED object's record says.
    pub(super) fn mapped_spec(record: &[u8], view: View) -> Result<TensorSpec> {
        Ok(Record::parse(record, view)?.spec)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::DType;
    use std::io::Write;

    fn store() -> Arc<Store> {
        Arc::new(Store::open(&Config::default().capacity(1 << 20), 9).unwrap())
    }

    fn load(store: &Arc<Store>, path: &Path) -> Arc<MappedFile> {
        // SAFETY: the tests that change their file look at no view of it afterwards.
        unsafe { store.map_file(path) }.unwrap()
    }

    fn floats(shape: &[u64]) -> TensorSpec {
        TensorSpec::contiguous(DType { code: 2, bits: 32 }, shape, View::Torch).unwrap()
    }

    #[test]
    fn elements_are_read_where_the_file_has_them() {
        let store = store();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 64]).unwrap();
        let mapped = load(&store, file.path());
        let object = store.put_mapped(&mapped, 16, &floats(&[2, 3])).unwrap();
        let empty = store.put_mapped(&mapped, 64, &floats(&[0, 9])).unwrap();
        let opened = object.open().unwrap();
        let (spec, elements) = opened.tensor().unwrap();
        assert_eq!((spec, elements), (floats(&[2, 3]), &mapped.bytes()[16..40]));
        assert_eq!(
            elements.as_ptr(),
            mapped.bytes()[16..].as_ptr(),
            "one mapping a process"
        );
        assert_eq!((opened.bytes(), opened.format()), (elements, Format::Mapped));
        assert!(empty.open().unwrap().tensor().unwrap().1.is_empty());
        // A view keeps its file mapped, after the name is gone too.
        drop((mapped, file));
        assert_eq!(opened.bytes(), [7; 24]);
        drop((object, empty));
        assert_eq!(opened.reference().open().unwrap().bytes(), [7; 24]);
    }

    #[test]
    fn a_file_that_changed_is_lost_by_name() {
        let store = store();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let lost = |object: &ObjectRef, says: &str| {
            let error = object.open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ObjectLost, "{error}");
            assert!(
                error.message().contains("weights") && error.message().contains(says),
                "{error}"
            );
        };
        std::fs::write(&path, [1; 32]).unwrap();
        let object = store.put_mapped(&load(&store, &path), 0, &floats(&[8])).unwrap();
        assert_eq!(object.open().unwrap().bytes(), [1; 32]);
        std::fs::write(&path, [1; 31]).unwrap();
        lost(&object, "31");
        std::fs::write(folder.path().join("new"), [2; 32]).unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        lost(&object, "replaced");
        let object = store.put_mapped(&load(&store, &path), 0, &floats(&[8])).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        lost(&object, "written to");
        std::fs::remove_file(&path).unwrap();
        lost(&object, "weights");
    }

    #[test]
    fn what_is_no_range_of_a_file_is_refused() {
        let store = store();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 64]).unwrap();
        let mapped = load(&store, file.path());
        for (offset, shape) in [(0, vec![17]), (64, vec![1]), (u64::MAX, vec![1]), (2, vec![1])] {
            let error = store.put_mapped(&mapped, offset, &floats(&shape)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
        // SAFETY: none of these becomes a view.
        let refused = |path: &str| unsafe { store.map_file(Path::new(path)) }.unwrap_err().kind();
        assert_eq!(refused("/dev/null"), ErrorKind::InvalidArgument);
        assert_eq!(refused("/"), ErrorKind::InvalidArgument);
        assert_eq!(refused("/no/such/file"), ErrorKind::Io);
    }

    #[test]
    fn hostile_records_never_panic() {
        let store = store();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 64]).unwrap();
        let good = Record::encode(&load(&store, file.path()), 0, &floats(&[4]));
        assert!(store.open_mapped(&good).is_ok());
        for len in 0..good.len() {
            assert!(store.open_mapped(&good[..len]).is_err());
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            // Fine where the header does not look (strides of one row, say); never a range outside the file.
            let _ = store.open_mapped(&bad);
        }
    }
}
