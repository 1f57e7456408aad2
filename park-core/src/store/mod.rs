#![doc = include_str!("README.md")]

mod actor_cell;
mod audit;
mod count;
mod channel_cell;
pub mod format;
mod handle;
mod journal;
mod mutable;
mod object;
mod object_ref;
mod recover;
mod refs;
mod slot;
mod stats;
mod table;
mod wait;

pub use actor_cell::Place;
pub use audit::Audit;
pub use format::{DType, Format, TensorSpec, View};
pub use handle::{Spec, Store};
pub use mutable::MutableObject;
pub use object::{Object, Sealed};
pub use object_ref::ObjectRef;
pub use recover::Orphan;
pub use stats::StoreStats;
pub(crate) use wait::TICK;
pub use wait::{Interrupt, never};

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

#[cfg(all(test, shuttle))]
mod shuttle_tests;
