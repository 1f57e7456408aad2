//! The arena: blocks of a layout in the memory of a device, and who copies which.
//!
//! Each block has one word of claims: how many copies read it, or that one writes it. A copy claims all of its blocks first, and one that
//! is refused a claim has touched nothing (README.md says what claims do not cover). While the arena sleeps there is no memory: the lock
//! `asleep` is held for reading by each copy, and for writing by whoever puts it to sleep.
//!
//! ```text
//! claims[block]  u32   WRITER:1 | readers:31      free -> readers + 1, free -> WRITER by CAS (Acquire); back by the same copy (Release)
//! ```
#![allow(unsafe_code, reason = "hands addresses that it has checked and claimed to a device")]

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};

use super::device::{CopyIn, CopyOut, CopyWithin, Device};
use super::{HostBlock, Layout, Run};
use crate::error::{Result, bail};
use crate::kv::BlockId;
use crate::store::{ObjectRef, Spec, Store, never};
use crate::sync::atomic::{AtomicU32, Ordering};

const WRITER: u32 = 1 << 31;
/// Blocks that are kept through a sleep go into objects of at most about this size.
const KEPT_BYTES: u64 = 16 << 20;

/// A block of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The block.
    pub block: BlockId,
    /// Which group's pages it holds.
    pub group: u8,
}

/// What becomes of contents while the arena sleeps.
#[derive(Clone, Copy, Debug)]
pub enum Sleep<'a> {
    /// They are gone.
    Drop,
    /// Those of these blocks are kept in the store, in objects that it may spill.
    Keep(&'a Arc<Store>, &'a [BlockId]),
}

/// Contents of blocks, for the time of a sleep. A reference without a view, so that the store may spill it.
struct Kept {
    blocks: Vec<BlockId>,
    object: ObjectRef,
}

struct State {
    asleep: bool,
    kept: Vec<Kept>,
}

/// See the module.
pub struct Arena {
    layout: Layout,
    device: Box<dyn Device>,
    claims: Vec<AtomicU32>,
    state: RwLock<State>,
}

