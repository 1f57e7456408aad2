//! The longest cached prefix of a sequence.
//!
//! A prefix can be used if every group has what the next token attends to: a full group all blocks, a group with a window those in the
//! window before the next token. The end is found from the full groups first, then moved back until every window agrees.

use super::contents::Part;
use super::sequence::{Sequence, SequenceId};
use super::{Cache, find};
use crate::error::{Result, bail};
use crate::kv::group::left_behind;
use crate::kv::{BlockId, Key};

/// A cached prefix that was found. It is good until the next call that changes the cache.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hit {
    /// Tokens of the prefix.
    pub tokens: u32,
    /// Of its blocks, those that nobody uses now: as many free blocks fewer there are once it is attached.
    pub free: u32,
    /// Whole blocks of the full groups, those of one position side by side.
    full: Vec<BlockId>,
    /// Of each window group: blocks left behind, and those in the window. They end where the prefix does, unless it was moved on.
    windows: Vec<(u32, Vec<BlockId>)>,
    /// A block whose beginning is used.
    part: Option<Part>,
}

impl Cache {
    /// Looks up the longest cached prefix of a sequence that has no blocks, of at most `limit` tokens and short of its last token: that
    /// one has to be computed, for its output.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` for one that has blocks.
    pub fn lookup(&self, id: SequenceId, limit: u32) -> Result<Hit> {
        let sequence = self.get(id)?;
        if sequence.has_blocks() {
            bail!(
                InvalidArgument,
                "{id:?} has {} computed tokens already",
                sequence.computed
            );
        }
        if !self.config.caching {
            return Ok(Hit::default());
        }
        let limit = limit.min(sequence.known - 1);
        let masks = self.masks_of(sequence.epoch);
        let most = (limit / self.config.block_size) as usize;
        let mut full = Vec::with_capacity(most * self.groups.full.len());
        let mut blocks = if self.groups.full.is_empty() {
            most
        } else {
            self.match_full(sequence, &masks, most, &mut full)
        };
        let mut windows = Vec::new();
        loop {
            let before = blocks;
            windows.clear();
            for (group, window) in &self.groups.windows {
                let (end, run) = self.match_window(sequence, masks[*group as usize], *window, blocks);
                blocks = end;
                windows.push(run);
            }
            if blocks == before {
                break;
            }
        }
        full.truncate(blocks * self.groups.full.len());
        let mut hit = Hit {
            tokens: blocks as u32 * self.config.block_size,
            free: 0,
            full,
            windows,
            part: None,
        };
        if let Some(contents) = &self.contents
            && self.config.partial
        {
            let parent = match blocks {
                0 => sequence.root,
                _ => sequence.keys[blocks - 1],
            };
            let (start, mut end) = (hit.tokens as usize, limit as usize);
            if let Some(origin) = &sequence.origin {
                // What an image is, its tokens do not say.
                end = origin.first_media(start, end).unwrap_or(end);
            }
            let wanted = &sequence.tokens[start..end];
            hit.part = contents.longest_part(&self.pool, parent.masked(masks[0]), sequence.epoch, wanted);
            hit.tokens += hit.part.map_or(0, |part| part.tokens);
        }
        hit.free = self.unused(&hit);
        Ok(hit)
    }

