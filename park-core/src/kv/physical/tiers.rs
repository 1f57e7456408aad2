//! The tiers together: how much of a sequence lies in host memory or on disk, and moving it up and down.
//!
//! Looking is done at once, on the thread that asks; copies are made by the worker (`transfer`). Jobs run in the order in which they were
//! asked for, so what a prefetch brought is there for the load behind it.
#![allow(unsafe_code, reason = "tells the device where the store is mapped")]

use std::sync::Arc;

use super::device::HostMemory;
use super::host::{HEAD, missing};
use super::transfer::{Job, Ticket, Transfers};
use super::{Arena, DiskStats, DiskTier, HostBlock, HostStats, HostTier, Sleep};
use crate::error::{Result, bail};
use crate::kv::{BlockId, Key, Label};

/// Blocks of one step of a load: those that are on disk are brought to host memory, then all are copied in one batch.
const BATCH: usize = 64;

/// How tiers behave.
#[derive(Clone, Copy, Debug)]
pub struct TiersConfig {
    /// Transfers that may wait.
    pub queue: usize,
    /// Whether what is written back goes on to disk at once. Otherwise blocks go there as host memory gives them up, or by
    /// [`Tiers::persist`].
    pub write_through: bool,
}

impl Default for TiersConfig {
    /// 256 transfers; to disk when host memory gives a block up.
    fn default() -> Self {
        Self {
            queue: 256,
            write_through: false,
        }
    }
}

/// What was found of a row of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lead {
    /// How many of the first blocks are there without a gap.
    pub blocks: u32,
    /// How many of those are on disk only: worth a prefetch.
    pub on_disk: u32,
}

/// See the module. Shared by threads; a forked child gets `Forked` from everything that copies.
pub struct Tiers {
    /// First, so that it is dropped first: its thread uses the others.
    transfers: Transfers,
    shared: Arc<Shared>,
}

/// What the worker uses too.
struct Shared {
    arena: Arc<Arena>,
    host: HostTier,
    disk: Option<Arc<DiskTier>>,
    write_through: bool,
}

impl Tiers {
    /// Puts tiers together, and makes the memory of the store ready for the device's copies: a CUDA device pins all of it, so that the
    /// store's whole capacity is taken from the machine from then on. Layouts must mean the same by a block's bytes, which the fingerprints
    /// of `host` and `disk` were checked for as they were opened.
    ///
    /// # Errors
    /// `InvalidArgument` for a queue of no transfers, or writing through to no disk; `Io` if there is no thread; what the device reports as
    /// it pins the store.
    pub fn new(arena: Arc<Arena>, host: HostTier, disk: Option<DiskTier>, config: TiersConfig) -> Result<Self> {
        if config.write_through && disk.is_none() {
            bail!(
                InvalidArgument,
                "writing through was asked for, and there is no disk tier"
            );
        }
        let disk = disk.map(Arc::new);
        let host = match &disk {
            Some(disk) => host.above(disk.clone()),
            None => host,
        };
        let store = host.store();
        if let Some((base, readers, len)) = store.arena_memory() {
            let memory = HostMemory {
                base,
                readers,
                len,
                owner: store.clone(),
            };
            // SAFETY: the store's two mappings of its arena, which it keeps as long as it lives.
            unsafe { arena.device().pin(memory)? };
        }
        Ok(Self {
            transfers: Transfers::start(config.queue)?,
            shared: Arc::new(Shared {
                arena,
                host,
                disk,
                write_through: config.write_through,
            }),
        })
    }

