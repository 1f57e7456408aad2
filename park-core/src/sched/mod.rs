//! Scheduling: tasks on worker processes, and native tasks on threads of this one.
//!
//! For worker processes, `task` is what the head knows of one, `dependency` who waits for which object, `queue` what is ready,
//! `node` where there is room; `runtime/place.rs` puts them together. Below `node` are what it counts (`pool` of `resource` and `device`),
//! and pure policies: `label` which nodes will do, `policy` which of them is taken, `layout` how a placement group lies (`group`). `native` runs registered functions on this process's own threads.

pub mod dependency;
pub mod device;
pub mod group;
pub mod label;
pub mod layout;
pub mod native;
pub mod node;
pub mod policy;
pub mod pool;
pub mod queue;
pub mod resource;
pub mod task;
