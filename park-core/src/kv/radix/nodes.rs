//! What is known of each node: one array a fact. A node is a place in all of them; places are used again, under another generation.

use super::super::Key;

/// A node of a tree. It stands for the prefix that ends with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RadixNode {
    at: u32,
    generation: u32,
}

impl RadixNode {
    /// The root: the empty prefix, which is always there.
    pub const ROOT: RadixNode = RadixNode { at: 0, generation: 0 };

    /// As one number, for bindings.
    pub fn raw(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.at)
    }

    /// From [`raw`](Self::raw). What a tree does not know it refuses.
    pub fn from_raw(raw: u64) -> Self {
        Self {
            at: raw as u32,
            generation: (raw >> 32) as u32,
        }
    }

    pub(super) fn at(self) -> usize {
        self.at as usize
    }
}

/// The place of the root.
pub(super) const ROOT: usize = 0;

/// The parent of a place that no node has.
const FREE: u32 = u32::MAX;

/// See the module. The root has no tokens and is its own parent.
#[derive(Default)]
pub(super) struct Nodes {
    pub(super) parents: Vec<u32>,
    generations: Vec<u32>,
    /// Tokens of the edge that leads to it. In a tree of bigrams one more than the edge is long: the first of what follows.
    pub(super) tokens: Vec<Vec<u32>>,
    /// One a token, or none at all.
    pub(super) slots: Vec<Vec<i64>>,
    /// How many nodes have it for a parent.
    pub(super) children: Vec<u32>,
    /// Locks on it and on all nodes below it.
    pub(super) locks: Vec<u32>,
    /// Of those, locks on itself.
    pub(super) held: Vec<u32>,
    /// When it was last on the way of a match or an insertion.
    pub(super) used: Vec<u64>,
    pub(super) made: Vec<u64>,
    /// How many insertions went through it.
    pub(super) hits: Vec<u32>,
    pub(super) priorities: Vec<i64>,
    pub(super) spaces: Vec<u32>,
    /// What its parent finds it by.
    pub(super) keys: Vec<Key>,
    free: Vec<u32>,
}

/// What a node begins as.
pub(super) struct Seed {
    pub(super) parent: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) slots: Vec<i64>,
    pub(super) space: u32,
    pub(super) priority: i64,
    pub(super) now: u64,
    pub(super) key: Key,
}

impl Nodes {
    /// Places, the root's and free ones included.
    pub(super) fn places(&self) -> usize {
        self.parents.len()
    }

    /// Nodes, the root included.
    pub(super) fn len(&self) -> usize {
        self.parents.len() - self.free.len()
    }

    pub(super) fn add(&mut self, seed: Seed) -> usize {
        let at = self.free.pop().map_or_else(|| self.add_place(), |at| at as usize);
        self.parents[at] = seed.parent as u32;
        self.tokens[at] = seed.tokens;
        self.slots[at] = seed.slots;
        self.children[at] = 0;
        self.locks[at] = 0;
        self.held[at] = 0;
        self.used[at] = seed.now;
        self.made[at] = seed.now;
        self.hits[at] = 0;
        self.priorities[at] = seed.priority;
        self.spaces[at] = seed.space;
        self.keys[at] = seed.key;
        at
    }

    fn add_place(&mut self) -> usize {
        self.parents.push(FREE);
        self.generations.push(0);
        self.tokens.push(Vec::new());
        self.slots.push(Vec::new());
        self.children.push(0);
        self.locks.push(0);
        self.held.push(0);
        self.used.push(0);
        self.made.push(0);
        self.hits.push(0);
        self.priorities.push(0);
        self.spaces.push(0);
        self.keys.push(Key::NONE);
        self.parents.len() - 1
    }

    /// The node has gone; its id is no node's any more.
    pub(super) fn remove(&mut self, at: usize) -> (Vec<u32>, Vec<i64>) {
        self.parents[at] = FREE;
        self.generations[at] = self.generations[at].wrapping_add(1);
        self.keys[at] = Key::NONE;
        self.free.push(at as u32);
        (
            std::mem::take(&mut self.tokens[at]),
            std::mem::take(&mut self.slots[at]),
        )
    }

    pub(super) fn id(&self, at: usize) -> RadixNode {
        RadixNode {
            at: at as u32,
            generation: self.generations[at],
        }
    }

    pub(super) fn is_alive(&self, at: usize) -> bool {
        self.parents.get(at).is_some_and(|parent| *parent != FREE)
    }

    /// The place of a node that is in the tree.
    pub(super) fn find(&self, node: RadixNode) -> Option<usize> {
        (self.is_alive(node.at()) && self.generations[node.at()] == node.generation).then_some(node.at())
    }

    /// The places of all nodes but the root.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        (1..self.places()).filter(|at| self.is_alive(*at))
    }

    pub(super) fn parent(&self, at: usize) -> usize {
        self.parents[at] as usize
    }
}
