//! Streams of results: what a worker does with a generator, and what its consumer holds.
//!
//! The protocol is the core's (park-core/src/store/stream.rs). Here values become items, exceptions become the item that raises them,
//! and user code between two items is interruptible.

use std::sync::Arc;

use park_core::ipc::message::Stream;
use park_core::store::StreamBudget;
use park_core::store::stream::{Link, StreamWriter};
use park_core::{Error, ObjectId, ParticipantId, Store};
use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::cancel::interruptible;
use crate::encode::encode;
use crate::gate::{self, OrRaise, block, block_idle};
use crate::member;
use crate::object::ObjectRef;
use crate::worker::pack;

/// The consuming end of a stream.
///
/// `park.ObjectRefGenerator` is this and the rules of iteration. Not for two threads at a time.
#[pyclass(frozen, subclass, weakref, module = "park._park")]
pub(crate) struct StreamReader {
    result: Py<ObjectRef>,
    place: Mutex<Place>,
}

/// Where a consumer is.
struct Place {
    link: park_core::ObjectRef,
    /// The error that ended the stream was given out.
    raised: bool,
}

impl StreamReader {
    /// The link that it waits for.
    pub(crate) fn link(&self) -> park_core::ObjectRef {
        self.place.lock().link.clone()
    }
}

#[pymethods]
impl StreamReader {
    /// The stream of the work with this result, from this link on.
    #[new]
    fn new(py: Python<'_>, result: Py<ObjectRef>, link: &ObjectRef) -> PyResult<Self> {
        Ok(Self {
            result,
            place: Mutex::new(Place {
                link: link.object().or_raise(py)?.clone(),
                raised: false,
            }),
        })
    }

    /// The result that says how the generator ended.
    #[getter]
    fn _generator_ref(&self, py: Python<'_>) -> Py<ObjectRef> {
        self.result.clone_ref(py)
    }

    /// An object that is there once the next item is, or the end.
    #[getter]
    fn _link(&self) -> ObjectRef {
        self.link().into()
    }

    /// Whether the next item, or the end, is there.
    fn _is_ready(&self) -> bool {
        self.place.lock().link.is_sealed()
    }

    /// The next item, which must be there; None at the end. A stream that broke gives the result that says why, and then ends.
    fn _take(&self, py: Python<'_>) -> PyResult<Option<Py<ObjectRef>>> {
        let store = gate::store(py)?;
        let mut place = self.place.lock();
        match store.take_link(&place.link).or_raise(py)? {
            Link::Item { item, next } => {
                place.link = next;
                ObjectRef::wrap(py, item).map(Some)
            }
            Link::End => Ok(None),
            Link::Broken if std::mem::replace(&mut place.raised, true) => Ok(None),
            Link::Broken => Ok(Some(self.result.clone_ref(py))),
        }
    }

    /// Whether everything was taken and nothing will come.
    fn is_finished(&self, py: Python<'_>) -> PyResult<bool> {
        let place = self.place.lock();
        let link = &place.link;
        if !link.is_sealed() || (link.is_error() && !place.raised) {
            return Ok(false);
        }
        Ok(link.is_error() || link.open().and_then(|open| open.nested()).or_raise(py)?.is_empty())
    }
}

/// The producing end of the stream of an async generator, which its event loop drives (python/park/event_loop.py).
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Producer {
    store: Arc<Store>,
    writer: Mutex<StreamWriter>,
    first: ObjectId,
    /// How many items it is given at a time.
    group: usize,
    /// Under which errors are told.
    name: String,
}

impl Producer {
    /// None for the older kind of generator, whose items are given out together.
    pub(crate) fn new(
        store: &Arc<Store>,
        first: ObjectId,
        stream: Stream,
        budget: Option<Arc<StreamBudget>>,
        name: String,
    ) -> Option<Self> {
        stream.link.map(|link| Self {
            store: store.clone(),
            writer: Mutex::new(writer(store, first, link, stream, budget)),
            first,
            group: stream.group as usize,
            name,
        })
    }
}

#[pymethods]
impl Producer {
    /// What was yielded: the next item, or several together.
    fn push(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        give(value.py(), &self.store, value, self.group, &mut self.writer.lock())
    }

    /// Whether the generator may run on: the actor's budget has room, which is reserved.
    fn may_go_on(&self) -> bool {
        self.writer.lock().try_reserve(self.group)
    }

