//! Submitting tasks to worker processes.

use std::sync::Arc;

use park_core::ipc::message::{Amounts, Submission};
use park_core::ipc::{Args, Payload};
use park_core::{ObjectId, ParticipantId, Store};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::encode::encode_call;
use crate::gate::{self, OrRaise};
use crate::object::ObjectRef;
use crate::placement::Placement;
use crate::session::amount;

/// Amounts of named resources, exact to 0.0001.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Resources {
    pub(crate) amounts: Amounts,
}

#[pymethods]
impl Resources {
    #[new]
    fn new(amounts: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut list: Amounts = Vec::with_capacity(amounts.len());
        for (name, value) in amounts {
            let value = amount(value.extract()?)?;
            if value > 0 {
                list.push((name.extract()?, value));
            }
        }
        list.sort_unstable();
        Ok(Self { amounts: list })
    }

    fn __repr__(&self) -> String {
        format!("Resources({:?})", self.amounts)
    }
}

/// Holds that a message will own. Unless `keep` says that it does, they are given back.
pub(crate) struct Holds<'a> {
    store: &'a Arc<Store>,
    ids: Vec<ObjectId>,
}

impl<'a> Holds<'a> {
    pub(crate) fn new(store: &'a Arc<Store>) -> Self {
        Self { store, ids: Vec::new() }
    }

    pub(crate) fn add(&mut self, py: Python<'_>, id: ObjectId) -> PyResult<()> {
        self.store.hold(id).or_raise(py)?;
        self.ids.push(id);
        Ok(())
    }

    /// A hold that exists already.
    pub(crate) fn adopt(&mut self, id: ObjectId) {
        self.ids.push(id);
    }

    /// The message owns them now.
    pub(crate) fn keep(mut self) {
        self.ids.clear();
    }
}

impl Drop for Holds<'_> {
    fn drop(&mut self) {
        self.ids.iter().for_each(|id| self.store.drop_hold(*id));
    }
}

/// Serialises arguments: top-level references become dependencies, everything else is pickled together.
///
/// The pickle is `(args, kwargs)` with `None` in the place of each reference, and as a third item where those places are: indices
/// into `args`, then keys of `kwargs`, in the order of the dependencies. No arguments at all are an empty payload.
pub(crate) fn encode_args<'a>(
    store: &'a Arc<Store>,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
) -> PyResult<(Args, Holds<'a>)> {
    let py = args.py();
    let mut holds = Holds::new(store);
    let mut dependencies = Vec::new();
    if args.is_empty() && kwargs.is_empty() {
        let payload = Payload::Inline(Vec::new());
        return Ok((
            Args {
                payload,
                dependencies,
                nested: Vec::new(),
            },
            holds,
        ));
    }
    let places = PyList::empty(py);
    let mut plain_args = args.clone();
    if args.iter().any(|item| item.is_instance_of::<ObjectRef>()) {
        let mut items = Vec::with_capacity(args.len());
        for (at, item) in args.iter().enumerate() {
            if let Ok(object) = item.cast::<ObjectRef>() {
                let id = object.get().inner.id();
                holds.add(py, id)?;
                dependencies.push(id);
                places.append(at)?;
                items.push(py.None().into_bound(py));
            } else {
                items.push(item);
            }
        }
        plain_args = PyTuple::new(py, items)?;
    }
    let mut plain_kwargs = kwargs.clone();
    if kwargs.values().iter().any(|item| item.is_instance_of::<ObjectRef>()) {
        plain_kwargs = kwargs.copy()?;
        for (key, item) in kwargs {
            if let Ok(object) = item.cast::<ObjectRef>() {
                let id = object.get().inner.id();
                holds.add(py, id)?;
                dependencies.push(id);
                places.append(&key)?;
                plain_kwargs.set_item(key, py.None())?;
            }
        }
    }
    let whole = if dependencies.is_empty() {
        PyTuple::new(py, [plain_args.into_any(), plain_kwargs.into_any()])?
    } else {
        PyTuple::new(py, [plain_args.into_any(), plain_kwargs.into_any(), places.into_any()])?
    };
    let (payload, nested) = encode_call(whole.as_any())?.into_payload(py, store)?;
    if let Payload::Stored(id) = payload {
        holds.adopt(id);
    }
    nested.iter().for_each(|id| holds.adopt(*id));
    Ok((
        Args {
            payload,
            dependencies,
            nested,
        },
        holds,
    ))
}

/// Promises `count` results (at least one: the first also carries the task's claim word).
pub(crate) fn promise<'py>(
    py: Python<'py>,
    store: &Arc<Store>,
    producer: ParticipantId,
    count: usize,
    holds: &mut Holds<'_>,
) -> PyResult<(Vec<ObjectId>, Bound<'py, PyList>)> {
    let refs = PyList::empty(py);
    let mut ids = Vec::with_capacity(count.max(1));
    for at in 0..count.max(1) {
        let inner = store.promise(producer).or_raise(py)?;
        holds.adopt(inner.id());
        ids.push(inner.id());
        if at < count {
            refs.append(ObjectRef::wrap(py, inner)?)?;
        }
    }
    Ok((ids, refs))
}

/// Submits a task; returns references to its results.
#[pyfunction]
#[allow(
    clippy::too_many_arguments,
    reason = "called from one place, python/park/remote_function.py, by position"
)]
pub(crate) fn submit_task<'py>(
    function: &Bound<'py, ObjectRef>,
    name: &str,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    num_returns: usize,
    resources: &Bound<'py, Resources>,
    max_retries: i32,
    place: Option<&Bound<'py, Placement>>,
) -> PyResult<Bound<'py, PyList>> {
    let py = function.py();
    let session = gate::session(py)?;
    let store = session.store();
    let (args, mut holds) = encode_args(store, args, kwargs)?;
    let function = function.get().inner.id();
    holds.add(py, function)?;
    let (returns, refs) = promise(py, store, ParticipantId::HEAD, num_returns, &mut holds)?;
    let resources = resources.get().amounts.clone();
    let submission = Submission {
        function,
        args,
        returns,
        resources,
        place: place.map(|place| place.get().place.clone()),
        max_retries,
        name: name.to_owned(),
    };
    holds.keep();
    session.submit(submission).or_raise(py)?;
    Ok(refs)
}
