//! Creating, calling, finding and killing actors. An actor's handle is a reference to its handle object.

use park_core::ipc::ToWorker;
use park_core::ipc::message::ActorSpec;
use park_core::store::Place;
use park_core::store::promise::Work;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::cancel;
use crate::gate::{self, OrRaise, block};
use crate::object::ObjectRef;
use crate::task::{Resources, Yield, encode_args, promise};

/// Creates an actor; returns the reference that is its handle.
#[pyfunction]
#[allow(
    clippy::too_many_arguments,
    reason = "called from one place, python/park/actor.py, by position"
)]
pub(crate) fn create_actor(
    class_: &Bound<'_, ObjectRef>,
    class_name: &str,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
    placement: &Bound<'_, Resources>,
    lifetime: &Bound<'_, Resources>,
    max_restarts: i32,
    name: Option<(String, String)>,
) -> PyResult<ObjectRef> {
    let py = class_.py();
    let session = gate::session(py)?;
    let store = session.store();
    let (args, mut holds) = encode_args(store, args, kwargs)?;
    let class = class_.get().inner.id();
    holds.add(py, class)?;
    let handle = store.create_actor_handle().or_raise(py)?;
    let spec = ActorSpec {
        actor: handle.id(),
        class,
        args,
        placement: placement.get().amounts.clone(),
        lifetime: lifetime.get().amounts.clone(),
        max_restarts,
        class_name: class_name.to_owned(),
        name,
    };
    // On failure the holds are still ours and go back.
    session.create_actor(spec).or_raise(py)?;
    holds.keep();
    Ok(ObjectRef { inner: handle })
}

/// Calls a method; returns references to its results, or to the result and the first link of its stream.
#[pyfunction]
pub(crate) fn call_actor<'py>(
    handle: &Bound<'py, ObjectRef>,
    method: &str,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    num_returns: Yield,
    max_task_retries: i32,
) -> PyResult<Bound<'py, PyList>> {
    let py = handle.py();
    let session = gate::session(py)?;
    let store = session.store();
    let actor = handle.get().inner.id();
    let (args, mut holds) = encode_args(store, args, kwargs)?;
    holds.add(py, actor)?;
    let producer = match store.actor_place(actor).or_raise(py)? {
        Place::Bound { participant, .. } => participant,
        Place::Unbound | Place::Dead { .. } => store.me(),
    };
    let promised = promise(py, store, (Work::Call, producer), &num_returns, &mut holds)?;
    let call = ToWorker::Call {
        actor,
        method: method.to_owned(),
        args,
        returns: promised.ids,
        stream: promised.stream,
        parent: cancel::current_work(),
        caller: store.me(),
        retries: max_task_retries,
    };
    holds.keep();
    session.call_actor(actor, &call).or_raise(py)?;
    Ok(promised.refs)
}

/// Kills an actor's process.
#[pyfunction]
pub(crate) fn kill_actor(py: Python<'_>, handle: &Bound<'_, ObjectRef>, no_restart: bool) -> PyResult<()> {
    let session = gate::session(py)?;
    let actor = handle.get().inner.id();
    session.store().actor_place(actor).or_raise(py)?;
    py.detach(|| session.kill_actor(actor, no_restart)).or_raise(py)
}

/// The handle and the class of the actor with this namespace and name.
#[pyfunction]
pub(crate) fn find_actor(py: Python<'_>, namespace: String, name: String) -> PyResult<(ObjectRef, ObjectRef)> {
    let session = gate::session(py)?;
    let (actor, class) = block(py, |interrupt| session.find_actor(&namespace, &name, interrupt))?;
    Ok((ObjectRef { inner: actor }, ObjectRef { inner: class }))
}
