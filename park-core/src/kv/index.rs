//! From keys to blocks: a hash table of buckets, each one cache line.
//!
//! A bucket holds eight slots: 32 bits of the key, and the block. The whole key is in the pool's array, and is compared once the bits agree.
//! A key's home is one bucket; if that is full, the next ones take what comes. Slots of a bucket fill from its start, so a look-up compares
//! eight tags at once and nearly always is over after one cache line, without a branch that could go either way.
//!
//! Several blocks may have one key (block tables only grow at their end, so a block is not exchanged for an older one of the same content);
//! a look-up finds the one that came first, as in vLLM. Removal shifts later entries back, which keeps that order and needs no marks; within
//! a bucket it looks at no keys.
//!
//! Invariant: an entry lies past a bucket that could hold it only if that bucket is full.

use super::{BlockId, Key};

const SLOTS: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    /// Parts of keys, never zero; zero in an empty slot.
    tags: [u32; SLOTS],
    /// The blocks, or [`EMPTY`].
    blocks: [u32; SLOTS],
}

/// The null block has no key, so its number is free to say that a slot is empty.
const EMPTY: u32 = BlockId::NULL.0;

/// Keys that are looked up together.
pub(super) const BATCH: usize = 16;

impl Bucket {
    const NEW: Bucket = Bucket {
        tags: [0; SLOTS],
        blocks: [EMPTY; SLOTS],
    };

    /// A bit for each slot with this tag.
    #[inline]
    fn matching(&self, tag: u32) -> u32 {
        let mut found = 0;
        for (at, other) in self.tags.iter().enumerate() {
            found |= u32::from(*other == tag) << at;
        }
        found
    }

    /// The block of the one slot with this tag; the null block if there is none, or more than one.
    #[inline]
    fn only(&self, tag: u32) -> BlockId {
        let (mut block, mut count) = (0, 0);
        for (other, held) in self.tags.iter().zip(&self.blocks) {
            let same = u32::from(*other == tag);
            block |= held & same.wrapping_neg();
            count += same;
        }
        if count == 1 { BlockId(block) } else { BlockId::NULL }
    }

    fn is_full(&self) -> bool {
        self.blocks[SLOTS - 1] != EMPTY
    }

    fn used(&self) -> usize {
        self.blocks.iter().position(|block| *block == EMPTY).unwrap_or(SLOTS)
    }

    /// Takes an entry out; those behind it move up.
    fn take(&mut self, at: usize) -> (u32, u32) {
        let taken = (self.tags[at], self.blocks[at]);
        self.tags.copy_within(at + 1.., at);
        self.blocks.copy_within(at + 1.., at);
        (self.tags[SLOTS - 1], self.blocks[SLOTS - 1]) = (0, EMPTY);
        taken
    }
}

pub(super) struct Index {
    buckets: Vec<Bucket>,
    used: usize,
}

impl Index {
    /// For at most `blocks` entries; at most half of the slots are ever in use.
    pub(super) fn new(blocks: usize) -> Self {
        Self {
            buckets: vec![Bucket::NEW; (2 * blocks).div_ceil(SLOTS)],
            used: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Keys are hashes already: one half says where, and a part of the other is the tag.
    #[inline]
    fn home(&self, key: Key) -> usize {
        // The high half of a product spreads over any number of buckets.
        ((u128::from(key.raw() as u64) * self.buckets.len() as u128) >> 64) as usize
    }

    #[inline]
    fn tag(key: Key) -> u32 {
        (key.raw() >> 96) as u32 | 1
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }

    /// How many buckets lie from one on to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from {
            to - from
        } else {
            to + self.buckets.len() - from
        }
    }

