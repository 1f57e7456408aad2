//! What a participant is in the middle of: written before it begins, so that whoever clears up after its death knows.
//!
//! A reference changes two words that no instruction changes together: the count in the object's slot, which everybody changes, and
//! a *second word* that says whose it is (the process's ledger entry, or the number of references inside another object). A *lane*
//! records one such change; `store/journal.rs` is the protocol. The transfer lane records a whole list: references that go over to
//! a message as it is published, or back to nobody as its work ends.
//!
//! ```text
//! open    u64  operation number << 1 | 1 while it runs, 0 in the last bit when it is over.  Written by the owner, last of all.
//! seen    u64  the highest operation of this lane that another process saw applied.          Written by others (max).
//! slot    u32  the slot whose count changes                                                  Written by the owner, before `open`.
//! kind    u32  what the second word is, and which way the change goes                        "
//! parent  u32  the other object, for nested references; the ring's owner, for transfers      "
//! before  u32  the second word before the change; the list's length, for transfers           "
//! place   u64  where in the ring, for transfers                                              "
//! step    u64  entries of the list that are done << 32 | the entry's second word before      "
//! ```
//! A lane belongs to one thread of its process at a time (a private mutex a lane). All operations on one slot go through the same
//! lane, so that no two threads change one ledger entry at once.

use crate::sync::Shared;
use crate::sync::atomic::{AtomicU32, AtomicU64};

/// Lanes for changes of one reference.
pub const LANES: usize = 4;
/// The lane for lists.
pub const TRANSFER: usize = LANES;
/// Most references that one record can carry.
pub const LIST: usize = (8192 - 64 * (LANES + 1)) / 4;

/// One operation in progress; see the module's documentation.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Lane {
    pub(crate) open: AtomicU64,
    pub(crate) seen: AtomicU64,
    pub(crate) slot: AtomicU32,
    pub(crate) kind: AtomicU32,
    pub(crate) parent: AtomicU32,
    pub(crate) before: AtomicU32,
    pub(crate) place: AtomicU64,
    pub(crate) step: AtomicU64,
    _pad: [AtomicU64; 2],
}

// SAFETY: `repr(C)` over atomics; the assertion pins the size, so there is no padding.
unsafe impl Shared for Lane {}

/// All lanes of one participant.
#[derive(Debug)]
#[repr(C)]
pub struct Journal {
    pub(crate) lanes: [Lane; LANES + 1],
}

// SAFETY: `repr(C)` over an array of `Shared`.
unsafe impl Shared for Journal {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lane>() == 64);

#[cfg(all(test, loom))]
impl Lane {
    pub(crate) fn new() -> Self {
        Self {
            open: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            slot: AtomicU32::new(0),
            kind: AtomicU32::new(0),
            parent: AtomicU32::new(0),
            before: AtomicU32::new(0),
            place: AtomicU64::new(0),
            step: AtomicU64::new(0),
            _pad: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

#[cfg(all(test, loom))]
impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            lanes: std::array::from_fn(|_| Lane::new()),
        }
    }
}
