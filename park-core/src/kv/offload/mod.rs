//! Which chunks of keys and values lie in a tier below the device, and in which of its slots.
//!
//! An engine that offloads has names for its chunks (hashes, of any length) and memory for so many of them; [`OffloadTable`] says which
//! name lies where, who is reading it, and whose place is taken next. It copies nothing: it hands out slots, and hears when a transfer
//! is over.
//!
//! ```text
//!             store                      finish(ok)            pin
//!   absent ─────────────► being written ───────────► ready ◄────────► being read
//!      ▲                        │                      │      unpin
//!      └──── finish(failed) ────┘                      │
//!      └────── another store takes its slot, drop ─────┘
//! ```
//!
//! Only what is ready and not being read gives its slot up, in the order of an [`OffloadPolicy`]. Both know a chunk's *rank*, least first:
//! two numbers, when it was last wanted (a counter that the table hands out), and, among chunks that one request wanted, which of them
//! goes first.
//!
//! | file | what |
//! |---|---|
//! | `table` | the table: names, slots, readers |
//! | `order` | what a policy is asked |
//! | `lru` | least rank first |
//! | `arc` | two lists, by how often, and a balance between them that follows from what is missed |

mod arc;
mod lru;
mod order;
mod table;

pub use order::OffloadPolicy;
pub use table::{ArcLists, OffloadRank, OffloadState, OffloadTable, Stored};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_arc;
