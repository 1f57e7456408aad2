//! Scheduling: tasks on worker processes, and native tasks on threads of this one.
//!
//! For worker processes, `task` is what the head knows of one, `dependency` who waits for which object, `queue` what is ready,
//! `resource` what is free; `runtime/place.rs` puts them together. `native` runs registered functions on this process's own threads.

pub mod dependency;
pub mod native;
pub mod queue;
pub mod resource;
pub mod task;
