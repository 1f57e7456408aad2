//! Whether it all adds up: the invariants of `tree`.

use super::nodes::ROOT;
use super::tree::RadixTree;
use crate::error::{Result, bail};
use crate::kv::BlockId;

impl RadixTree {
    /// Checks every invariant of the module.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that is wrong.
    pub fn audit(&self) -> Result<()> {
        let places = self.nodes.places();
        let (mut children, mut locks, mut roots) = (vec![0_u32; places], vec![0_u64; places], 0);
        let (mut evictable, mut protected, mut expected) = (0, 0, Vec::new());
        for at in self.nodes.all() {
            let parent = self.nodes.parent(at);
            if !self.nodes.is_alive(parent) {
                bail!(Corrupt, "node {at} is below {parent}, which is free");
            }
            children[parent] += 1;
            locks[at] += u64::from(self.nodes.held[at]);
            let mut above = parent;
            while above != ROOT {
                locks[above] += u64::from(self.nodes.held[at]);
                above = self.nodes.parent(above);
            }
            let length = self.length(at);
            if length == 0 || !length.is_multiple_of(self.page) {
                bail!(
                    Corrupt,
                    "the edge to node {at} has {length} units in pages of {}",
                    self.page
                );
            }
            if self.keeps_slots && self.nodes.slots[at].len() != length {
                bail!(
                    Corrupt,
                    "node {at} has {length} units and {} slots",
                    self.nodes.slots[at].len()
                );
            }
            if self.edges.find(self.nodes.keys[at], &self.nodes.keys) != Some(BlockId(at as u32)) {
                bail!(Corrupt, "node {at} cannot be found below its parent");
            }
            let page = &self.nodes.tokens[at][..self.page + self.overlap];
            let twin = |other: &usize| {
                *other != at
                    && self.nodes.parent(*other) == parent
                    && self.nodes.spaces[*other] == self.nodes.spaces[at]
                    && self.nodes.tokens[*other].starts_with(page)
            };
            if let Some(twin) = self.nodes.all().find(twin) {
                bail!(Corrupt, "nodes {at} and {twin} are siblings and begin alike");
            }
            if parent == ROOT {
                roots += 1;
            } else if self.nodes.spaces[parent] != self.nodes.spaces[at] {
                bail!(Corrupt, "node {at} is in another namespace than its parent {parent}");
            }
            match self.nodes.locks[at] {
                0 => evictable += length,
                _ => protected += length,
            }
        }
        for at in self.nodes.all() {
            if children[at] != self.nodes.children[at] || locks[at] != u64::from(self.nodes.locks[at]) {
                bail!(
                    Corrupt,
                    "node {at} counts {} children and {} locks, and has {} and {}",
                    self.nodes.children[at],
                    self.nodes.locks[at],
                    children[at],
                    locks[at]
                );
            }
            if children[at] == 0 && locks[at] == 0 {
                expected.push(at);
            }
        }
        let mut leaves: Vec<usize> = self.leaves.all().collect();
        leaves.sort_unstable();
        if leaves != expected {
            bail!(
                Corrupt,
                "the leaves {leaves:?} are in order, and {expected:?} should be"
            );
        }
        if (evictable, protected) != (self.evictable, self.protected) {
            bail!(
                Corrupt,
                "{} units are counted as evictable and {} as protected, and {evictable} and {protected} are",
                self.evictable,
                self.protected
            );
        }
        let named = self.spaces.entered();
        if named != roots || self.edges.len() != self.len() {
            bail!(
                Corrupt,
                "{roots} nodes are below the root and {named} are in namespaces; {} of {} are in the index",
                self.edges.len(),
                self.len()
            );
        }
        Ok(())
    }
}
