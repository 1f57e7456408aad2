//! The leaves that may be evicted, least rank first: a binary heap that knows where each node lies in it, so that a match moves a leaf
//! instead of leaving a stale entry behind.

use super::order::Rank;

/// Where a node lies that is not in the heap.
const OUT: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Leaves {
    heap: Vec<(Rank, u32)>,
    /// By node: where it lies in the heap.
    places: Vec<u32>,
}

impl Leaves {
    /// The leaf that goes first.
    pub(super) fn first(&self) -> Option<usize> {
        self.heap.first().map(|(_, node)| *node as usize)
    }

    /// All of them, in no order, for audits.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.heap.iter().map(|(_, node)| *node as usize)
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
        self.places.fill(OUT);
    }

    /// Enters a node, or moves it to where its rank belongs now.
    pub(super) fn put(&mut self, node: usize, rank: Rank) {
        if self.places.len() <= node {
            self.places.resize(node + 1, OUT);
        }
        let place = match self.places[node] {
            OUT => {
                self.heap.push((rank, node as u32));
                self.heap.len() - 1
            }
            place => {
                self.heap[place as usize].0 = rank;
                place as usize
            }
        };
        self.places[node] = place as u32;
        let place = self.rise(place);
        self.sink(place);
    }

    /// Takes a node out, if it is in.
    pub(super) fn remove(&mut self, node: usize) {
        let place = self.places.get(node).copied().unwrap_or(OUT);
        if place == OUT {
            return;
        }
        self.places[node] = OUT;
        let last = self.heap.len() - 1;
        self.heap.swap_remove(place as usize);
        if place as usize != last {
            self.places[self.heap[place as usize].1 as usize] = place;
            let place = self.rise(place as usize);
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let above = (place - 1) / 2;
            if self.heap[above].0 <= self.heap[place].0 {
                break;
            }
            self.swap(above, place);
            place = above;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2].into_iter();
            let least = children
                .filter(|child| *child < self.heap.len())
                .min_by_key(|child| self.heap[*child].0);
            match least {
                Some(child) if self.heap[child].0 < self.heap[place].0 => {
                    self.swap(child, place);
                    place = child;
                }
                _ => return,
            }
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.places[self.heap[one].1 as usize] = one as u32;
        self.places[self.heap[other].1 as usize] = other as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_gives_the_least_first(steps in proptest::collection::vec((0_usize..24, 0_i64..4, 0_u8..4), 0..300)) {
            let mut leaves = Leaves::default();
            let mut model: BTreeSet<(Rank, usize)> = BTreeSet::new();
            for (now, (node, level, what)) in (1_u64..).zip(steps) {
                model.retain(|(_, other)| *other != node || what == 3);
                match what {
                    0 | 1 => {
                        leaves.put(node, (level, now));
                        model.insert(((level, now), node));
                    }
                    2 => leaves.remove(node),
                    _ => {
                        if let Some(first) = leaves.first() {
                            leaves.remove(first);
                        }
                        model.pop_first();
                    }
                }
                prop_assert_eq!(leaves.first(), model.first().map(|(_, node)| *node));
                let mut all: Vec<usize> = leaves.all().collect();
                all.sort_unstable();
                let mut expected: Vec<usize> = model.iter().map(|(_, node)| *node).collect();
                expected.sort_unstable();
                prop_assert_eq!(all, expected);
            }
        }
    }
}
