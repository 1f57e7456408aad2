//! A pool for an engine that hashes its blocks itself, as vLLM does: blocks are found by *names*, byte strings that the engine made.
//!
//! What [`Pool`] does with keys stays there; a block's first name is also its key there, hashed under the pool's secret. This layer
//! keeps what a key cannot tell:
//!
//! * **The name itself.** Whoever mirrors the index wants it back, and a look-up compares it: should two names ever have one key, a
//!   prompt computes its block again instead of reading another's.
//! * **More names.** A block that is half of a prefix can be found at several lengths. Names past the first are rare, and lie in maps.
//! * **Which came first.** Of several blocks with one name the one that got it first is found, whether as its first name or a later one.
//!
//! A block loses all of its names at once. Calls say which: those are the events of whoever mirrors the index.

use std::collections::HashMap;

use super::key::LONGEST_NAME;
use super::{Algorithm, BlockId, Keyer, Pool, PoolConfig, TenantId};
use crate::error::{Result, bail};

/// Names need no tenants: whose a block is, is part of the hash that the engine made.
const ENGINE: TenantId = TenantId(0);

/// What stands for "not told" among numbers of tokens.
const UNKNOWN: u32 = u32::MAX;

/// A name: 1 to 39 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    /// 0 where a block has none.
    length: u8,
    bytes: [u8; LONGEST_NAME],
}

impl Name {
    const NONE: Name = Name {
        length: 0,
        bytes: [0; LONGEST_NAME],
    };

    /// A name of these bytes.
    ///
    /// # Errors
    /// `InvalidArgument` for no bytes, or too many.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if !(1..=LONGEST_NAME).contains(&bytes.len()) {
            bail!(
                InvalidArgument,
                "a block's name has from 1 to {LONGEST_NAME} bytes, and {} were given",
                bytes.len()
            );
        }
        let mut name = Self::NONE;
        name.length = bytes.len() as u8;
        name.bytes[..bytes.len()].copy_from_slice(bytes);
        Ok(name)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

/// See the module.
pub struct NamedPool {
    pool: Pool,
    keyer: Keyer,
    /// Of each block: its first name, how many tokens of a prefix that stands for, and when it got it.
    names: Vec<Name>,
    tokens: Vec<u32>,
    born: Vec<u64>,
    /// Names past the first: who has them, oldest first, and those of each block.
    more: HashMap<Name, Vec<(u64, BlockId)>>,
    more_of: HashMap<BlockId, Vec<Name>>,
    clock: u64,
}

impl NamedPool {
    /// A pool of free blocks; one with nothing but the null block is allowed. The pool's own events are not used: see the module.
    ///
    /// # Errors
    /// `InvalidArgument` for no block, or more than 2^30.
    pub fn new(config: &PoolConfig, secret: &[u8; 32]) -> Result<Self> {
        let config = PoolConfig {
            events: false,
            ..config.clone()
        };
        let count = config.blocks as usize;
        Ok(Self {
            pool: Pool::with_null_block(&config)?,
            keyer: Keyer::new(Algorithm::Xxh3, secret, 1)?,
            names: vec![Name::NONE; count],
            tokens: vec![UNKNOWN; count],
            born: vec![0; count],
            more: HashMap::new(),
            more_of: HashMap::new(),
            clock: 0,
        })
    }

    /// The pool below: what is free, in use and counted.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Takes `count` blocks and appends them to `taken`, each with one reference and no name; the names they had are appended to `lost`.
    /// False, and nothing happens, if there are not so many.
    pub fn allocate(&mut self, count: u32, taken: &mut Vec<BlockId>, lost: &mut Vec<Name>) -> bool {
        let (begun, evicted) = (taken.len(), self.pool.stats().evicted);
        if !self.pool.allocate(count, ENGINE, taken) {
            return false;
        }
        if self.pool.stats().evicted > evicted {
            for block in &taken[begun..] {
                self.strip(*block, lost);
            }
        }
        true
    }

    /// See [`Pool::touch`].
    ///
    /// # Errors
    /// Those of [`Pool::touch`].
    pub fn touch(&mut self, blocks: &[BlockId]) -> Result<()> {
        self.pool.touch(blocks, ENGINE)
    }

    /// See [`Pool::release`]: blocks without a name are taken next, those with one last.
    ///
    /// # Errors
    /// Those of [`Pool::release`].
    pub fn release(&mut self, blocks: &[BlockId]) -> Result<()> {
        self.pool.release(blocks)
    }

    /// See [`Pool::release_last`].
    ///
    /// # Errors
    /// Those of [`Pool::release`].
    pub fn release_last(&mut self, blocks: &[BlockId]) -> Result<()> {
        self.pool.release_last(blocks)
    }

    /// From now on `name` finds this block, unless an older one with that name is there. `tokens` is what the name stands for, kept if
    /// it is the block's first. False, and nothing happens, if the block has that name.
    ///
    /// # Errors
    /// `InvalidArgument` for the null block, an id that is none of the pool's, and a free block.
    pub fn name(&mut self, block: BlockId, name: Name, tokens: Option<u32>) -> Result<bool> {
        if self.has(block, name) {
            return Ok(false);
        }
        if self.first_name(block).is_none() {
            self.pool.register(block, self.keyer.named(name.as_bytes()), 0, 0)?;
            self.names[block.at()] = name;
            self.tokens[block.at()] = tokens.unwrap_or(UNKNOWN);
            self.born[block.at()] = self.clock;
        } else {
            self.more.entry(name).or_default().push((self.clock, block));
            self.more_of.entry(block).or_default().push(name);
        }
        self.clock += 1;
        Ok(true)
    }

