//! Submitting tasks to worker processes.

use std::sync::Arc;

use park_core::ipc::message::{Amounts, Stream, Submission};
use park_core::ipc::{Args, Payload};
use park_core::store::promise::Work;
use park_core::{ObjectId, ParticipantId, Store};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::encode::encode_call;
use crate::gate::{self, OrRaise};
use crate::object::ObjectRef;
use crate::placement::Placement;
use crate::session::amount;
use crate::work;

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
                let id = object.get().object().or_raise(py)?.id();
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
                let id = object.get().object().or_raise(py)?.id();
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

/// How many results a task or call has: a number, or "streaming" or "dynamic" with a bound for what may wait to be taken and how many
/// items come with each `yield`.
#[derive(FromPyObject)]
pub(crate) enum Yield {
    Number(usize),
    Stream(String, Option<u32>, u32),
}

/// What is promised for a task or call.
pub(crate) struct Promised<'py> {
    pub(crate) ids: Vec<ObjectId>,
    pub(crate) stream: Option<Stream>,
    /// The results; of a stream, its result and its first link.
    pub(crate) refs: Bound<'py, PyList>,
}

/// Promises results: at least one, for the first also carries the claim word.
pub(crate) fn promise<'py>(
    py: Python<'py>,
    store: &Arc<Store>,
    (work, producer): (Work, ParticipantId),
    yields: &Yield,
    holds: &mut Holds<'_>,
) -> PyResult<Promised<'py>> {
    let count = if let Yield::Number(count) = yields { *count } else { 1 };
    let results = store.promise_results(producer, work, count.max(1)).or_raise(py)?;
    let ids: Vec<ObjectId> = results.iter().map(park_core::ObjectRef::id).collect();
    ids.iter().for_each(|id| holds.adopt(*id));
    let refs = PyList::empty(py);
    for inner in results.into_iter().take(count) {
        refs.append(ObjectRef::wrap(py, inner)?)?;
    }
    let stream = match yields {
        Yield::Number(_) => None,
        Yield::Stream(kind, _, group) if kind == "dynamic" => Some(Stream {
            link: None,
            limit: None,
            group: *group,
        }),
        Yield::Stream(_, limit, group) => {
            // Not the actor's: until the call begins, its caller answers for it.
            let producer = match work {
                Work::Task => ParticipantId::HEAD,
                Work::Call => store.me(),
            };
            let link = store.promise_stream(producer, ids[0]).or_raise(py)?;
            let id = link.id();
            refs.append(ObjectRef::wrap(py, link)?)?;
            Some(Stream {
                link: Some(id),
                limit: *limit,
                group: *group,
            })
        }
    };
    Ok(Promised { ids, stream, refs })
}

/// Submits a task; returns references to its results, or to the result and the first link of its stream.
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
    num_returns: Yield,
    resources: &Bound<'py, Resources>,
    max_retries: i32,
    place: Option<&Bound<'py, Placement>>,
) -> PyResult<Bound<'py, PyList>> {
    let py = function.py();
    let session = gate::session(py)?;
    let store = session.store();
    let (args, mut holds) = encode_args(store, args, kwargs)?;
    let function = function.get().id();
    holds.add(py, function)?;
    let promised = promise(py, store, (Work::Task, ParticipantId::HEAD), &num_returns, &mut holds)?;
    let resources = resources.get().amounts.clone();
    let (parent, depth) = work::asking(py)?;
    let submission = Submission {
        function,
        args,
        returns: promised.ids,
        stream: promised.stream,
        parent,
        depth: depth + 1,
        resources,
        place: place.map(|place| place.get().place.clone()),
        max_retries,
        name: name.to_owned(),
    };
    holds.keep();
    session.submit(submission).or_raise(py)?;
    Ok(promised.refs)
}
