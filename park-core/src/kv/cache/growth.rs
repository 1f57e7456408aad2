//! Blocks for tokens to come, and what becomes of them when the tokens are there.

use super::sequence::SequenceId;
use super::{Cache, find, news};
use crate::error::{Result, bail};
use crate::kv::group::left_behind;
use crate::kv::{BlockId, Origin};

/// A sequence has got a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The sequence.
    pub sequence: SequenceId,
    /// The group.
    pub group: u8,
    /// Where in the sequence's table, counted in blocks.
    pub position: u32,
    /// The block.
    pub block: BlockId,
}

/// A block's content is to be copied before anything of this step is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// Whose the copy is.
    pub sequence: SequenceId,
    /// From this block,
    pub from: BlockId,
    /// to this one.
    pub to: BlockId,
}

/// What an engine has to do to its memory and its block tables, in the order of the lists.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Contents to copy, all before the first token is written.
    pub copies: Vec<Copy>,
    /// Blocks that tables have got.
    pub placed: Vec<Placed>,
}

impl Changes {
    /// Empties the lists and keeps their memory.
    pub fn clear(&mut self) {
        self.copies.clear();
        self.placed.clear();
    }

    fn place(&mut self, sequence: SequenceId, group: u8, position: u32, block: BlockId) {
        self.placed.push(Placed {
            sequence,
            group,
            position,
            block,
        });
    }

    /// Puts a block into a table in place of one that it begins as a copy of. Returns that one.
    fn replace(&mut self, sequence: SequenceId, group: u8, position: u32, place: &mut BlockId, to: BlockId) -> BlockId {
        let from = std::mem::replace(place, to);
        self.copies.push(Copy { sequence, from, to });
        self.place(sequence, group, position, to);
        from
    }
}

