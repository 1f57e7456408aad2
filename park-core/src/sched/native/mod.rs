//! Native tasks: registered Rust, C and C++ functions that run on threads of this process, over the same store as everything else.
//!
//! | file | what |
//! |---|---|
//! | `pool` | `NativePool`: names, submission, the threads and their queues, ordered shutdown |
//! | `call` | `NativeCall`: what a function sees of one call, and the guard that settles the call's promises whatever happens |
//! | `promise` | `Promise`: the return of a call without a call, for objects that are made later by other means |
//! | `ready` | the one thread that waits for arguments, so that a call whose arguments do not exist yet occupies none |
//! | `idle` | how a thread without work goes to sleep and is woken: its own protocol, with loom models |
//!
//! A call is a plain value that moves: `submit` -> (`ready`, if an argument is missing) -> queue -> thread. Whoever drops it on
//! the way, because the session closes or a thread cannot be started, settles its promises with an error: nothing is lost silently.

mod call;
mod idle;
mod pool;
mod promise;
mod ready;

pub use call::{NativeCall, ReturnObject};
pub(crate) use call::{Returns, check_arguments, execute};
pub use pool::NativePool;
pub(crate) use pool::check_name;
pub use promise::Promise;
pub(crate) use ready::Readiness;

#[cfg(all(test, not(loom)))]
mod tests;