    /// What tells that the budget has more room, as soon as any of them is there.
    fn budget_waits_for(&self, py: Python<'_>) -> PyResult<Vec<Py<ObjectRef>>> {
        let tickets = self.writer.lock().budget_waits_for();
        tickets
            .iter()
            .map(|ticket| ObjectRef::wrap(py, ticket.as_ref().clone()))
            .collect()
    }

    /// The last item: it raises this exception.
    fn push_error(&self, raised: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = raised.py();
        let mut writer = self.writer.lock();
        if writer.wants_item() {
            let error = pack(py, PyErr::from_value(raised.clone()), &self.name, &[self.first])?;
            let item = self.store.put_error(&error).or_raise(py)?;
            member::step(|| writer.push(&item).or_raise(py))?;
        }
        Ok(())
    }

    /// What is there once another item may be made; None if it may be made now.
    fn full_until(&self, py: Python<'_>) -> PyResult<Option<Py<ObjectRef>>> {
        let ticket = self.writer.lock().full_until();
        ticket
            .map(|ticket| ObjectRef::wrap(py, ticket.as_ref().clone()))
            .transpose()
    }

    /// There are no more items.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        member::step(|| self.writer.lock().end().or_raise(py))
    }

    /// There will be no more items, because of this exception.
    fn fail(&self, raised: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = raised.py();
        let error = pack(py, PyErr::from_value(raised.clone()), &self.name, &[self.first])?;
        member::step(|| self.writer.lock().fail(&error).or_raise(py))
    }
}

/// Who answers for the links that this thread makes.
fn me(store: &Store) -> ParticipantId {
    gate::current().map_or(store.me(), |session| session.me())
}

/// The producing end of a stream, whose items count in this budget.
fn writer(
    store: &Arc<Store>,
    first: ObjectId,
    link: ObjectId,
    stream: Stream,
    budget: Option<Arc<StreamBudget>>,
) -> StreamWriter {
    let limit = stream.limit.map(|limit| limit as usize);
    StreamWriter::new(store, me(store), first, link, limit).within(budget)
}

/// Makes items of one thing that was yielded: of it, or if the generator yields `group` at a time, of what it holds.
fn give(
    py: Python<'_>,
    store: &Arc<Store>,
    value: &Bound<'_, PyAny>,
    group: usize,
    writer: &mut StreamWriter,
) -> PyResult<()> {
    let several = if group > 1 { Some(group_of(value, group)?) } else { None };
    let values = several.as_deref().unwrap_or(std::slice::from_ref(value));
    // All are there before the first is given: together, or none.
    let items = values.iter().map(|value| {
        let wanted = writer.wants_item();
        Ok(if wanted {
            Some(encode(value)?.put(py, store)?)
        } else {
            None
        })
    });
    let items = items.collect::<PyResult<Vec<_>>>()?;
    items
        .iter()
        .flatten()
        .try_for_each(|item| member::step(|| writer.push(item).or_raise(py)))
}

/// The values that were yielded together.
fn group_of<'py>(value: &Bound<'py, PyAny>, group: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let listed = value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyList>();
    let found = if listed { Some(value.len()?) } else { None };
    if found == Some(group) {
        return value.try_iter()?.collect();
    }
    let what = match found {
        Some(length) => format!("{} of {length}", value.get_type()),
        None => value.get_type().to_string(),
    };
    Err(PyValueError::new_err(format!(
        "the generator has _num_objects_per_yield={group}, so it must yield a tuple or list of {group} objects each time, but it \
         yielded {what}"
    )))
}

/// Makes items of what an iterator yields. `pack` turns an exception into what travels. What is returned as an error has broken the
/// stream, and is to be raised in the work's first result.
pub(crate) fn produce(
    py: Python<'_>,
    store: &Arc<Store>,
    values: &Bound<'_, PyAny>,
    first: ObjectId,
    (stream, budget): (Stream, Option<Arc<StreamBudget>>),
    pack: impl Fn(PyErr) -> PyResult<Error>,
) -> PyResult<()> {
    let Some(link) = stream.link else {
        return together(py, store, values, first, pack);
    };
    let mut writer = writer(store, first, link, stream, budget);
    let outcome = fill(py, store, values, (first, stream.group as usize), &mut writer, &pack);
    match outcome {
        Ok(()) => {
            member::step(|| writer.end().or_raise(py))?;
            encode(&py.None().into_bound(py))?.fulfil(py, store, first)
        }
        // The process is about to end: the head says what becomes of the stream.
        Err(exit) if exit.is_instance_of::<PySystemExit>(py) => Err(exit),
        Err(raised) => {
            let error = pack(raised.clone_ref(py))?;
            member::step(|| writer.fail(&error).or_raise(py))?;
            Err(raised)
        }
    }
}

