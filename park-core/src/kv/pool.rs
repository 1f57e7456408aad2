//! The pool: which blocks are used, by how many, and what the others can still be found by.
//!
//! Everything about a block is a number in an array (`refs[id]`, `keys[id]`, ...): no object a block, and a batch of blocks is a walk
//! over a few arrays. A block is in one of four states:
//!
//! | references | key | state |
//! |---|---|---|
//! | 0 | none | free: taken first |
//! | 0 | some | cached: free, and found by its key until it is taken |
//! | > 0 | none | in use |
//! | > 0 | some | in use, and others may share it |
//!
//! Invariants, which [`Pool::audit`] checks: a block has no references exactly if it is in the order of free blocks; the index holds a
//! block exactly if it has a key; the null block is in neither and has no owner. Calls with several blocks do all or nothing.

use super::evict::{self, Order};
use super::index::Index;
use super::{BlockId, Event, Eviction, Key, Retention};
use crate::error::{Result, bail};

/// Who answers for a block: an index into the pool's tenants. Tenant 0 is there from the start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TenantId(pub u16);

/// How many blocks a pool may have: ids and the ends of lists are 32 bits.
const MOST: u32 = 1 << 30;

/// What a pool is made of.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Blocks, the null block included.
    pub blocks: u32,
    /// In which order cached blocks are given up.
    pub eviction: Eviction,
    /// Whether changes of the index are recorded, for [`Pool::take_events`].
    pub events: bool,
}

/// What a pool has counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStats {
    /// Blocks handed out.
    pub allocated: u64,
    /// Of those, how many something could still have been found in.
    pub evicted: u64,
    /// Blocks that became findable.
    pub registered: u64,
}

#[derive(Clone, Copy, Default)]
struct Tenant {
    held: u32,
    quota: Option<u32>,
}

/// See the module.
pub struct Pool {
    refs: Vec<u32>,
    keys: Vec<Key>,
    /// The weight version that a keyed block was computed with, and its group.
    epochs: Vec<u32>,
    groups: Vec<u8>,
    /// The tenant that a used block counts for: who took it first.
    owners: Vec<TenantId>,
    index: Index,
    order: Box<dyn Order>,
    free: u32,
    tenants: Vec<Tenant>,
    events: Option<Vec<Event>>,
    stats: PoolStats,
    now: u64,
    /// Between calls empty; kept for their memory.
    plain: Vec<BlockId>,
    cached: Vec<BlockId>,
}

impl Pool {
    /// A pool of free blocks.
    ///
    /// # Errors
    /// `InvalidArgument` for a pool that has no block besides the null block, or more than 2^30.
    pub fn new(config: &PoolConfig) -> Result<Self> {
        Self::at_least(2, config)
    }

    /// As [`new`](Self::new), for an engine that makes a pool even where it needs no block: the null block is enough.
    pub(super) fn with_null_block(config: &PoolConfig) -> Result<Self> {
        Self::at_least(1, config)
    }

    fn at_least(least: u32, config: &PoolConfig) -> Result<Self> {
        let blocks = config.blocks;
        if !(least..=MOST).contains(&blocks) {
            bail!(
                InvalidArgument,
                "a pool has from {least} blocks (one is the null block) to {MOST}, and {blocks} were asked for"
            );
        }
        let count = blocks as usize;
        Ok(Self {
            refs: vec![0; count],
            keys: vec![Key::NONE; count],
            epochs: vec![0; count],
            groups: vec![0; count],
            owners: vec![TenantId::default(); count],
            index: Index::new(count),
            order: evict::order(config.eviction, blocks),
            free: blocks - 1,
            tenants: vec![Tenant::default()],
            events: config.events.then(Vec::new),
            stats: PoolStats::default(),
            now: 0,
            plain: Vec::new(),
            cached: Vec::new(),
        })
    }

    /// Blocks of the pool, the null block included.
    pub fn blocks(&self) -> u32 {
        self.refs.len() as u32
    }

    /// Blocks that nobody uses, cached ones among them.
    pub fn free_blocks(&self) -> u32 {
        self.free
    }

    /// Blocks that a look-up can find.
    pub fn cached_blocks(&self) -> u32 {
        self.index.len() as u32
    }

    /// What was counted.
    pub fn stats(&self) -> PoolStats {
        self.stats
    }

    /// Bytes that the pool occupies for each block.
    pub fn bytes_per_block(&self) -> usize {
        let arrays = size_of::<u32>() + size_of::<Key>() + size_of::<u32>() + size_of::<u8>() + size_of::<TenantId>();
        arrays + self.order.bytes_per_block() + self.index.bytes() / self.refs.len()
    }

