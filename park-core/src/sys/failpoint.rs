//! Named places at which a test kills the process: `fail_point!("store.seal.published")`.
//!
//! Every step that changes shared state has one after it, so that a test can ask at each: is what the dead process left behind found
//! and given back? Without the feature `failpoints` a fail point is no code at all. With it, nothing happens until `arm` names one;
//! then the process ends at that place by SIGKILL, as if by chance. tests/crash lists them all by reading the source.

#[cfg(feature = "failpoints")]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(feature = "failpoints")]
use parking_lot::Mutex;

/// Name of the fail point at which something happens to this process, and what.
#[cfg(feature = "failpoints")]
static ARMED: Mutex<Option<(String, rustix::process::Signal)>> = Mutex::new(None);
/// Passes left; `u32::MAX` while nothing is armed, so that an unarmed process pays one load.
#[cfg(feature = "failpoints")]
static PASSES: AtomicU32 = AtomicU32::new(u32::MAX);

/// From now on, the process dies at fail point `name` after passing it `passes` times.
#[cfg(feature = "failpoints")]
pub fn arm(name: &str, passes: u32) {
    *ARMED.lock() = Some((name.to_owned(), rustix::process::Signal::KILL));
    PASSES.store(passes, Ordering::SeqCst);
}

/// As `arm`, but the process is stopped there (SIGSTOP), in the middle of what it does, until it is killed or continued.
#[cfg(feature = "failpoints")]
pub fn stop_at(name: &str, passes: u32) {
    *ARMED.lock() = Some((name.to_owned(), rustix::process::Signal::STOP));
    PASSES.store(passes, Ordering::SeqCst);
}

/// Names of the fail points passed since `trace`, in order.
#[cfg(feature = "failpoints")]
static TRACE: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// From now on, remembers the fail points that are passed, and returns those remembered so far.
#[cfg(feature = "failpoints")]
pub fn trace() -> Vec<String> {
    TRACING.store(true, Ordering::SeqCst);
    TRACE.lock().replace(Vec::new()).unwrap_or_default()
}

#[cfg(feature = "failpoints")]
static TRACING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// What `fail_point!` expands to.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    if TRACING.load(Ordering::Relaxed)
        && let Some(trace) = TRACE.lock().as_mut()
    {
        trace.push(name.to_owned());
    }
    if PASSES.load(Ordering::Relaxed) == u32::MAX {
        return;
    }
    let signal = match ARMED.lock().as_ref() {
        Some((armed, signal)) if armed == name => *signal,
        _ => return,
    };
    if PASSES.fetch_sub(1, Ordering::SeqCst) == 0 {
        // A stopped process that is continued goes on as if nothing had been armed: the count is at its resting value again.
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        if signal == rustix::process::Signal::KILL {
            loop {
                // It is on its way; not one more instruction of the caller may run.
                std::hint::spin_loop();
            }
        }
    }
}

/// In a shuttle test a thread plays a process: which one dies, and after how many more fail points.
#[cfg(shuttle)]
pub mod victim {
    use std::cell::RefCell;

    /// What a killed thread unwinds with.
    #[derive(Debug)]
    pub struct Killed;

    thread_local! {
        static VICTIM: RefCell<Option<(shuttle::thread::ThreadId, u32)>> = const { RefCell::new(None) };
    }

    /// The calling thread dies after passing `passes` fail points.
    pub fn arm(passes: u32) {
        VICTIM.set(Some((shuttle::thread::current().id(), passes)));
    }

    /// The calling thread goes on if it has not died by now.
    pub fn disarm() {
        VICTIM.set(None);
    }

    pub(crate) fn hit() {
        let dies = VICTIM.with_borrow_mut(|victim| match victim {
            Some((id, passes)) if !std::thread::panicking() && *id == shuttle::thread::current().id() => {
                *passes = passes.wrapping_sub(1);
                *passes == u32::MAX
            }
            _ => false,
        });
        if dies {
            disarm();
            std::panic::resume_unwind(Box::new(Killed));
        }
    }
}

/// A place at which a test may kill the process; see `sys::failpoint`.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(shuttle)]
        $crate::sys::failpoint::victim::hit();
        #[cfg(feature = "failpoints")]
        $crate::sys::failpoint::hit($name);
    };
}
pub(crate) use fail_point;
