//! The tokens of cached blocks.
//!
//! With them a hit can be verified, token by token; and a block can be used in part: where a prompt leaves a cached one in the middle of
//! a block, the common beginning is copied instead of computed. Blocks to look at are those registered last after the same parent, a
//! few for each place of a table of fixed size; it is a hint, and what it says is checked against the pool.

use super::CacheConfig;
use crate::kv::pool::Pool;
use crate::kv::{BlockId, Key};

/// How many blocks after one parent are remembered.
const WIDTH: usize = 4;

/// The beginning of a cached block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) block: BlockId,
    pub(super) tokens: u32,
    /// Whether nobody uses the block now.
    pub(super) unused: bool,
}

pub(super) struct Contents {
    block_size: usize,
    tokens: Vec<u32>,
    /// Of each block, the masked key of the one before it.
    parents: Vec<Key>,
    /// Blocks by their parent's key, newest first; empty unless parts are used.
    followers: Vec<[BlockId; WIDTH]>,
    /// Of each block, the step that computes it: copies come before what is computed, so one cannot be copied in its own step.
    computed_in: Vec<u64>,
    step: u64,
}

impl Contents {
    pub(super) fn new(config: &CacheConfig) -> Self {
        let (blocks, block_size) = (config.blocks as usize, config.block_size as usize);
        let places = if config.partial { blocks.next_power_of_two() } else { 0 };
        Self {
            block_size,
            tokens: vec![0; blocks * block_size],
            parents: vec![Key::NONE; if config.partial { blocks } else { 0 }],
            followers: vec![[BlockId::NULL; WIDTH]; places],
            computed_in: vec![0; if config.partial { blocks } else { 0 }],
            step: 0,
        }
    }

    /// Remembers a block that is being registered.
    pub(super) fn put(&mut self, block: BlockId, parent: Key, tokens: &[u32]) {
        let at = block.at() * self.block_size;
        self.tokens[at..at + self.block_size].copy_from_slice(tokens);
        if self.followers.is_empty() {
            return;
        }
        self.parents[block.at()] = parent;
        self.computed_in[block.at()] = self.step;
        let place = self.place(parent);
        let followers = &mut self.followers[place];
        let last = followers.iter().position(|other| *other == block).unwrap_or(WIDTH - 1);
        followers[..=last].rotate_right(1);
        followers[0] = block;
    }

    /// What was registered up to now is computed.
    pub(super) fn settle(&mut self) {
        self.step += 1;
    }

    /// Whether a block holds the tokens at this position of a sequence.
    pub(super) fn holds(&self, block: BlockId, position: usize, tokens: &[u32]) -> bool {
        let wanted = position * self.block_size;
        self.of(block) == &tokens[wanted..wanted + self.block_size]
    }

    /// Whether a block begins with these tokens.
    pub(super) fn begins(&self, block: BlockId, tokens: &[u32]) -> bool {
        self.of(block).starts_with(tokens)
    }

    /// The block after `parent` that begins with most of the `wanted` tokens.
    pub(super) fn longest_part(&self, pool: &Pool, parent: Key, epoch: u32, wanted: &[u32]) -> Option<Part> {
        self.followers[self.place(parent)]
            .iter()
            .filter(|block| self.parents[block.at()] == parent && self.computed_in[block.at()] < self.step)
            .filter(|block| pool.is_cached_in(**block, epoch))
            .map(|block| Part {
                block: *block,
                tokens: self.of(*block).iter().zip(wanted).take_while(|(a, b)| a == b).count() as u32,
                unused: pool.references(*block) == 0,
            })
            .filter(|part| part.tokens > 0)
            .max_by_key(|part| part.tokens)
    }

    fn of(&self, block: BlockId) -> &[u32] {
        &self.tokens[block.at() * self.block_size..][..self.block_size]
    }

    fn place(&self, parent: Key) -> usize {
        parent.raw() as usize & (self.followers.len() - 1)
    }
}
