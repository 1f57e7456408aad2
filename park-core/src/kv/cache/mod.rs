//! The cache: sequences over a pool. Which blocks a sequence has, what it shares, what of it can be found again.
//!
//! The life of a sequence:
//!
//! ```text
//!         append                    grow: blocks for tokens         advance: computed,
//!   add ────────► known tokens ─┬─► to come; a shared tail is ────► full blocks can be ──┬─► finish
//!                               │   copied before it is written     found by others      │
//!             lookup, attach ◄──┘        ▲                               │        fork ◄─┤
//!             (a cached prefix)          └───────────────────────────────┘      detach ◄─┘ (preempted: known, nothing computed)
//! ```
//!
//! A sequence knows tokens (`known`) of which the first so many are `computed`: their keys and values are in its blocks. Everything is
//! owned by one thread; a call either succeeds whole or changes nothing.
//!
//! | file | what |
//! |---|---|
//! | `mod` | configuration; beginning, forking and ending sequences; epochs |
//! | `sequence`, `segment` | what one sequence is; what forked ones have in common |
//! | `prefix` | the longest cached prefix |
//! | `growth` | blocks for more tokens, copy on write, computed tokens, rolling back |
//! | `contents` | tokens of cached blocks: verification, and reuse of a part of a block |
//! | `tables` | block tables in the forms that kernels read |
//! | `fill` | all tables of a step in one call |
//! | `batch` | a whole step of decodes or prefills in one call |
//! | `news` | what can be found from now on, as events |
//! | `transfer` | blocks that are copied to other memory and back |
//! | `audit` | whether it all adds up |

mod audit;
mod batch;
mod contents;
mod fill;
mod growth;
mod news;
mod prefix;
mod segment;
mod sequence;
mod tables;
mod transfer;

use std::collections::HashMap;
use std::sync::Arc;

use slotmap::SlotMap;

pub use self::fill::{Filled, Kept, Rows, Span, Tables};
pub use self::growth::{Changes, Copy, Placed};
pub use self::prefix::Hit;
pub use self::sequence::SequenceId;
pub use self::transfer::Loading;

use self::contents::Contents;
use self::segment::Segments;
use self::sequence::{Sequence, Window};
use super::group::Groups;
use super::key::{Algorithm, Keyer, Media, Namespace};
use super::metrics::{CacheMetrics, TenantMetrics};
use super::pool::{Pool, PoolConfig, PoolStats, TenantId};
use super::{BlockId, Event, Eviction, Group, Key, Origin, Retention};
use crate::error::{Error, ErrorKind, Result, bail};

/// Tokens that a sequence may have: positions are `i32` in every kernel that reads them.
const MOST_TOKENS: usize = i32::MAX as usize;

/// What a cache is made of.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Blocks of the pool, the null block included.
    pub blocks: u32,
    /// Tokens of a block.
    pub block_size: u32,
    /// The groups of layers, at least one.
    pub groups: Vec<Group>,
    /// Whether what was computed can be found again by other sequences.
    pub caching: bool,
    /// In which order cached blocks are given up.
    pub eviction: Eviction,
    /// The hash behind keys.
    pub algorithm: Algorithm,
    /// What keys depend on besides content. Caches that are to find each other's blocks have the same; others have random ones.
    pub secret: [u8; 32],
    /// Whether a found block's tokens are compared with those asked for. Costs 4 bytes a token.
    pub verify: bool,
    /// Whether the beginning of a cached block is used, by a copy, where the whole block does not fit. One full group only. Costs 4
    /// bytes a token and 32 a block.
    pub partial: bool,
    /// Whether changes of what can be found are recorded.
    pub events: bool,
}

impl Default for CacheConfig {
    /// 1,024 blocks of 16 tokens, one full group, cached, LRU, xxh3 with a secret of zeros.
    fn default() -> Self {
        Self {
            blocks: 1024,
            block_size: 16,
            groups: vec![Group::Full],
            caching: true,
            eviction: Eviction::default(),
            algorithm: Algorithm::default(),
            secret: [0; 32],
            verify: false,
            partial: false,
            events: false,
        }
    }
}

/// What a tenant's look-ups came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TenantStats {
    /// Tokens that were looked up when a sequence was attached.
    pub asked: u64,
    /// Tokens of those that were cached.
    pub hit: u64,
}