    /// The block that got this name first.
    #[inline]
    pub fn find(&self, name: Name) -> Option<BlockId> {
        let first = self.pool.find(self.keyer.named(name.as_bytes()), 0);
        let first = first.filter(|block| self.names[block.at()] == name);
        if self.more.is_empty() {
            return first;
        }
        let later = self.more.get(&name).and_then(|blocks| blocks.first()).copied();
        match (first, later) {
            (Some(first), Some((born, later))) if born < self.born[first.at()] => Some(later),
            (Some(first), _) => Some(first),
            (None, later) => later.map(|(_, block)| block),
        }
    }

    /// Whether a block has this name.
    pub fn has(&self, block: BlockId, name: Name) -> bool {
        self.names.get(block.at()) == Some(&name) || self.more_names(block).contains(&name)
    }

    /// The first name of a block that has one.
    pub fn first_name(&self, block: BlockId) -> Option<Name> {
        self.names.get(block.at()).copied().filter(|name| *name != Name::NONE)
    }

    /// How many tokens the first name of a block stands for, if that was told.
    pub fn tokens_of(&self, block: BlockId) -> Option<u32> {
        self.tokens.get(block.at()).copied().filter(|tokens| *tokens != UNKNOWN)
    }

    /// The names of a block past its first, in the order in which it got them.
    pub fn more_names(&self, block: BlockId) -> &[Name] {
        if self.more_of.is_empty() {
            return &[];
        }
        self.more_of.get(&block).map_or(&[], Vec::as_slice)
    }

    /// Blocks with more than one name, in no order.
    pub fn many_named(&self) -> impl Iterator<Item = BlockId> {
        self.more_of.keys().copied()
    }

    /// The block cannot be found any more, whoever uses it goes on; its names are appended to `lost`.
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is none of the pool's.
    pub fn forget(&mut self, block: BlockId, lost: &mut Vec<Name>) -> Result<()> {
        self.pool.forget(block)?;
        self.strip(block, lost);
        Ok(())
    }

    /// No block can be found any more. False, and nothing happens, while a block is in use.
    pub fn reset(&mut self) -> bool {
        if !self.pool.reset() {
            return false;
        }
        self.names.fill(Name::NONE);
        self.tokens.fill(UNKNOWN);
        self.more.clear();
        self.more_of.clear();
        true
    }

    /// All names and who has them, both in the order in which they were given: a walk over the whole pool, for tests and audits.
    pub fn holders(&self) -> Vec<(Name, Vec<BlockId>)> {
        let blocks = (0..self.pool.blocks()).map(BlockId);
        let first = blocks.filter_map(|block| Some((self.born[block.at()], self.first_name(block)?, block)));
        let later = self.more.iter();
        let later = later.flat_map(|(name, blocks)| blocks.iter().map(|(born, block)| (*born, *name, *block)));
        let mut given: Vec<_> = first.chain(later).collect();
        given.sort_unstable_by_key(|(born, ..)| *born);
        let mut at = HashMap::new();
        let mut held: Vec<(Name, Vec<BlockId>)> = Vec::new();
        for (_, name, block) in given {
            let at = *at.entry(name).or_insert(held.len());
            if at == held.len() {
                held.push((name, Vec::new()));
            }
            held[at].1.push(block);
        }
        held
    }

    /// Checks the pool's invariants (see [`Pool::audit`]) and those of names: a block has a first name exactly if it has a key, further
    /// names only beside a first one, and the two maps of further names say the same.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that is wrong.
    pub fn audit(&self, expected: &[u32]) -> Result<()> {
        self.pool.audit(expected)?;
        for block in (0..self.pool.blocks()).map(BlockId) {
            let key = self.first_name(block).map(|name| self.keyer.named(name.as_bytes()));
            if key != self.pool.key_of(block) {
                bail!(Corrupt, "block {} has a name and a key that differ", block.0);
            }
            for name in self.more_names(block) {
                let known = self
                    .more
                    .get(name)
                    .is_some_and(|blocks| blocks.iter().any(|(_, other)| *other == block));
                if key.is_none() || !known {
                    bail!(
                        Corrupt,
                        "block {} has a further name {name:?} that nothing finds",
                        block.0
                    );
                }
            }
        }
        let (left, right) = (self.more.values().map(Vec::len), self.more_of.values().map(Vec::len));
        let (left, right): (usize, usize) = (left.sum(), right.sum());
        if left != right {
            bail!(Corrupt, "{left} further names are found, and blocks have {right}");
        }
        Ok(())
    }

    /// Takes all names from a block that has no key any more.
    fn strip(&mut self, block: BlockId, lost: &mut Vec<Name>) {
        if self.first_name(block).is_none() {
            return;
        }
        lost.push(std::mem::replace(&mut self.names[block.at()], Name::NONE));
        self.tokens[block.at()] = UNKNOWN;
        for name in self.more_of.remove(&block).unwrap_or_default() {
            if let Some(blocks) = self.more.get_mut(&name) {
                blocks.retain(|(_, other)| *other != block);
                if blocks.is_empty() {
                    self.more.remove(&name);
                }
            }
            lost.push(name);
        }
    }
}

#[cfg(test)]
mod tests;
