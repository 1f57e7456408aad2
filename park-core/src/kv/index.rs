//! From keys to blocks: an open-addressed table with linear probing.
//!
//! A slot holds 32 bits of the key and the block; the whole key is in the pool's array, and is compared once the bits agree. Several
//! blocks may have one key (block tables only grow at their end, so a block is not exchanged for an older one of the same content);
//! a look-up finds the one that came first, as in vLLM. Removal shifts later entries back, which keeps that order and needs no marks.

use super::{BlockId, Key};

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    /// The block, or [`EMPTY`].
    block: u32,
}

/// The null block has no key, so its number is free to say that a slot is empty.
const EMPTY: u32 = BlockId::NULL.0;

pub(super) struct Index {
    slots: Vec<Slot>,
    mask: usize,
    used: usize,
}

impl Index {
    /// For at most `blocks` entries; at most half of the slots are ever in use.
    pub(super) fn new(blocks: usize) -> Self {
        let size = (2 * blocks).next_power_of_two();
        Self {
            slots: vec![Slot { tag: 0, block: EMPTY }; size],
            mask: size - 1,
            used: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Keys are hashes already: their low bits say where, others are the tag.
    #[inline]
    fn home(&self, key: Key) -> usize {
        key.raw() as usize & self.mask
    }

    #[inline]
    fn tag(key: Key) -> u32 {
        (key.raw() >> 96) as u32
    }

    /// The first block that came with this key. `keys` are those of all blocks.
    #[inline]
    pub(super) fn find(&self, key: Key, keys: &[Key]) -> Option<BlockId> {
        let tag = Self::tag(key);
        let mut at = self.home(key);
        loop {
            let slot = self.slots[at];
            if slot.block == EMPTY {
                return None;
            }
            if slot.tag == tag && keys[slot.block as usize] == key {
                return Some(BlockId(slot.block));
            }
            at = (at + 1) & self.mask;
        }
    }

    /// All blocks with this key, in the order in which they came.
    pub(super) fn find_all(&self, key: Key, keys: &[Key]) -> Vec<BlockId> {
        let mut found = Vec::new();
        let mut at = self.home(key);
        while self.slots[at].block != EMPTY {
            let block = BlockId(self.slots[at].block);
            if keys[block.at()] == key {
                found.push(block);
            }
            at = (at + 1) & self.mask;
        }
        found
    }

    /// Enters a block that is not in the table.
    pub(super) fn insert(&mut self, key: Key, block: BlockId) {
        let mut at = self.home(key);
        while self.slots[at].block != EMPTY {
            at = (at + 1) & self.mask;
        }
        self.slots[at] = Slot {
            tag: Self::tag(key),
            block: block.0,
        };
        self.used += 1;
    }

    /// Removes a block. Its key must still be in `keys`. False if it is not in the table.
    pub(super) fn remove(&mut self, block: BlockId, keys: &[Key]) -> bool {
        let mut hole = self.home(keys[block.at()]);
        while self.slots[hole].block != block.0 {
            if self.slots[hole].block == EMPTY {
                return false;
            }
            hole = (hole + 1) & self.mask;
        }
        self.used -= 1;
        // Whatever lies behind the hole and may lie in it moves there.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let slot = self.slots[at];
            if slot.block == EMPTY {
                break;
            }
            let home = self.home(keys[slot.block as usize]);
            let (past_home, past_hole) = (at.wrapping_sub(home) & self.mask, at.wrapping_sub(hole) & self.mask);
            if past_home >= past_hole {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole].block = EMPTY;
        true
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot { tag: 0, block: EMPTY });
        self.used = 0;
    }

    /// All blocks of the table, in no order, for audits.
    pub(super) fn blocks(&self) -> impl Iterator<Item = BlockId> {
        self.slots
            .iter()
            .filter(|slot| slot.block != EMPTY)
            .map(|slot| BlockId(slot.block))
    }

    /// Bytes that the table occupies.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few keys with equal homes and equal tags, so that everything collides.
        #[test]
        fn it_is_a_map_to_the_first_that_came(steps in proptest::collection::vec((1_u32..16, 0_u128..6, any::<bool>()), 0..200)) {
            let key = |which: u128| Key::new((which % 2) << 96 | (which / 2) << 40 | (which % 3) | 1 << 50);
            let mut index = Index::new(16);
            let mut keys = [Key::NONE; 16];
            let mut model: HashMap<Key, Vec<BlockId>> = HashMap::new();
            for (block, which, insert) in steps {
                let block = BlockId(block);
                let held = keys[block.at()] != Key::NONE;
                if insert && !held {
                    keys[block.at()] = key(which);
                    index.insert(key(which), block);
                    model.entry(key(which)).or_default().push(block);
                } else if !insert && held {
                    prop_assert!(index.remove(block, &keys));
                    model.get_mut(&keys[block.at()]).unwrap().retain(|other| *other != block);
                    keys[block.at()] = Key::NONE;
                }
                for which in 0..6 {
                    let blocks = model.get(&key(which)).map_or(&[][..], Vec::as_slice);
                    prop_assert_eq!(index.find(key(which), &keys), blocks.first().copied());
                    prop_assert_eq!(index.find_all(key(which), &keys), blocks);
                }
                prop_assert_eq!(index.len(), model.values().map(Vec::len).sum::<usize>());
            }
        }
    }
}
