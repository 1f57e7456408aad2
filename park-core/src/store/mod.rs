#![doc = include_str!("README.md")]

mod actor_cell;
mod audit;
mod channel_cell;
mod claim;
mod copy;
mod count;
mod dtype;
mod evict;
pub mod format;
mod free_list;
mod handle;
mod journal;
mod locks;
mod mapped;
mod memory;
mod mutable;
mod object;
mod object_ref;
pub mod promise;
mod read_only;
mod recover;
mod refs;
mod report;
mod room;
pub(crate) mod slot;
pub mod spill;
mod stats;
pub mod stream;
mod stream_budget;
mod table;
mod wait;
mod warm;
mod watch_list;

pub use actor_cell::Place;
pub use audit::Audit;
pub use claim::Cancel;
pub use format::{DType, Format, TensorSpec, View};
pub use handle::{Spec, Store};
pub use mapped::MappedFile;
pub(crate) use memory::IdleTrim;
pub use mutable::MutableObject;
pub use object::{Object, Sealed};
pub use object_ref::ObjectRef;
pub use recover::Orphan;
pub use report::{CountRow, Holder, MemoryReport, ObjectRow, Party};
pub use stats::StoreStats;
pub use stream_budget::StreamBudget;
pub(crate) use wait::TICK;
pub use wait::{Interrupt, never};
pub use watch_list::WatchList;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

#[cfg(all(test, shuttle))]
pub(crate) mod shuttle_tests;
