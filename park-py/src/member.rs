//! Which member of the session this thread works for: its process, or one worker thread of it.
//!
//! In a session of processes a process is one member, and everything here is about that. In a session in thread mode each worker is a
//! member of its own beside the driver: the thread that takes its jobs, and the threads that this one starts, directly or not
//! (python/park/threads.py hands the membership on), work for it.
//!
//! A worker thread cannot be killed, so the end of one is an agreement. Whoever ends it sets `ended` and then takes `steps` for writing
//! once. Everything by which a worker changes what others see is a step (`step`): it takes `steps` for reading and looks at
//! `ended`. So from that moment on no step happens, whatever the thread is doing, and the head may give its work to others. No
//! step runs user code, and one that waits looks at `ended` too (`heed`).

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::c_long;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::ThreadId;

use park_core::{ObjectId, Session};
use parking_lot::{Mutex, RwLock};
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::worker::Worker;

/// See the module's documentation.
pub(crate) struct Member {
    /// It runs a task (not an actor): a wait then gives the task's CPU back.
    pub(crate) runs_task: AtomicBool,
    /// It runs event loops, which a `get` that waits would hold up.
    pub(crate) runs_loops: AtomicBool,
    /// User code of a task runs on its main thread.
    pub(crate) interruptible: AtomicBool,
    /// First result of what its main thread runs: also the work of threads that user code starts.
    pub(crate) main_work: Mutex<Option<ObjectId>>,
    /// The depth of that, or of the actor whose constructor runs.
    pub(crate) main_depth: AtomicU32,
    /// The worker that it is.
    worker: Mutex<Option<Arc<Worker>>>,
    /// What there is besides if it is a thread.
    thread: Option<Thread>,
}

/// A member that is a thread of the driver's process.
struct Thread {
    session: Session,
    /// The one that takes jobs, as Rust and as Python know it.
    main: (ThreadId, c_long),
    ended: AtomicBool,
    steps: RwLock<()>,
    /// An exception that says that its task was cancelled is on its way to the main thread.
    cancelling: AtomicBool,
    /// The threads that work for it, as Python knows them.
    crew: Mutex<HashSet<c_long>>,
}

static PROCESS: Member = Member::new(None);

thread_local! {
    static HERE: RefCell<Option<Arc<Member>>> = const { RefCell::new(None) };
}

/// Asks about the member that this thread works for.
pub(crate) fn with<T>(ask: impl FnOnce(&Member) -> T) -> T {
    HERE.with_borrow(|here| ask(here.as_deref().unwrap_or(&PROCESS)))
}

/// The worker thread that this thread works for, if any.
pub(crate) fn thread() -> Option<Arc<Member>> {
    HERE.with_borrow(Option::clone)
}

/// The session as the worker thread sees it that this thread works for, if any. A SystemExit if that worker has ended.
pub(crate) fn session<T>(of: impl FnOnce(&Session) -> T) -> Option<PyResult<T>> {
    HERE.with_borrow(|here| {
        let thread = here.as_ref()?.thread.as_ref()?;
        Some(thread.check().map(|()| of(&thread.session)))
    })
}

/// Does something that others see of this thread's worker; not any more once the worker has ended.
pub(crate) fn step<T>(does: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    let here = thread();
    let Some(thread) = here.as_ref().and_then(|member| member.thread.as_ref()) else {
        return does();
    };
    // Recursive: a step may be made of others, and whoever ends the worker may be waiting for the outer one.
    let _step = thread.steps.read_recursive();
    thread.check()?;
    does()
}

impl Thread {
    fn check(&self) -> PyResult<()> {
        if self.ended.load(Ordering::Acquire) {
            return Err(PySystemExit::new_err("the worker has ended"));
        }
        Ok(())
    }
}

impl Member {
    const fn new(thread: Option<Thread>) -> Self {
        Self {
            runs_task: AtomicBool::new(false),
            runs_loops: AtomicBool::new(false),
            interruptible: AtomicBool::new(false),
            main_work: Mutex::new(None),
            main_depth: AtomicU32::new(0),
            worker: Mutex::new(None),
            thread,
        }
    }

    /// This thread becomes the main one of a worker. Until what is returned is dropped, it works for that.
    pub(crate) fn enter(py: Python<'_>, session: Session) -> PyResult<Entered> {
        let ident = ident(py)?;
        let member = Arc::new(Self::new(Some(Thread {
            session,
            main: (std::thread::current().id(), ident),
            ended: AtomicBool::new(false),
            steps: RwLock::new(()),
            cancelling: AtomicBool::new(false),
            crew: Mutex::default(),
        })));
        Ok(member.joined(ident))
    }

    fn joined(self: Arc<Self>, ident: c_long) -> Entered {
        if let Some(thread) = &self.thread {
            thread.crew.lock().insert(ident);
        }
        let before = HERE.replace(Some(self.clone()));
        Entered {
            member: self,
            before,
            ident,
        }
    }

    /// The member is this worker.
    pub(crate) fn becomes(&self, worker: &Arc<Worker>) {
        *self.worker.lock() = Some(worker.clone());
    }

    /// The worker that it is.
    pub(crate) fn worker(&self) -> Option<Arc<Worker>> {
        self.worker.lock().clone()
    }

    /// Nobody needs to find the worker here any more.
    pub(crate) fn forget_worker(&self) {
        self.worker.lock().take();
    }

