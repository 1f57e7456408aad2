//! C++ classes as actors: where Rust calls C++, cxx does what a C ABI does badly.
//!
//! A class derives from `park::cxx::Actor` (`actor.h`) and is handed over as a `UniquePtr`; [`spawn`] makes it an actor like any
//! other. What it sees of a call is `park::cxx::Call` (`bridge.rs`), with typed access in `call.h`. An exception that leaves
//! `Actor::call` fails that call with `TaskFailed` and its `what()`; the actor lives on. No panic reaches C++: each function that
//! C++ calls runs inside the guard of this crate and turns it into an error, which arrives there as a `rust::Error`.
//!
//! The public C++ API for everything else is `include/park.hpp`, over the C ABI: this module is for Rust programs with C++ parts.
//! Both sides must be built with the same release of cxx.

mod bridge;

use cxx::UniquePtr;
use park_core::actor::native::{NativeActor, NativeActorHandle};
use park_core::sched::native::{NativeCall, NativePool};
use park_core::{Error, ErrorKind, Result};

pub use bridge::Actor;

/// A C++ object that is called like a Rust one.
struct CxxActor(UniquePtr<Actor>);

// SAFETY: `actor.h` requires of every class that derives from Actor that its objects may be used and destroyed on another thread
// than the one that made them; only the thread that owns this value does so.
unsafe impl Send for CxxActor {}

impl NativeActor for CxxActor {
    fn call(&mut self, method: &str, call: &mut NativeCall<'_>) -> Result<()> {
        let mut call = bridge::Call::new(call);
        let outcome = self.0.pin_mut().call(method, &mut call);
        outcome.map_err(|exception| Error::new(ErrorKind::TaskFailed, exception.what()))
    }
}

/// Starts a C++ object as an actor on a thread of its own. `name` is for messages.
pub fn spawn(pool: &NativePool, name: &str, actor: UniquePtr<Actor>) -> Result<NativeActorHandle> {
    if actor.is_null() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "a C++ actor cannot be a null unique_ptr",
        ));
    }
    NativeActorHandle::spawn(pool, name, Box::new(CxxActor(actor)))
}
