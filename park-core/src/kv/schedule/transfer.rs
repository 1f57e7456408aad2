//! Transfers of a cache that has a scheduler: as the cache's own (`cache/transfer.rs`), without ever taking what is reserved.
//!
//! Blocks of a transfer are nobody's until it ends, and a request that could have them waits as long: transfers must be ended, also those
//! that failed.

use super::Scheduler;
use crate::error::{Result, bail};
use crate::kv::{BlockId, Label, Loading, SequenceId, TenantId};

impl Scheduler {
    /// See [`Cache::stored`](crate::kv::Cache::stored).
    ///
    /// # Errors
    /// As there; `InvalidArgument` while a plan is in flight: what it is to compute counts as computed already, and may fail.
    pub fn stored(&self, id: SequenceId, first: u32) -> Result<Vec<(Label, BlockId)>> {
        self.settled()?;
        self.cache.stored(id, first)
    }

    /// See [`Cache::pin`](crate::kv::Cache::pin).
    ///
    /// # Errors
    /// As there; `StoreFull` if that would take free blocks that are reserved.
    pub fn pin(&mut self, blocks: &[BlockId]) -> Result<()> {
        let pool = self.cache.pool();
        let unused = |block: &&BlockId| !block.is_null() && pool.references(**block) == 0;
        let free = blocks.iter().filter(unused).count();
        if free > self.unreserved(TenantId::default()) as usize {
            bail!(
                StoreFull,
                "{free} free blocks were to be pinned, and {} are not reserved",
                self.unreserved(TenantId::default())
            );
        }
        self.cache.pin(blocks)
    }

    /// See [`Cache::unpin`](crate::kv::Cache::unpin).
    ///
    /// # Errors
    /// As there.
    pub fn unpin(&mut self, blocks: &[BlockId]) -> Result<()> {
        self.cache.unpin(blocks)
    }

    /// See [`Cache::begin_load`](crate::kv::Cache::begin_load). None, too, if the blocks that are free are reserved.
    ///
    /// # Errors
    /// As there.
    pub fn begin_load(&mut self, id: SequenceId, first: u32, count: u32) -> Result<Option<Loading>> {
        let tenant = self.entry(id)?.tenant;
        if self.cache.blocks_to_load(id, first, count)? > u64::from(self.unreserved(tenant)) {
            return Ok(None);
        }
        self.cache.begin_load(id, first, count)
    }

    /// See [`Cache::end_load`](crate::kv::Cache::end_load).
    ///
    /// # Errors
    /// As there.
    pub fn end_load(&mut self, loading: &Loading, arrived: u32) -> Result<()> {
        self.cache.end_load(loading, arrived)
    }
}
