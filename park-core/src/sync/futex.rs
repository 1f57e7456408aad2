//! Wait and wake on a word: the system call, or under loom a model that deadlocks where a real lost wake-up would.

use std::time::Duration;

use super::atomic::AtomicU32;

#[cfg(not(any(loom, shuttle)))]
pub use crate::sys::futex::{Wake, wait, wake};

#[cfg(shuttle)]
pub use scheduled::{Wake, wait, wake};

/// Under shuttle a sleeper looks again whenever it is its turn; a sleep with a timeout ends after some looks.
#[cfg(shuttle)]
#[allow(missing_docs, reason = "stands in for a documented type")]
mod scheduled {
    use super::{AtomicU32, Duration};
    use crate::sync::atomic::Ordering;

    pub use crate::sys::futex::Wake;

    const LOOKS: u32 = 50;

    pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Wake {
        let mut looks = 0;
        while word.load(Ordering::SeqCst) == expected {
            looks += 1;
            if timeout.is_some() && looks > LOOKS {
                return Wake::TimedOut;
            }
        }
        Wake::Changed
    }

    pub fn wake(_word: &AtomicU32, _count: u32) {}
}

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

#[cfg(not(any(loom, shuttle)))]
const _: fn(&AtomicU32, u32, Option<Duration>) -> Wake = wait;
