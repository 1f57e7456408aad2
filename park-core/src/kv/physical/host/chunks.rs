//! Chunks: bytes of any length by key, in host memory where every process of the session reads them in place, and on disk.
//!
//! For an engine that keeps the table of what is where itself ([`OffloadTable`](crate::kv::OffloadTable)): there is no order here and
//! nothing is given up. Whoever has a [`HostBlock`] keeps the chunk; when nobody has one any more it is gone from memory, and stays on disk
//! if it was written there. The key must say everything that the content depends on, its layout included: chunks of all engines lie in one
//! directory.

use std::sync::Arc;

use super::block::{self, HEAD, HostBlock};
use super::directory::Directory;
use super::{missing, open_object};
use crate::error::{Result, bail};
use crate::id::ObjectId;
use crate::kv::physical::{DiskConfig, DiskStats, DiskTier, Shape};
use crate::kv::{Key, Label};
use crate::store::{MutableObject, ObjectRef, Spec, Store};

/// See the module. Shared by threads.
pub struct Chunks {
    store: Arc<Store>,
    shape: Shape,
    directory: Directory,
    disk: Option<DiskTier>,
}

impl Chunks {
    /// A new directory, for processes that have `chunks` chunks each; more are possible, and then hide each other.
    ///
    /// # Errors
    /// `InvalidArgument` for no chunks; `StoreFull` if there is no room for the directory; `PermissionDenied` in a read-only member; what
    /// [`DiskTier::open`] reports.
    pub fn create(store: &Arc<Store>, chunks: u64, disk: Option<&DiskConfig>) -> Result<Self> {
        let directory = Directory::create(store, chunks, Shape::any().fingerprint())?;
        Self::new(store, directory, disk)
    }

    /// The directory that another process made.
    ///
    /// # Errors
    /// `NotFound` if it is gone; `WrongFormat` if the object is none; `PermissionDenied` in a read-only member; what [`DiskTier::open`]
    /// reports.
    pub fn open(store: &Arc<Store>, directory: ObjectId, disk: Option<&DiskConfig>) -> Result<Self> {
        let directory = Directory::open(store.resolve(directory)?, Shape::any().fingerprint())?;
        Self::new(store, directory, disk)
    }

    fn new(store: &Arc<Store>, directory: Directory, disk: Option<&DiskConfig>) -> Result<Self> {
        let shape = Shape::any();
        let disk = match disk {
            Some(config) => Some(DiskTier::open_for(config, shape.clone())?),
            None => None,
        };
        Ok(Self {
            store: store.clone(),
            shape,
            directory,
            disk,
        })
    }

    /// The reference that keeps the directory, to pass on.
    pub fn directory(&self) -> &ObjectRef {
        self.directory.reference()
    }

    /// Stores a chunk, the parts one behind the other, unless it is there already.
    ///
    /// # Errors
    /// `StoreFull` if the store has no room now; what the store reports.
    pub fn put(&self, key: Key, parts: &[&[u8]]) -> Result<HostBlock> {
        if let Some(found) = self.find(key) {
            return Ok(found);
        }
        let mut object = self.begin(key, parts.iter().map(|part| part.len() as u64).sum())?;
        let mut at = HEAD;
        for part in parts {
            object.write(at, part)?;
            at += part.len() as u64;
        }
        self.finish(object)
    }

    /// A chunk that any process of the session has in memory.
    pub fn find(&self, key: Key) -> Option<HostBlock> {
        let wanted = |block: &HostBlock| block.label() == label(key);
        self.directory
            .find(key, |id| open_object(&self.store, &self.shape, id).filter(wanted))
    }

    /// Whether the disk has a chunk. Its content is checked when it is fetched.
    pub fn on_disk(&self, key: Key) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.find(key, 0).is_some())
    }

    /// A chunk that is in memory, or is brought there from disk; one that was damaged on disk is none.
    ///
    /// # Errors
    /// As [`put`](Self::put); `Io` if the disk fails.
    pub fn fetch(&self, key: Key) -> Result<Option<HostBlock>> {
        if let Some(found) = self.find(key) {
            return Ok(Some(found));
        }
        let Some((disk, len)) = self.disk.as_ref().and_then(|disk| Some((disk, disk.len_of(key, 0)?))) else {
            return Ok(None);
        };
        let mut object = self.begin(key, len)?;
        let right = disk.read(key, 0, &mut |at, piece| object.write(HEAD + at, piece))?;
        if !right {
            object.abort();
            return Ok(None);
        }
        self.finish(object).map(Some)
    }

    /// Writes a chunk of memory to disk, unless it is there.
    ///
    /// # Errors
    /// `InvalidArgument` without a disk, or for a chunk that has no room on it; `NotFound` if the chunk is neither in memory nor on disk;
    /// `Io` if the disk refuses.
    pub fn persist(&self, key: Key) -> Result<()> {
        let Some(disk) = &self.disk else {
            bail!(InvalidArgument, "there is no disk tier")
        };
        if disk.find(key, 0).is_some() {
            return Ok(());
        }
        match self.find(key) {
            Some(block) => disk.append(block.label(), block.bytes()),
            None => Err(missing(key)),
        }
    }

    /// Waits until everything that was written is on the disk itself.
    ///
    /// # Errors
    /// `Io` if the disk fails.
    pub fn flush(&self) -> Result<()> {
        self.disk.as_ref().map_or(Ok(()), DiskTier::flush)
    }

    /// What the disk has counted; zeros without one.
    pub fn stats(&self) -> DiskStats {
        self.disk.as_ref().map(DiskTier::stats).unwrap_or_default()
    }

    fn begin(&self, key: Key, len: u64) -> Result<MutableObject> {
        // Whoever stores has others to give up, and must not wait for room.
        let mut full = || bail!(StoreFull, "the store has no room for a chunk of {len} bytes now");
        let mut object = self.store.create(Spec::raw(HEAD + len), &mut full)?;
        object.keep_in_memory();
        object.write(0, &block::encode(label(key), self.shape.fingerprint(), len))?;
        Ok(object)
    }

    fn finish(&self, object: MutableObject) -> Result<HostBlock> {
        let reference = object.seal()?;
        let Some(block) = HostBlock::open(reference.open()?, &self.shape) else {
            bail!(Internal, "a chunk was sealed that is none: {}", reference.id());
        };
        self.directory
            .publish(block.label().key, reference.id(), |id| self.store.contains(id));
        Ok(block)
    }
}

