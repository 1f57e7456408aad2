//! The tree: match, insert, lock, evict. Invariants, which [`RadixTree::audit`] checks:
//!
//! * Siblings differ in their first page, and an edge is a whole number of pages, never none.
//! * A node counts the locks on itself and on all below it, so whatever is above a locked node is locked.
//! * `leaves` has exactly the nodes that have no child and no lock; `evictable` and `protected` add up to all tokens.
//!
//! Time is a counter that each match, insertion and new node moves on: no two leaves were used at the same time.

use super::super::index::Index;
use super::super::key::{Algorithm, Keyer};
use super::super::{BlockId, Key};
use super::leaves::Leaves;
use super::nodes::{Nodes, ROOT, RadixNode, Seed};
use super::order::RadixEviction;
use super::spaces::Spaces;
use crate::error::{Result, bail};

/// How many nodes a tree may have.
const MOST: usize = 1 << 30;

/// How many tokens are compared at a time: as many as a comparison of memory is fast for.
const STRIDE: usize = 256;

/// What a tree is made of.
#[derive(Clone, Debug)]
pub struct RadixConfig {
    /// Tokens of a page. Prefixes are matched and kept in whole pages.
    pub page: u32,
    /// Whether the unit is a pair of neighbouring tokens: a prefix of n + 1 tokens has n units. Speculative decoding by EAGLE keys its
    /// cache this way.
    pub bigrams: bool,
    /// Whether the tree keeps a slot number a unit. Without, callers keep what belongs to a node by its id, and heed [`RadixSplit`].
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

/// How to insert.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RadixInsertion {
    /// Every node of the prefix gets at least this priority.
    pub priority: i64,
    /// So many of the units were counted as a use before: the nodes that end within them are not counted again.
    pub counted: usize,
}

/// What an insertion did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RadixInserted {
    /// The node that the prefix ends with.
    pub node: RadixNode,
    /// How many units were there already; the slots given for them were not taken.
    pub matched: usize,
    /// Whether `node` is new.
    pub added: bool,
    /// The node that was divided for it.
    pub split: Option<RadixSplit>,
}

/// See the module.
pub struct RadixTree {
    page: usize,
    /// Tokens of a unit beyond its first: 1 for bigrams.
    overlap: usize,
    keeps_slots: bool,
    eviction: RadixEviction,
    nodes: Nodes,
    /// From a parent and a first page to a node. Its capacity is `room`.
    edges: Index,
    room: usize,
    keyer: Keyer,
    spaces: Spaces,
    leaves: Leaves,
    evictable: usize,
    protected: usize,
    now: u64,
    /// Between calls empty; kept for its memory.
    scratch: Vec<Key>,
}

/// Where a walk from the root ended.
struct Walk {
    at: usize,
    units: usize,
    split: Option<RadixSplit>,
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

    /// Caches `tokens`, in whole pages; what is left over is not. `slots` has one number a unit, and those of units that are cached
    /// already stay the caller's.
    ///
    /// # Errors
    /// `InvalidArgument` if there are fewer slots than units (or any in a tree that keeps none), `TableFull` if there are 2^30 nodes.
    /// Nothing has changed then.
    pub fn insert(
        &mut self,
        namespace: &[u8],
        tokens: &[u32],
        slots: &[i64],
        how: RadixInsertion,
    ) -> Result<RadixInserted> {
        let units = self.units(tokens);
        if self.keeps_slots && slots.len() < units {
            bail!(
                InvalidArgument,
                "{units} units of a prefix need as many slots, and there are {}",
                slots.len()
            );
        }
        if !self.keeps_slots && !slots.is_empty() {
            bail!(
                InvalidArgument,
                "the tree was made without slots, and {} were given",
                slots.len()
            );
        }
        self.check_room()?;
        let Walk {
            at: parent,
            units: matched,
            split,
        } = self.walk(namespace, tokens, Some(how));
        let mut at = parent;
        if matched < units {
            let rest = tokens[matched..units + self.overlap].to_vec();
            let space = match parent {
                ROOT => self.spaces.enter(namespace),
                _ => self.nodes.spaces[parent],
            };
            let kept = if self.keeps_slots { &slots[matched..units] } else { &[] };
            at = self.add(parent, space, rest, kept.to_vec(), how.priority);
            self.nodes.hits[at] += u32::from(units > how.counted);
            self.nodes.children[parent] += 1;
            self.evictable += units - matched;
            self.settle(parent);
            self.settle(at);
        }
        Ok(RadixInserted {
            node: self.nodes.id(at),
            matched,
            added: matched < units,
            split,
        })
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

    /// Goes down from the root as far as the tokens agree; `insertion` is what a node on the way learns.
    fn walk(&mut self, namespace: &[u8], tokens: &[u32], insertion: Option<RadixInsertion>) -> Walk {
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

    /// What a parent finds a child by: a hash of who the parent is and of the child's first page.
    fn edge(&mut self, parent: usize, space: u32, page: &[u32]) -> Key {
        let parent = match parent {
            ROOT => Key::new(u128::from(space) | 1 << 64),
            at => Key::new(u128::from(self.nodes.id(at).raw()) | 1 << 65),
        };
        self.keyer.chain(parent, page, &mut self.scratch);
        self.scratch.pop().expect("a page has one key")
    }

    /// Divides a node after `units`; returns the upper part, which is new and takes the place of the old one below its parent.
    fn split(&mut self, lower: usize, units: usize) -> usize {
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

    /// A new node, findable by its parent. What the parent counts is up to the caller.
    fn add(&mut self, parent: usize, space: u32, tokens: Vec<u32>, slots: Vec<i64>, priority: i64) -> usize {
        let key = self.edge(parent, space, &tokens[..self.page + self.overlap]);
        let now = self.tick();
        let at = self.nodes.add(Seed {
            parent,
            tokens,
            slots,
            space,
            priority,
            now,
            key,
        });
        if self.nodes.places() > self.room {
            self.room *= 2;
            self.edges = Index::new(self.room);
            for other in self.nodes.all().filter(|other| *other != at) {
                if self.nodes.keys[other] != Key::NONE {
                    self.edges.insert(self.nodes.keys[other], BlockId(other as u32));
                }
            }
        }
        self.edges.insert(key, BlockId(at as u32));
        at
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
    fn settle(&mut self, at: usize) {
        if at != ROOT && self.nodes.children[at] == 0 && self.nodes.locks[at] == 0 {
            self.leaves.put(at, self.eviction.rank(&self.nodes, at));
        } else {
            self.leaves.remove(at);
        }
    }

    /// Units of a prefix in whole pages.
    fn units(&self, tokens: &[u32]) -> usize {
        let units = tokens.len().saturating_sub(self.overlap);
        units - units % self.page
    }

    fn length(&self, at: usize) -> usize {
        self.nodes.tokens[at].len().saturating_sub(self.overlap)
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn place(&self, node: RadixNode) -> Result<usize> {
        match self.nodes.find(node) {
            Some(at) => Ok(at),
            None => bail!(
                NotFound,
                "{node:?} is not in the tree: it was evicted, or is another tree's"
            ),
        }
    }

    fn check_room(&self) -> Result<()> {
        // An insertion makes two nodes at most.
        if self.nodes.len() + 2 > MOST {
            bail!(TableFull, "a tree has room for {MOST} nodes, and they are taken");
        }
        Ok(())
    }

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
