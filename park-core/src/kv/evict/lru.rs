//! Least recently used, in the order of vLLM 0.33 (`free_blocks` of its block pool): one queue; blocks without keys return to its front,
//! cached ones to its end, in the order given, which for a sequence is tail first. A block that loses its key while free stays where it
//! is.
//!
//! What came to the front lies before all that came to the end, so the queue is a stack of the ones before a list of the others.

use super::rings::Rings;
use super::stack::Stack;
use super::{BlockId, Key, Order};

const QUEUE: u32 = 0;

pub(super) struct Lru {
    front: Stack,
    rings: Rings,
}

impl Lru {
    pub(super) fn new(blocks: u32) -> Self {
        Self {
            front: Stack::new(blocks),
            rings: Rings::new(blocks, 1),
        }
    }
}

impl Order for Lru {
    fn put_plain(&mut self, blocks: &[BlockId]) {
        self.front.push(blocks);
    }

    fn put_cached(&mut self, blocks: &[BlockId]) {
        self.rings.append(QUEUE, blocks);
    }

    fn remove(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            if !self.front.remove(*block) {
                self.rings.remove(*block);
            }
        }
    }

    fn take(&mut self, count: usize, _keys: &[Key], taken: &mut Vec<BlockId>) -> usize {
        let plain = self.front.pop(count, taken);
        self.rings.take(QUEUE, count - plain, taken);
        plain
    }

    fn forget(&mut self, _block: BlockId) {}

    fn bytes_per_block(&self) -> usize {
        Stack::BYTES + Rings::BYTES
    }

    fn after(&self, block: Option<BlockId>) -> Option<BlockId> {
        match block {
            Some(block) if !self.front.contains(block) => self.rings.next(Some(block)),
            _ => self.front.after(block).or_else(|| self.rings.next(None)),
        }
    }

    fn all(&self, _keys: &[Key]) -> Vec<BlockId> {
        self.front.iter().chain(self.rings.iter(QUEUE)).collect()
    }
}
