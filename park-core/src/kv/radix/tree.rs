//! The tree and its locks. Invariants, which [`RadixTree::audit`] checks:
//!
//! * Siblings differ in their first page, and an edge is a whole number of pages, never none.
//! * A node counts the locks on itself and on all below it, so whatever is above a locked node is locked.
//! * `leaves` has exactly the nodes that have no child and no lock; `evictable` and `protected` add up to all tokens.
//!
//! Time is a counter that each match, insertion and new node moves on: no two leaves were used at the same time.

use super::super::Key;
use super::super::index::Index;
use super::super::key::{Algorithm, Keyer};
use super::leaves::Leaves;
use super::nodes::{Nodes, ROOT, RadixNode, Seed};
use super::order::RadixEviction;
use super::spaces::Spaces;
use crate::error::{Result, bail};

/// How many nodes a tree may have.
const MOST: usize = 1 << 30;

/// What a tree is made of.
#[derive(Clone, Debug)]
pub struct RadixConfig {
    /// Tokens of a page. Prefixes are matched and kept in whole pages.
    pub page: u32,
    /// Whether the unit is a pair of neighbouring tokens: a prefix of n + 1 tokens has n units. Speculative decoding by EAGLE keys its
    /// cache this way.
    pub bigrams: bool,
    /// Whether the tree keeps a slot number a unit. Without, callers keep what belongs to a node by its id, and heed [`RadixSplit`](super::RadixSplit).
    pub slots: bool,
    /// Which leaf goes first.
    pub eviction: RadixEviction,
    /// Makes the hashes of edges unpredictable, so that nobody can make them collide. It never decides what matches: tokens do.
    pub secret: [u8; 32],
}

impl Default for RadixConfig {
    /// Pages of one token with slots, LRU.
    fn default() -> Self {
        Self {
            page: 1,
            bigrams: false,
            slots: true,
            eviction: RadixEviction::Lru,
            secret: [0; 32],
        }
    }
}

/// See the module.
pub struct RadixTree {
    pub(super) page: usize,
    /// Tokens of a unit beyond its first: 1 for bigrams.
    pub(super) overlap: usize,
    pub(super) keeps_slots: bool,
    pub(super) eviction: RadixEviction,
    pub(super) nodes: Nodes,
    /// From a parent and a first page to a node. Its capacity is `room`.
    pub(super) edges: Index,
    pub(super) room: usize,
    pub(super) keyer: Keyer,
    pub(super) spaces: Spaces,
    pub(super) leaves: Leaves,
    pub(super) evictable: usize,
    pub(super) protected: usize,
    pub(super) now: u64,
    /// Between calls empty; kept for its memory.
    pub(super) scratch: Vec<Key>,
}

impl RadixTree {
    /// An empty tree.
    ///
    /// # Errors
    /// `InvalidArgument` for pages of no tokens.
    pub fn new(config: &RadixConfig) -> Result<Self> {
        let (page, overlap) = (config.page as usize, usize::from(config.bigrams));
        if page == 0 {
            bail!(InvalidArgument, "a page has at least one token, and 0 were asked for");
        }
        let room = 64;
        let mut nodes = Nodes::default();
        nodes.add(Seed {
            parent: ROOT,
            tokens: Vec::new(),
            slots: Vec::new(),
            space: 0,
            priority: i64::MIN,
            now: 0,
            key: Key::NONE,
        });
        Ok(Self {
            page,
            overlap,
            keeps_slots: config.slots,
            eviction: config.eviction,
            nodes,
            edges: Index::new(room),
            room,
            keyer: Keyer::new(Algorithm::Xxh3, &config.secret, page + overlap)?,
            spaces: Spaces::default(),
            leaves: Leaves::default(),
            evictable: 0,
            protected: 0,
            now: 0,
            scratch: Vec::new(),
        })
    }

    /// Units that no lock protects.
    pub fn evictable(&self) -> usize {
        self.evictable
    }

    /// Units that a lock protects.
    pub fn protected(&self) -> usize {
        self.protected
    }

    /// Nodes, the root not counted.
    pub fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locks the prefix that ends with `node`: it and all nodes above are not evicted. Returns how many units this protects that no
    /// other lock does.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree, `TableFull` for more locks than can be counted.
    pub fn lock(&mut self, node: RadixNode) -> Result<usize> {
        let node = self.place(node)?;
        let mut at = node;
        // The most locks are counted right below the root.
        while self.nodes.parent(at) != ROOT {
            at = self.nodes.parent(at);
        }
        if self.nodes.locks[at] == u32::MAX {
            bail!(TableFull, "a prefix has {} locks, and no more can be counted", u32::MAX);
        }
        let before = self.protected;
        let mut at = node;
        while at != ROOT {
            if self.nodes.locks[at] == 0 {
                let units = self.length(at);
                self.evictable -= units;
                self.protected += units;
                self.leaves.remove(at);
            }
            self.nodes.locks[at] += 1;
            at = self.nodes.parent(at);
        }
        self.nodes.held[node] += u32::from(node != ROOT);
        Ok(self.protected - before)
    }

