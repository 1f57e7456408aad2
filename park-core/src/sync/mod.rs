//! Primitives that are valid between processes, and the facade through which all of park touches atomics.
//!
//! | file | what | who may touch it |
//! |---|---|---|
//! | `atomic` | std's atomics, or loom's or shuttle's under their `cfg` | everyone |
//! | `mutex` | parking_lot's lock, or shuttle's: among threads of one process | the store |
//! | `futex` | wait and wake on an atomic word, modelled under loom | this module only |
//! | `doorbell` | "something changed, look again" with sleepers counted | one participant sleeps, all ring |
//! | `bell` | the same for sleepers of many processes, any of which may be killed | sleepers and ringers: all |
//! | `robust_mutex` | a lock whose owner may be killed | short critical sections on derived data |
//! | `spin` | a bounded look before a sleep | everyone |
//! | `waiting_line` | who waits for the same thing gets it in order | everyone |
//! | `ring` | many producers, one consumer, records stay until their work is done | producers: all; consumer: its owner |
#![allow(unsafe_code, reason = "marks the types that may live in shared memory")]

pub mod atomic;
pub mod bell;
pub mod doorbell;
pub mod futex;
pub mod mutex;
pub mod ring;
pub mod robust_mutex;
pub mod spin;
pub mod waiting_line;

pub use bell::Bell;
pub use doorbell::Doorbell;
pub use futex::Wake;
pub use mutex::{Mutex, MutexGuard};
pub use ring::{Ring, RingReader};
pub use robust_mutex::{RobustGuard, RobustMutex};
pub use spin::SpinPolicy;
pub use waiting_line::{Turn, WaitingLine};

/// Types that may be placed over raw shared bytes.
///
/// # Safety
/// The type is `#[repr(C)]`, consists of atomics only (so every bit pattern is valid and concurrent access is defined), and holds
/// no pointer, descriptor or enum.
pub unsafe trait Shared {}

// SAFETY: atomics of integers: any bits are valid, all access is atomic.
unsafe impl Shared for atomic::AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for atomic::AtomicU64 {}
// SAFETY: an array of `Shared` has no padding beyond its elements.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}