    /// One more tenant, with room for `quota` blocks at a time.
    ///
    /// # Errors
    /// `InvalidArgument` past 65,536 tenants.
    pub fn add_tenant(&mut self, quota: Option<u32>) -> Result<TenantId> {
        let Ok(id) = u16::try_from(self.tenants.len()) else {
            bail!(InvalidArgument, "a pool has room for {} tenants", self.tenants.len());
        };
        self.tenants.push(Tenant { held: 0, quota });
        Ok(TenantId(id))
    }

    /// Blocks that count for a tenant; 0 for one that the pool does not know.
    pub fn held_by(&self, tenant: TenantId) -> u32 {
        self.tenants.get(tenant.0 as usize).map_or(0, |tenant| tenant.held)
    }

    /// How many blocks a tenant may hold at a time: its quota, or the whole pool; nothing for one that the pool does not know.
    pub fn limit_of(&self, tenant: TenantId) -> u32 {
        let whole = self.blocks() - 1;
        match self.tenants.get(tenant.0 as usize) {
            Some(tenant) => tenant.quota.map_or(whole, |quota| quota.min(whole)),
            None => 0,
        }
    }

    /// How many blocks a tenant could take now.
    pub fn available_to(&self, tenant: TenantId) -> u32 {
        self.free
            .min(self.limit_of(tenant).saturating_sub(self.held_by(tenant)))
    }

    /// Takes `count` blocks for a tenant and appends them to `taken`, each with one reference. What was cached in them is given up.
    /// False, and nothing happens, if there are not so many or the tenant may not hold them; one that is unknown may hold none.
    pub fn allocate(&mut self, count: u32, tenant: TenantId, taken: &mut Vec<BlockId>) -> bool {
        let Some(Tenant { held, .. }) = self.tenants.get(tenant.0 as usize) else {
            return false;
        };
        let held = held + count;
        if count > self.available_to(tenant) {
            return false;
        }
        let begun = taken.len();
        self.order.take(count as usize, &self.keys, taken);
        for block in &taken[begun..] {
            self.refs[block.at()] = 1;
            self.owners[block.at()] = tenant;
            if self.keys[block.at()] != Key::NONE {
                self.stats.evicted += 1;
                self.unregister(*block);
            }
        }
        self.free -= count;
        self.stats.allocated += u64::from(count);
        self.tenants[tenant.0 as usize].held = held;
        true
    }

    /// One more reference to each block, which is free or used. A free one counts for `tenant` from now on. The null block is passed over.
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is none of the pool's or a tenant that is unknown, `TableFull` if a count would overflow.
    pub fn touch(&mut self, blocks: &[BlockId], tenant: TenantId) -> Result<()> {
        self.check_tenant(tenant)?;
        for block in blocks {
            self.check(*block)?;
        }
        for (at, block) in blocks.iter().enumerate() {
            if block.is_null() {
                continue;
            }
            let refs = &mut self.refs[block.at()];
            let Some(more) = refs.checked_add(1) else {
                self.untouch(&blocks[..at]);
                self.cached.clear();
                bail!(
                    TableFull,
                    "block {} has {} references, and no more can be counted",
                    block.0,
                    u32::MAX
                );
            };
            *refs = more;
            if more == 1 {
                self.cached.push(*block);
            }
        }
        self.order.remove(&self.cached);
        self.free -= self.cached.len() as u32;
        for block in self.cached.drain(..) {
            self.owners[block.at()] = tenant;
            self.tenants[tenant.0 as usize].held += 1;
        }
        Ok(())
    }

    /// Takes back what an unfinished [`touch`](Self::touch) has counted.
    fn untouch(&mut self, blocks: &[BlockId]) {
        for block in blocks.iter().filter(|block| !block.is_null()) {
            self.refs[block.at()] -= 1;
        }
    }

    /// One reference less to each block; the list may name a block more than once. Blocks that lose their last one are free: the first
    /// of the list is the first to be given up. The null block is passed over.
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is none of the pool's, or a block with fewer references than the list names it. Then no block
    /// has lost any.
    pub fn release(&mut self, blocks: &[BlockId]) -> Result<()> {
        if self.release_plain(blocks) {
            return Ok(());
        }
        self.release_counted(blocks, false)
    }