/// Chunks have neither epochs nor groups: their keys say everything.
fn label(key: Key) -> Label {
    Label {
        key,
        epoch: 0,
        group: 0,
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::kv::physical::kit::{label as named, store};

    fn key(n: u32) -> Key {
        named(n).key
    }

    #[test]
    fn a_chunk_lives_as_long_as_anyone_has_it_and_is_read_in_place() {
        let store = store(8 << 20);
        let first = Chunks::create(&store, 16, None).unwrap();
        let second = Chunks::open(&store, first.directory().id(), None).unwrap();
        assert!(second.find(key(1)).is_none());
        let stored = first.put(key(1), &[&[1; 100], &[2; 28]]).unwrap();
        let found = second.find(key(1)).unwrap();
        assert_eq!(found.bytes(), [[1; 100].as_slice(), &[2; 28]].concat());
        assert_eq!(found.bytes().as_ptr(), stored.bytes().as_ptr(), "it was copied");
        let again = second.put(key(1), &[&[9; 5]]).unwrap();
        assert_eq!(
            again.object().reference().id(),
            stored.object().reference().id(),
            "stored twice"
        );
        drop((stored, again));
        assert!(first.find(key(1)).is_some());
        drop(found);
        assert!(first.find(key(1)).is_none());
        first.put(key(1), &[&[3; 7]]).unwrap();
        assert!(first.find(key(1)).is_none(), "nobody kept it");
        drop((first, second));
        assert_eq!(store.references_held(), 0);
    }

    #[test]
    fn the_disk_gives_back_what_memory_lost_and_nothing_that_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let config = DiskConfig::new(folder.path(), 1 << 20);
        let store = store(8 << 20);
        let chunks = Chunks::create(&store, 16, Some(&config)).unwrap();
        assert_eq!(chunks.persist(key(1)).unwrap_err().kind(), ErrorKind::NotFound);
        for (n, len) in [(1, 100), (2, 7000)] {
            let kept = chunks.put(key(n), &[&vec![n as u8; len]]).unwrap();
            chunks.persist(key(n)).unwrap();
            chunks.persist(key(n)).unwrap();
            drop(kept);
        }
        let long = chunks.put(key(3), &[&vec![3; 600 << 10]]).unwrap();
        assert_eq!(chunks.persist(key(3)).unwrap_err().kind(), ErrorKind::InvalidArgument);
        drop(long);
        chunks.flush().unwrap();
        assert_eq!(chunks.stats().written, 2);
        drop(chunks);

        // The second content is damaged while nobody looks.
        let file = std::fs::read_dir(folder.path()).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.extension().is_some_and(|name| name == "seg").then_some(path)
        });
        let mut bytes = std::fs::read(file.as_ref().unwrap()).unwrap();
        let at = bytes.windows(7000).position(|window| window == [2; 7000]).unwrap();
        bytes[at + 3000] ^= 1;
        std::fs::write(file.unwrap(), bytes).unwrap();

        let chunks = Chunks::create(&store, 16, Some(&config)).unwrap();
        assert!(chunks.on_disk(key(1)) && chunks.on_disk(key(2)) && !chunks.on_disk(key(3)));
        assert!(chunks.find(key(1)).is_none());
        let first = chunks.fetch(key(1)).unwrap().unwrap();
        assert_eq!(first.bytes(), [1; 100]);
        assert!(chunks.find(key(1)).is_some());
        assert!(chunks.fetch(key(2)).unwrap().is_none());
        assert!(!chunks.on_disk(key(2)));
        assert_eq!(chunks.stats().corrupt, 1);
        drop((first, chunks));
        assert_eq!(store.references_held(), 0);
    }

    #[test]
    fn a_full_store_is_an_error_at_once() {
        let store = store(crate::config::Config::MIN_CAPACITY);
        let chunks = Chunks::create(&store, 16, None).unwrap();
        let mut kept = Vec::new();
        let full = (0..1000).find_map(|n| match chunks.put(key(n), &[&vec![0; 64 << 10]]) {
            Ok(chunk) => {
                kept.push(chunk);
                None
            }
            Err(error) => Some(error),
        });
        assert_eq!(full.unwrap().kind(), ErrorKind::StoreFull);
        kept.pop();
        chunks.put(key(5000), &[&vec![0; 64 << 10]]).unwrap();
        let other = store.put(&[1; 100]).unwrap();
        let wrong = Chunks::open(&store, other.id(), None).err();
        assert_eq!(wrong.map(|error| error.kind()), Some(ErrorKind::WrongFormat));
    }
}
