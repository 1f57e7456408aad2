//! The host tier: blocks as sealed objects of the store, which other processes find by key and read in place.
//!
//! Which blocks this process holds, and in which order it gives them up, is a [`Pool`] like the one of the device: a place of the tier is a
//! block of that pool without references, found by its key until it is taken again. What a place holds is a reference to an object; so
//! giving it up never takes bytes away from whoever reads them.
//!
//! | file | what |
//! |---|---|
//! | `block` | the bytes of a block |
//! | `directory` | how other processes find it |
//! | `chunks` | the same without an order: whoever has a chunk keeps it |
#![allow(unsafe_code, reason = "lends payloads of objects to the device's copies")]

mod block;
mod chunks;
mod directory;

use std::collections::HashSet;
use std::sync::Arc;

pub(super) use self::block::HEAD;
pub use self::block::HostBlock;
pub use self::chunks::Chunks;

use self::directory::Directory;
use super::{Arena, DiskTier, Layout, Place, Shape};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ObjectId;
use crate::kv::pool::{Pool, PoolConfig, TenantId};
use crate::kv::{BlockId, Eviction, Key, Label};
use crate::store::{MutableObject, ObjectRef, Spec, Store};
use crate::sync::Mutex;

/// Blocks of one batch of copies.
const BATCH: usize = 64;

/// What a host tier is made of.
#[derive(Clone, Copy, Debug)]
pub struct HostConfig {
    /// Blocks that this process holds at most. They take memory of the store, once for all processes that hold them.
    pub blocks: u32,
    /// In which order they are given up.
    pub eviction: Eviction,
}

/// What a host tier has counted in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostStats {
    /// Blocks held now.
    pub blocks: u32,
    /// Blocks that this process made.
    pub stored: u64,
    /// Blocks of other processes that were found.
    pub found: u64,
    /// Blocks that were given up for others.
    pub evicted: u64,
    /// Blocks that the store had no room for.
    pub refused: u64,
}

struct Inner {
    pool: Pool,
    /// What each place of the pool holds.
    places: Vec<Option<HostBlock>>,
    /// Given up, and perhaps worth a place on disk: see `take_evicted`.
    evicted: Vec<HostBlock>,
    stats: HostStats,
}

/// See the module.
pub struct HostTier {
    store: Arc<Store>,
    layout: Layout,
    shape: Shape,
    directory: Directory,
    /// Where what is given up goes.
    lower: Option<Arc<DiskTier>>,
    inner: Mutex<Inner>,
}

impl HostTier {
    /// A tier with a directory of its own, which other processes open by [`directory`](Self::directory).
    ///
    /// # Errors
    /// `InvalidArgument` for no blocks; `StoreFull` if there is no room for the directory; `PermissionDenied` in a read-only member.
    pub fn create(store: &Arc<Store>, layout: &Layout, config: HostConfig) -> Result<Self> {
        let directory = Directory::create(store, config.blocks.into(), layout.fingerprint())?;
        Self::new(store, layout, config, directory)
    }

    /// A tier that shares another process's directory.
    ///
    /// # Errors
    /// `NotFound` if it is gone; `WrongFormat` if the object is no directory, or one of another layout; `InvalidArgument` for no blocks;
    /// `PermissionDenied` in a read-only member.
    pub fn open(store: &Arc<Store>, layout: &Layout, config: HostConfig, directory: ObjectId) -> Result<Self> {
        let directory = Directory::open(store.resolve(directory)?, layout.fingerprint())?;
        Self::new(store, layout, config, directory)
    }

    fn new(store: &Arc<Store>, layout: &Layout, config: HostConfig, directory: Directory) -> Result<Self> {
        let Some(blocks) = config.blocks.checked_add(1).filter(|blocks| *blocks > 1) else {
            bail!(InvalidArgument, "a host tier of {} blocks was asked for", config.blocks);
        };
        let pool = Pool::new(&PoolConfig {
            blocks,
            eviction: config.eviction,
            events: false,
        })?;
        Ok(Self {
            store: store.clone(),
            layout: layout.clone(),
            shape: Shape::of(layout)?,
            directory,
            lower: None,
            inner: Mutex::new(Inner {
                pool,
                places: vec![None; blocks as usize],
                evicted: Vec::new(),
                stats: HostStats::default(),
            }),
        })
    }

