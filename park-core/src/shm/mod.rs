#![doc = include_str!("README.md")]
#![allow(
    unsafe_code,
    reason = "turns offsets into references to atomics, bounds and alignment checked"
)]

pub mod alloc;
pub mod board;
pub mod journal;
pub mod layout;
pub mod participant;
pub mod segment;

pub use alloc::{Allocation, ArenaRoot};
pub use journal::Journal;
pub use layout::{Header, Layout};
pub use participant::Participant;
pub use segment::{Arena, Segment};
