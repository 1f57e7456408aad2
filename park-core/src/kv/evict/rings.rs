//! Doubly linked circular lists over block ids. A block is in one list at most, so all lists share one pair of links a block.

use crate::kv::BlockId;

#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

/// Some lists, numbered from 0. The links of list `n`'s ends are those of an id past all blocks.
pub(super) struct Rings {
    links: Vec<Link>,
    blocks: u32,
}

impl Rings {
    /// Bytes that the lists occupy for each block.
    pub(super) const BYTES: usize = size_of::<Link>();

    pub(super) fn new(blocks: u32, lists: u32) -> Self {
        let mut rings = Self {
            links: vec![Link { before: 0, after: 0 }; blocks as usize + lists as usize],
            blocks,
        };
        for list in 0..lists {
            let end = blocks + list;
            rings.links[end as usize] = Link {
                before: end,
                after: end,
            };
        }
        rings
    }

    /// The first block of a list.
    pub(super) fn first(&self, list: u32) -> Option<BlockId> {
        let first = self.links[(self.blocks + list) as usize].after;
        (first < self.blocks).then_some(BlockId(first))
    }

    /// The block after `block` in its list.
    pub(super) fn after(&self, block: BlockId) -> Option<BlockId> {
        let after = self.links[block.at()].after;
        (after < self.blocks).then_some(BlockId(after))
    }

    /// The block after `block`, or the first, when the lists are read one after the other. `block` must be in a list.
    pub(super) fn next(&self, block: Option<BlockId>) -> Option<BlockId> {
        let mut at = match block {
            Some(block) => self.links[block.at()].after,
            None => self.links.get(self.blocks as usize)?.after,
        };
        // The end of a list is followed by the first of the next.
        while at >= self.blocks {
            at = self.links.get(at as usize + 1)?.after;
        }
        Some(BlockId(at))
    }

    /// Puts blocks before all others of a list, in this order.
    pub(super) fn prepend(&mut self, list: u32, blocks: &[BlockId]) {
        let end = self.blocks + list;
        let first = self.links[end as usize].after;
        self.splice(end, blocks, first);
    }

    /// Puts blocks after all others of a list, in this order.
    pub(super) fn append(&mut self, list: u32, blocks: &[BlockId]) {
        let end = self.blocks + list;
        let last = self.links[end as usize].before;
        self.splice(last, blocks, end);
    }

    pub(super) fn remove(&mut self, block: BlockId) {
        let Link { before, after } = self.links[block.at()];
        self.links[before as usize].after = after;
        self.links[after as usize].before = before;
    }

    /// Takes up to `count` blocks from the front of a list.
    pub(super) fn take(&mut self, list: u32, count: usize, taken: &mut Vec<BlockId>) {
        let end = self.blocks + list;
        let mut next = self.links[end as usize].after;
        taken.reserve(count);
        for _ in 0..count {
            if next == end {
                break;
            }
            taken.push(BlockId(next));
            next = self.links[next as usize].after;
        }
        self.links[end as usize].after = next;
        self.links[next as usize].before = end;
    }

    /// All blocks of a list.
    pub(super) fn iter(&self, list: u32) -> impl Iterator<Item = BlockId> {
        std::iter::successors(self.first(list), |block| self.after(*block))
    }

    /// Links `blocks` between two neighbours.
    fn splice(&mut self, before: u32, blocks: &[BlockId], after: u32) {
        let mut last = before;
        for block in blocks {
            self.links[last as usize].after = block.0;
            self.links[block.at()].before = last;
            last = block.0;
        }
        self.links[last as usize].after = after;
        self.links[after as usize].before = last;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Prepend(u32, usize),
        Append(u32, usize),
        Remove(u32),
        Take(u32, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..2_u32, 0..4_usize).prop_map(|(list, count)| Step::Prepend(list, count)),
            (0..2_u32, 0..4_usize).prop_map(|(list, count)| Step::Append(list, count)),
            (0..12_u32).prop_map(Step::Remove),
            (0..2_u32, 0..6_usize).prop_map(|(list, count)| Step::Take(list, count)),
        ]
    }

    proptest! {
        #[test]
        fn they_behave_as_queues(steps in proptest::collection::vec(step(), 0..60)) {
            let mut rings = Rings::new(12, 2);
            let mut queues = [VecDeque::new(), VecDeque::new()];
            let mut out: Vec<BlockId> = (0..12).map(BlockId).collect();
            for step in steps {
                match step {
                    Step::Prepend(list, count) => {
                        let some = out.split_off(out.len().saturating_sub(count));
                        rings.prepend(list, &some);
                        some.iter().rev().for_each(|block| queues[list as usize].push_front(*block));
                    }
                    Step::Append(list, count) => {
                        let some = out.split_off(out.len().saturating_sub(count));
                        rings.append(list, &some);
                        queues[list as usize].extend(some);
                    }
                    Step::Remove(block) => {
                        for queue in &mut queues {
                            if let Some(at) = queue.iter().position(|other| other.0 == block) {
                                queue.remove(at);
                                rings.remove(BlockId(block));
                                out.push(BlockId(block));
                            }
                        }
                    }
                    Step::Take(list, count) => {
                        let mut taken = Vec::new();
                        rings.take(list, count, &mut taken);
                        let queue = &mut queues[list as usize];
                        let expected: Vec<_> = (0..count).map_while(|_| queue.pop_front()).collect();
                        prop_assert_eq!(&taken, &expected);
                        out.extend(taken);
                    }
                }
                for list in 0..2 {
                    prop_assert!(rings.iter(list).eq(queues[list as usize].iter().copied()));
                }
            }
        }
    }
}
