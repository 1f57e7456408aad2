//! Least recently used, in the order of vLLM 0.33 (`free_blocks` of its block pool): one queue; blocks without keys return to its front,
//! cached ones to its end, in the order given, which for a sequence is tail first. A block that loses its key while free stays where it
//! is.

use super::rings::Rings;
use super::{BlockId, Key, Order};

const QUEUE: u32 = 0;

pub(super) struct Lru {
    rings: Rings,
}

impl Lru {
    pub(super) fn new(blocks: u32) -> Self {
        let mut rings = Rings::new(blocks, 1);
        let all: Vec<BlockId> = (1..blocks).map(BlockId).collect();
        rings.append(QUEUE, &all);
        Self { rings }
    }
}

impl Order for Lru {
    fn put_plain(&mut self, blocks: &[BlockId]) {
        self.rings.prepend(QUEUE, blocks);
    }

    fn put_cached(&mut self, blocks: &[BlockId]) {
        self.rings.append(QUEUE, blocks);
    }

    fn remove(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            self.rings.remove(*block);
        }
    }

    fn take(&mut self, count: usize, _keys: &[Key], taken: &mut Vec<BlockId>) {
        self.rings.take(QUEUE, count, taken);
    }

    fn forget(&mut self, _block: BlockId) {}

    fn bytes_per_block(&self) -> usize {
        Rings::BYTES
    }

    fn after(&self, block: Option<BlockId>) -> Option<BlockId> {
        self.rings.next(block)
    }

    fn all(&self, _keys: &[Key]) -> Vec<BlockId> {
        self.rings.iter(QUEUE).collect()
    }
}