    /// Gives a sequence the prefix that was found for it: these tokens are computed.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` for one that has blocks, for a hit of another prompt, or if a block of
    /// the hit is not what it was, `StoreFull` if the tenant's quota has no room.
    pub fn attach(&mut self, id: SequenceId, hit: &Hit) -> Result<()> {
        let sequence = self.get(id)?;
        if sequence.has_blocks() {
            bail!(
                InvalidArgument,
                "{id:?} has {} computed tokens already",
                sequence.computed
            );
        }
        if !self.is_still(sequence, hit) {
            bail!(
                InvalidArgument,
                "a prefix of {} tokens was found that is none of {id:?}, or is not there any more",
                hit.tokens
            );
        }
        let (tenant, free) = (sequence.tenant, self.unused(hit));
        if free > self.pool.available_to(tenant) {
            bail!(
                StoreFull,
                "tenant {} holds {} blocks of its {}, and the prefix has {free} more",
                tenant.0,
                self.pool.held_by(tenant),
                self.pool.limit_of(tenant)
            );
        }
        let mut blocks = std::mem::take(&mut self.scratch);
        blocks.extend(hit.blocks());
        let touched = self.pool.touch(&blocks, tenant);
        if touched.is_ok() {
            self.pool.hit(&blocks);
        }
        blocks.clear();
        self.scratch = blocks;
        touched?;
        let sequence = find(&mut self.sequences, id)?;
        sequence.own.clone_from(&hit.full);
        sequence.own.extend(hit.part.map(|part| part.block));
        for (window, (behind, live)) in sequence.windows.iter_mut().zip(&hit.windows) {
            window.behind = *behind;
            window.live.extend(live);
        }
        sequence.computed = hit.tokens;
        let stats = &mut self.tenants[tenant.0 as usize];
        stats.asked += u64::from(sequence.known);
        stats.hit += u64::from(hit.tokens);
        Ok(())
    }

    /// Moves the windows of a hit on to where they are once `tokens` tokens are there, more than it has: those that follow are to come
    /// from elsewhere, and what lies behind a window then is not taken. Attached, the sequence's windows begin there; it has to get all
    /// of these tokens before it computes the next one.
    pub(in crate::kv) fn move_on(&self, hit: &mut Hit, tokens: u32) {
        let block_size = self.config.block_size;
        hit.windows.resize(self.groups.windows.len(), (0, Vec::new()));
        for ((behind, live), (_, window)) in hit.windows.iter_mut().zip(&self.groups.windows) {
            let then = left_behind(*window, tokens, block_size).max(*behind);
            live.drain(..((then - *behind) as usize).min(live.len()));
            *behind = then;
        }
        hit.free = self.unused(hit);
    }

    /// Whether a hit is what a look-up of this sequence could find now.
    fn is_still(&self, sequence: &Sequence, hit: &Hit) -> bool {
        let (full, masks) = (&self.groups.full, self.masks_of(sequence.epoch));
        let holds = |block: &BlockId, position: usize, group: u8| {
            let key = sequence.keys.get(position).map(|key| key.masked(masks[group as usize]));
            key.is_some() && self.pool.key_of(*block) == key
        };
        let part = hit.part.map_or(0, |part| part.tokens);
        let blocks = (hit.tokens.saturating_sub(part) / self.config.block_size) as usize;
        let tokens = blocks as u32 * self.config.block_size + part;
        tokens == hit.tokens
            && tokens < sequence.known
            && hit.full.len() == blocks * full.len()
            && (hit.windows.len() == self.groups.windows.len() || blocks == 0)
            && (0..)
                .zip(&hit.full)
                .all(|(at, block): (usize, _)| holds(block, at / full.len(), full[at % full.len()]))
            && hit
                .windows
                .iter()
                .zip(&self.groups.windows)
                .all(|((behind, live), (group, _))| {
                    // One that was moved on past all of the prefix has no block of it.
                    let ends = *behind as usize + live.len();
                    (ends == blocks || (live.is_empty() && ends > blocks))
                        && (*behind as usize..)
                            .zip(live)
                            .all(|(position, block)| holds(block, position, *group))
                })
            && hit.part.is_none_or(|part| self.is_still_part(sequence, blocks, part))
    }

    fn is_still_part(&self, sequence: &Sequence, blocks: usize, part: Part) -> bool {
        let Some(contents) = &self.contents else { return false };
        let parent = match blocks {
            0 => sequence.root,
            _ => sequence.keys[blocks - 1],
        };
        let start = blocks * self.config.block_size as usize;
        let tokens = &sequence.tokens[start..start + part.tokens as usize];
        let media = sequence
            .origin
            .as_ref()
            .and_then(|origin| origin.first_media(start, start + tokens.len()));
        let parent = parent.masked(self.masks_of(sequence.epoch)[0]);
        media.is_none() && contents.begins(&self.pool, part.block, parent, sequence.epoch, tokens)
    }

