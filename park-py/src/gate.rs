//! The one way from Python into park: which session, how to block, how errors become exceptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use park_core::sync::Turn;
use park_core::{Error, ErrorKind, ObjectRef, Session, Store};
use parking_lot::RwLock;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::member;

static SESSION: RwLock<Option<Session>> = RwLock::new(None);

/// The session of this thread, if one is open: that of its worker, if that is a thread, else the process's. An error if the worker has
/// ended.
fn open() -> PyResult<Option<Session>> {
    match member::session(Session::clone) {
        Some(session) => session.map(Some),
        None => Ok(SESSION.read().clone()),
    }
}

/// The session of this thread, if one is open.
pub(crate) fn current() -> Option<Session> {
    open().ok().flatten()
}

/// Makes `session` the process's session; the old one is returned.
pub(crate) fn replace(session: Option<Session>) -> Option<Session> {
    std::mem::replace(&mut *SESSION.write(), session)
}

/// This thread's session; opens one as `park.init()` does if there is none.
pub(crate) fn session(py: Python<'_>) -> PyResult<Session> {
    if let Some(session) = open()? {
        if session.store().is_forked() {
            session.store().check_open().or_raise(py)?;
        }
        return Ok(session);
    }
    py.import("park.session")?.call_method0("auto_init")?;
    current().ok_or_else(|| raise(py, &Error::new(ErrorKind::SessionClosed, "park is not initialized")))
}

/// The store of this thread's session.
pub(crate) fn store(py: Python<'_>) -> PyResult<Arc<Store>> {
    if let Some(store) = member::session(|session| session.store().clone()) {
        return store;
    }
    if let Some(session) = &*SESSION.read()
        && !session.store().is_forked()
    {
        return Ok(session.store().clone());
    }
    Ok(session(py)?.store().clone())
}

/// Says whether this thread's worker runs a task now.
pub(crate) fn set_runs_task(runs: bool) {
    member::with(|member| member.runs_task.store(runs, Ordering::Relaxed));
}

/// The exception for an error; `park.exceptions.from_kind` knows the classes.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    static FROM_KIND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = FROM_KIND
        .get_or_try_init(py, || {
            py.import("park.exceptions")?.getattr("from_kind").map(Bound::unbind)
        })
        .and_then(|from_kind| {
            from_kind
                .bind(py)
                .call1((error.kind().name(), error.message(), error.detail()))
        });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(broken) => broken,
    }
}

/// `?` for park's results.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for park_core::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, &error))
    }
}

/// Runs a blocking call without holding the interpreter. The call gets an interrupt that runs Python's signal handlers; what they
/// raise (KeyboardInterrupt, usually) ends the call and is what the caller sees. In a worker thread it asks whether that is to end.
pub(crate) fn block<T: Send>(
    py: Python<'_>,
    call: impl FnOnce(&mut dyn FnMut() -> park_core::Result<()>) -> park_core::Result<T> + Send,
) -> PyResult<T> {
    let mut raised: Option<PyErr> = None;
    let worker = member::thread();
    let result = py.detach(|| {
        let heed = || match &worker {
            // Signals are for the main thread of the process.
            Some(worker) => worker.heed(),
            None => Python::attach(|py| py.check_signals()),
        };
        let mut interrupt = || match heed() {
            Ok(()) => Ok(()),
            Err(exception) => {
                raised = Some(exception);
                Err(Error::new(ErrorKind::Interrupted, "interrupted by a signal"))
            }
        };
        call(&mut interrupt)
    });
    match raised {
        Some(exception) => Err(exception),
        None => result.or_raise(py),
    }
}

/// From now on this thread's worker runs event loops.
pub(crate) fn set_runs_event_loop() {
    member::with(|member| member.runs_loops.store(true, Ordering::Relaxed));
}

/// Whether this thread's worker is an async actor.
#[pyfunction]
pub(crate) fn runs_event_loop() -> bool {
    member::with(|member| member.runs_loops.load(Ordering::Relaxed))
}

/// In an async actor, says once that a blocking call holds its event loop up.
pub(crate) fn warn_of_blocking(py: Python<'_>) -> PyResult<()> {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if runs_event_loop() && !WARNED.swap(true, Ordering::Relaxed) {
        py.import("park.event_loop")?.call_method0("warn_of_blocking_get")?;
    }
    Ok(())
}

/// Whether this thread's worker runs a task now.
pub(crate) fn runs_task() -> bool {
    member::with(|member| member.runs_task.load(Ordering::Relaxed))
}

/// As `block`, for a call that will wait: the CPU of the task, if this thread's worker runs one, serves others meanwhile.
pub(crate) fn block_idle<T: Send>(
    py: Python<'_>,
    call: impl FnOnce(&mut dyn FnMut() -> park_core::Result<()>) -> park_core::Result<T> + Send,
) -> PyResult<T> {
    let session = if runs_task() { current() } else { None };
    block(py, |interrupt| {
        let Some(session) = session else {
            return call(interrupt);
        };
        session.set_blocked(true)?;
        let result = call(interrupt);
        session.set_blocked(false)?;
        result
    })
}

/// Waits until a sealed object is in memory: it may be on disk. A task keeps its CPU meanwhile, or the next task would start, bring
/// in some of its arguments, wait in its turn, and so on until all memory is held by tasks that wait for more.
pub(crate) fn bring_in(py: Python<'_>, object: &ObjectRef, timeout: Option<Duration>) -> PyResult<()> {
    if object.is_resident() || block(py, |interrupt| object.restore(timeout, interrupt))? {
        return Ok(());
    }
    // Lost on disk and being made again, which may need this task's CPU.
    block_idle(py, |interrupt| object.store().wait(&[object], 1, timeout, interrupt)).map(drop)
}

/// The right to bring these objects in one after another and keep them (`Store::gather`).
pub(crate) fn gather<'a>(py: Python<'_>, store: &'a Arc<Store>, objects: &[&ObjectRef]) -> PyResult<Option<Turn<'a>>> {
    if objects.len() < 2 || objects.iter().all(|object| object.is_resident()) {
        return Ok(None);
    }
    block(py, |interrupt| store.gather(objects, interrupt))
}

/// Waits until `need` of the objects are sealed; returns how many are. The task's CPU serves others meanwhile.
pub(crate) fn wait_for(
    py: Python<'_>,
    store: &Arc<Store>,
    refs: &[&ObjectRef],
    need: usize,
    timeout: Option<Duration>,
) -> PyResult<usize> {
    // Whoever takes a thousand results one at a time looks past the first few only when none of them is there.
    let ready = refs.iter().filter(|object| object.is_sealed()).take(need).count();
    if ready == need || timeout == Some(Duration::ZERO) {
        return Ok(ready);
    }
    block_idle(py, |interrupt| store.wait_some(refs, need, timeout, interrupt))
}