    /// From now on, what is given up goes to disk: at once where memory is short, else by whoever calls `take_evicted`.
    pub(super) fn above(mut self, lower: Arc<DiskTier>) -> Self {
        self.lower = Some(lower);
        self
    }

    /// The object that other processes open. It lives as long as a process has it open.
    pub fn directory(&self) -> ObjectId {
        self.directory.reference().id()
    }

    /// The reference that keeps the directory, to pass on.
    pub fn directory_reference(&self) -> &ObjectRef {
        self.directory.reference()
    }

    /// The store that blocks lie in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What was counted.
    pub fn stats(&self) -> HostStats {
        let inner = self.inner.lock();
        HostStats {
            blocks: inner.pool.cached_blocks(),
            ..inner.stats
        }
    }

    /// Blocks that this process holds at most.
    pub fn capacity(&self) -> u32 {
        self.inner.lock().pool.blocks() - 1
    }

    /// A block, here or stored by any process of the session. One that is found elsewhere is held by this process from now on.
    pub fn find(&self, key: Key, epoch: u32) -> Option<HostBlock> {
        if let Some(found) = self.inner.lock().find(key, epoch) {
            return Some(found);
        }
        let wanted = |block: &HostBlock| block.label().key == key && block.label().epoch == epoch;
        let block = self.directory.find(key, |id| self.open_object(id).filter(wanted))?;
        let mut inner = self.inner.lock();
        if let Some(found) = inner.find(key, epoch) {
            return Some(found); // another thread was first
        }
        inner.stats.found += 1;
        self.hold(&mut inner, block.clone());
        Some(block)
    }

    /// These blocks were used, in the order of their sequence: the last of them will be the first to be given up.
    pub fn touch(&self, keys: &[Key], epoch: u32) {
        let mut inner = self.inner.lock();
        let used: Vec<BlockId> = keys
            .iter()
            .rev()
            .filter_map(|key| inner.pool.find(*key, epoch))
            .collect();
        inner.pool.hit(&used);
        // A place that is named twice is referenced and released twice, so neither call can fail.
        let touched = inner.pool.touch(&used, TenantId::default());
        debug_assert!(touched.is_ok(), "places are of the pool");
        let released = inner.pool.release(&used);
        debug_assert!(released.is_ok(), "they were referenced above");
    }

    /// Stores a block whose bytes are at hand, unless it is there already.
    ///
    /// # Errors
    /// `InvalidArgument` for a group that does not exist or bytes that are not as many as its blocks have; `StoreFull` if the store has
    /// no room even without what this tier could give up; what the store reports.
    pub fn put(&self, label: Label, bytes: &[u8]) -> Result<HostBlock> {
        self.shape.check(label.group, bytes.len() as u64)?;
        if let Some(found) = self.find(label.key, label.epoch) {
            return Ok(found);
        }
        let mut object = self.begin(label)?;
        object.write(HEAD, bytes)?;
        self.finish(object)
    }

    /// Lends room for a block's pages, behind its head. What was lent is given back unless it comes back by [`finish`](Self::finish).
    pub(super) fn begin(&self, label: Label) -> Result<MutableObject> {
        let bytes = self.layout.block_bytes(label.group)?;
        let head = block::encode(label, self.layout.fingerprint(), bytes);
        let mut object = loop {
            // Whoever stores blocks has others to give up, and must not wait for room.
            let mut full = || bail!(StoreFull, "the store has no room for a block of {bytes} bytes now");
            match self.store.create(Spec::raw(HEAD + bytes), &mut full) {
                Err(error) if error.kind() == ErrorKind::StoreFull => {
                    if !self.give_up_one() {
                        self.inner.lock().stats.refused += 1;
                        return Err(error);
                    }
                }
                other => break other?,
            }
        };
        object.keep_in_memory();
        object.write(0, &head)?;
        Ok(object)
    }

