//! Plain blocks, last in first out. Next to each other in memory, so that taking and giving back many is a copy.

use crate::kv::BlockId;

/// Holes that are left alone however few blocks there are between them.
const FEW: usize = 64;

/// See the module. A block is in it at most once.
pub(super) struct Stack {
    /// The last is the next to be taken. A block that was taken out from among the others leaves the null block behind.
    blocks: Vec<BlockId>,
    /// Of each block, where it was put last; only true if that place holds it.
    places: Vec<u32>,
    holes: usize,
}

impl Stack {
    /// Bytes that it occupies for each block.
    pub(super) const BYTES: usize = size_of::<BlockId>() + size_of::<u32>();

    /// All blocks of a pool from the one after the null block, which is on top.
    pub(super) fn new(blocks: u32) -> Self {
        let mut stack = Self {
            blocks: Vec::with_capacity(blocks as usize),
            places: vec![0; blocks as usize],
            holes: 0,
        };
        let all: Vec<BlockId> = (1..blocks).map(BlockId).collect();
        stack.push(&all);
        stack
    }

    /// Puts blocks on top of it, the first of them topmost.
    pub(super) fn push(&mut self, blocks: &[BlockId]) {
        let base = self.blocks.len();
        self.blocks.extend(blocks.iter().rev());
        for (place, block) in (base as u32..).zip(&self.blocks[base..]) {
            self.places[block.at()] = place;
        }
    }

    /// Takes up to `count` blocks from the top. Returns how many.
    pub(super) fn pop(&mut self, count: usize, taken: &mut Vec<BlockId>) -> usize {
        let begun = taken.len();
        if self.holes == 0 {
            let keep = self.blocks.len().saturating_sub(count);
            taken.extend(self.blocks[keep..].iter().rev());
            self.blocks.truncate(keep);
        }
        while taken.len() - begun < count
            && let Some(block) = self.blocks.pop()
        {
            if block.is_null() {
                self.holes -= 1;
            } else {
                taken.push(block);
            }
        }
        taken.len() - begun
    }

    /// Takes out one block. False if it is not in it.
    pub(super) fn remove(&mut self, block: BlockId) -> bool {
        let place = self.places[block.at()] as usize;
        match self.blocks.get_mut(place) {
            Some(there) if *there == block => *there = BlockId::NULL,
            _ => return false,
        }
        self.holes += 1;
        if self.holes > FEW && 2 * self.holes > self.blocks.len() {
            self.blocks.retain(|block| !block.is_null());
            self.holes = 0;
            for (place, block) in (0..).zip(&self.blocks) {
                self.places[block.at()] = place;
            }
        }
        true
    }

    /// Whether a block, not the null block, is in it.
    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.blocks.get(self.places[block.at()] as usize) == Some(&block)
    }

    /// The block below one that is in it, or the topmost.
    pub(super) fn after(&self, block: Option<BlockId>) -> Option<BlockId> {
        let place = block.map_or(self.blocks.len(), |block| self.places[block.at()] as usize);
        self.blocks[..place]
            .iter()
            .rev()
            .copied()
            .find(|block| !block.is_null())
    }

    /// All blocks, the topmost first.
    pub(super) fn iter(&self) -> impl Iterator<Item = BlockId> {
        self.blocks.iter().rev().copied().filter(|block| !block.is_null())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_stack_that_can_lose_what_lies_within(steps in proptest::collection::vec((0..3, 1_u32..300), 0..200)) {
            let mut stack = Stack::new(300);
            let mut model: Vec<BlockId> = (1..300).rev().map(BlockId).collect();
            let mut out = Vec::new();
            for (step, number) in steps {
                match step {
                    0 => {
                        let some = out.split_off(out.len().saturating_sub(number as usize % 50));
                        stack.push(&some);
                        model.extend(some.iter().rev());
                    }
                    1 => {
                        let (count, begun) = (number as usize % 50, out.len());
                        let popped = stack.pop(count, &mut out);
                        prop_assert_eq!(popped, count.min(model.len()));
                        let expected = model.split_off(model.len() - popped);
                        prop_assert!(out[begun..].iter().eq(expected.iter().rev()));
                    }
                    _ => {
                        for number in [number, number / 2 + 1, number / 3 + 1] {
                            let block = BlockId(number);
                            let place = model.iter().position(|other| *other == block);
                            prop_assert_eq!(stack.remove(block), place.is_some());
                            if let Some(place) = place {
                                model.remove(place);
                                out.push(block);
                            }
                        }
                    }
                }
                prop_assert!(stack.iter().eq(model.iter().rev().copied()));
                let walked = std::iter::successors(stack.after(None), |block| stack.after(Some(*block)));
                prop_assert!(walked.eq(stack.iter()));
                prop_assert!((1..300).map(BlockId).all(|block| stack.contains(block) == model.contains(&block)));
            }
        }
    }
}
