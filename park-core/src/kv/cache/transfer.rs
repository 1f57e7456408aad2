//! Blocks on their way to other memory and back: what tiers below (`physical/`) need of the cache. Still logic only.
//!
//! * **Out.** `stored` says what a sequence has computed, by label; `pin` keeps those blocks as they are while they are copied. A pinned
//!   block has one reference more, so it is visible to others and nobody writes to it.
//! * **In.** `labels` says by which labels a sequence's blocks would be found; `begin_load` takes free blocks for some of them; the copies
//!   are made; `end_load` registers those that arrived and lets all of them go, so that the next look-up finds them as if they had been
//!   computed here. A load needs no sequence to exist when it ends.

use std::sync::Arc;

use super::sequence::Sequence;
use super::{Cache, SequenceId};
use crate::error::{Result, bail};
use crate::kv::group::left_behind;
use crate::kv::{BlockId, Event, Group, Key, Label, Origin, TenantId};

/// Blocks that were taken for contents to come. End it with [`Cache::end_load`], else its blocks are lost to the pool.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Loading {
    /// In the order of the sequence, those of one position side by side.
    blocks: Vec<(Label, BlockId)>,
    /// Of each block, its position in the sequence.
    positions: Vec<u32>,
    /// Of each block, the masked key of the one before.
    parents: Vec<Key>,
    /// Tokens of the positions, if the cache keeps them or tells of them.
    tokens: Vec<u32>,
    /// The first position.
    first: u32,
    origin: Option<Arc<Origin>>,
}

impl Loading {
    /// What is to be copied where.
    pub fn blocks(&self) -> &[(Label, BlockId)] {
        &self.blocks
    }
}

impl Cache {
    /// The labels of a sequence's full blocks of known tokens in a group, by position, whether or not they are computed.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` for a group that the cache does not have.
    pub fn labels(&self, id: SequenceId, group: u8) -> Result<Vec<Label>> {
        let sequence = self.get(id)?;
        let masks = self.masks_of(sequence.epoch);
        let Some(mask) = masks.get(usize::from(group)).copied() else {
            bail!(InvalidArgument, "there is no group {group}: there are {}", masks.len());
        };
        let epoch = sequence.epoch;
        let label = |key: Key| Label {
            key: key.masked(mask),
            epoch,
            group,
        };
        Ok(self.keys_of(id)?.into_iter().map(label).collect())
    }