impl Arena {
    /// A layout over a device that is large enough.
    ///
    /// # Errors
    /// `InvalidArgument` for a device that is too small.
    pub fn new(layout: Layout, device: Box<dyn Device>) -> Result<Self> {
        if device.bytes() < layout.total_bytes() {
            bail!(
                InvalidArgument,
                "the layout takes {} bytes, and the device has {}",
                layout.total_bytes(),
                device.bytes()
            );
        }
        let claims = (0..layout.config().blocks).map(|_| AtomicU32::new(0)).collect();
        Ok(Self {
            layout,
            device,
            claims,
            state: RwLock::new(State {
                asleep: false,
                kept: Vec::new(),
            }),
        })
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The memory below.
    pub fn device(&self) -> &dyn Device {
        &*self.device
    }

    /// Whether its memory is given back.
    pub fn is_asleep(&self) -> bool {
        self.state.read().asleep
    }

    /// Copies the pages of a block's group, in the order of its layers.
    ///
    /// # Errors
    /// `InvalidArgument` for a block or group that does not exist, a buffer of another length, or a block that is being written;
    /// `HandleClosed` while the arena sleeps; what the device reports.
    pub fn read_block(&self, place: Place, to: &mut [u8]) -> Result<()> {
        let bytes = self.layout.block_bytes(place.group)?;
        if to.len() as u64 != bytes {
            bail!(
                InvalidArgument,
                "block {} has {bytes} bytes, and a buffer of {} was given",
                place.block.0,
                to.len()
            );
        }
        // SAFETY: a slice of as many bytes as the block has, borrowed for writing.
        unsafe { self.read_to(&[(place, to.as_mut_ptr())]) }
    }

    /// Writes the pages of a block's group.
    ///
    /// # Errors
    /// As [`read_block`](Self::read_block); also for a block that is being read.
    pub fn write_block(&self, place: Place, from: &[u8]) -> Result<()> {
        let bytes = self.layout.block_bytes(place.group)?;
        if from.len() as u64 != bytes {
            bail!(
                InvalidArgument,
                "block {} has {bytes} bytes, and {} were given",
                place.block.0,
                from.len()
            );
        }
        // SAFETY: a slice of as many bytes as the block has, borrowed meanwhile.
        unsafe { self.write_from(&[(place, from.as_ptr())]) }
    }

    /// Copies host blocks to device blocks, in one batch and without a copy in between.
    ///
    /// # Errors
    /// As [`write_block`](Self::write_block); also if a block is named twice.
    pub fn write_host_blocks(&self, blocks: &[(BlockId, HostBlock)]) -> Result<()> {
        let places: Result<Vec<(Place, *const u8)>> = blocks
            .iter()
            .map(|(block, from)| {
                let group = from.label().group;
                let bytes = self.layout.block_bytes(group)?;
                if from.bytes().len() as u64 != bytes {
                    bail!(
                        InvalidArgument,
                        "block {} has {bytes} bytes, and a host block of {} was given",
                        block.0,
                        from.bytes().len()
                    );
                }
                let place = Place { block: *block, group };
                Ok((place, from.bytes().as_ptr()))
            })
            .collect();
        // SAFETY: sealed bytes, as many as each block has, which `blocks` keeps where they are.
        unsafe { self.write_from(&places?) }
    }

    /// Copies whole blocks to others, in one batch.
    ///
    /// # Errors
    /// As [`write_block`](Self::write_block); also if a block is written twice, or read and written.
    pub fn copy_blocks(&self, copies: &[(BlockId, BlockId)]) -> Result<()> {
        let awake = self.awake()?;
        let from: Vec<BlockId> = copies.iter().map(|(from, _)| *from).collect();
        let to: Vec<BlockId> = copies.iter().map(|(_, to)| *to).collect();
        let _reads = self.claim(&from, Access::Read)?;
        let _writes = self.claim(&to, Access::Write)?;
        let (mut sources, mut targets) = (Vec::new(), Vec::new());
        for (from, to) in copies {
            self.layout.runs(*from, self.layout.planes(), &mut sources)?;
            self.layout.runs(*to, self.layout.planes(), &mut targets)?;
        }
        let batch: Vec<CopyWithin> = sources
            .iter()
            .zip(&targets)
            .map(|(from, to)| CopyWithin {
                from: from.offset,
                to: to.offset,
                len: from.len,
            })
            .collect();
        // SAFETY: each target is claimed by this call alone, and nobody writes to a source; runs of different blocks do not overlap.
        let copied = unsafe { self.device.copy_within(&batch) };
        drop(awake);
        copied
    }

    /// Writes zeros to whole blocks.
    ///
    /// # Errors
    /// As [`write_block`](Self::write_block).
    pub fn zero_blocks(&self, blocks: &[BlockId]) -> Result<()> {
        let _awake = self.awake()?;
        let _claims = self.claim(blocks, Access::Write)?;
        let mut runs: Vec<Run> = Vec::new();
        for block in blocks {
            self.layout.runs(*block, self.layout.planes(), &mut runs)?;
        }
        // SAFETY: claimed by this call alone.
        unsafe { self.device.zero(&runs) }
    }

    /// Copies blocks to addresses, in one batch.
    ///
    /// # Errors
    /// As [`read_block`](Self::read_block).
    ///
    /// # Safety
    /// Each address is writable for the bytes of its block, and nobody else uses that memory meanwhile.
    pub(super) unsafe fn read_to(&self, blocks: &[(Place, *mut u8)]) -> Result<()> {
        let _awake = self.awake()?;
        let _claims = self.claim_places(blocks.iter().map(|(place, _)| *place), Access::Read)?;
        let batch = self.batch(blocks, |run, address, at| CopyOut {
            from: run.offset,
            to: address.wrapping_add(at),
            len: run.len,
        })?;
        // SAFETY: nobody writes to blocks that are claimed for reading; the addresses are the caller's promise.
        unsafe { self.device.copy_out(&batch) }
    }

    /// Copies blocks from addresses, in one batch.
    ///
    /// # Errors
    /// As [`write_block`](Self::write_block).
    ///
    /// # Safety
    /// Each address is readable for the bytes of its block, and nobody writes to that memory meanwhile.
    pub(super) unsafe fn write_from(&self, blocks: &[(Place, *const u8)]) -> Result<()> {
        let _awake = self.awake()?;
        let _claims = self.claim_places(blocks.iter().map(|(place, _)| *place), Access::Write)?;
        let batch = self.batch(blocks, |run, address, at| CopyIn {
            from: address.wrapping_add(at),
            to: run.offset,
            len: run.len,
        })?;
        // SAFETY: blocks that are claimed for writing are this call's alone and not named twice; addresses are the caller's promise.
        unsafe { self.device.copy_in(&batch) }
    }

    /// Copies whole blocks, all planes, to addresses.
    ///
    /// # Errors
    /// As [`read_block`](Self::read_block).
    ///
    /// # Safety
    /// As [`read_to`](Self::read_to), for [`Layout::whole_block_bytes`].
    pub(super) unsafe fn read_whole(&self, blocks: &[(BlockId, *mut u8)]) -> Result<()> {
        let place = |(block, address): &(BlockId, *mut u8)| (self.whole(*block), *address);
        let places: Vec<(Place, *mut u8)> = blocks.iter().map(place).collect();
        // SAFETY: the caller's promise.
        unsafe { self.read_to(&places) }
    }

    /// Copies whole blocks, all planes, from addresses.
    ///
    /// # Errors
    /// As [`write_block`](Self::write_block).
    ///
    /// # Safety
    /// As [`write_from`](Self::write_from), for [`Layout::whole_block_bytes`].
    pub(super) unsafe fn write_whole(&self, blocks: &[(BlockId, *const u8)]) -> Result<()> {
        let place = |(block, address): &(BlockId, *const u8)| (self.whole(*block), *address);
        let places: Vec<(Place, *const u8)> = blocks.iter().map(place).collect();
        // SAFETY: the caller's promise.
        unsafe { self.write_from(&places) }
    }

    /// A block of the group with the most layers is a block with all its planes.
    fn whole(&self, block: BlockId) -> Place {
        let layers = &self.layout.config().layers;
        let largest = (0..).zip(layers).max_by_key(|(_, layers)| **layers);
        Place {
            block,
            group: largest.map_or(0, |(group, _)| group),
        }
    }

    /// One copy for each run of each block; `at` is where in the block's bytes outside the device the run is.
    fn batch<A: std::marker::Copy, T>(
        &self,
        blocks: &[(Place, A)],
        mut copy: impl FnMut(Run, A, usize) -> T,
    ) -> Result<Vec<T>> {
        let (mut batch, mut runs) = (Vec::with_capacity(blocks.len()), Vec::new());
        for (place, address) in blocks {
            runs.clear();
            self.layout
                .runs(place.block, self.layout.layers_of(place.group)?, &mut runs)?;
            let mut at = 0;
            for run in &runs {
                batch.push(copy(*run, *address, at));
                at += run.len as usize;
            }
        }
        Ok(batch)
    }

    // --- claims ---------------------------------------------------------------------------------------------------------------

    fn claim_places(&self, places: impl Iterator<Item = Place>, access: Access) -> Result<Claims<'_>> {
        let blocks: Vec<BlockId> = places.map(|place| place.block).collect();
        self.claim(&blocks, access)
    }

