//! Priority and time to live, as a bias: a block of a higher priority is taken after all of a lower one, until its time is over; then it
//! is worth as little as the others. Priorities are rounded up to one of [`LEVELS`] lists, so every operation takes constant time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::rings::Rings;
use super::{BlockId, Key, Order, Retention};

const PLAIN: u32 = 0;
/// Lists of cached blocks: priority 0, 1 to 36, 37 to 72, and so on up to 255.
const LEVELS: u32 = 8;

pub(super) struct ByPriority {
    rings: Rings,
    /// Of each block: its level, and whether it is in the order with a key.
    level: Vec<u8>,
    cached: Vec<bool>,
    /// Of each block: when its level ends; 0 for never.
    until: Vec<u64>,
    /// (until, block) of blocks whose level ends, also of some that have got another since.
    ends: BinaryHeap<Reverse<(u64, u32)>>,
}

fn level(priority: u8) -> u8 {
    priority.div_ceil(37)
}

impl ByPriority {
    pub(super) fn new(blocks: u32) -> Self {
        let mut rings = Rings::new(blocks, 1 + LEVELS);
        let all: Vec<BlockId> = (1..blocks).map(BlockId).collect();
        rings.append(PLAIN, &all);
        let count = blocks as usize;
        Self {
            rings,
            level: vec![0; count],
            cached: vec![false; count],
            until: vec![0; count],
            ends: BinaryHeap::new(),
        }
    }

    fn list(&self, block: BlockId) -> u32 {
        1 + u32::from(self.level[block.at()])
    }
}

impl Order for ByPriority {
    fn put_plain(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            self.level[block.at()] = 0;
            self.until[block.at()] = 0;
        }
        self.rings.prepend(PLAIN, blocks);
    }

    fn put_cached(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            self.cached[block.at()] = true;
            self.rings.append(self.list(*block), &[*block]);
        }
    }

    fn remove(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            self.cached[block.at()] = false;
            self.rings.remove(*block);
        }
    }

    fn take(&mut self, count: usize, _keys: &[Key], taken: &mut Vec<BlockId>) -> usize {
        let (begun, wanted) = (taken.len(), taken.len() + count);
        self.rings.take(PLAIN, count, taken);
        let plain = taken.len() - begun;
        for list in 1..=LEVELS {
            if taken.len() == wanted {
                break;
            }
            self.rings.take(list, wanted - taken.len(), taken);
        }
        for block in &taken[begun..] {
            self.cached[block.at()] = false;
            self.level[block.at()] = 0;
            self.until[block.at()] = 0;
        }
        plain
    }

    fn forget(&mut self, block: BlockId) {
        self.remove(&[block]);
        self.put_plain(&[block]);
    }

    fn retain(&mut self, block: BlockId, retention: Retention, free: bool) {
        self.level[block.at()] = level(retention.priority);
        self.until[block.at()] = retention.until;
        if retention.until != 0 && retention.priority != 0 {
            self.ends.push(Reverse((retention.until, block.0)));
        }
        if free && self.cached[block.at()] {
            self.rings.remove(block);
            self.rings.append(self.list(block), &[block]);
        }
    }

    fn pass(&mut self, now: u64) {
        while let Some(&Reverse((until, block))) = self.ends.peek()
            && until <= now
        {
            self.ends.pop();
            let block = BlockId(block);
            if self.until[block.at()] != until {
                continue; // it has got another since
            }
            self.until[block.at()] = 0;
            self.level[block.at()] = 0;
            if self.cached[block.at()] {
                self.rings.remove(block);
                // Nobody asked for it again in all its time: it goes before what was used since.
                self.rings.prepend(self.list(block), &[block]);
            }
        }
    }

    fn bytes_per_block(&self) -> usize {
        Rings::BYTES + size_of::<u8>() + size_of::<bool>() + size_of::<u64>()
    }

    fn after(&self, block: Option<BlockId>) -> Option<BlockId> {
        self.rings.next(block)
    }

    fn all(&self, _keys: &[Key]) -> Vec<BlockId> {
        (0..=LEVELS).flat_map(|list| self.rings.iter(list)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(order: &mut ByPriority, count: usize) -> Vec<u32> {
        let mut taken = Vec::new();
        order.take(count, &[], &mut taken);
        taken.iter().map(|block| block.0).collect()
    }

    fn cached(priorities: &[(u8, u64)]) -> ByPriority {
        let mut order = ByPriority::new(1 + priorities.len() as u32);
        taken(&mut order, priorities.len());
        for (at, (priority, until)) in priorities.iter().enumerate() {
            let block = BlockId(1 + at as u32);
            order.retain(
                block,
                Retention {
                    priority: *priority,
                    until: *until,
                },
                false,
            );
            order.put_cached(&[block]);
        }
        order
    }

    #[test]
    fn a_higher_priority_is_taken_later() {
        let mut order = cached(&[(255, 0), (0, 0), (100, 0), (0, 0)]);
        assert_eq!(taken(&mut order, 4), [2, 4, 3, 1]);
    }

    #[test]
    fn a_priority_ends_with_its_time() {
        let mut order = cached(&[(255, 10), (0, 0), (200, 30)]);
        order.pass(9);
        assert_eq!(order.all(&[]), [2, 3, 1].map(BlockId));
        order.pass(10);
        assert_eq!(order.all(&[]), [1, 2, 3].map(BlockId));
        order.pass(30);
        assert_eq!(taken(&mut order, 3), [3, 1, 2]);
    }

    #[test]
    fn a_later_retention_replaces_the_earlier() {
        let mut order = cached(&[(255, 10), (0, 0)]);
        order.retain(
            BlockId(1),
            Retention {
                priority: 255,
                until: 50,
            },
            true,
        );
        order.pass(10);
        assert_eq!(order.all(&[]), [2, 1].map(BlockId));
    }

    #[test]
    fn a_block_that_lost_its_key_goes_first() {
        let mut order = cached(&[(255, 0), (0, 0)]);
        order.forget(BlockId(1));
        assert_eq!(taken(&mut order, 2), [1, 2]);
    }

    #[test]
    fn all_of_a_pool_can_be_taken_whatever_its_priorities() {
        let mut order = cached(&[(255, 0); 9]);
        assert_eq!(taken(&mut order, 9).len(), 9);
    }
}
