//! A C++ class as a Rust program would have one: compiled by this crate's build script, made here, called as an actor.
#![allow(unsafe_code, reason = "declares C++ functions")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "the expansion of cxx::bridge"
)]

pub use ffi::make_accumulator;

#[cxx::bridge(namespace = "park_tests")]
#[allow(unreachable_pub, missing_docs, reason = "the expansion of cxx::bridge")]
mod ffi {
    unsafe extern "C++" {
        include!("park-tests/src/accumulator.h");

        /// The base class of park-c.
        #[namespace = "park::cxx"]
        type Actor = park_c::cxx::Actor;

        /// An actor that adds up tensors. `dropped` becomes 1 when it is destroyed.
        fn make_accumulator(dropped: &Flag) -> UniquePtr<Actor>;
    }

    extern "Rust" {
        type Flag;
        fn raise(self: &Flag);
    }
}

/// Raised by a C++ destructor.
#[derive(Clone, Debug, Default)]
pub struct Flag(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Flag {
    /// From now on `is_raised`.
    pub fn raise(&self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}
