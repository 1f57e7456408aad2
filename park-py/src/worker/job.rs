//! What running a job means, whichever thread does it: arguments in, results or an error out, and the record put away.

use std::sync::Arc;

use park_core::ipc::message::Stream;
use park_core::ipc::{Args, Payload, ToWorker};
use park_core::proc::inbox::Job;
use park_core::store::StreamBudget;
use park_core::{Error, ErrorKind, ObjectId, Store};
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::{Worker, left};
use crate::decode::{decode, unpickle};
use crate::encode::encode;
use crate::gate::{self, OrRaise};
use crate::stream::{produce, produce_fixed};

/// What became of user code: its results are sealed, or this was raised.
pub(super) type Outcome = PyResult<()>;

impl Worker {
    /// The end of a job whose results are sealed, or that raised: then that is raised in every result. An exception that ends the
    /// process is returned, and the record left to the head. `what` is the name under which errors are told.
    pub(super) fn conclude(&self, py: Python<'_>, job: &Job, outcome: Outcome, what: &str) -> PyResult<()> {
        if let Err(raised) = outcome {
            if ends_process(py, &raised) {
                let leaving = self.leave(py)?;
                let Some(actor) = self.becomes.get().filter(|_| self.ending.lock().told) else {
                    return Err(raised);
                };
                self.fail(py, job, &left(*actor))?;
                return Err(leaving.unwrap_or_else(|| PySystemExit::new_err(0)));
            }
            let error = pack(py, raised, what, results(job).0)?;
            self.fail(py, job, &error)?;
        } else {
            self.inbox_step(py, |inbox| inbox.finish(job))?;
        }
        // It may have asked for the end and then swallowed the exception that was to bring it.
        self.leave(py)?.map_or(Ok(()), Err)
    }

    /// Raises an error in every result, and puts the record away.
    pub(super) fn fail(&self, py: Python<'_>, job: &Job, error: &Error) -> PyResult<()> {
        let (returns, stream) = results(job);
        // The first link, if the generator never began; later ones were told already.
        let link = stream.and_then(|stream| stream.link);
        self.inbox_step(py, |inbox| {
            returns
                .iter()
                .chain(&link)
                .try_for_each(|id| self.store().fail(*id, error))?;
            inbox.finish_failed(job)
        })
    }
}

/// What a job promised.
pub(super) fn results(job: &Job) -> (&[ObjectId], Option<Stream>) {
    match &job.message {
        ToWorker::Run { returns, stream, .. } | ToWorker::Call { returns, stream, .. } => (returns, *stream),
        _ => (&[], None),
    }
}

/// `sys.exit`, and what ends an async actor, whose event loop must not see a SystemExit.
pub(super) fn ends_process(py: Python<'_>, raised: &PyErr) -> bool {
    static ACTOR_EXIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    raised.is_instance_of::<PySystemExit>(py)
        || ACTOR_EXIT
            .get_or_try_init(py, || {
                py.import("park.exceptions")?
                    .getattr("AsyncioActorExit")
                    .map(Bound::unbind)
            })
            .is_ok_and(|class| raised.matches(py, class).unwrap_or(false))
}

/// An exception as it travels. A KeyboardInterrupt of work that promised results is its cancellation.
pub(crate) fn pack(py: Python<'_>, raised: PyErr, what: &str, returns: &[ObjectId]) -> PyResult<Error> {
    let raised = match returns.first() {
        Some(first) if raised.is_instance_of::<PyKeyboardInterrupt>(py) => {
            let cancelled = py.import("park.task_error")?.getattr("cancelled")?;
            PyErr::from_value(cancelled.call1((raised.into_value(py), first.to_string()))?)
        }
        _ => raised,
    };
    static PACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let pack = PACK.get_or_try_init(py, || {
        py.import("park.exceptions")?
            .getattr("pack_task_error")
            .map(Bound::unbind)
    })?;
    let packed = pack.call1(py, (raised.into_value(py), what, std::process::id()))?;
    let (message, detail): (String, Vec<u8>) = packed.extract(py)?;
    Ok(Error::new(ErrorKind::TaskFailed, message).with_detail(detail))
}