impl Cache {
    /// How many free blocks [`grow`](Self::grow) would take.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn blocks_to_grow(&self, id: SequenceId, tokens: u32) -> Result<u32> {
        let sequence = self.get(id)?;
        let wanted = tokens.div_ceil(self.config.block_size);
        let full = self.groups.full.len();
        let missing = |positions: u32| wanted.saturating_sub(positions);
        let more = missing(sequence.positions(full)).saturating_mul(full as u32);
        let windows = sequence.windows.iter().map(|window| missing(window.len()));
        let more = windows.fold(more, u32::saturating_add);
        let at = sequence.computed / self.config.block_size;
        let copied = if tokens > sequence.computed {
            (0..full)
                .filter(|group| self.must_copy(self.own_block(id, at, *group)))
                .count()
                + sequence
                    .windows
                    .iter()
                    .filter(|window| self.must_copy(window.get(at)))
                    .count()
        } else {
            0
        };
        Ok(more.saturating_add(copied as u32))
    }

    /// Makes room for the first `tokens` tokens of a sequence, known or to come. Blocks behind a window are given back first; a block
    /// that is to be written to and that others can see is replaced by a copy of its own. False, with nothing taken, if there are not
    /// enough free blocks or the tenant may not have them.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` for fewer tokens than are computed or more than 2^31 - 1.
    pub fn grow(&mut self, id: SequenceId, tokens: u32, changes: &mut Changes) -> Result<bool> {
        let block_size = self.config.block_size;
        let sequence = find(&mut self.sequences, id)?;
        if tokens < sequence.computed || tokens > i32::MAX as u32 {
            bail!(
                InvalidArgument,
                "room for {tokens} tokens was asked for, and {} are computed",
                sequence.computed
            );
        }
        let (computed, tenant) = (sequence.computed, sequence.tenant);
        self.leave_behind(id)?;
        let needed = self.blocks_to_grow(id, tokens)?;
        if needed == 0 {
            return Ok(true);
        }
        let mut taken = std::mem::take(&mut self.scratch);
        if !self.pool.allocate(needed, tenant, &mut taken) {
            self.scratch = taken;
            return Ok(false);
        }
        let mut blocks = taken.drain(..);
        let mut next = || blocks.next().expect("as many were allocated as are placed");

        let full = self.groups.full.len();
        let at = computed / block_size;
        let sequence = &mut self.sequences[id];
        let had = sequence.positions(full);
        let wanted = tokens.div_ceil(block_size).max(had);
        let own_at = (at.max(sequence.base_blocks) - sequence.base_blocks) as usize * full;
        let writes = tokens > computed;
        // Groups side by side: room first, then one group after the other.
        sequence
            .own
            .resize((wanted - sequence.base_blocks) as usize * full, BlockId::NULL);
        for (nth, group) in self.groups.full.iter().enumerate() {
            if writes && at < had {
                let place = &mut sequence.own[own_at + nth];
                if self.pool.is_visible(*place) {
                    self.tables += 1;
                    sequence.table = self.tables;
                    self.in_flight.push(changes.replace(id, *group, at, place, next()));
                }
            }
            for position in had..wanted {
                let block = next();
                sequence.own[(position - sequence.base_blocks) as usize * full + nth] = block;
                changes.place(id, *group, position, block);
            }
        }
        for ((group, _), window) in self.groups.windows.iter().zip(&mut sequence.windows) {
            if writes
                && let Some(place) = at
                    .checked_sub(window.behind)
                    .and_then(|at| window.live.get_mut(at as usize))
                && self.pool.is_visible(*place)
            {
                self.tables += 1;
                sequence.table = self.tables;
                self.in_flight.push(changes.replace(id, *group, at, place, next()));
            }
            for position in window.len()..wanted {
                let block = next();
                window.live.push_back(block);
                changes.place(id, *group, position, block);
            }
        }
        debug_assert!(blocks.next().is_none(), "more was allocated than placed");
        drop(blocks);
        self.scratch = taken;
        Ok(true)
    }

    /// A step is over: its copies are done, and their sources given back; its tokens are computed.
    ///
    /// # Errors
    /// None but those of a cache that does not add up.
    pub fn settle(&mut self) -> Result<()> {
        if let Some(contents) = &mut self.contents {
            contents.settle();
        }
        let in_flight = std::mem::take(&mut self.in_flight);
        let released = self.pool.release(&in_flight);
        self.in_flight = in_flight;
        self.in_flight.clear();
        released
    }

    /// The first `computed` tokens of a sequence are computed, or will be by work that is given out already: their full blocks can be
    /// found from now on.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` for fewer tokens than before, more than known, or more than there is
    /// room for.
    pub fn advance(&mut self, id: SequenceId, computed: u32) -> Result<()> {
        let full = self.groups.full.len();
        let sequence = find(&mut self.sequences, id)?;
        let room = sequence.positions(full) * self.config.block_size;
        if computed < sequence.computed || computed > sequence.known.min(room) {
            bail!(
                InvalidArgument,
                "{computed} tokens were said to be computed: {} were before, {} are known, and there is room for {room}",
                sequence.computed,
                sequence.known
            );
        }
        let (first, end) = (
            sequence.computed / self.config.block_size,
            computed / self.config.block_size,
        );
        sequence.computed = computed;
        if self.config.caching && first < end {
            self.register(id, first, end)?;
        }
        Ok(())
    }

    /// Work that was given out has failed: only the first `computed` tokens are computed, and what was registered of the others cannot be
    /// found any more. Blocks past them are given back, as others may have found some of them already.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` for more tokens than are computed, fewer than are shared by a fork, or so
    /// few that the next one would attend to what a window has left behind.
    pub fn rewind(&mut self, id: SequenceId, computed: u32) -> Result<()> {
        let block_size = self.config.block_size;
        let sequence = find(&mut self.sequences, id)?;
        if computed > sequence.computed || computed < sequence.base_blocks * block_size {
            bail!(
                InvalidArgument,
                "{computed} tokens were to remain of {} computed ones, {} of which are shared with a fork",
                sequence.computed,
                sequence.base_blocks * block_size
            );
        }
        for ((_, tokens), window) in self.groups.windows.iter().zip(&sequence.windows) {
            if window.behind > left_behind(*tokens, computed, block_size) {
                bail!(
                    InvalidArgument,
                    "{computed} tokens were to remain of {} computed ones, and a window of {tokens} has given back those before {}",
                    sequence.computed,
                    window.behind * block_size
                );
            }
        }
        sequence.computed = computed;
        self.forget_from(id, computed)?;
        self.cut(id, computed.div_ceil(block_size))
    }

    /// From token `start` on, nothing of a sequence's own blocks can be found any more; the sequence itself goes on.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub(in crate::kv) fn forget_from(&mut self, id: SequenceId, start: u32) -> Result<()> {
        let full = self.groups.full.len();
        let sequence = find(&mut self.sequences, id)?;
        let first = start / self.config.block_size;
        let own = first.saturating_sub(sequence.base_blocks) as usize * full;
        for block in sequence.own.get(own..).unwrap_or_default() {
            self.pool.forget(*block)?;
        }
        for window in &sequence.windows {
            for block in window.live.iter().skip(first.saturating_sub(window.behind) as usize) {
                self.pool.forget(*block)?;
            }
        }
        Ok(())
    }

    /// Gives back blocks past those that known tokens need: room for drafts that were not accepted.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn trim(&mut self, id: SequenceId) -> Result<()> {
        let known = self.get(id)?.known;
        self.cut(id, known.div_ceil(self.config.block_size))
    }

    /// Gives back a sequence's own blocks from a position on, the last first.
    fn cut(&mut self, id: SequenceId, position: u32) -> Result<()> {
        let full = self.groups.full.len();
        let sequence = find(&mut self.sequences, id)?;
        let keep = position.saturating_sub(sequence.base_blocks) as usize * full;
        let mut left = std::mem::take(&mut self.scratch);
        left.extend(sequence.own.drain(keep.min(sequence.own.len())..).rev());
        for window in &mut sequence.windows {
            let keep = position.saturating_sub(window.behind) as usize;
            left.extend(window.live.drain(keep.min(window.live.len())..).rev());
        }
        if !left.is_empty() {
            self.tables += 1;
            sequence.table = self.tables;
        }
        let released = self.pool.release(&left);
        left.clear();
        self.scratch = left;
        released
    }

    /// Gives back what lies behind windows, the latest first: what [`grow`](Self::grow) begins with.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended.
    pub fn leave_behind(&mut self, id: SequenceId) -> Result<()> {
        let block_size = self.config.block_size;
        let sequence = find(&mut self.sequences, id)?;
        if self.groups.windows.is_empty() {
            return Ok(());
        }
        let mut left = std::mem::take(&mut self.scratch);
        let mut released = Ok(());
        for ((_, tokens), window) in self.groups.windows.iter().zip(&mut sequence.windows) {
            let behind = left_behind(*tokens, sequence.computed, block_size);
            let leaving = (behind.saturating_sub(window.behind) as usize).min(window.live.len());
            left.extend(window.live.drain(..leaving).rev());
            window.behind += leaving as u32;
            if leaving > 0 {
                self.tables += 1;
                sequence.table = self.tables;
            }
            released = released.and(self.pool.release(&left));
            left.clear();
        }
        self.scratch = left;
        released
    }

    /// Full blocks at these positions can be found from now on.
    fn register(&mut self, id: SequenceId, first: u32, end: u32) -> Result<()> {
        let full = self.groups.full.len();
        let block_size = self.config.block_size as usize;
        let sequence = &self.sequences[id];
        let epoch = sequence.epoch;
        let older;
        let masks = if epoch == self.epoch {
            &self.masks
        } else {
            older = self.groups.masks(&self.keyer, epoch);
            &older
        };
        let keys = &sequence.keys[(first - sequence.base_blocks) as usize..(end - sequence.base_blocks) as usize];
        let parent = match first.checked_sub(sequence.base_blocks + 1) {
            Some(before) => sequence.keys[before as usize],
            None => self
                .segments
                .path(sequence.base)
                .find_map(|segment| segment.keys.last().copied())
                .unwrap_or(sequence.root),
        };
        let tokens = |position: usize| &sequence.tokens[position * block_size..(position + 1) * block_size];
        let plain = |position: usize| {
            let media = |origin: &Origin| origin.first_media(position * block_size, (position + 1) * block_size);
            sequence.origin.as_deref().and_then(media).is_none()
        };
        // (group, position) of what nobody could find before.
        let mut found_first = Vec::new();
        for (nth, group) in self.groups.full.iter().enumerate() {
            let mask = masks[*group as usize];
            let mut before = parent;
            for (position, key) in (first..end).zip(keys) {
                let block = sequence.own[(position - sequence.base_blocks) as usize * full + nth];
                if self.pool.is_news(key.masked(mask), epoch) {
                    found_first.push((*group, position));
                }
                self.pool.register(block, key.masked(mask), epoch, *group)?;
                if let Some(contents) = &mut self.contents {
                    let position = position as usize;
                    contents.put(block, before.masked(mask), tokens(position), plain(position));
                }
                before = *key;
            }
        }
        for ((group, _), window) in self.groups.windows.iter().zip(&sequence.windows) {
            for (position, key) in (first..end).zip(keys) {
                let block = window.get(position).unwrap_or(BlockId::NULL);
                if !block.is_null() {
                    let key = key.masked(masks[*group as usize]);
                    if self.pool.is_news(key, epoch) {
                        found_first.push((*group, position));
                    }
                    self.pool.register(block, key, epoch, *group)?;
                    if let Some(contents) = &mut self.contents {
                        // Parts of blocks are used with one full group only.
                        contents.put(block, parent, tokens(position as usize), false);
                    }
                }
            }
        }
        if !found_first.is_empty() {
            let before = |position: u32| match position.checked_sub(first + 1) {
                Some(at) => Some(keys[at as usize]),
                None => (first > 0).then_some(parent),
            };
            news::tell(
                &mut self.pool,
                &self.groups,
                masks,
                sequence,
                block_size,
                before,
                &found_first,
            );
        }
        Ok(())
    }

    /// A sequence's block of the `nth` full group, if it is not a shared one before its own.
    fn own_block(&self, id: SequenceId, position: u32, nth: usize) -> Option<BlockId> {
        let sequence = &self.sequences[id];
        let own = position.checked_sub(sequence.base_blocks)? as usize * self.groups.full.len() + nth;
        sequence.own.get(own).copied()
    }

    fn must_copy(&self, block: Option<BlockId>) -> bool {
        block.is_some_and(|block| !block.is_null() && self.pool.is_visible(block))
    }
}
