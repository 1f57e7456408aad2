//! Cancelling, and being cancelled: how work that this process does is made to end.
//!
//! The head sends a signal to the process of a task that was cancelled. Python runs the handler that `park.worker` installed on the main
//! thread, also while that is blocked in a call of ours (`gate::block`); the handler asks `cancel_is_due`, which says yes only while user
//! code of a cancelled task runs: a signal that comes late finds other work and does nothing, and park's own steps (reading arguments,
//! storing results) are never cut in half. A signal that comes too early is made up for when user code begins (`interruptible`). A worker
//! that is a thread gets no signal, but an exception by the same rules (`worker/host.rs`).
//!
//! Calls of plain and threaded actors are not interrupted: they can ask (`is_cancelled`), and their result is an error either way. The
//! calls of an async actor are cancelled as asyncio's tasks are (`worker/lane.rs`).

use std::sync::atomic::Ordering;

use park_core::actor::cancel::cancelled;
use park_core::store::promise::Origin;
use park_core::{Error, ObjectId, Store};
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;

use crate::gate::{self, OrRaise};
use crate::member;
use crate::object::ObjectRef;
use crate::work;

/// Runs user code of the task with this first result: from here to its end, a cancellation is a KeyboardInterrupt.
pub(crate) fn interruptible<T>(store: &Store, first: ObjectId, code: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    member::with(|member| member.interruptible.store(true, Ordering::SeqCst));
    let outcome = if store.is_cancelled(first) {
        Err(PyKeyboardInterrupt::new_err(()))
    } else {
        code()
    };
    member::with(|member| {
        member.interruptible.store(false, Ordering::SeqCst);
        member.withdraw_cancellation();
    });
    outcome
}

/// Whether the work of this thread was cancelled.
#[pyfunction]
pub(crate) fn is_cancelled(py: Python<'_>) -> PyResult<bool> {
    let store = gate::store(py)?;
    Ok(work::asking(py)?.0.is_some_and(|first| store.is_cancelled(first)))
}

/// Asked by the signal handler: whether the task that the main thread runs is to be interrupted.
#[pyfunction]
pub(crate) fn cancel_is_due() -> bool {
    let due = |session: park_core::Session| work::current().is_some_and(|first| session.store().is_cancelled(first));
    member::with(|member| member.interruptible.load(Ordering::SeqCst)) && gate::current().is_some_and(due)
}

/// Cancels the work that is to make an object; `link` is the current link of its stream, if it makes one.
#[pyfunction]
pub(crate) fn cancel(
    py: Python<'_>,
    object: &ObjectRef,
    link: Option<&Bound<'_, ObjectRef>>,
    force: bool,
    recursive: bool,
) -> PyResult<()> {
    let session = gate::session(py)?;
    let id = object.object().or_raise(py)?.id();
    if force && matches!(session.store().origin(id), Some(Origin::Call { .. })) {
        return Err(PyValueError::new_err("force=True is not supported for actor tasks."));
    }
    let link = link.map(|link| link.get().id());
    py.detach(|| session.cancel(id, link, force, recursive)).or_raise(py)
}

/// The error of a call that was cancelled while it ran, whatever it returned.
pub(crate) fn error_of_call(store: &Store, results: &[ObjectId]) -> Option<Error> {
    let first = results.first().filter(|first| store.is_cancelled(**first))?;
    Some(cancelled(*first))
}