/// See the module.
pub struct Cache {
    config: CacheConfig,
    keyer: Keyer,
    groups: Groups,
    pool: Pool,
    sequences: SlotMap<SequenceId, Sequence>,
    segments: Segments,
    contents: Option<Contents>,
    epoch: u32,
    /// The masks of the groups in `epoch`.
    masks: Vec<u128>,
    /// Blocks that are read by copies of the plan in flight, each with a reference.
    in_flight: Vec<BlockId>,
    /// Blocks that transfers use, and how many references each of them has for that.
    pinned: HashMap<BlockId, u32>,
    tenants: Vec<TenantStats>,
    /// Batches are numbered.
    batch: u64,
    /// So are block tables: how many numbers were given.
    tables: u64,
    /// Tells this cache from every other one, also from those before it.
    identity: Arc<()>,
    /// Between calls empty; kept for their memory.
    scratch: Vec<BlockId>,
    spans: Vec<Span>,
}

impl Cache {
    /// An empty cache in epoch 0.
    ///
    /// # Errors
    /// `InvalidArgument` for a pool of fewer than two blocks, a block of no tokens, no groups or more than 255, a window smaller than a
    /// block, and `partial` with other groups than one full one.
    pub fn new(config: CacheConfig) -> Result<Self> {
        if config.block_size == 0 || config.block_size as usize > MOST_TOKENS {
            bail!(InvalidArgument, "a block of {} tokens was asked for", config.block_size);
        }
        if config.groups.is_empty() || config.groups.len() > 255 {
            bail!(
                InvalidArgument,
                "a cache has from 1 to 255 groups, not {}",
                config.groups.len()
            );
        }
        for group in &config.groups {
            if let Group::Window(window) = group
                && *window < config.block_size
            {
                bail!(
                    InvalidArgument,
                    "a window of {window} tokens is smaller than a block of {}",
                    config.block_size
                );
            }
        }
        if config.partial && config.groups != [Group::Full] {
            bail!(
                InvalidArgument,
                "a part of a block can be used with one full group only, and the groups are {:?}",
                config.groups
            );
        }
        let keyer = Keyer::new(config.algorithm, &config.secret, config.block_size as usize)?;
        let groups = Groups::new(&config.groups);
        let pool = Pool::new(&PoolConfig {
            blocks: config.blocks,
            eviction: config.eviction,
            events: config.events,
        })?;
        let masks = groups.masks(&keyer, 0);
        let contents = (config.verify || config.partial).then(|| Contents::new(&config));
        Ok(Self {
            keyer,
            groups,
            pool,
            sequences: SlotMap::with_key(),
            segments: Segments::default(),
            contents,
            epoch: 0,
            masks,
            in_flight: Vec::new(),
            pinned: HashMap::new(),
            tenants: vec![TenantStats::default()],
            batch: 0,
            tables: 0,
            identity: Arc::default(),
            scratch: Vec::new(),
            spans: Vec::new(),
            config,
        })
    }

    /// What it was made of.
    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// The pool below, to look at.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// One more tenant, with room for `quota` blocks at a time.
    ///
    /// # Errors
    /// `InvalidArgument` past 65,536 tenants.
    pub fn add_tenant(&mut self, quota: Option<u32>) -> Result<TenantId> {
        let id = self.pool.add_tenant(quota)?;
        self.tenants.push(TenantStats::default());
        Ok(id)
    }

    /// How many tenants there are.
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// What a tenant's look-ups came to; nothing for one that the cache does not know.
    pub fn tenant_stats(&self, tenant: TenantId) -> TenantStats {
        self.tenants.get(tenant.0 as usize).copied().unwrap_or_default()
    }

    /// What it has now, and what it has counted.
    pub fn metrics(&self) -> CacheMetrics {
        let pool = &self.pool;
        let tenant = |(id, stats): (u16, &TenantStats)| TenantMetrics {
            tenant: TenantId(id),
            held: pool.held_by(TenantId(id)),
            limit: pool.limit_of(TenantId(id)),
            asked: stats.asked,
            hit: stats.hit,
        };
        CacheMetrics {
            blocks: pool.blocks() - 1,
            free: pool.free_blocks(),
            cached: pool.cached_blocks(),
            sequences: self.sequences.len(),
            pool: pool.stats(),
            residency: *pool.residency(),
            tenants: (0..).zip(&self.tenants).map(tenant).collect(),
            lost_events: pool.lost_events(),
        }
    }

    /// What the pool has counted.
    pub fn pool_stats(&self) -> PoolStats {
        self.pool.stats()
    }

