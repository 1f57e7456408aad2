//! TinyLFU (Einziger, Friedman and Manes, 2017): a sketch counts how often keys are asked for, and of the [`SAMPLE`] least recently used
//! cached blocks the one whose key counts least is taken.
//!
//! The sketch outlives the blocks: a prefix that comes back often is known when it is computed again. Counts halve after a number of
//! hits that grows with the pool, so old fame fades.

use super::rings::Rings;
use super::{BlockId, Key, Order};

const PLAIN: u32 = 0;
const CACHED: u32 = 1;
/// How many of the least recently used blocks compete.
const SAMPLE: usize = 8;
/// Hits a block of the pool after which all counts are halved.
const PERIOD: u32 = 10;
const ROWS: usize = 4;

pub(super) struct TinyLfu {
    rings: Rings,
    sketch: Sketch,
}

impl TinyLfu {
    pub(super) fn new(blocks: u32) -> Self {
        let mut rings = Rings::new(blocks, 2);
        let all: Vec<BlockId> = (1..blocks).map(BlockId).collect();
        rings.append(PLAIN, &all);
        Self {
            rings,
            sketch: Sketch::new(blocks),
        }
    }

    /// The first of the least asked for among the least recently used.
    fn victim(&self, keys: &[Key]) -> Option<BlockId> {
        self.rings
            .iter(CACHED)
            .take(SAMPLE)
            .min_by_key(|block| self.sketch.count(keys[block.at()]))
    }
}

impl Order for TinyLfu {
    fn put_plain(&mut self, blocks: &[BlockId]) {
        self.rings.prepend(PLAIN, blocks);
    }

    fn put_cached(&mut self, blocks: &[BlockId]) {
        self.rings.append(CACHED, blocks);
    }

    fn remove(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            self.rings.remove(*block);
        }
    }

    fn take(&mut self, count: usize, keys: &[Key], taken: &mut Vec<BlockId>) -> usize {
        let (begun, wanted) = (taken.len(), taken.len() + count);
        self.rings.take(PLAIN, count, taken);
        let plain = taken.len() - begun;
        while taken.len() < wanted
            && let Some(victim) = self.victim(keys)
        {
            self.rings.remove(victim);
            taken.push(victim);
        }
        plain
    }

    fn forget(&mut self, block: BlockId) {
        self.rings.remove(block);
        self.rings.prepend(PLAIN, &[block]);
    }

    fn wants_hits(&self) -> bool {
        true
    }

    fn hit(&mut self, keys: &[Key]) {
        for key in keys {
            self.sketch.add(*key);
        }
    }

    fn bytes_per_block(&self) -> usize {
        Rings::BYTES + ROWS * self.sketch.width / self.sketch.blocks
    }

    fn after(&self, block: Option<BlockId>) -> Option<BlockId> {
        self.rings.next(block)
    }

    fn all(&self, _keys: &[Key]) -> Vec<BlockId> {
        self.rings.iter(PLAIN).chain(self.rings.iter(CACHED)).collect()
    }
}

/// A count-min sketch of counts up to 255, one byte each.
struct Sketch {
    counts: Vec<u8>,
    width: usize,
    blocks: usize,
    added: u32,
    period: u32,
}

impl Sketch {
    fn new(blocks: u32) -> Self {
        let width = (blocks as usize).next_power_of_two().max(64);
        Self {
            counts: vec![0; width * ROWS],
            width,
            blocks: blocks as usize,
            added: 0,
            period: blocks.saturating_mul(PERIOD),
        }
    }

    /// Where a key counts: keys are hashes already, so parts of one serve as many.
    fn places(&self, key: Key) -> [usize; ROWS] {
        let raw = key.raw();
        std::array::from_fn(|row| row * self.width + ((raw >> (32 * row)) as u32 as usize & (self.width - 1)))
    }

    fn add(&mut self, key: Key) {
        for place in self.places(key) {
            self.counts[place] = self.counts[place].saturating_add(1);
        }
        self.added += 1;
        if self.added >= self.period {
            self.added = 0;
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
    }

    fn count(&self, key: Key) -> u8 {
        self.places(key)
            .map(|place| self.counts[place])
            .into_iter()
            .min()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_often_stays() {
        let keys: Vec<Key> = (0..6_u128)
            .map(|at| Key::new(at.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))
            .collect();
        let mut order = TinyLfu::new(6);
        let mut taken = Vec::new();
        order.take(5, &keys, &mut taken);
        order.hit(&[keys[1], keys[1], keys[2]]);
        order.put_cached(&taken);
        let mut victims = Vec::new();
        order.take(5, &keys, &mut victims);
        assert_eq!(victims, [3, 4, 5, 2, 1].map(BlockId));
    }

    #[test]
    fn old_fame_fades() {
        let mut sketch = Sketch::new(64);
        let (famous, other) = (Key::new(1 << 70 | 1), Key::new(7 << 70 | 9));
        for _ in 0..200 {
            sketch.add(famous);
        }
        for _ in 0..5 * 640 {
            sketch.add(other);
        }
        assert!(sketch.count(famous) < 10, "{}", sketch.count(famous));
    }
}