/// Seals the results of a function that returned, under whose name errors of a generator are told, and in whose budget its items count.
pub(super) fn keep(
    py: Python<'_>,
    store: &Arc<Store>,
    value: &Bound<'_, PyAny>,
    what: &str,
    (returns, stream): (&[ObjectId], Option<Stream>),
    budget: Option<Arc<StreamBudget>>,
) -> PyResult<()> {
    if let (Some(stream), Some(first)) = (stream, returns.first()) {
        return produce(py, store, value, *first, (stream, budget), |raised| {
            pack(py, raised, what, returns)
        });
    }
    if value.is_instance(generator_type(py)?)? {
        return produce_fixed(py, store, value, returns);
    }
    if let [only] = returns {
        // Also for tasks that promise no result: the one object says that they ended.
        return encode(value)?.fulfil(py, store, *only);
    }
    let parts: Vec<_> = match value.try_iter() {
        Ok(parts) => parts.collect::<PyResult<_>>()?,
        Err(_) => vec![value.clone()],
    };
    if parts.len() != returns.len() {
        return Err(PyValueError::new_err(format!(
            "Task returned {} objects, but num_returns={}.",
            parts.len(),
            returns.len()
        )));
    }
    let parts = parts.iter().map(encode).collect::<PyResult<Vec<_>>>()?;
    parts
        .iter()
        .zip(returns)
        .try_for_each(|(part, id)| part.fulfil(py, store, *id))
}

fn generator_type(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static TYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let found = TYPE.get_or_try_init(py, || py.import("types")?.getattr("GeneratorType").map(Bound::unbind))?;
    Ok(found.bind(py))
}

pub(super) fn blob<'py>(py: Python<'py>, store: &Arc<Store>, id: ObjectId) -> PyResult<Bound<'py, PyBytes>> {
    let object = store.resolve(id).or_raise(py)?;
    gate::bring_in(py, &object, None)?;
    let opened = object.open().or_raise(py)?;
    Ok(PyBytes::new(py, opened.bytes()))
}

pub(super) fn load<'py>(py: Python<'py>, store: &Arc<Store>, id: ObjectId) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "pickle"))?
        .call_method1(intern!(py, "loads"), (blob(py, store, id)?,))
}

/// The arguments, with the values of their references filled in. A reference whose object is an error raises that error.
pub(super) fn load_args<'py>(
    py: Python<'py>,
    store: &Arc<Store>,
    args: &Args,
) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
    let pickled = match &args.payload {
        Payload::Inline(bytes) if bytes.is_empty() => return Ok((PyTuple::empty(py), PyDict::new(py))),
        Payload::Inline(bytes) => unpickle(py, bytes, None)?,
        Payload::Stored(id) => decode(py, &store.resolve(*id).or_raise(py)?)?,
    };
    let whole = pickled.bind(py).cast::<PyTuple>()?;
    let positional = whole.get_item(0)?.cast_into::<PyTuple>()?;
    let keywords = whole.get_item(1)?.cast_into::<PyDict>()?;
    if args.dependencies.is_empty() {
        return Ok((positional, keywords));
    }
    let mut items: Vec<Bound<'_, PyAny>> = positional.iter().collect();
    let places = whole.get_item(2)?.cast_into::<PyList>()?;
    let inputs = args.dependencies.iter().map(|id| store.resolve(*id));
    let inputs = inputs.collect::<park_core::Result<Vec<_>>>().or_raise(py)?;
    let _turn = gate::gather(py, store, &inputs.iter().collect::<Vec<_>>())?;
    for (place, input) in places.iter().zip(&inputs) {
        let value = decode(py, input)?.into_bound(py);
        match place.extract::<usize>() {
            Ok(at) if at < items.len() => items[at] = value,
            _ => keywords.set_item(place, value)?,
        }
    }
    Ok((PyTuple::new(py, items)?, keywords))
}