    /// The first block that came with this key. `keys` are those of all blocks.
    #[inline]
    pub(super) fn find(&self, key: Key, keys: &[Key]) -> Option<BlockId> {
        let tag = Self::tag(key);
        let mut at = self.home(key);
        loop {
            let bucket = &self.buckets[at];
            let mut matching = bucket.matching(tag);
            while matching != 0 {
                let block = bucket.blocks[matching.trailing_zeros() as usize];
                if keys[block as usize] == key {
                    return Some(BlockId(block));
                }
                matching &= matching - 1;
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.next(at);
        }
    }

    /// [`find`](Self::find) for several keys at once, the null block for those that are not there. Reads of one depend on no other's and
    /// no branch depends on them in the usual case, so the processor waits for the memory of all of them together.
    #[inline]
    pub(super) fn find_batch(&self, wanted: &[Key; BATCH], keys: &[Key]) -> [BlockId; BATCH] {
        // Who has the tag; nearly always that is all there is to know.
        let mut found = wanted.map(|key| self.buckets[self.home(key)].only(Self::tag(key)));
        for (block, key) in found.iter_mut().zip(wanted) {
            if keys[block.at()] != *key {
                *block = self.find(*key, keys).unwrap_or(BlockId::NULL);
            }
        }
        found
    }

    /// All blocks with this key, in the order in which they came.
    pub(super) fn find_all(&self, key: Key, keys: &[Key]) -> Vec<BlockId> {
        let mut found = Vec::new();
        let mut at = self.home(key);
        loop {
            let bucket = &self.buckets[at];
            let blocks = bucket.blocks[..bucket.used()].iter().map(|block| BlockId(*block));
            found.extend(blocks.filter(|block| keys[block.at()] == key));
            if !bucket.is_full() {
                return found;
            }
            at = self.next(at);
        }
    }

    /// Enters a block that is not in the table.
    pub(super) fn insert(&mut self, key: Key, block: BlockId) {
        let mut at = self.home(key);
        while self.buckets[at].is_full() {
            at = self.next(at);
        }
        let bucket = &mut self.buckets[at];
        let slot = bucket.used();
        (bucket.tags[slot], bucket.blocks[slot]) = (Self::tag(key), block.0);
        self.used += 1;
    }

    /// Removes a block. Its key must still be in `keys`. False if it is not in the table.
    pub(super) fn remove(&mut self, block: BlockId, keys: &[Key]) -> bool {
        let mut at = self.home(keys[block.at()]);
        let slot = loop {
            let bucket = &self.buckets[at];
            if let Some(slot) = bucket.blocks.iter().position(|other| *other == block.0) {
                break slot;
            }
            if !bucket.is_full() {
                return false;
            }
            at = self.next(at);
        };
        self.used -= 1;
        let was_full = self.buckets[at].is_full();
        self.buckets[at].take(slot);
        if was_full {
            self.fill(at, keys);
        }
        true
    }

    /// A bucket was full and has a free slot: the first entry behind it that could lie in it moves there, which leaves a free slot behind.
    fn fill(&mut self, mut hole: usize, keys: &[Key]) {
        let mut at = hole;
        loop {
            at = self.next(at);
            let bucket = &self.buckets[at];
            let was_full = bucket.is_full();
            let passed = self.distance(hole, at);
            let movable = bucket.blocks[..bucket.used()]
                .iter()
                .position(|block| self.distance(self.home(keys[*block as usize]), at) >= passed);
            if let Some(slot) = movable {
                let (tag, block) = self.buckets[at].take(slot);
                let bucket = &mut self.buckets[hole];
                (bucket.tags[SLOTS - 1], bucket.blocks[SLOTS - 1]) = (tag, block);
                hole = at;
            }
            if !was_full {
                return;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(Bucket::NEW);
        self.used = 0;
    }

    /// All blocks of the table, in no order, for audits.
    pub(super) fn blocks(&self) -> impl Iterator<Item = BlockId> {
        self.buckets
            .iter()
            .flat_map(|bucket| &bucket.blocks)
            .filter(|block| **block != EMPTY)
            .map(|block| BlockId(*block))
    }

    /// Bytes that the table occupies.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Few keys, of three neighbouring homes (the last bucket among them) and two tags, so that everything collides and runs over.
    fn key(which: u128) -> Key {
        let home = [0, 6, 7][which as usize % 3] << 61;
        Key::new((which % 2) << 97 | home | (which / 3) << 8 | 1)
    }

    proptest! {
        #[test]
        fn it_is_a_map_to_the_first_that_came(steps in proptest::collection::vec((1_u32..33, 0_u128..12, 0..4), 0..400)) {
            let mut index = Index::new(32);
            let mut keys = [Key::NONE; 33];
            let mut model: HashMap<Key, Vec<BlockId>> = HashMap::new();
            for (block, which, step) in steps {
                let block = BlockId(block);
                let (held, insert) = (keys[block.at()] != Key::NONE, step != 0);
                if insert && !held {
                    keys[block.at()] = key(which);
                    index.insert(key(which), block);
                    model.entry(key(which)).or_default().push(block);
                } else if !insert && held {
                    prop_assert!(index.remove(block, &keys));
                    model.get_mut(&keys[block.at()]).unwrap().retain(|other| *other != block);
                    keys[block.at()] = Key::NONE;
                }
                let wanted: [Key; BATCH] = std::array::from_fn(|which| key(which as u128));
                let together = index.find_batch(&wanted, &keys);
                for (key, at_once) in wanted.into_iter().zip(together) {
                    let blocks = model.get(&key).map_or(&[][..], Vec::as_slice);
                    prop_assert_eq!(index.find(key, &keys), blocks.first().copied());
                    prop_assert_eq!(at_once, blocks.first().copied().unwrap_or(BlockId::NULL));
                    prop_assert_eq!(index.find_all(key, &keys), blocks);
                }
                prop_assert_eq!(index.len(), model.values().map(Vec::len).sum::<usize>());
            }
        }
    }
}
