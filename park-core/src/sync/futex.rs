//! Wait and wake on a word: the system call, or under loom a model that deadlocks where a real lost wake-up would.

use std::time::Duration;

use super::atomic::AtomicU32;

#[cfg(not(loom))]
pub use crate::sys::futex::{Wake, wait, wake};

#[cfg(loom)]
pub use model::{Wake, wait, wake};

#[cfg(loom)]
mod model {
    use super::{AtomicU32, Duration};
    use crate::sync::atomic::Ordering;

    pub use crate::sys::futex::Wake;

    loom::lazy_static! {
        // The kernel compares and sleeps under a bucket lock; one bucket for the whole model is enough.
        static ref BUCKET: (loom::sync::Mutex<()>, loom::sync::Condvar) = (loom::sync::Mutex::new(()), loom::sync::Condvar::new());
    }

    /// As the system call. A timeout is not modelled: a wait that only a timeout would end shows up as a deadlock.
    pub fn wait(word: &AtomicU32, expected: u32, _timeout: Option<Duration>) -> Wake {
        let guard = BUCKET.0.lock().unwrap();
        if word.load(Ordering::SeqCst) == expected {
            drop(BUCKET.1.wait(guard).unwrap());
        }
        Wake::Changed
    }

    pub fn wake(_word: &AtomicU32, _count: u32) {
        let _guard = BUCKET.0.lock().unwrap();
        BUCKET.1.notify_all();
    }
}

#[cfg(not(loom))]
const _: fn(&AtomicU32, u32, Option<Duration>) -> Wake = wait;
