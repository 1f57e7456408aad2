//! The one place that names an atomics library, so that loom or shuttle can stand in for it.

#[cfg(not(any(loom, shuttle)))]
pub use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(shuttle)]
pub use scheduled::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence, spin_loop};
#[cfg(shuttle)]
pub use std::sync::atomic::Ordering;

/// std's atomics, with a place for shuttle to switch threads before each access. Unlike shuttle's own they have the layout of the
/// integers they hold, so they lie over the same shared memory that real processes use.
#[cfg(shuttle)]
#[allow(missing_docs, reason = "stands in for a documented type")]
mod scheduled {
    use std::sync::atomic::{self as real, Ordering};

    /// Lets another thread run, inside a shuttle test.
    fn switch() {
        if !std::thread::panicking() {
            shuttle::thread::yield_now();
        }
    }

    pub fn spin_loop() {
        switch();
    }

    pub fn fence(order: Ordering) {
        switch();
        real::fence(order);
    }

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub struct $name(real::$name);

            impl $name {
                pub const fn new(value: $value) -> Self {
                    Self(real::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $value {
                    switch();
                    self.0.load(order)
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    switch();
                    self.0.store(value, order);
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.swap(value, order)
                }

                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    switch();
                    self.0.compare_exchange(current, new, success, failure)
                }

                pub fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(current, new, success, failure)
                }
            }
        };
    }

    macro_rules! arithmetic {
        ($name:ident, $value:ty, $($method:ident)+) => {
            impl $name {
                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut update: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    let mut seen = self.load(fetch);
                    while let Some(next) = update(seen) {
                        match self.compare_exchange(seen, next, set, fetch) {
                            Ok(before) => return Ok(before),
                            Err(now) => seen = now,
                        }
                    }
                    Err(seen)
                }

                $(pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    switch();
                    self.0.$method(value, order)
                })+
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);
    arithmetic!(AtomicU32, u32, fetch_add fetch_sub fetch_or fetch_and fetch_max);
    arithmetic!(AtomicU64, u64, fetch_add fetch_sub fetch_or fetch_and fetch_max);
    arithmetic!(AtomicUsize, usize, fetch_add fetch_sub fetch_or fetch_and fetch_max);
}