    fn claim(&self, blocks: &[BlockId], access: Access) -> Result<Claims<'_>> {
        let mut claims = Claims {
            arena: self,
            blocks: Vec::with_capacity(blocks.len()),
            access,
        };
        for block in blocks {
            let Some(word) = self.claims.get(block.at()) else {
                bail!(
                    InvalidArgument,
                    "there is no block {}: there are {}",
                    block.0,
                    self.claims.len()
                );
            };
            let free = |seen: u32| match access {
                Access::Read => (seen & WRITER == 0 && seen + 1 < WRITER).then_some(seen + 1),
                Access::Write => (seen == 0).then_some(WRITER),
            };
            if word.fetch_update(Ordering::Acquire, Ordering::Relaxed, free).is_err() {
                // Those that were claimed are given back with `claims`.
                bail!(
                    InvalidArgument,
                    "block {} cannot be {}: a copy that {} it is under way",
                    block.0,
                    match access {
                        Access::Read => "read",
                        Access::Write => "written",
                    },
                    match word.load(Ordering::Relaxed) & WRITER {
                        0 => "reads",
                        _ => "writes",
                    }
                );
            }
            claims.blocks.push(*block);
        }
        Ok(claims)
    }

    // --- sleep ----------------------------------------------------------------------------------------------------------------

    fn awake(&self) -> Result<RwLockReadGuard<'_, State>> {
        let state = self.state.read();
        if state.asleep {
            bail!(HandleClosed, "the memory of the cache is released: wake it first");
        }
        Ok(state)
    }

    /// Gives the physical memory back, once no copy is under way. If contents cannot be kept, nothing has changed. What is written while
    /// this runs may be kept or not.
    ///
    /// # Errors
    /// `HandleClosed` if it sleeps already; `InvalidArgument` for a block that does not exist; `StoreFull` if the store has no room for
    /// what is to be kept; what the device reports.
    pub fn sleep(&self, contents: Sleep<'_>) -> Result<()> {
        let kept = match contents {
            Sleep::Drop => Vec::new(),
            Sleep::Keep(store, blocks) => self.keep(store, blocks)?,
        };
        let mut state = self.state.write();
        if state.asleep {
            bail!(HandleClosed, "the memory of the cache is released already");
        }
        self.device.release()?;
        *state = State { asleep: true, kept };
        Ok(())
    }

    fn keep(&self, store: &Arc<Store>, blocks: &[BlockId]) -> Result<Vec<Kept>> {
        let bytes = self.layout.whole_block_bytes();
        let many = usize::try_from(KEPT_BYTES / bytes).unwrap_or(1).max(1);
        let mut kept = Vec::new();
        for blocks in blocks.chunks(many) {
            let mut object = store.create(Spec::raw(bytes * blocks.len() as u64), &mut never)?;
            let base = object.as_mut_ptr();
            let places: Vec<(BlockId, *mut u8)> = blocks
                .iter()
                .enumerate()
                .map(|(nth, block)| (*block, base.wrapping_add(nth * bytes as usize)))
                .collect();
            // SAFETY: parts of the payload that is lent to this writer alone, which is as long as all of them.
            unsafe { self.read_whole(&places)? };
            store.count_copied(object.len());
            kept.push(Kept {
                blocks: blocks.to_vec(),
                object: object.seal()?,
            });
        }
        Ok(kept)
    }

    /// Writes what was kept to where it was. The caller holds the lock of the state for writing.
    fn put_back(&self, kept: &Kept) -> Result<()> {
        let object = kept.object.open()?;
        let base = object.bytes().as_ptr();
        let bytes = self.layout.whole_block_bytes() as usize;
        let places: Vec<(Place, *const u8)> = kept
            .blocks
            .iter()
            .enumerate()
            .map(|(nth, block)| (self.whole(*block), base.wrapping_add(nth * bytes)))
            .collect();
        let batch = self.batch(&places, |run, address, at| CopyIn {
            from: address.wrapping_add(at),
            to: run.offset,
            len: run.len,
        })?;
        // SAFETY: sealed bytes, as many as the blocks have; blocks that were kept twice are written twice, one after the other, with
        // the same bytes; whoever else would use the device waits for the lock.
        unsafe { self.device.copy_in(&batch) }
    }

    /// Takes physical memory again and puts back what was kept; other blocks read as zeros.
    ///
    /// # Errors
    /// `InvalidArgument` if it does not sleep; `StoreFull` if there is no memory, and then it still sleeps.
    pub fn wake(&self) -> Result<()> {
        let mut state = self.state.write();
        if !state.asleep {
            bail!(InvalidArgument, "the memory of the cache is not released");
        }
        self.device.acquire()?;
        if let Err(error) = state.kept.iter().try_for_each(|kept| self.put_back(kept)) {
            self.device.release()?;
            return Err(error);
        }
        *state = State {
            asleep: false,
            kept: Vec::new(),
        };
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// Claims of one copy, given back when dropped.
struct Claims<'a> {
    arena: &'a Arena,
    blocks: Vec<BlockId>,
    access: Access,
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for block in &self.blocks {
            let word = &self.arena.claims[block.at()];
            match self.access {
                Access::Read => word.fetch_sub(1, Ordering::Release),
                Access::Write => word.fetch_and(!WRITER, Ordering::Release),
            };
        }
    }
}