fn fill(
    py: Python<'_>,
    store: &Arc<Store>,
    values: &Bound<'_, PyAny>,
    (first, group): (ObjectId, usize),
    writer: &mut StreamWriter,
    pack: &impl Fn(PyErr) -> PyResult<Error>,
) -> PyResult<()> {
    let mut values = values.try_iter()?;
    loop {
        if !writer.try_reserve(group) {
            let wait = || block_idle(py, |interrupt| writer.reserve(group, interrupt));
            interruptible(store, first, wait)?;
        }
        let Some(next) = interruptible(store, first, || Ok(values.next()))? else {
            break;
        };
        match next.and_then(|value| give(py, store, &value, group, writer)) {
            Ok(()) => {}
            Err(raised) if ends_stream(py, &raised) => return Err(raised),
            Err(raised) => {
                if writer.wants_item() {
                    let item = store.put_error(&pack(raised)?).or_raise(py)?;
                    member::step(|| writer.push(&item).or_raise(py))?;
                }
                return Ok(());
            }
        }
        if writer.is_full() {
            let wait = || block_idle(py, |interrupt| writer.wait_for_room(interrupt));
            interruptible(store, first, wait)?;
        }
    }
    match writer.missing() {
        0 => Ok(()),
        missing => {
            let class = py
                .import("park.exceptions")?
                .getattr("StreamingGeneratorReplayInconsistentError")?;
            let text = format!("the generator was run again and yielded {missing} objects less than before");
            Err(PyErr::from_value(class.call1((text,))?))
        }
    }
}

/// A cancellation, and what ends the process, is no item.
fn ends_stream(py: Python<'_>, raised: &PyErr) -> bool {
    raised.is_instance_of::<PyKeyboardInterrupt>(py) || raised.is_instance_of::<PySystemExit>(py)
}

/// The one result holds references to all items.
fn together(
    py: Python<'_>,
    store: &Arc<Store>,
    values: &Bound<'_, PyAny>,
    first: ObjectId,
    pack: impl Fn(PyErr) -> PyResult<Error>,
) -> PyResult<()> {
    let items = PyList::empty(py);
    let mut values = values.try_iter()?;
    while let Some(next) = interruptible(store, first, || Ok(values.next()))? {
        let item = match next.and_then(|value| encode(&value)?.put(py, store)) {
            Ok(item) => item,
            Err(raised) if ends_stream(py, &raised) => return Err(raised),
            Err(raised) => {
                let error = pack(raised)?;
                items.append(ObjectRef::wrap(py, store.put_error(&error).or_raise(py)?)?)?;
                break;
            }
        };
        items.append(ObjectRef::wrap(py, item)?)?;
    }
    let all = py
        .import("park.streaming")?
        .getattr("DynamicObjectRefGenerator")?
        .call1((items,))?;
    encode(&all)?.fulfil(py, store, first)
}

/// The results of a generator that promised how many there are: each is there as soon as it is yielded. More are left out.
pub(crate) fn produce_fixed(
    py: Python<'_>,
    store: &Arc<Store>,
    values: &Bound<'_, PyAny>,
    returns: &[ObjectId],
) -> PyResult<()> {
    let Some(first) = returns.first() else { return Ok(()) };
    let mut values = values.try_iter()?;
    for (made, result) in returns.iter().enumerate() {
        let Some(value) = interruptible(store, *first, || values.next().transpose())? else {
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "Task returned {made} objects, but num_returns={}.",
                returns.len()
            )));
        };
        encode(&value)?.fulfil(py, store, *result)?;
    }
    Ok(())
}

/// Waits until the next item, or the end, is there; false after `timeout` seconds.
#[pyfunction]
pub(crate) fn wait_for_item(py: Python<'_>, reader: &StreamReader, timeout: Option<f64>) -> PyResult<bool> {
    let timeout = crate::object::timeout_of(timeout, "get")?;
    let store = gate::store(py)?;
    let link = reader.link();
    let ready = if link.is_sealed() {
        1
    } else {
        gate::wait_for(py, &store, &[&link], 1, timeout)?
    };
    // A signal may have come in a wait that was too short for it to be seen.
    block(py, |interrupt| interrupt())?;
    Ok(ready > 0)
}