    /// As [`release`](Self::release), for blocks that somebody goes on reading until they are used for something else: whoever loses its
    /// last reference is given up after all that is free now, whether it has a key or not.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_last(&mut self, blocks: &[BlockId]) -> Result<()> {
        self.release_counted(blocks, true)
    }

    fn release_counted(&mut self, blocks: &[BlockId], last: bool) -> Result<()> {
        for (at, block) in blocks.iter().enumerate() {
            if block.is_null() {
                continue;
            }
            let refs = self.refs.get_mut(block.at());
            let Some(refs) = refs.filter(|refs| **refs > 0) else {
                for block in blocks[..at].iter().filter(|block| !block.is_null()) {
                    self.refs[block.at()] += 1;
                }
                self.plain.clear();
                self.cached.clear();
                self.check(*block)?;
                bail!(
                    InvalidArgument,
                    "block {} is released once more than it is referenced",
                    block.0
                );
            };
            *refs -= 1;
            if *refs == 0 {
                if !last && self.keys[block.at()] == Key::NONE {
                    self.plain.push(*block);
                } else {
                    self.cached.push(*block);
                }
            }
        }
        let (plain, cached) = (std::mem::take(&mut self.plain), std::mem::take(&mut self.cached));
        self.freed(&plain);
        self.freed(&cached);
        self.order.put_plain(&plain);
        self.order.put_cached(&cached);
        (self.plain, self.cached) = (plain, cached);
        self.plain.clear();
        self.cached.clear();
        Ok(())
    }

    /// The frequent case of [`release`](Self::release): all blocks lose their last reference and have no key. False, and nothing
    /// happens, in any other.
    fn release_plain(&mut self, blocks: &[BlockId]) -> bool {
        for (at, block) in blocks.iter().enumerate() {
            match self.refs.get_mut(block.at()) {
                Some(refs) if *refs == 1 && self.keys[block.at()] == Key::NONE => *refs = 0,
                _ => {
                    for block in &blocks[..at] {
                        self.refs[block.at()] = 1;
                    }
                    return false;
                }
            }
        }
        self.freed(blocks);
        self.order.put_plain(blocks);
        true
    }

    /// Blocks have lost their last reference.
    fn freed(&mut self, blocks: &[BlockId]) {
        self.free += blocks.len() as u32;
        if let [only] = &mut self.tenants[..] {
            only.held -= blocks.len() as u32;
            return;
        }
        for block in blocks {
            self.tenants[self.owners[block.at()].0 as usize].held -= 1;
        }
    }

    /// References to a block; 0 for an id that is none of the pool's.
    pub fn references(&self, block: BlockId) -> u32 {
        self.refs.get(block.at()).copied().unwrap_or(0)
    }

    /// What a block is found by.
    pub fn key_of(&self, block: BlockId) -> Option<Key> {
        self.keys.get(block.at()).copied().filter(|key| *key != Key::NONE)
    }

    /// From now on, `key` finds this block, unless an older one with that key is there. The key must be masked for `epoch` and `group`
    /// (see `key`). A block that has another key loses it.
    ///
    /// # Errors
    /// `InvalidArgument` for the null block, an id that is none of the pool's, and a free block.
    pub fn register(&mut self, block: BlockId, key: Key, epoch: u32, group: u8) -> Result<()> {
        self.check(block)?;
        if block.is_null() || self.refs[block.at()] == 0 {
            bail!(
                InvalidArgument,
                "block {} cannot be registered: {}",
                block.0,
                if block.is_null() {
                    "it is the null block"
                } else {
                    "nobody uses it"
                }
            );
        }
        let old = self.keys[block.at()];
        if old == key {
            return Ok(());
        }
        if old != Key::NONE {
            self.unregister(block);
        }
        self.keys[block.at()] = key;
        self.epochs[block.at()] = epoch;
        self.groups[block.at()] = group;
        self.index.insert(key, block);
        self.stats.registered += 1;
        Ok(())
    }

    /// Whether others can see what is written to it: it has a key, or more than one reference.
    pub(super) fn is_visible(&self, block: BlockId) -> bool {
        !block.is_null() && (self.refs[block.at()] > 1 || self.keys[block.at()] != Key::NONE)
    }

    /// Whether a block has a key, of this epoch.
    pub(super) fn is_cached_in(&self, block: BlockId, epoch: u32) -> bool {
        self.keys[block.at()] != Key::NONE && self.epochs[block.at()] == epoch
    }

    /// The first block that was registered with this key in this epoch.
    #[inline]
    pub fn find(&self, key: Key, epoch: u32) -> Option<BlockId> {
        self.index
            .find(key, &self.keys)
            .filter(|block| self.epochs[block.at()] == epoch)
    }

    /// Tells the policy which keys were found, in order.
    pub(super) fn hit(&mut self, blocks: &[BlockId]) {
        if self.order.wants_hits() {
            let keys: Vec<Key> = blocks.iter().filter_map(|block| self.key_of(*block)).collect();
            self.order.hit(&keys);
        }
    }

    /// The block cannot be found any more; whoever uses it goes on.
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is none of the pool's.
    pub fn forget(&mut self, block: BlockId) -> Result<()> {
        self.check(block)?;
        if self.keys[block.at()] != Key::NONE {
            self.unregister(block);
            if self.refs[block.at()] == 0 {
                self.order.forget(block);
            }
        }
        Ok(())
    }

    /// No block can be found any more. False, and nothing happens, while a block is in use.
    pub fn reset(&mut self) -> bool {
        if self.free != self.blocks() - 1 {
            return false;
        }
        let cached: Vec<BlockId> = self.index.blocks().collect();
        self.index.clear();
        for block in cached {
            self.keys[block.at()] = Key::NONE;
            self.order.forget(block);
        }
        if let Some(events) = &mut self.events {
            events.push(Event::Cleared);
        }
        true
    }

    /// From now on, this is how long these blocks are worth keeping; only [`Eviction::Retention`] listens.
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is none of the pool's.
    pub fn retain(&mut self, blocks: &[BlockId], retention: Retention) -> Result<()> {
        for block in blocks {
            self.check(*block)?;
        }
        for block in blocks.iter().filter(|block| !block.is_null()) {
            self.order.retain(*block, retention, self.refs[block.at()] == 0);
        }
        Ok(())
    }

    /// The pool's time, which only moves when told: retention ends by it. Time that goes back changes nothing.
    pub fn set_time(&mut self, now: u64) {
        if now > self.now {
            self.now = now;
            self.order.pass(now);
        }
    }

    /// Whether changes of the index are recorded.
    pub fn records_events(&self) -> bool {
        self.events.is_some()
    }

    pub(super) fn record(&mut self, event: Event) {
        if let Some(events) = &mut self.events {
            events.push(event);
        }
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The free block that would be taken after `block`, or first of all. `None` after the last, and for a block that is not free.
    pub fn free_after(&self, block: Option<BlockId>) -> Option<BlockId> {
        if block.is_some_and(|block| block.is_null() || self.refs.get(block.at()) != Some(&0)) {
            return None;
        }
        self.order.after(block)
    }

    /// Free blocks in the order in which they would be taken.
    pub fn free_order(&self) -> Vec<BlockId> {
        self.order.all(&self.keys)
    }

    /// Checks every invariant of the module against `expected` references of each block: those of whoever uses the pool.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that is wrong.
    pub fn audit(&self, expected: &[u32]) -> Result<()> {
        for (at, (refs, expected)) in self.refs.iter().zip(expected).enumerate() {
            if refs != expected {
                bail!(Corrupt, "block {at} counts {refs} references, and {expected} are held");
            }
        }
        let mut listed = vec![false; self.refs.len()];
        let order = self.free_order();
        for block in &order {
            if block.is_null() || self.refs[block.at()] != 0 || std::mem::replace(&mut listed[block.at()], true) {
                bail!(
                    Corrupt,
                    "block {} is in the order of free blocks, and should not be",
                    block.0
                );
            }
        }
        let free = self.refs.iter().skip(1).filter(|refs| **refs == 0).count();
        if free != order.len() || free != self.free as usize {
            bail!(
                Corrupt,
                "{free} blocks are free, {} are in order and {} are counted",
                order.len(),
                self.free
            );
        }
        let keyed = self.keys.iter().filter(|key| **key != Key::NONE).count();
        if keyed != self.index.len() {
            bail!(
                Corrupt,
                "{keyed} blocks have keys, and the index has {}",
                self.index.len()
            );
        }
        for block in self.index.blocks() {
            let key = self.keys[block.at()];
            if key == Key::NONE || !self.index.find_all(key, &self.keys).contains(&block) {
                bail!(Corrupt, "block {} is in the index and cannot be found in it", block.0);
            }
        }
        for (id, tenant) in self.tenants.iter().enumerate() {
            let held = (1..self.refs.len()).filter(|at| self.refs[*at] > 0 && self.owners[*at].0 as usize == id);
            let held = held.count();
            if held != tenant.held as usize {
                bail!(
                    Corrupt,
                    "tenant {id} holds {held} blocks, and {} are counted",
                    tenant.held
                );
            }
        }
        Ok(())
    }

    fn unregister(&mut self, block: BlockId) {
        let removed = self.index.remove(block, &self.keys);
        debug_assert!(removed, "a block with a key is in the index");
        let key = std::mem::replace(&mut self.keys[block.at()], Key::NONE);
        if let Some(events) = &mut self.events {
            events.push(Event::Removed {
                key,
                group: self.groups[block.at()],
            });
        }
    }

    /// Whether it is one of the pool's tenants.
    pub(super) fn check_tenant(&self, tenant: TenantId) -> Result<()> {
        if tenant.0 as usize >= self.tenants.len() {
            bail!(
                InvalidArgument,
                "tenant {} is unknown: there are {}",
                tenant.0,
                self.tenants.len()
            );
        }
        Ok(())
    }

    fn check(&self, block: BlockId) -> Result<()> {
        if block.at() >= self.refs.len() {
            bail!(
                InvalidArgument,
                "block {} is none of the pool's {} blocks",
                block.0,
                self.refs.len()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