    /// Takes one [`lock`](Self::lock) back. Returns how many units nothing protects any more.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree, `InvalidArgument` for one that has no lock of its own.
    pub fn unlock(&mut self, node: RadixNode) -> Result<usize> {
        let at = self.place(node)?;
        if at == ROOT {
            return Ok(0);
        }
        if self.nodes.held[at] == 0 {
            bail!(
                InvalidArgument,
                "{node:?} is unlocked once more than it was locked; {} locks are below it",
                self.nodes.locks[at]
            );
        }
        self.nodes.held[at] -= 1;
        let before = self.evictable;
        let mut at = at;
        while at != ROOT {
            self.nodes.locks[at] -= 1;
            if self.nodes.locks[at] == 0 {
                let units = self.length(at);
                self.evictable += units;
                self.protected -= units;
                self.settle(at);
            }
            at = self.nodes.parent(at);
        }
        Ok(self.evictable - before)
    }

    /// Appends the slots of the prefix that ends with `node`, first to last.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn slots_to(&self, node: RadixNode, slots: &mut Vec<i64>) -> Result<()> {
        for node in self.path(node)? {
            slots.extend_from_slice(&self.nodes.slots[node.at()]);
        }
        Ok(())
    }

    /// The nodes from below the root to `node`; none for the root.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn path(&self, node: RadixNode) -> Result<Vec<RadixNode>> {
        let mut at = self.place(node)?;
        let mut path = Vec::new();
        while at != ROOT {
            path.push(self.nodes.id(at));
            at = self.nodes.parent(at);
        }
        path.reverse();
        Ok(path)
    }

    /// The node above; the root's is itself.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn parent(&self, node: RadixNode) -> Result<RadixNode> {
        Ok(self.nodes.id(self.nodes.parent(self.place(node)?)))
    }

    /// The nodes below, by age of their edge's number. Looks at every node: for inspection.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn children(&self, node: RadixNode) -> Result<Vec<RadixNode>> {
        let above = self.place(node)?;
        let below = self.nodes.all().filter(|at| self.nodes.parent(*at) == above);
        Ok(below.map(|at| self.nodes.id(at)).collect())
    }

    /// The tokens of the edge that leads to a node; in a tree of bigrams, with the one that follows.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn tokens(&self, node: RadixNode) -> Result<&[u32]> {
        Ok(&self.nodes.tokens[self.place(node)?])
    }

    /// The slots of the edge that leads to a node.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn slots(&self, node: RadixNode) -> Result<&[i64]> {
        Ok(&self.nodes.slots[self.place(node)?])
    }

    /// The namespace of a node; that of the root is empty.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn namespace(&self, node: RadixNode) -> Result<&[u8]> {
        Ok(match self.place(node)? {
            ROOT => &[],
            at => self.spaces.name(self.nodes.spaces[at]),
        })
    }

    /// Locks that protect a node: on it, and on what is below.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn locks(&self, node: RadixNode) -> Result<u32> {
        Ok(self.nodes.locks[self.place(node)?])
    }

    /// How many insertions went through a node.
    ///
    /// # Errors
    /// `NotFound` for a node that is not in the tree.
    pub fn hits(&self, node: RadixNode) -> Result<u32> {
        Ok(self.nodes.hits[self.place(node)?])
    }

    /// Units of a prefix in whole pages.
    pub(super) fn units(&self, tokens: &[u32]) -> usize {
        let units = tokens.len().saturating_sub(self.overlap);
        units - units % self.page
    }

    pub(super) fn length(&self, at: usize) -> usize {
        self.nodes.tokens[at].len().saturating_sub(self.overlap)
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    pub(super) fn place(&self, node: RadixNode) -> Result<usize> {
        match self.nodes.find(node) {
            Some(at) => Ok(at),
            None => bail!(
                NotFound,
                "{node:?} is not in the tree: it was evicted, or is another tree's"
            ),
        }
    }

    pub(super) fn check_room(&self) -> Result<()> {
        // An insertion makes two nodes at most.
        if self.nodes.len() + 2 > MOST {
            bail!(TableFull, "a tree has room for {MOST} nodes, and they are taken");
        }
        Ok(())
    }
}
