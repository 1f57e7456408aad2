//! A radix tree over tokens: which prefixes somebody has computed, as long as anybody may want them.
//!
//! The other prefix index of this module (`index`, `cache`) finds *blocks* by hashes; this one finds *prefixes* by comparing tokens, as
//! SGLang's `RadixCache` does, so that an engine of that kind can use it: edges are runs of tokens of any length, a match may end
//! anywhere on a page boundary, and what lies in the cache is the caller's own slot numbers, one a token, wherever it got them.
//!
//! ```text
//!              root
//!        ┌───────┴───────┐                 a match that ends within an edge splits it:
//!   [1 2 3 4 5 6]      [9 9]               the upper part is a new node, the lower one keeps
//!    slots 10..16                          its id, its locks and its children
//! ```
//!
//! * **Namespaces.** Prefixes of different namespaces (adapters, tenants) never meet. A namespace is any bytes, and goes with its last
//!   node.
//! * **Locks.** Whoever reads a prefix locks its last node, which protects every node above it. Nothing that is protected is evicted.
//! * **Eviction.** Leaf by leaf, in the order of a policy (`order`). A node whose last child went is a leaf.
//! * **Ids.** A [`RadixNode`] of a node that has gone is an error, never another node.
//!
//! Costs: a match compares each token once and looks one hash up a node; it allocates nothing unless it splits. A split moves the tokens
//! of one node. An eviction costs the logarithm of the number of leaves.
//!
//! | file | what |
//! |---|---|
//! | `tree` | what the tree is made of; locks; looking at it |
//! | `lookup`, `insert`, `evict` | what its users do |
//! | `audit` | whether it all adds up |
//! | `nodes` | what is known of each node, one array a fact |
//! | `order` | which leaf goes first |
//! | `leaves` | the leaves that may go, in that order |
//! | `spaces` | namespaces by number |

mod audit;
mod evict;
mod insert;
mod leaves;
mod lookup;
mod nodes;
mod order;
mod spaces;
mod tree;

pub use insert::{RadixInserted, RadixInsertion};
pub use lookup::{RadixMatch, RadixSplit};
pub use nodes::RadixNode;
pub use order::RadixEviction;
pub use tree::{RadixConfig, RadixTree};

#[cfg(test)]
mod tests;
