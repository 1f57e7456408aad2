//! A lock among the threads of one process: parking_lot's. Under `cfg(shuttle)` whoever finds it taken lets others run.

#[cfg(not(shuttle))]
pub use parking_lot::{Mutex, MutexGuard};

#[cfg(shuttle)]
pub use scheduled::{Mutex, MutexGuard};

#[cfg(shuttle)]
#[allow(missing_docs, reason = "stands in for a documented type")]
mod scheduled {
    pub use parking_lot::MutexGuard;

    /// Not shuttle's own mutex: that one switches threads as it is unlocked, also by a thread that unwinds.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        pub fn lock(&self) -> MutexGuard<'_, T> {
            loop {
                if let Some(guard) = self.0.try_lock() {
                    return guard;
                }
                shuttle::thread::yield_now();
            }
        }
    }
}
