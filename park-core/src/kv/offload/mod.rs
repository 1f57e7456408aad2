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
//!      └───────────── another store takes its slot ────┘
//! ```
//!
//! Only what is ready and not being read gives its slot up, in the order of *ranks*: least first. A rank is two numbers: when it was last
//! wanted (a counter that the table hands out), and, among chunks that one request wanted, which of them goes first.
//!
//! | file | what |
//! |---|---|
//! | `table` | the table |

mod table;

pub use table::{OffloadRank, OffloadState, OffloadTable, Stored};

#[cfg(test)]
mod tests;