    /// The full blocks of a sequence that are computed, from position `first` on, with their labels: what is worth storing elsewhere. With
    /// a window, those in it. What was given out by [`advance`](Self::advance) and is not computed yet must not be stored: a label is a
    /// promise of content.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn stored(&self, id: SequenceId, first: u32) -> Result<Vec<(Label, BlockId)>> {
        let full = (self.get(id)?.computed / self.config.block_size) as usize;
        let mut stored = Vec::new();
        let tables = (0..self.groups.kinds.len() as u8)
            .map(|group| Ok((self.labels(id, group)?, self.table(id, group)?)))
            .collect::<Result<Vec<_>>>()?;
        for position in first as usize..full {
            for (labels, blocks) in &tables {
                let block = blocks[position];
                if !block.is_null() {
                    stored.push((labels[position], block));
                }
            }
        }
        Ok(stored)
    }

    /// Keeps blocks as they are until [`unpin`](Self::unpin): one more reference to each, also if they are free. They count for whoever they
    /// counted for before, or for the first tenant.
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is none of the pool's.
    pub fn pin(&mut self, blocks: &[BlockId]) -> Result<()> {
        self.pool.touch(blocks, TenantId::default())?;
        self.keep(blocks);
        Ok(())
    }

    /// Takes pins back.
    ///
    /// # Errors
    /// `InvalidArgument` for a block that is not pinned as often; then nothing is taken back.
    pub fn unpin(&mut self, blocks: &[BlockId]) -> Result<()> {
        self.let_go(blocks)?;
        self.pool.release(blocks)
    }

    /// Blocks that are pinned, or taken for contents to come; one that is pinned twice counts twice.
    pub fn pinned(&self) -> usize {
        self.pinned.values().map(|count| *count as usize).sum()
    }

    /// How many blocks [`begin_load`](Self::begin_load) takes for positions `first..first + count`.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn blocks_to_load(&self, id: SequenceId, first: u32, count: u32) -> Result<u64> {
        let end = u64::from(first) + u64::from(count);
        let from = self.loads_from(self.get(id)?, end);
        Ok(from.iter().map(|from| end - u64::from(first.max(*from)).min(end)).sum())
    }

    /// Of each group, the first position that whoever goes on after `end` positions needs, or, as its last token is computed in any case,
    /// after as many as a look-up finds.
    fn loads_from(&self, sequence: &Sequence, end: u64) -> Vec<u32> {
        let block_size = self.config.block_size;
        let end = end.min(u64::from((sequence.known - 1) / block_size)) as u32;
        let of = |group: &Group| match group {
            Group::Full => 0,
            Group::Window(window) => left_behind(*window, end * block_size, block_size),
        };
        self.groups.kinds.iter().map(of).collect()
    }

    /// Takes blocks for the contents of positions `first..first + count` of a sequence, to be copied from elsewhere; of a group with a
    /// window, those that are in it once they are all there. None if there are not enough free blocks.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended; `InvalidArgument` for positions past its full blocks, and in a cache that does not cache.
    pub fn begin_load(&mut self, id: SequenceId, first: u32, count: u32) -> Result<Option<Loading>> {
        if !self.config.caching {
            bail!(
                InvalidArgument,
                "contents can be loaded into a cache that caches, and this one does not"
            );
        }
        let keys = self.keys_of(id)?;
        let end = first as usize + count as usize;
        let Some(wanted) = keys.get(first as usize..end).filter(|wanted| !wanted.is_empty()) else {
            bail!(
                InvalidArgument,
                "blocks {first} to {end} of {id:?} were to be loaded, and it has {} full ones",
                keys.len()
            );
        };
        let sequence = self.get(id)?;
        let (tenant, epoch) = (sequence.tenant, sequence.epoch);
        let before = match first.checked_sub(1) {
            Some(before) => keys[before as usize],
            None => sequence.root,
        };
        let block_size = self.config.block_size as usize;
        let tokens = if self.contents.is_some() || self.config.events {
            sequence.tokens[first as usize * block_size..end * block_size].to_vec()
        } else {
            Vec::new()
        };
        let origin = sequence.origin.clone();
        let (needed, from) = (
            self.blocks_to_load(id, first, count)? as u32,
            self.loads_from(sequence, end as u64),
        );
        let masks = self.masks_of(epoch).into_owned();
        // What is here already before them must not be given up for them: it is used now, and goes back as the last to be given up.
        let here: Vec<BlockId> = keys[..first as usize]
            .iter()
            .flat_map(|key| masks.iter().map(|mask| key.masked(*mask)))
            .filter_map(|key| self.pool.find(key, epoch))
            .collect();
        self.pool.touch(&here, tenant)?;
        let mut taken = Vec::new();
        let allocated = self.pool.allocate(needed, tenant, &mut taken);
        let here: Vec<BlockId> = here.into_iter().rev().collect();
        self.pool.release(&here)?;
        if !allocated {
            return Ok(None);
        }
        let mut loading = Loading {
            blocks: Vec::with_capacity(taken.len()),
            positions: Vec::with_capacity(taken.len()),
            parents: Vec::with_capacity(taken.len()),
            tokens,
            first,
            origin,
        };
        let mut blocks = taken.iter();
        let mut before = before;
        for (position, key) in (first..).zip(wanted) {
            for (group, (mask, from)) in (0..).zip(masks.iter().zip(&from)) {
                if position < *from {
                    continue;
                }
                let block = blocks.next().expect("as many were allocated as are placed");
                let label = Label {
                    key: key.masked(*mask),
                    epoch,
                    group,
                };
                loading.blocks.push((label, *block));
                loading.positions.push(position);
                loading.parents.push(before.masked(*mask));
            }
            before = *key;
        }
        self.keep(&taken);
        Ok(Some(loading))
    }

    /// The first `arrived` blocks of a load hold what they were taken for: they can be found from now on. All of them are let go.
    ///
    /// # Errors
    /// `InvalidArgument` for more blocks than the load has, or a load of another cache; then it is still to be ended.
    pub fn end_load(&mut self, loading: &Loading, arrived: u32) -> Result<()> {
        let Some(good) = loading.blocks.get(..arrived as usize) else {
            bail!(
                InvalidArgument,
                "{arrived} blocks were said to have arrived of {}",
                loading.blocks.len()
            );
        };
        let taken: Vec<BlockId> = loading.blocks.iter().rev().map(|(_, block)| *block).collect();
        self.let_go(&taken)?;
        let block_size = self.config.block_size as usize;
        // Whole positions only: a block is found in all groups or in none.
        let positions = &loading.positions;
        let whole = positions
            .get(good.len())
            .map_or(good.len(), |cut| positions.partition_point(|position| position < cut));
        let good = &good[..whole];
        let tokens = |position: u32| {
            let from = (position - loading.first) as usize * block_size;
            from..from + block_size
        };
        // (group, position, which of the blocks) of what nobody could find before.
        let mut news = Vec::new();
        for (at, (label, block)) in good.iter().enumerate() {
            if self.pool.is_news(label.key, label.epoch) {
                news.push((label.group, positions[at], at));
            }
            self.pool.register(*block, label.key, label.epoch, label.group)?;
            if let Some(contents) = &mut self.contents {
                let here = tokens(positions[at]);
                let start = loading.first as usize * block_size;
                let media = loading
                    .origin
                    .as_ref()
                    .and_then(|origin| origin.first_media(start + here.start, start + here.end));
                contents.put(*block, loading.parents[at], &loading.tokens[here], media.is_none());
            }
        }
        news.sort_unstable();
        for run in news.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
            let ((group, first, at), (_, last, _)) = (run[0], run[run.len() - 1]);
            self.pool.record(
                run.len(),
                Event::Stored {
                    keys: run.iter().map(|(_, _, at)| good[*at].0.key).collect(),
                    parent: (first > 0).then(|| loading.parents[at]),
                    first,
                    tokens: loading.tokens[tokens(first).start..tokens(last).end].to_vec(),
                    block_size: block_size as u32,
                    group,
                    kind: self.groups.kinds[usize::from(group)],
                    origin: loading.origin.clone().unwrap_or_default(),
                },
            );
        }
        self.pool.release(&taken)
    }

    /// All keys of a sequence, unmasked, those that it shares included.
    fn keys_of(&self, id: SequenceId) -> Result<Vec<Key>> {
        let sequence = self.get(id)?;
        let mut path: Vec<&[Key]> = self
            .segments
            .path(sequence.base)
            .map(|segment| &segment.keys[..])
            .collect();
        path.reverse();
        path.push(&sequence.keys);
        Ok(path.concat())
    }

    /// Puts blocks on the list of pinned ones.
    fn keep(&mut self, blocks: &[BlockId]) {
        for block in blocks.iter().filter(|block| !block.is_null()) {
            *self.pinned.entry(*block).or_insert(0) += 1;
        }
    }

    /// Strikes blocks off the list of pinned ones; all or none.
    fn let_go(&mut self, blocks: &[BlockId]) -> Result<()> {
        for (at, block) in blocks.iter().enumerate() {
            if block.is_null() {
                continue;
            }
            match self.pinned.get_mut(block) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) => drop(self.pinned.remove(block)),
                None => {
                    self.keep(&blocks[..at]);
                    bail!(InvalidArgument, "block {} is not pinned", block.0);
                }
            }
        }
        Ok(())
    }
}
