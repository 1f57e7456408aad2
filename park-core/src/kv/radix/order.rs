//! Which leaf goes first: SGLang's policies, by name.

use super::nodes::Nodes;

/// The order in which leaves of a tree are given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RadixEviction {
    /// Least recently used first.
    #[default]
    Lru,
    /// Least often inserted first, then least recently used.
    Lfu,
    /// Oldest first.
    Fifo,
    /// Most recently used first.
    Mru,
    /// Youngest first.
    Filo,
    /// Least priority first, then least recently used.
    Priority,
    /// What was inserted less than `protected` times first, then least recently used.
    Slru {
        /// From how many insertions on a node counts as worth keeping.
        protected: u32,
    },
}

/// A leaf of a lesser rank goes first. The second part is a time of the tree's clock, which no two leaves share.
pub(super) type Rank = (i64, u64);

impl RadixEviction {
    pub(super) fn rank(self, nodes: &Nodes, at: usize) -> Rank {
        let (used, made, hits) = (nodes.used[at], nodes.made[at], nodes.hits[at]);
        match self {
            Self::Lru => (0, used),
            Self::Lfu => (i64::from(hits), used),
            Self::Fifo => (0, made),
            Self::Mru => (0, !used),
            Self::Filo => (0, !made),
            Self::Priority => (nodes.priorities[at], used),
            Self::Slru { protected } => (i64::from(hits >= protected), used),
        }
    }
}
