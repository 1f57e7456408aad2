//! Evict: leaf by leaf, in the order of the policy, and everything at once.

use super::nodes::{ROOT, RadixNode};
use super::tree::RadixTree;
use crate::kv::BlockId;

impl RadixTree {
    /// The node that the next eviction takes.
    pub fn victim(&self) -> Option<RadixNode> {
        self.leaves.first().map(|at| self.nodes.id(at))
    }

    /// Evicts leaves until at least `units` are gone or none is left that may go. Appends what nodes went and the slots they had; returns
    /// how many units went.
    pub fn evict(&mut self, units: usize, gone: &mut Vec<RadixNode>, slots: &mut Vec<i64>) -> usize {
        let mut evicted = 0;
        while evicted < units
            && let Some(at) = self.leaves.first()
        {
            gone.push(self.nodes.id(at));
            evicted += self.length(at);
            slots.extend(self.remove(at));
        }
        evicted
    }

    /// Forgets everything, locks included. Ids from before are no node's.
    pub fn reset(&mut self) {
        let all: Vec<usize> = self.nodes.all().collect();
        for at in all {
            self.nodes.remove(at);
        }
        self.nodes.children[ROOT] = 0;
        self.edges.clear();
        self.spaces.clear();
        self.leaves.clear();
        self.evictable = 0;
        self.protected = 0;
    }

    /// Removes a leaf; returns its slots.
    fn remove(&mut self, at: usize) -> Vec<i64> {
        self.evictable -= self.length(at);
        self.leaves.remove(at);
        self.edges.remove(BlockId(at as u32), &self.nodes.keys);
        let parent = self.nodes.parent(at);
        if parent == ROOT {
            self.spaces.leave(self.nodes.spaces[at]);
        }
        let (_, slots) = self.nodes.remove(at);
        self.nodes.children[parent] -= 1;
        self.settle(parent);
        slots
    }

    /// Enters a node among the leaves that may go, at its rank of now, or takes it out.
    pub(super) fn settle(&mut self, at: usize) {
        if at != ROOT && self.nodes.children[at] == 0 && self.nodes.locks[at] == 0 {
            self.leaves.put(at, self.eviction.rank(&self.nodes, at));
        } else {
            self.leaves.remove(at);
        }
    }
}
