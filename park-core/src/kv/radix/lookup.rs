//! Match: down from the root as far as the tokens agree. A node within which that ends is divided there.

use super::insert::RadixInsertion;
use super::nodes::{ROOT, RadixNode};
use super::tree::RadixTree;
use crate::error::Result;
use crate::kv::{BlockId, Key};

/// How many tokens are compared at a time: as many as a comparison of memory is fast for.
const STRIDE: usize = 256;

/// A node was divided: `upper` is new and has the first `units` of what was the edge of `lower`, which keeps its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RadixSplit {
    /// The new node.
    pub upper: RadixNode,
    /// The old one, now its only child.
    pub lower: RadixNode,
    /// Length of the edge to `upper`.
    pub units: usize,
}

/// What a look-up found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RadixMatch {
    /// The node that the prefix ends with.
    pub node: RadixNode,
    /// Length of the prefix.
    pub units: usize,
    /// The node that was divided for it.
    pub split: Option<RadixSplit>,
}

/// Where a walk from the root ended.
pub(super) struct Walk {
    pub(super) at: usize,
    pub(super) units: usize,
    pub(super) split: Option<RadixSplit>,
}

impl RadixTree {
    /// The longest prefix of `tokens` that is cached, in whole pages. All nodes on the way count as used now; one within which the prefix
    /// ends is divided there.
    ///
    /// # Errors
    /// `TableFull` if a node would have to be divided and there are 2^30.
    pub fn match_prefix(&mut self, namespace: &[u8], tokens: &[u32]) -> Result<RadixMatch> {
        self.check_room()?;
        let walk = self.walk(namespace, tokens, None);
        Ok(RadixMatch {
            node: self.nodes.id(walk.at),
            units: walk.units,
            split: walk.split,
        })
    }

    /// Goes down from the root as far as the tokens agree; `insertion` is what a node on the way learns.
    pub(super) fn walk(&mut self, namespace: &[u8], tokens: &[u32], insertion: Option<RadixInsertion>) -> Walk {
        let units = self.units(tokens);
        let tokens = if units == 0 {
            &[]
        } else {
            &tokens[..units + self.overlap]
        };
        let now = self.tick();
        let mut walk = Walk {
            at: ROOT,
            units: 0,
            split: None,
        };
        let Some(space) = self.spaces.find(namespace) else {
            return walk;
        };
        let mut last = ROOT;
        while walk.units < units && walk.split.is_none() {
            let rest = &tokens[walk.units..];
            let Some((child, common)) = self.child(walk.at, space, rest) else {
                break;
            };
            last = child;
            self.nodes.used[child] = now;
            walk.units += common;
            walk.at = child;
            if common < self.length(child) {
                walk.at = self.split(child, common);
                walk.split = Some(RadixSplit {
                    upper: self.nodes.id(walk.at),
                    lower: self.nodes.id(child),
                    units: common,
                });
            }
            if let Some(RadixInsertion { priority, counted }) = insertion {
                let known = &mut self.nodes.priorities[walk.at];
                *known = priority.max(*known);
                self.nodes.hits[walk.at] += u32::from(walk.units > counted);
            }
        }
        // Of all nodes on the way, the last alone may be a leaf: its rank has changed.
        self.settle(last);
        walk
    }

    /// The child that begins as `rest` does, and how many units they have in common: at least a page.
    fn child(&mut self, parent: usize, space: u32, rest: &[u32]) -> Option<(usize, usize)> {
        let key = self.edge(parent, space, &rest[..self.page + self.overlap]);
        let child = self.edges.find(key, &self.nodes.keys)?.at();
        if self.nodes.parent(child) != parent || self.nodes.spaces[child] != space {
            return None;
        }
        let common = common(&self.nodes.tokens[child], rest).saturating_sub(self.overlap);
        let common = common - common % self.page;
        (common > 0).then_some((child, common))
    }

    /// Divides a node after `units`; returns the upper part, which is new and takes the place of the old one below its parent.
    pub(super) fn split(&mut self, lower: usize, units: usize) -> usize {
        self.edges.remove(BlockId(lower as u32), &self.nodes.keys);
        self.nodes.keys[lower] = Key::NONE; // in no index until it has its new one
        let (parent, space) = (self.nodes.parent(lower), self.nodes.spaces[lower]);
        let tokens = self.nodes.tokens[lower][..units + self.overlap].to_vec();
        self.nodes.tokens[lower].drain(..units);
        let kept = units.min(self.nodes.slots[lower].len());
        let slots = self.nodes.slots[lower].drain(..kept).collect();
        let upper = self.add(parent, space, tokens, slots, self.nodes.priorities[lower]);
        self.nodes.hits[upper] = self.nodes.hits[lower];
        self.nodes.locks[upper] = self.nodes.locks[lower];
        self.nodes.children[upper] = 1;
        self.nodes.parents[lower] = upper as u32;
        let page = self.nodes.tokens[lower][..self.page + self.overlap].to_vec();
        self.nodes.keys[lower] = self.edge(upper, space, &page);
        self.edges.insert(self.nodes.keys[lower], BlockId(lower as u32));
        upper
    }
}

/// How many tokens two runs have in common before they differ.
fn common(one: &[u32], other: &[u32]) -> usize {
    let length = one.len().min(other.len());
    let (one, other) = (&one[..length], &other[..length]);
    let strides = one.chunks(STRIDE).zip(other.chunks(STRIDE));
    let mut same = 0;
    for (one, other) in strides {
        if one != other {
            return same + one.iter().zip(other).take_while(|(one, other)| one == other).count();
        }
        same += one.len();
    }
    same
}