    /// What happened to what can be found since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.pool.take_events()
    }

    /// Sequences that have begun and not ended.
    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// A new sequence that knows `tokens`, of which nothing is computed. `media` says which of them stand for something else.
    ///
    /// # Errors
    /// `InvalidArgument` without a token, with more than 2^31 - 1, or for a tenant that the cache does not know.
    pub fn add(
        &mut self,
        tenant: TenantId,
        namespace: &Namespace<'_>,
        tokens: &[u32],
        media: &[Media],
    ) -> Result<SequenceId> {
        if tokens.is_empty() || tokens.len() > MOST_TOKENS {
            bail!(
                InvalidArgument,
                "a sequence begins with 1 to {MOST_TOKENS} tokens, not {}",
                tokens.len()
            );
        }
        self.pool.check_tenant(tenant)?;
        let root = self.keyer.root(namespace);
        let mut keys = Vec::new();
        if media.is_empty() {
            self.keyer.chain(root, tokens, &mut keys);
        } else {
            self.keyer.chain_with_media(root, 0, tokens, media, &mut keys);
        }
        let rest = tokens.len() / self.config.block_size as usize * self.config.block_size as usize;
        self.tables += 1;
        Ok(self.sequences.insert(Sequence {
            tenant,
            epoch: self.epoch,
            root,
            origin: (self.config.events || !media.is_empty()).then(|| Arc::new(Origin::new(namespace, media))),
            base: None,
            base_blocks: 0,
            keys,
            tail: tokens[rest..].to_vec(),
            own: Vec::new(),
            windows: vec![Window::default(); self.groups.windows.len()],
            known: tokens.len() as u32,
            computed: 0,
            tokens: if self.keeps_tokens() {
                tokens.to_vec()
            } else {
                Vec::new()
            },
            batch: 0,
            table: self.tables,
        }))
    }

    /// The sequence has got further tokens.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` if it would have more than 2^31 - 1 tokens.
    pub fn append(&mut self, id: SequenceId, tokens: &[u32]) -> Result<()> {
        let block_size = self.config.block_size as usize;
        let keeps = self.keeps_tokens();
        let sequence = find(&mut self.sequences, id)?;
        if sequence.known as usize + tokens.len() > MOST_TOKENS {
            bail!(
                InvalidArgument,
                "a sequence has at most {MOST_TOKENS} tokens; this one has {} and {} came",
                sequence.known,
                tokens.len()
            );
        }
        sequence.known += tokens.len() as u32;
        if keeps {
            sequence.tokens.extend_from_slice(tokens);
        }
        sequence.tail.extend_from_slice(tokens);
        if sequence.tail.len() >= block_size {
            let parent = match sequence.keys.last() {
                Some(key) => *key,
                None => self
                    .segments
                    .path(sequence.base)
                    .find_map(|segment| segment.keys.last().copied())
                    .unwrap_or(sequence.root),
            };
            let (end, tail) = (sequence.known as usize, &sequence.tail);
            let first = end - tail.len();
            match &sequence.origin {
                // The prompt may end within an image: the key of the block that its output fills depends on it.
                Some(origin) if origin.first_media(first, end).is_some() => {
                    self.keyer
                        .chain_with_media(parent, first, tail, &origin.media, &mut sequence.keys);
                }
                _ => self.keyer.chain(parent, tail, &mut sequence.keys),
            }
            let whole = sequence.tail.len() / block_size * block_size;
            sequence.tail.drain(..whole);
        }
        Ok(())
    }

    /// A sequence that goes on from where this one is, with the same blocks. Constant time: full blocks are shared by a reference to all
    /// of them, and the last, half-filled one is copied by whoever writes to it first. (Groups with a window copy the list of blocks in
    /// the window; a cache that keeps tokens copies those; so are the keys of tokens that are not computed yet.)
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId> {
        let groups = self.groups.full.len();
        let sequence = find(&mut self.sequences, id)?;
        let full = sequence.computed / self.config.block_size;
        let held = sequence.computed.div_ceil(self.config.block_size);
        // What the fork holds for itself: the half-filled block of each group, and windows.
        let first_shared = (full - sequence.base_blocks) as usize * groups;
        let last_shared = ((held - sequence.base_blocks) as usize * groups).min(sequence.own.len());
        let mut windows = sequence.windows.clone();
        for window in &mut windows {
            window.live.truncate(held.saturating_sub(window.behind) as usize);
        }
        let mut shared = std::mem::take(&mut self.scratch);
        shared.extend_from_slice(&sequence.own[first_shared..last_shared]);
        shared.extend(windows.iter().flat_map(|window| &window.live));
        let tenant = sequence.tenant;
        let touched = self.pool.touch(&shared, tenant);
        shared.clear();
        self.scratch = shared;
        touched?;

        let tail_blocks = sequence.own[first_shared..last_shared].to_vec();
        if full > sequence.base_blocks {
            let behind = (full - sequence.base_blocks) as usize;
            let mut keys = std::mem::take(&mut sequence.keys);
            sequence.keys = keys.split_off(behind);
            let mut blocks = std::mem::take(&mut sequence.own);
            sequence.own = blocks.split_off(first_shared);
            sequence.base = Some(self.segments.add(sequence.base, keys, blocks));
            sequence.base_blocks = full;
        } else if let Some(base) = sequence.base {
            self.segments.share(base);
        }
        self.tables += 1;
        let fork = Sequence {
            tenant,
            epoch: sequence.epoch,
            root: sequence.root,
            origin: sequence.origin.clone(),
            base: sequence.base,
            base_blocks: sequence.base_blocks,
            keys: sequence.keys.clone(),
            tail: sequence.tail.clone(),
            own: tail_blocks,
            windows,
            known: sequence.known,
            computed: sequence.computed,
            tokens: sequence.tokens.clone(),
            batch: 0,
            table: self.tables,
        };
        Ok(self.sequences.insert(fork))
    }

    /// The sequence has ended: its blocks are free unless others use them, and those that were computed can still be found.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended before.
    pub fn finish(&mut self, id: SequenceId) -> Result<()> {
        find(&mut self.sequences, id)?;
        self.give_back(id)?;
        self.sequences.remove(id);
        Ok(())
    }

    /// The sequence keeps its tokens and loses its blocks, as if nothing had been computed: what preemption does. Those blocks can still
    /// be found, also by itself.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn detach(&mut self, id: SequenceId) -> Result<()> {
        let sequence = find(&mut self.sequences, id)?;
        if sequence.base.is_some() {
            let path: Vec<&[Key]> = self
                .segments
                .path(sequence.base)
                .map(|segment| &segment.keys[..])
                .collect();
            let mut keys: Vec<Key> = path.into_iter().rev().flatten().copied().collect();
            keys.append(&mut sequence.keys);
            sequence.keys = keys;
        }
        self.give_back(id)?;
        let sequence = find(&mut self.sequences, id)?;
        sequence.computed = 0;
        Ok(())
    }

    /// Gives back all blocks of a sequence, last position first, group by group.
    fn give_back(&mut self, id: SequenceId) -> Result<()> {
        let groups = self.groups.full.len();
        let sequence = find(&mut self.sequences, id)?;
        let mut left = std::mem::take(&mut self.scratch);
        let own = std::mem::take(&mut sequence.own);
        self.tables += 1;
        sequence.table = self.tables;
        let stale = sequence.epoch != self.epoch;
        let mut released = Ok(());
        let release = |pool: &mut Pool, left: &mut Vec<BlockId>| {
            if stale {
                // Nobody will look for what an older model computed: such blocks go before those of the present one.
                for block in left.iter() {
                    if pool.references(*block) == 1 {
                        pool.forget(*block)?;
                    }
                }
            }
            let result = pool.release(left);
            left.clear();
            result
        };
        for group in 0..groups {
            left.extend(own.iter().skip(group).step_by(groups).rev());
            released = released.and(release(&mut self.pool, &mut left));
        }
        if let Some(base) = sequence.base.take() {
            self.segments.leave(base, &mut left);
            released = released.and(release(&mut self.pool, &mut left));
        }
        sequence.base_blocks = 0;
        for window in &mut sequence.windows {
            left.extend(window.live.drain(..).rev());
            window.behind = 0;
            released = released.and(release(&mut self.pool, &mut left));
        }
        self.scratch = left;
        released
    }

    /// The weight version whose blocks are found now.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The model has got new weights: from now on no look-up finds what was computed before. Constant time. Sequences that have blocks
    /// keep them, and their epoch; [`renew`](Self::renew) lets one start again.
    ///
    /// # Errors
    /// `InvalidArgument` unless the epoch is later than the present one.
    pub fn set_epoch(&mut self, epoch: u32) -> Result<()> {
        if epoch <= self.epoch {
            bail!(
                InvalidArgument,
                "weights were updated without a new epoch: it is {} and was to be {epoch}",
                self.epoch
            );
        }
        self.epoch = epoch;
        self.masks = self.groups.masks(&self.keyer, epoch);
        self.pool.begin_epoch(epoch);
        Ok(())
    }

    /// The epoch that a sequence computes in.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn epoch_of(&self, id: SequenceId) -> Result<u32> {
        self.get(id).map(|sequence| sequence.epoch)
    }

    /// The sequence starts again in the present epoch: its tokens are known, nothing of them is computed.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn renew(&mut self, id: SequenceId) -> Result<()> {
        self.detach(id)?;
        let epoch = self.epoch;
        find(&mut self.sequences, id)?.epoch = epoch;
        Ok(())
    }

    /// The sequence starts again in the present epoch, and knows only its first `known` tokens: `tail` is those of them after their last
    /// full block.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended; `InvalidArgument` for more tokens than it knows, or another number of them in the tail.
    pub fn restart(&mut self, id: SequenceId, known: u32, tail: &[u32]) -> Result<()> {
        let block_size = self.config.block_size;
        let sequence = find(&mut self.sequences, id)?;
        if known == 0 || known > sequence.known || tail.len() != (known % block_size) as usize {
            bail!(
                InvalidArgument,
                "the first {known} tokens of {} were to remain, with {} after the last full block",
                sequence.known,
                tail.len()
            );
        }
        self.renew(id)?;
        let sequence = find(&mut self.sequences, id)?;
        sequence.known = known;
        sequence.keys.truncate((known / block_size) as usize);
        sequence.tail.clear();
        sequence.tail.extend_from_slice(tail);
        sequence.tokens.truncate(known as usize);
        Ok(())
    }

    /// How many blocks a sequence's tables have.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn positions(&self, id: SequenceId) -> Result<u32> {
        Ok(self.get(id)?.positions(self.groups.full.len()))
    }

    /// How many blocks a sequence's tables have, null blocks not counted.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn blocks_held(&self, id: SequenceId) -> Result<u32> {
        let sequence = self.get(id)?;
        let shared = sequence.base_blocks as usize * self.groups.full.len();
        let windows: usize = sequence.windows.iter().map(|window| window.live.len()).sum();
        Ok((shared + sequence.own.len() + windows) as u32)
    }

    /// Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
    pub fn reset(&mut self) -> bool {
        self.pool.reset()
    }

    /// From now on, this is how long the computed blocks of a sequence are worth keeping after it.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn retain(&mut self, id: SequenceId, retention: Retention) -> Result<()> {
        let sequence = self.get(id)?;
        let mut blocks: Vec<BlockId> = sequence.own.clone();
        blocks.extend(self.segments.path(sequence.base).flat_map(|segment| &segment.blocks));
        blocks.extend(sequence.windows.iter().flat_map(|window| &window.live));
        self.pool.retain(&blocks, retention)
    }

    /// The cache's time, by which retention ends.
    pub fn set_time(&mut self, now: u64) {
        self.pool.set_time(now);
    }

    /// Tokens that a sequence knows.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn known(&self, id: SequenceId) -> Result<u32> {
        self.get(id).map(|sequence| sequence.known)
    }

    /// Tokens of a sequence that are computed.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn computed(&self, id: SequenceId) -> Result<u32> {
        self.get(id).map(|sequence| sequence.computed)
    }

    /// The tenant that a sequence counts for.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn tenant_of(&self, id: SequenceId) -> Result<TenantId> {
        self.get(id).map(|sequence| sequence.tenant)
    }

    fn keeps_tokens(&self) -> bool {
        self.config.verify || self.config.partial || self.config.events
    }

    fn get(&self, id: SequenceId) -> Result<&Sequence> {
        self.sequences.get(id).ok_or_else(|| ended(id))
    }

    /// The masks of the groups in an epoch.
    fn masks_of(&self, epoch: u32) -> std::borrow::Cow<'_, [u128]> {
        if epoch == self.epoch {
            (&self.masks[..]).into()
        } else {
            self.groups.masks(&self.keyer, epoch).into()
        }
    }
}

fn ended(id: SequenceId) -> Error {
    Error::new(ErrorKind::NotFound, format!("{id:?} has ended, or is of another cache"))
}

fn find(sequences: &mut SlotMap<SequenceId, Sequence>, id: SequenceId) -> Result<&mut Sequence> {
    sequences.get_mut(id).ok_or_else(|| ended(id))
}

#[cfg(test)]
mod tests;
