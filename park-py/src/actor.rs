//! Creating, calling, finding and killing actors. An actor's handle is a reference to its handle object, or a name of that object that
//! does not keep it alive.

use std::sync::Arc;

use park_core::ipc::ToWorker;
use park_core::ipc::message::ActorSpec;
use park_core::store::Place;
use park_core::store::promise::Work;
use park_core::{Error, ErrorKind, ObjectId, Store};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::gate::{self, OrRaise, block};
use crate::object::ObjectRef;
use crate::placement::Placement;
use crate::task::{Holds, Resources, Yield, encode_args, promise};
use crate::weak_actor::{WeakActor, actor_of};
use crate::work;

/// Creates an actor; returns the reference that is its handle. If there is one of its name, and that will do, the class of that one comes
/// with it.
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
    in_order: bool,
    place: Option<&Bound<'_, Placement>>,
    detached: bool,
    get_if_exists: bool,
) -> PyResult<(ObjectRef, Option<ObjectRef>)> {
    let py = class_.py();
    let session = gate::session(py)?;
    let store = session.store();
    let (args, mut holds) = encode_args(store, args, kwargs)?;
    let class = class_.get().id();
    holds.add(py, class)?;
    let handle = store.create_actor_handle().or_raise(py)?;
    if detached {
        holds.add(py, handle.id())?;
    }
    let spec = ActorSpec {
        actor: handle.id(),
        class,
        args,
        placement: placement.get().amounts.clone(),
        lifetime: lifetime.get().amounts.clone(),
        place: place.map(|place| place.get().place.clone()),
        max_restarts,
        in_order,
        depth: work::asking(py)?.1 + 1,
        class_name: class_name.to_owned(),
        name,
        detached,
    };
    if spec.name.is_none() {
        // On failure the holds are still ours and go back.
        session.create_actor(spec).or_raise(py)?;
        holds.keep();
        return Ok((handle.into(), None));
    }
    holds.keep();
    let found = block(py, |interrupt| session.create_named(spec, get_if_exists, interrupt))?;
    Ok(match found {
        None => (handle.into(), None),
        Some((actor, class)) => (actor.into(), Some(class.into())),
    })
}

/// What the calls of one method have in common.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct CallOptions {
    yields: Yield,
    max_task_retries: i32,
    group: String,
    retry_on: Option<Vec<u8>>,
    pending: Option<Py<PendingCalls>>,
    name: String,
}

#[pymethods]
impl CallOptions {
    /// `group` is the concurrency group, empty for the actor's own; `retry_on` says after which exceptions the call is repeated, for
    /// `park.worker.wants_retry` to read; `name` is what people know the call by, empty for its method's name.
    #[new]
    fn new(
        yields: Yield,
        max_task_retries: i32,
        group: String,
        retry_on: Option<Vec<u8>>,
        pending: Option<Py<PendingCalls>>,
        name: String,
    ) -> Self {
        Self {
            yields,
            max_task_retries,
            group,
            retry_on,
            pending,
            name,
        }
    }
}

/// This process's calls to an actor that are not done, and how many there may be.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct PendingCalls {
    limit: usize,
    /// The first result of each, without a hold. Some may be done; they are looked at only when the limit is reached.
    open: Mutex<Vec<ObjectId>>,
}

#[pymethods]
impl PendingCalls {
    #[new]
    fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Mutex::default(),
        }
    }
}

impl PendingCalls {
    /// Refuses a call too many.
    fn check(&self, py: Python<'_>, store: &park_core::Store, method: &str) -> PyResult<()> {
        let mut open = self.open.lock();
        if open.len() >= self.limit {
            open.retain(|id| store.is_promised(*id));
        }
        if open.len() < self.limit {
            return Ok(());
        }
        let class = py.import("park.exceptions")?.getattr("PendingCallsLimitExceeded")?;
        let text = format!(
            "The task {method} could not be submitted to the actor because more than {} tasks are queued on the actor. This limit can be \
             adjusted with the `max_pending_calls` actor option.",
            self.limit
        );
        Err(PyErr::from_value(class.call1((text,))?))
    }
}

/// Calls a method; returns references to its results, or to the result and the first link of its stream.
#[pyfunction]
pub(crate) fn call_actor<'py>(
    handle: &Bound<'py, PyAny>,
    method: &str,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    options: &Bound<'py, CallOptions>,
) -> PyResult<Bound<'py, PyList>> {
    let py = handle.py();
    let session = gate::session(py)?;
    let store = session.store();
    let options = options.get();
    if let Some(pending) = &options.pending {
        pending.get().check(py, store, method)?;
    }
    let actor = actor_of(handle)?;
    let (args, mut holds) = encode_args(store, args, kwargs)?;
    if let Err(error) = store.hold(actor) {
        // Only the handles that do not keep their actor alive see it gone.
        return if error.kind() == ErrorKind::NotFound {
            refused(py, store, &options.yields)
        } else {
            Err(gate::raise(py, &error))
        };
    }
    holds.adopt(actor);
    let producer = match store.actor_place(actor).or_raise(py)? {
        Place::Bound { participant, .. } => participant,
        Place::Unbound | Place::Dead { .. } => store.me(),
    };
    let promised = promise(py, store, (Work::Call, producer), &options.yields, &mut holds)?;
    if let (Some(pending), Some(first)) = (&options.pending, promised.ids.first()) {
        pending.get().open.lock().push(*first);
    }
    let (parent, depth) = work::asking(py)?;
    let call = ToWorker::Call {
        actor,
        method: method.to_owned(),
        args,
        returns: promised.ids,
        stream: promised.stream,
        parent,
        depth: depth + 1,
        caller: session.me(),
        group: options.group.clone(),
        retries: options.max_task_retries,
        retry_on: options.retry_on.clone(),
        name: options.name.clone(),
    };
    holds.keep();
    session.call_actor(actor, &call).or_raise(py)?;
    Ok(promised.refs)
}

/// The results of a call of an actor that is gone.
fn refused<'py>(py: Python<'py>, store: &Arc<Store>, yields: &Yield) -> PyResult<Bound<'py, PyList>> {
    let mut holds = Holds::new(store);
    let promised = promise(py, store, (Work::Call, store.me()), yields, &mut holds)?;
    let gone = Error::new(
        ErrorKind::ActorDied,
        "The actor is dead because all references to the actor were removed.",
    );
    let link = promised.stream.and_then(|stream| stream.link);
    promised
        .ids
        .iter()
        .chain(&link)
        .try_for_each(|id| store.fail(*id, &gone))
        .or_raise(py)?;
    Ok(promised.refs)
}

/// Kills an actor's process.
#[pyfunction]
pub(crate) fn kill_actor(py: Python<'_>, handle: &Bound<'_, PyAny>, no_restart: bool) -> PyResult<()> {
    let session = gate::session(py)?;
    let actor = actor_of(handle)?;
    match session.store().actor_place(actor) {
        Err(error) if error.kind() == ErrorKind::NotFound && handle.is_instance_of::<WeakActor>() => return Ok(()),
        place => place.or_raise(py)?,
    };
    py.detach(|| session.kill_actor(actor, no_restart)).or_raise(py)
}

/// The handle and the class of the actor with this namespace and name.
#[pyfunction]
pub(crate) fn find_actor(py: Python<'_>, namespace: String, name: String) -> PyResult<(ObjectRef, ObjectRef)> {
    let session = gate::session(py)?;
    let (actor, class) = block(py, |interrupt| session.find_actor(&namespace, &name, interrupt))?;
    Ok((actor.into(), class.into()))
}