    /// Device memory.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.shared.arena
    }

    /// Host memory.
    pub fn host(&self) -> &HostTier {
        &self.shared.host
    }

    /// The disk, if there is one.
    pub fn disk(&self) -> Option<&DiskTier> {
        self.shared.disk.as_deref()
    }

    /// What was counted.
    pub fn stats(&self) -> (HostStats, DiskStats) {
        let disk = self.disk().map(DiskTier::stats);
        (self.host().stats(), disk.unwrap_or_default())
    }

    /// How many of the first keys have blocks of this epoch, in host memory of any process or on disk; at most as many as the host tier
    /// holds. Those in host memory count as used, the first of them last.
    pub fn lookup(&self, keys: &[Key], epoch: u32) -> Lead {
        let (host, mut lead) = (self.host(), Lead::default());
        for key in keys.iter().take(host.capacity() as usize) {
            if host.find(*key, epoch).is_none() {
                if self.disk().and_then(|disk| disk.find(*key, epoch)).is_none() {
                    break;
                }
                lead.on_disk += 1;
            }
            lead.blocks += 1;
        }
        host.touch(&keys[..lead.blocks as usize], epoch);
        if host.has_evicted() {
            // Should the queue be full: the next job that ends takes them along.
            let _ = self.submit(|shared| {
                shared.put_evicted_away();
                Ok(0)
            });
        }
        lead
    }

    /// Copies blocks of the device to host memory. They must stay as they are until the ticket is done (`Cache::pin`). The ticket says how
    /// many were copied; others were there already.
    ///
    /// # Errors
    /// `TableFull` if too many transfers wait; `Forked`, `SessionClosed`. The ticket's: `InvalidArgument` for blocks or groups that do not
    /// exist, or blocks that are being written; `StoreFull` if the store has no room; `HandleClosed` if the device sleeps; `Io`.
    pub fn write_back(&self, blocks: &[(Label, BlockId)]) -> Result<Ticket> {
        let blocks = blocks.to_vec();
        self.submit(move |shared| {
            let stored = shared.host.store_blocks(&shared.arena, &blocks)?;
            if shared.write_through {
                for (label, _) in &blocks {
                    shared.put_away(label.key, label.epoch)?;
                }
            }
            shared.put_evicted_away();
            Ok(stored)
        })
    }

    /// Brings blocks from disk to host memory, up to the first that no tier has. The ticket says how many of the first are there then.
    ///
    /// # Errors
    /// As [`write_back`](Self::write_back), without what concerns the device.
    pub fn prefetch(&self, keys: &[Key], epoch: u32) -> Result<Ticket> {
        let keys = keys.to_vec();
        self.submit(move |shared| {
            let mut there = 0;
            for key in keys {
                if shared.bring(key, epoch)?.is_none() {
                    break;
                }
                there += 1;
            }
            shared.put_evicted_away();
            Ok(there)
        })
    }

    /// Copies blocks to the device, from host memory or from disk, up to the first that no tier has. The blocks must be nobody else's until
    /// the ticket is done (`Cache::begin_load`). The ticket says how many of the first arrived.
    ///
    /// # Errors
    /// As [`write_back`](Self::write_back); blocks before the one that failed may have arrived.
    pub fn load(&self, blocks: &[(Label, BlockId)]) -> Result<Ticket> {
        let blocks = blocks.to_vec();
        self.submit(move |shared| {
            let mut loaded = 0;
            for batch in blocks.chunks(BATCH) {
                // Held until they are copied, even if host memory gives some of them up for others of the batch.
                let mut there = Vec::with_capacity(batch.len());
                for (label, block) in batch {
                    match shared.bring(label.key, label.epoch)? {
                        Some(found) if found.label() == *label => there.push((*block, found)),
                        _ => break,
                    }
                }
                shared.arena.write_host_blocks(&there)?;
                loaded += there.len() as u32;
                if there.len() < batch.len() {
                    break;
                }
            }
            shared.put_evicted_away();
            Ok(loaded)
        })
    }

    /// Writes blocks of host memory to disk, as far as they are not there. The ticket says how many are there then.
    ///
    /// # Errors
    /// As [`prefetch`](Self::prefetch), and `InvalidArgument` without a disk. The ticket's: `NotFound` for a block that no tier has.
    pub fn persist(&self, keys: &[Key], epoch: u32) -> Result<Ticket> {
        if self.disk().is_none() {
            bail!(InvalidArgument, "there is no disk tier");
        }
        let keys = keys.to_vec();
        self.submit(move |shared| {
            for key in &keys {
                if !shared.put_away(*key, epoch)? {
                    return Err(missing(*key));
                }
            }
            Ok(keys.len() as u32)
        })
    }

    /// Everything that was asked for before is done, and what is on disk is on the disk itself.
    ///
    /// # Errors
    /// As [`prefetch`](Self::prefetch).
    pub fn flush(&self) -> Result<Ticket> {
        self.submit(|shared| {
            shared.put_evicted_away();
            match &shared.disk {
                Some(disk) => disk.flush().map(|()| 0),
                None => Ok(0),
            }
        })
    }

    /// The weights have changed: blocks of other epochs go, in host memory of this process and on disk. Look-ups do not find them in any
    /// case; this gives their room back. Returns how many there were in each.
    pub fn retire(&self, epoch: u32) -> (u32, u64) {
        let disk = self.disk().map_or(0, |disk| disk.retire(epoch));
        (self.host().retire(epoch), disk)
    }

    /// Gives the device's memory back, once no copy is under way; see [`Arena::sleep`].
    ///
    /// # Errors
    /// As [`Arena::sleep`].
    pub fn sleep(&self, contents: Sleep<'_>) -> Result<()> {
        self.shared.arena.sleep(contents)
    }

    /// Takes the device's memory again; see [`Arena::wake`].
    ///
    /// # Errors
    /// As [`Arena::wake`].
    pub fn wake(&self) -> Result<()> {
        self.shared.arena.wake()
    }

    fn submit(&self, job: impl FnOnce(&Shared) -> Result<u32> + Send + 'static) -> Result<Ticket> {
        // A forked child has no worker.
        self.host().store().check_open()?;
        let shared = self.shared.clone();
        let job: Job = Box::new(move || job(&shared));
        self.transfers.submit(job)
    }
}

impl Shared {
    /// Brings a block to host memory, if any tier has it.
    fn bring(&self, key: Key, epoch: u32) -> Result<Option<HostBlock>> {
        if let Some(found) = self.host.find(key, epoch) {
            return Ok(Some(found));
        }
        let Some(disk) = &self.disk else { return Ok(None) };
        let Some(label) = disk.find(key, epoch) else {
            return Ok(None);
        };
        let mut object = self.host.begin(label)?;
        let right = disk.read(key, epoch, &mut |at, piece| object.write(HEAD + at, piece))?;
        if !right {
            object.abort();
            return Ok(None);
        }
        self.host.finish(object).map(Some)
    }

    /// Writes a block to disk. False if neither tier has it.
    fn put_away(&self, key: Key, epoch: u32) -> Result<bool> {
        let Some(disk) = &self.disk else { return Ok(false) };
        if disk.find(key, epoch).is_some() {
            return Ok(true);
        }
        match self.host.find(key, epoch) {
            Some(block) => disk.append(block.label(), block.bytes()).map(|()| true),
            None => Ok(false),
        }
    }

    /// Writes what host memory gave up to disk. What the disk refuses is counted there.
    fn put_evicted_away(&self) {
        let Some(disk) = &self.disk else { return };
        for block in self.host.take_evicted() {
            let _ = disk.append(block.label(), block.bytes());
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