    /// Seals a block that was begun, holds it, and lets others find it.
    pub(super) fn finish(&self, object: MutableObject) -> Result<HostBlock> {
        let reference = object.seal()?;
        let Some(block) = HostBlock::open(reference.open()?, &self.shape) else {
            bail!(Internal, "a block was sealed that is none: {}", reference.id());
        };
        let exists = |id: ObjectId| self.store.contains(id);
        self.directory.publish(block.label().key, reference.id(), exists);
        let mut inner = self.inner.lock();
        inner.stats.stored += 1;
        self.hold(&mut inner, block.clone());
        Ok(block)
    }

    /// Copies blocks of the device here, in batches; those that are here already stay. Returns how many were copied.
    ///
    /// # Errors
    /// As [`put`](Self::put), and what the arena reports; blocks before the one that failed are stored.
    pub(super) fn store_blocks(&self, arena: &Arena, blocks: &[(Label, BlockId)]) -> Result<u32> {
        let mut seen = HashSet::new();
        let missing: Vec<&(Label, BlockId)> = blocks
            .iter()
            .filter(|(label, _)| seen.insert(label.key) && self.find(label.key, label.epoch).is_none())
            .collect();
        let mut stored = 0;
        for batch in missing.chunks(BATCH) {
            let mut objects = Vec::with_capacity(batch.len());
            let mut failed = None;
            for (label, _) in batch {
                match self.begin(*label) {
                    Ok(object) => objects.push(object),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            let places: Vec<(Place, *mut u8)> = batch
                .iter()
                .zip(&mut objects)
                .map(|((label, block), object)| {
                    let place = Place {
                        block: *block,
                        group: label.group,
                    };
                    (place, object.as_mut_ptr().wrapping_add(HEAD as usize))
                })
                .collect();
            // SAFETY: payloads that are lent to this call alone, as long as their head and their group's pages.
            unsafe { arena.read_to(&places)? };
            // The last first: of a sequence that has to be given up, the head is worth most.
            for object in objects.into_iter().rev() {
                self.store.count_copied(object.len() - HEAD);
                self.finish(object)?;
                stored += 1;
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(stored)
    }

    /// Holds blocks that other processes have stored, as long as there is room that nothing has to be given up for: what was made by a
    /// process that ends then stays. Returns how many it holds now that it did not before.
    pub fn adopt(&self) -> u32 {
        let mut adopted = 0;
        for id in self.directory.ids() {
            let Some(block) = self.open_object(id) else { continue };
            let label = block.label();
            let mut inner = self.inner.lock();
            if inner.pool.cached_blocks() == inner.pool.blocks() - 1 {
                break;
            }
            if inner.find(label.key, label.epoch).is_none() {
                inner.stats.found += 1;
                adopted += 1;
                self.hold(&mut inner, block);
            }
        }
        adopted
    }

    /// Gives up all blocks of other epochs. Returns how many.
    pub fn retire(&self, epoch: u32) -> u32 {
        self.give_up(|block| block.label().epoch != epoch)
    }

    /// Gives up all blocks. Returns how many.
    pub fn clear(&self) -> u32 {
        self.give_up(|_| true)
    }

    /// Blocks that were given up to make room, in that order, since the last call.
    pub(super) fn take_evicted(&self) -> Vec<HostBlock> {
        std::mem::take(&mut self.inner.lock().evicted)
    }

    /// Whether some are kept for `take_evicted`.
    pub(super) fn has_evicted(&self) -> bool {
        !self.inner.lock().evicted.is_empty()
    }

    /// Checks that places, keys and blocks agree.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that does not.
    pub fn audit(&self) -> Result<()> {
        let inner = self.inner.lock();
        inner.pool.audit(&vec![0; inner.places.len()])?;
        for (place, block) in (0..).map(BlockId).zip(&inner.places) {
            let key = block.as_ref().map(|block| block.label().key);
            if inner.pool.key_of(place) != key {
                bail!(
                    Corrupt,
                    "place {} of the host tier is found by {:?} and holds {key:?}",
                    place.0,
                    inner.pool.key_of(place)
                );
            }
        }
        Ok(())
    }

    fn give_up(&self, which: impl Fn(&HostBlock) -> bool) -> u32 {
        let mut inner = self.inner.lock();
        let gone: Vec<BlockId> = (0..)
            .map(BlockId)
            .zip(&inner.places)
            .filter(|(_, block)| block.as_ref().is_some_and(&which))
            .map(|(place, _)| place)
            .collect();
        for place in &gone {
            inner.empty(*place);
        }
        gone.len() as u32
    }

    /// Gives up the block that is next in order. False if there is none.
    fn give_up_one(&self) -> bool {
        let mut inner = self.inner.lock();
        let order = inner.pool.free_order();
        let Some(place) = order.into_iter().find(|place| inner.places[place.at()].is_some()) else {
            return false;
        };
        let block = inner.empty(place);
        inner.stats.evicted += 1;
        drop(inner);
        if let (Some(lower), Some(block)) = (&self.lower, block) {
            // What the disk refuses is counted there; the memory is wanted in any case.
            let _ = lower.append(block.label(), block.bytes());
        }
        true
    }

    /// Puts a block into a place, in place of the one that is next in order.
    fn hold(&self, inner: &mut Inner, block: HostBlock) {
        let label = block.label();
        let mut taken = Vec::with_capacity(1);
        // Places have no references between calls, so one is free.
        let allocated = inner.pool.allocate(1, TenantId::default(), &mut taken);
        let [place] = taken[..] else {
            debug_assert!(allocated, "no place is referenced");
            return;
        };
        if let Some(old) = inner.places[place.at()].replace(block) {
            inner.stats.evicted += 1;
            if self.lower.is_some() {
                inner.evicted.push(old);
            }
        }
        let registered = inner.pool.register(place, label.key, label.epoch, label.group);
        debug_assert!(registered.is_ok(), "the place was allocated");
        let released = inner.pool.release(&[place]);
        debug_assert!(released.is_ok(), "the place was allocated");
    }

    fn open_object(&self, id: ObjectId) -> Option<HostBlock> {
        open_object(&self.store, &self.shape, id)
    }
}

/// The block that an object of any kind is, if it is one of this shape. Never waits.
fn open_object(store: &Arc<Store>, shape: &Shape, id: ObjectId) -> Option<HostBlock> {
    // Blocks are never on disk (the store's): what could be is none.
    if !store.contains(id) || store.may_go_to_disk(id) {
        return None;
    }
    let reference: ObjectRef = store.resolve(id).ok()?;
    let raw = reference
        .sealed()
        .is_ok_and(|sealed| sealed.format == crate::store::Format::Raw);
    HostBlock::open(raw.then(|| reference.open().ok()).flatten()?, shape)
}

impl Inner {
    fn find(&self, key: Key, epoch: u32) -> Option<HostBlock> {
        if let Some(place) = self.pool.find(key, epoch) {
            return self.places[place.at()].clone();
        }
        // On its way to disk: nothing else may know of it now.
        let wanted = |block: &&HostBlock| block.label().key == key && block.label().epoch == epoch;
        self.evicted.iter().find(wanted).cloned()
    }

    /// A place holds nothing any more.
    fn empty(&mut self, place: BlockId) -> Option<HostBlock> {
        let forgotten = self.pool.forget(place);
        debug_assert!(forgotten.is_ok(), "places are of the pool");
        self.places[place.at()].take()
    }
}

/// An error that a tier reports for a block it was told to have.
pub(super) fn missing(key: Key) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("no tier has the block of key {:032x}", key.raw()),
    )
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
