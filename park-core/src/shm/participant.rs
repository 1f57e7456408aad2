//! One process's entry in the control segment: is it alive, how to wake it, its inbound ring, what it copied and shared.
//!
//! ```text
//! state  FREE -> LIVE     by the head, when it hands the entry out
//!        LIVE -> DEAD     by the head, when the process is known to have ended; only then may others take over its locks
//!        DEAD -> FREE     by the head, when everything the process held was given back
//! ```

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::ring::RingCursors;
use crate::sync::{Doorbell, Shared};

/// Not in use.
pub const FREE: u32 = 0;
/// Handed out; the process runs, or is being started.
pub const LIVE: u32 = 1;
/// The process has ended; its holdings are being given back.
pub const DEAD: u32 = 2;

/// See the module's documentation.
#[derive(Debug)]
#[repr(C)]
pub struct Participant {
    /// `FREE`, `LIVE` or `DEAD`; written by the head only.
    pub state: AtomicU32,
    /// Process id, for people; written by the head or by the process as it joins.
    pub pid: AtomicU32,
    /// Rung when its ring has a new record or an object it watches was sealed.
    pub doorbell: Doorbell,
    /// Cursors of its inbound ring.
    pub ring: RingCursors,
    _pad0: [AtomicU64; 10],
    /// Payload bytes this participant copied into or out of the store.
    pub bytes_copied: AtomicU64,
    /// Payload bytes this participant handed out as views.
    pub bytes_shared: AtomicU64,
    /// 1 if it may have warm slots (store/warm.rs): set by it, cleared by whoever is about to look for them.
    pub warm: AtomicU32,
    _pad1: AtomicU32,
    _pad2: [AtomicU64; 13],
}

// SAFETY: `repr(C)` over `Shared` fields; its size is pinned in `layout`.
unsafe impl Shared for Participant {}

impl Participant {
    /// Whether a process has this entry, as far as the head knows. What an entry that is not in use seems to hold, nobody holds.
    pub fn is_live(&self) -> bool {
        self.state.load(Ordering::Acquire) == LIVE
    }
}
