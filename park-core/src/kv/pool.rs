//! The pool: which blocks are used, by how many, and what the others can still be found by.
//!
//! Everything about a block is a number in an array (`uses[id]`, `keys[id]`, ...): no object a block, and a batch of blocks is a walk
//! over a few arrays. A block is in one of four states, which its word in `uses` tells alone:
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

use super::event::Recorder;
use super::evict::{self, Order};
use super::index::{BATCH, Index};
use super::metrics::Histogram;
use super::{BlockId, Event, Eviction, Key, Retention};
use crate::error::{Result, bail};

/// Who answers for a block: an index into the pool's tenants. Tenant 0 is there from the start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TenantId(pub u16);

/// How many blocks a pool may have: ids and the ends of lists are 32 bits.
const MOST: u32 = 1 << 30;

/// The bit of a block's word that says that it has a key.
const KEYED: u32 = 1 << 31;
/// The bits that count its references.
const COUNT: u32 = KEYED - 1;
/// The word of a block that has one reference and no key.
const PLAIN: u32 = 1;
/// Of one block in so many, beginning with the first, it is counted how long it stays.
const SAMPLED: u32 = 64;

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
    /// References, and [`KEYED`].
    uses: Vec<u32>,
    keys: Vec<Key>,
    /// The weight version that a keyed block was computed with, and its group.
    epochs: Vec<u32>,
    groups: Vec<u8>,
    /// The tenant that a used block counts for: who took it first. Not written while there is only one.
    owners: Vec<TenantId>,
    index: Index,
    order: Box<dyn Order>,
    free: u32,
    tenants: Vec<Tenant>,
    events: Option<Box<Recorder>>,
    stats: PoolStats,
    now: u64,
    /// Of the sampled blocks: since when they can be found; and how long those could that were evicted.
    since: Vec<u64>,
    residency: Histogram,
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
            uses: vec![0; count],
            keys: vec![Key::NONE; count],
            epochs: vec![0; count],
            groups: vec![0; count],
            owners: vec![TenantId::default(); count],
            index: Index::new(count),
            order: evict::order(config.eviction, blocks),
            free: blocks - 1,
            tenants: vec![Tenant::default()],
            events: config.events.then(|| Box::new(Recorder::new(count))),
            stats: PoolStats::default(),
            now: 0,
            since: vec![0; count.div_ceil(SAMPLED as usize)],
            residency: Histogram::default(),
            plain: Vec::new(),
            cached: Vec::new(),
        })
    }

    /// Blocks of the pool, the null block included.
    pub fn blocks(&self) -> u32 {
        self.uses.len() as u32
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

    /// How long sampled blocks could be found before they were evicted, in the pool's time.
    pub fn residency(&self) -> &Histogram {
        &self.residency
    }

    /// Bytes that the pool occupies for each block.
    pub fn bytes_per_block(&self) -> usize {
        let arrays = size_of::<u32>() + size_of::<Key>() + size_of::<u32>() + size_of::<u8>() + size_of::<TenantId>();
        arrays + self.order.bytes_per_block() + self.index.bytes() / self.uses.len()
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
        // Nothing is available to a tenant that is unknown.
        if tenant.0 as usize >= self.tenants.len() || count > self.available_to(tenant) {
            return false;
        }
        let begun = taken.len();
        let plain = self.order.take(count as usize, &self.keys, taken);
        let (plain, others) = taken[begun..].split_at(plain);
        for block in plain {
            self.uses[block.at()] = PLAIN;
        }
        for block in others {
            if self.uses[block.at()] & KEYED != 0 {
                self.stats.evicted += 1;
                if block.0 % SAMPLED == 1 {
                    self.residency.add(self.now - self.since[(block.0 / SAMPLED) as usize]);
                }
                self.unregister(*block);
            }
            self.uses[block.at()] = PLAIN;
        }
        if self.tenants.len() > 1 {
            for block in &taken[begun..] {
                self.owners[block.at()] = tenant;
            }
        }
        self.free -= count;
        self.stats.allocated += u64::from(count);
        self.tenants[tenant.0 as usize].held += count;
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
            let uses = &mut self.uses[block.at()];
            if *uses & COUNT == COUNT {
                self.untouch(&blocks[..at]);
                self.cached.clear();
                bail!(
                    TableFull,
                    "block {} has {COUNT} references, and no more can be counted",
                    block.0
                );
            }
            *uses += 1;
            if *uses & COUNT == 1 {
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
            self.uses[block.at()] -= 1;
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
            let uses = self.uses.get_mut(block.at());
            let Some(uses) = uses.filter(|uses| **uses & COUNT > 0) else {
                for block in blocks[..at].iter().filter(|block| !block.is_null()) {
                    self.uses[block.at()] += 1;
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
            *uses -= 1;
            match *uses {
                0 if !last => self.plain.push(*block),
                0 | KEYED => self.cached.push(*block),
                _ => {}
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
            match self.uses.get_mut(block.at()) {
                Some(uses) if *uses == PLAIN => *uses = 0,
                _ => {
                    for block in &blocks[..at] {
                        self.uses[block.at()] = PLAIN;
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
        self.uses.get(block.at()).map_or(0, |uses| uses & COUNT)
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
        let uses = self.uses[block.at()];
        if block.is_null() || uses & COUNT == 0 {
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
        if uses & KEYED != 0 {
            if self.keys[block.at()] == key {
                return Ok(());
            }
            self.unregister(block);
        }
        self.uses[block.at()] |= KEYED;
        self.keys[block.at()] = key;
        self.epochs[block.at()] = epoch;
        self.groups[block.at()] = group;
        self.index.insert(key, block);
        self.stats.registered += 1;
        if block.0 % SAMPLED == 1 {
            self.since[(block.0 / SAMPLED) as usize] = self.now;
        }
        Ok(())
    }

    /// Whether others can see what is written to it: it has a key, or more than one reference.
    #[inline]
    pub(super) fn is_visible(&self, block: BlockId) -> bool {
        self.uses[block.at()] > PLAIN
    }

    /// Whether a block has a key, of this epoch.
    pub(super) fn is_cached_in(&self, block: BlockId, epoch: u32) -> bool {
        self.uses[block.at()] & KEYED != 0 && self.epochs[block.at()] == epoch
    }

    /// The first block that was registered with this key in this epoch.
    #[inline]
    pub fn find(&self, key: Key, epoch: u32) -> Option<BlockId> {
        self.index
            .find(key, &self.keys)
            .filter(|block| self.epochs[block.at()] == epoch)
    }

    /// Appends the blocks that these keys, masked (see `key`), are found by, up to the first that nothing of this epoch is found by.
    /// Returns how many those are.
    pub fn find_run(&self, keys: &[Key], mask: u128, epoch: u32, found: &mut Vec<BlockId>) -> usize {
        // Most look-ups that fail do so at once: the first key is looked up alone.
        let Some((first, rest)) = keys.split_first() else {
            return 0;
        };
        let Some(block) = self.find(first.masked(mask), epoch) else {
            return 0;
        };
        let begun = found.len();
        found.push(block);
        for keys in rest.chunks(BATCH) {
            let mut wanted = [first.masked(mask); BATCH];
            for (place, key) in wanted.iter_mut().zip(keys) {
                *place = key.masked(mask);
            }
            let blocks = self.index.find_batch(&wanted, &self.keys);
            let good = |block: &BlockId| !block.is_null() && self.epochs[block.at()] == epoch;
            let run = blocks[..keys.len()].iter().take_while(|block| good(block)).count();
            found.extend_from_slice(&blocks[..run]);
            if run < keys.len() {
                break;
            }
        }
        found.len() - begun
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
        if self.uses[block.at()] & KEYED != 0 {
            self.unregister(block);
            if self.uses[block.at()] == 0 {
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
            self.uses[block.at()] = 0;
            self.order.forget(block);
        }
        if let Some(events) = &mut self.events {
            events.clear();
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
            self.order.retain(*block, retention, self.uses[block.at()] & COUNT == 0);
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

    /// Whether changes of the index are recorded, and a block with this key would be one.
    pub(super) fn is_news(&self, key: Key, epoch: u32) -> bool {
        self.events
            .as_ref()
            .is_some_and(|events| events.epoch() == epoch && self.find(key, epoch).is_none())
    }

    /// Records an event that names so many blocks.
    pub(super) fn record(&mut self, named: usize, event: Event) {
        if let Some(events) = &mut self.events {
            events.push(named, event);
        }
    }

    /// From now on, events are about this epoch.
    pub(super) fn begin_epoch(&mut self, epoch: u32) {
        if let Some(events) = &mut self.events {
            events.begin(epoch);
        }
    }

    /// What happened since the last call. A pool tells what was removed; what was stored, and with which tokens, a [`Cache`](super::Cache)
    /// knows.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(|events| events.take()).unwrap_or_default()
    }

    /// Events that were dropped, as nobody took them in time: see [`Event`].
    pub fn lost_events(&self) -> u64 {
        self.events.as_ref().map_or(0, |events| events.lost())
    }

    /// The free block that would be taken after `block`, or first of all. `None` after the last, and for a block that is not free.
    pub fn free_after(&self, block: Option<BlockId>) -> Option<BlockId> {
        if block.is_some_and(|block| block.is_null() || self.uses.get(block.at()).is_none_or(|uses| uses & COUNT > 0)) {
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
        for (at, (uses, expected)) in self.uses.iter().zip(expected).enumerate() {
            let (refs, keyed) = (uses & COUNT, uses & KEYED != 0);
            if refs != *expected {
                bail!(Corrupt, "block {at} counts {refs} references, and {expected} are held");
            }
            if keyed != (self.keys[at] != Key::NONE) {
                bail!(
                    Corrupt,
                    "block {at} is said to have {} key, and its key is {:?}",
                    if keyed { "a" } else { "no" },
                    self.keys[at]
                );
            }
        }
        let mut listed = vec![false; self.uses.len()];
        let order = self.free_order();
        for block in &order {
            if block.is_null() || self.references(*block) != 0 || std::mem::replace(&mut listed[block.at()], true) {
                bail!(
                    Corrupt,
                    "block {} is in the order of free blocks, and should not be",
                    block.0
                );
            }
        }
        let free = self.uses.iter().skip(1).filter(|uses| **uses & COUNT == 0).count();
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
            let held =
                (1..self.uses.len()).filter(|at| self.uses[*at] & COUNT > 0 && self.owners[*at].0 as usize == id);
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
        self.uses[block.at()] &= COUNT;
        let key = std::mem::replace(&mut self.keys[block.at()], Key::NONE);
        if self.events.is_some() {
            self.tell_removed(key, block);
        }
    }

    #[cold]
    fn tell_removed(&mut self, key: Key, block: BlockId) {
        let (group, epoch) = (self.groups[block.at()], self.epochs[block.at()]);
        // Another block may still have the key.
        if self.find(key, epoch).is_none()
            && let Some(events) = &mut self.events
        {
            events.removed(key, group, epoch);
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
        if block.at() >= self.uses.len() {
            bail!(
                InvalidArgument,
                "block {} is none of the pool's {} blocks",
                block.0,
                self.uses.len()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