    /// Appends the blocks of all full groups up to the first that is missing; returns how many positions.
    fn match_full(&self, sequence: &Sequence, masks: &[u128], most: usize, found: &mut Vec<BlockId>) -> usize {
        let keys = &sequence.keys[..most];
        if !self.config.verify {
            let run = |group: u8, keys: &[Key], found: &mut Vec<BlockId>| {
                self.pool.find_run(keys, masks[group as usize], sequence.epoch, found)
            };
            if let [only] = self.groups.full[..] {
                return run(only, keys, found);
            }
            let mut most = most;
            let mut runs: Vec<Vec<BlockId>> = Vec::with_capacity(self.groups.full.len());
            for group in &self.groups.full {
                let mut blocks = Vec::with_capacity(most);
                most = run(*group, &keys[..most], &mut blocks);
                runs.push(blocks);
            }
            found.extend((0..most).flat_map(|position| runs.iter().map(move |blocks| blocks[position])));
            return most;
        }
        for (position, key) in keys.iter().enumerate() {
            for group in &self.groups.full {
                match self.find_block(sequence, position, *key, masks[*group as usize]) {
                    Some(block) => found.push(block),
                    None => return position,
                }
            }
        }
        most
    }

    /// The last position, at most `most`, before which the group has all blocks in the window; and what its table is then.
    fn match_window(&self, sequence: &Sequence, mask: u128, window: u32, most: usize) -> (usize, (u32, Vec<BlockId>)) {
        let needed = (window - 1).div_ceil(self.config.block_size) as usize;
        if needed == 0 {
            return (most, (most as u32, Vec::new())); // the next token attends to itself only
        }
        let mut run = Vec::new();
        let mut end = most;
        for position in (0..most).rev() {
            match self.find_block(sequence, position, sequence.keys[position], mask) {
                Some(block) => run.push(block),
                None => {
                    run.clear();
                    end = position;
                }
            }
            if run.len() == needed {
                break;
            }
        }
        run.reverse();
        let behind = left_behind(window, end as u32 * self.config.block_size, self.config.block_size);
        // A run that reached the start may be shorter than the window; one that did not is as long as it.
        let run = run.split_off((run.len() + behind as usize).saturating_sub(end));
        (end, (behind, run))
    }

    fn find_block(&self, sequence: &Sequence, position: usize, key: Key, mask: u128) -> Option<BlockId> {
        let block = self.pool.find(key.masked(mask), sequence.epoch)?;
        match &self.contents {
            Some(contents) if self.config.verify => contents.holds(block, position, &sequence.tokens).then_some(block),
            _ => Some(block),
        }
    }

    fn unused(&self, hit: &Hit) -> u32 {
        hit.blocks()
            .filter(|block| !block.is_null() && self.pool.references(*block) == 0)
            .count() as u32
    }
}

impl Hit {
    fn blocks(&self) -> impl Iterator<Item = BlockId> {
        let windows = self.windows.iter().flat_map(|(_, live)| live);
        let part = self.part.iter().map(|part| &part.block);
        self.full.iter().chain(part).chain(windows).copied()
    }

    /// Whole blocks of it, null blocks not counted.
    pub fn blocks_held(&self) -> u32 {
        (self.full.len() + self.windows.iter().map(|(_, live)| live.len()).sum::<usize>()) as u32
    }

    /// Leaves the part of a block at its end alone, and the copy that it takes.
    pub(in crate::kv) fn leave_part(&mut self) {
        if let Some(part) = self.part.take() {
            self.tokens -= part.tokens;
            self.free -= u32::from(part.unused);
        }
    }

    /// Whether its end lies within a block, which the sequence then copies.
    pub fn ends_within_block(&self) -> bool {
        self.part.is_some()
    }
}