    /// For a thread that waits: raises what it is to be interrupted by.
    pub(crate) fn heed(&self) -> PyResult<()> {
        let Some(thread) = &self.thread else { return Ok(()) };
        thread.check()?;
        if thread.cancelling.load(Ordering::Relaxed) && thread.main.0 == std::thread::current().id() {
            Python::attach(|_| {
                if self.withdraw_cancellation() {
                    Err(PyKeyboardInterrupt::new_err(()))
                } else {
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    /// Raises a KeyboardInterrupt in the main thread, if it runs user code of a task that was cancelled. True if it will.
    pub(crate) fn interrupt(&self, py: Python<'_>) -> PyResult<bool> {
        static INTERRUPTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let Some(thread) = &self.thread else { return Ok(false) };
        let class = INTERRUPTION.get_or_try_init(py, || {
            py.import("park.threads")?.getattr("Interruption").map(Bound::unbind)
        })?;
        // Both sides hold the interpreter: user code cannot end in between. It may be that of a later task by now.
        let is_cancelled = |first| thread.session.store().is_cancelled(first);
        let due = (*self.main_work.lock()).is_some_and(is_cancelled);
        if !due || !self.interruptible.load(Ordering::SeqCst) {
            return Ok(false);
        }
        thread.cancelling.store(true, Ordering::SeqCst);
        raise_in(py, thread.main.1, class);
        Ok(true)
    }

    /// Whether the main thread was sent a KeyboardInterrupt and has not noticed.
    pub(crate) fn is_deaf(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| thread.cancelling.load(Ordering::SeqCst))
    }

    /// The interruption was raised.
    fn heard(&self) {
        if let Some(thread) = &self.thread {
            thread.cancelling.store(false, Ordering::SeqCst);
        }
    }

    /// Takes an interruption back that was not raised yet; on the main thread, with the interpreter. True if there was one.
    pub(crate) fn withdraw_cancellation(&self) -> bool {
        let Some(thread) = &self.thread else { return false };
        if !thread.cancelling.swap(false, Ordering::SeqCst) {
            return false;
        }
        absorb();
        true
    }

    /// From now on the worker takes part in nothing. True for whoever is first to say so.
    pub(crate) fn end(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.ended.swap(true, Ordering::AcqRel))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| thread.ended.load(Ordering::Acquire))
    }

    /// Raises a SystemExit in its threads, but not in this one: they come to it when they next run Python code.
    pub(crate) fn expel_crew(&self, py: Python<'_>) -> PyResult<()> {
        let Some(thread) = &self.thread else { return Ok(()) };
        let class = py.get_type::<PySystemExit>().into_any().unbind();
        let own = ident(py)?;
        let crew = thread.crew.lock();
        crew.iter()
            .filter(|ident| **ident != own)
            .for_each(|ident| raise_in(py, *ident, &class));
        Ok(())
    }

    /// After `end`: waits until no step is under way. Without the interpreter, which steps may wait for.
    pub(crate) fn await_steps(&self) {
        if let Some(thread) = &self.thread {
            drop(thread.steps.write());
        }
    }
}

/// While this lives, its thread works for a member. Dropped with the interpreter.
pub(crate) struct Entered {
    pub(crate) member: Arc<Member>,
    before: Option<Arc<Member>>,
    ident: c_long,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(thread) = &self.member.thread {
            thread.crew.lock().remove(&self.ident);
            if thread.ended.load(Ordering::Acquire) {
                // What is on its way to this thread is not for what it does next.
                absorb();
            }
        }
        drop(HERE.replace(self.before.take()));
    }
}

/// For a thread that a worker's thread starts: whom it works for.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Membership {
    member: Arc<Member>,
}

#[pymethods]
impl Membership {
    /// Calls `function` as a thread of this worker.
    fn run(&self, function: &Bound<'_, PyAny>) -> PyResult<()> {
        let _entered = self.member.clone().joined(ident(function.py())?);
        function.call0().map(drop)
    }
}

/// The worker thread that this thread works for; None if it works for its process.
#[pyfunction]
pub(crate) fn membership() -> Option<Membership> {
    thread().map(|member| Membership { member })
}

/// The interruption of this thread's task was raised.
#[pyfunction]
pub(crate) fn interruption_heard() {
    with(Member::heard);
}

/// This thread's number, as Python counts.
fn ident(py: Python<'_>) -> PyResult<c_long> {
    // Unsigned where Python shows it, signed where it is asked for: the same bits.
    let shown: u64 = py.import("threading")?.call_method0("get_ident")?.extract()?;
    Ok(shown.cast_signed())
}

/// Has a thread raise an exception of this class when it next runs Python code. Whoever calls holds the interpreter.
#[allow(unsafe_code, reason = "the one way to interrupt a thread of Python")]
fn raise_in(_: Python<'_>, ident: c_long, class: &Py<PyAny>) {
    // SAFETY: the interpreter is held; the class is alive, and Python takes a reference of its own. A number of no thread changes
    // nothing.
    unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(ident, class.as_ptr()) };
}

/// Has this thread raise here what another one asked it to, if it was, and drops that. Python has a call to take a request back, but
/// goes on looking for the exception in every thread then; one that traces never gets past its first look (Python 3.11).
fn absorb() {
    Python::attach(|py| {
        // Only who takes the interpreter anew is sure to look.
        py.detach(|| ());
        // The exception is what was asked for.
        let _ = py
            .import("park.threads")
            .and_then(|module| module.call_method0("absorb"));
    });
}
