//! park's core: a zero-copy object store, tasks and actors for the processes of one machine, as a library.
//!
//! Start with [`Session`]: open one, put bytes, get views. Layers import downward only (ARCHITECTURE.md has the table):
//! `error id config` <- `sys` <- `sync` <- `shm` <- `store ipc` <- `sched actor proc` <- `runtime`.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::mem_forget,
        clippy::expect_used,
        reason = "tests fail by panicking, and forget to play dead"
    )
)]

pub mod actor;
pub mod channel;
pub mod config;
pub mod error;
pub mod id;
pub mod ipc;
pub mod kv;
pub mod proc;
pub mod runtime;
pub mod sched;
pub mod shm;
pub mod store;
pub mod sync;
pub mod sys;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use id::{GroupId, ObjectId, ParticipantId, TaskId};
pub use runtime::Session;
pub use store::{DType, Format, MutableObject, Object, ObjectRef, Spec, Store, StoreStats, TensorSpec, View};

/// Runs the Rust example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
