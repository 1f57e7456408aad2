//! Insert: what a match did not find becomes one new node below where it ended.

use super::lookup::{RadixSplit, Walk};
use super::nodes::{ROOT, RadixNode, Seed};
use super::tree::RadixTree;
use crate::error::{Result, bail};
use crate::kv::index::Index;
use crate::kv::{BlockId, Key};

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

impl RadixTree {
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

    /// What a parent finds a child by: a hash of who the parent is and of the child's first page.
    pub(super) fn edge(&mut self, parent: usize, space: u32, page: &[u32]) -> Key {
        let parent = match parent {
            ROOT => Key::new(u128::from(space) | 1 << 64),
            at => Key::new(u128::from(self.nodes.id(at).raw()) | 1 << 65),
        };
        self.keyer.chain(parent, page, &mut self.scratch);
        self.scratch.pop().expect("a page has one key")
    }

    /// A new node, findable by its parent. What the parent counts is up to the caller.
    pub(super) fn add(&mut self, parent: usize, space: u32, tokens: Vec<u32>, slots: Vec<i64>, priority: i64) -> usize {
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
}
