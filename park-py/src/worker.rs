//! The loop of a worker process: take a job, run it, seal its results, report it.
//!
//! A job's results are sealed before it is reported, and it is reported before its record leaves the ring: a death at any point
//! leaves either a finished job or one that the head can repeat or raise.

use std::collections::HashMap;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

use park_core::ipc::message::Stream;
use park_core::ipc::{Args, Payload, ToHead, ToWorker};
use park_core::{Error, ErrorKind, ObjectId, ParticipantId, Session, Store};
use pyo3::exceptions::{PyAttributeError, PyKeyboardInterrupt, PySystemExit, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::cancel::{self, interruptible};
use crate::decode::{decode, unpickle};
use crate::encode::encode;
use crate::gate::{self, OrRaise, block, replace, set_runs_task};
use crate::method::method_of;
use crate::stream::{produce, produce_fixed};

/// The number of this worker process in its session; 0 elsewhere.
#[pyfunction]
pub(crate) fn worker_participant() -> u16 {
    gate::current()
        .filter(|session| session.inbox().is_ok())
        .map_or(0, |session| session.store().me().0)
}

/// A function that this process has loaded.
struct Function {
    code: Py<PyAny>,
    name: String,
    /// How often it may still be run here.
    left: Option<u32>,
}

/// What this process has loaded and become.
struct Worker {
    session: Session,
    functions: HashMap<ObjectId, Function>,
    /// A function was run as often as one process may.
    worn_out: bool,
    actor: Option<(Py<PyAny>, String)>,
}

/// Runs jobs until this process is told to end. The descriptors are the session's segments, inherited from the zygote.
#[pyfunction]
#[allow(unsafe_code, reason = "takes over two descriptors by number")]
pub(crate) fn worker_main(py: Python<'_>, control: i32, arena: i32, participant: u16) -> PyResult<()> {
    // SAFETY: the zygote received this descriptor for its workers, and this process, forked for the purpose, uses it here only.
    let control = unsafe { OwnedFd::from_raw_fd(control) };
    // SAFETY: as above.
    let arena = unsafe { OwnedFd::from_raw_fd(arena) };
    let session = Session::join_as_worker(control, arena, ParticipantId(participant)).or_raise(py)?;
    drop(replace(Some(session.clone())));
    let mut worker = Worker {
        session: session.clone(),
        functions: HashMap::new(),
        worn_out: false,
        actor: None,
    };
    let inbox = session.inbox().or_raise(py)?;
    loop {
        let job = block(py, |interrupt| inbox.next(interrupt))?;
        if !inbox.begin(&job).or_raise(py)? {
            continue;
        }
        let more = worker.run(py, &job.message)?;
        inbox.finish(&job).or_raise(py)?;
        if worker.worn_out {
            return session.leave().or_raise(py);
        }
        if !more {
            return Ok(());
        }
    }
}

impl Worker {
    fn store(&self) -> &Arc<Store> {
        self.session.store()
    }

    /// Runs one job. False if the process is to end. An error is one of the process, not of user code.
    fn run(&mut self, py: Python<'_>, message: &ToWorker) -> PyResult<bool> {
        match message {
            ToWorker::Run {
                function,
                args,
                returns,
                stream,
                ..
            } => {
                let _now = cancel::enter(returns.first().copied(), true);
                set_runs_task(true);
                let outcome = self.run_task(py, *function, args, returns, *stream);
                set_runs_task(false);
                let name = self
                    .functions
                    .get(function)
                    .map_or("task", |function| function.name.as_str());
                self.settle(py, outcome, name, returns, *stream)?;
                Ok(true)
            }
            ToWorker::Call {
                method,
                args,
                returns,
                stream,
                ..
            } => {
                let _now = cancel::enter(returns.first().copied(), true);
                let outcome = self.run_call(py, method, args, returns, *stream);
                self.settle(py, outcome, &self.call_name(method), returns, *stream)?;
                Ok(true)
            }
            ToWorker::Cancel { call } => {
                cancel::interrupt_call(py, *call)?;
                Ok(true)
            }
            ToWorker::Create {
                actor,
                class,
                args,
                restarts,
            } => self.become_actor(py, *actor, *class, args, *restarts),
            ToWorker::Retire => Ok(false),
        }
    }

    fn call_name(&self, method: &str) -> String {
        let class = self.actor.as_ref().map_or("actor", |(_, class)| class.as_str());
        format!("{class}.{method}")
    }

    fn run_task(
        &mut self,
        py: Python<'_>,
        id: ObjectId,
        args: &Args,
        returns: &[ObjectId],
        stream: Option<Stream>,
    ) -> PyResult<()> {
        if !self.functions.contains_key(&id) {
            let function = load(py, self.store(), id)?;
            let name = function
                .getattr("__qualname__")
                .and_then(|name| name.extract())
                .unwrap_or_else(|_| "task".to_owned());
            let left = match function.getattr(intern!(py, "__park_max_calls__")) {
                Ok(most) => Some(most.extract()?),
                Err(_) => None,
            };
            let code = function.unbind();
            self.functions.insert(id, Function { code, name, left });
        }
        if let Some(left) = self.functions.get_mut(&id).and_then(|function| function.left.as_mut()) {
            *left = left.saturating_sub(1);
            self.worn_out = *left == 0;
        }
        let (args, kwargs) = load_args(py, self.store(), args)?;
        let (Some(function), Some(first)) = (self.functions.get(&id), returns.first()) else {
            return Ok(());
        };
        let call = || function.code.bind(py).call(args, Some(&kwargs));
        let value = interruptible(self.store(), *first, call)?;
        self.keep(py, &value, &function.name, returns, stream)
    }

    fn run_call(
        &self,
        py: Python<'_>,
        method: &str,
        args: &Args,
        returns: &[ObjectId],
        stream: Option<Stream>,
    ) -> PyResult<()> {
        let (args, kwargs) = load_args(py, self.store(), args)?;
        let Some((instance, class)) = &self.actor else {
            return Err(PyAttributeError::new_err("the actor was not created"));
        };
        let instance = instance.bind(py);
        let Ok(bound) = method_of(instance, method) else {
            return Err(PyAttributeError::new_err(format!(
                "'{class}' object has no attribute '{method}'"
            )));
        };
        let value = bound.call(args, Some(&kwargs));
        let exits = value
            .as_ref()
            .is_err_and(|raised| raised.is_instance_of::<PySystemExit>(py));
        if let Some(error) = cancel::error_of_call(self.store(), returns)
            && !exits
        {
            return self.fail(&error, returns, stream).or_raise(py);
        }
        let value = value?;
        self.keep(py, &value, &self.call_name(method), returns, stream)
    }

    /// Seals the results of a function that returned.
    fn keep(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        what: &str,
        returns: &[ObjectId],
        stream: Option<Stream>,
    ) -> PyResult<()> {
        if let (Some(stream), Some(first)) = (stream, returns.first()) {
            return produce(py, self.store(), value, *first, stream, |raised| {
                self.pack(py, raised, what, returns)
            });
        }
        if value.is_instance(generator_type(py)?)? {
            return produce_fixed(py, self.store(), value, returns);
        }
        if let [only] = returns {
            // Also for tasks that promise no result: the one object says that they ended.
            return encode(value)?.fulfil(py, self.store(), *only);
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
            .try_for_each(|(part, id)| part.fulfil(py, self.store(), *id))
    }

    /// Raises what user code raised, in every result.
    fn settle(
        &self,
        py: Python<'_>,
        outcome: PyResult<()>,
        what: &str,
        returns: &[ObjectId],
        stream: Option<Stream>,
    ) -> PyResult<()> {
        let Err(raised) = outcome else { return Ok(()) };
        if raised.is_instance_of::<PySystemExit>(py) {
            return Err(raised);
        }
        let error = self.pack(py, raised, what, returns)?;
        self.fail(&error, returns, stream).or_raise(py)
    }

    fn fail(&self, error: &Error, returns: &[ObjectId], stream: Option<Stream>) -> park_core::Result<()> {
        // The first link, if the generator never began; later ones were told already.
        let link = stream.and_then(|stream| stream.link);
        returns
            .iter()
            .chain(&link)
            .try_for_each(|id| self.store().fail(*id, error))
    }

    fn pack(&self, py: Python<'_>, raised: PyErr, what: &str, returns: &[ObjectId]) -> PyResult<Error> {
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

    fn become_actor(
        &mut self,
        py: Python<'_>,
        actor: ObjectId,
        class: ObjectId,
        args: &Args,
        restarts: u32,
    ) -> PyResult<bool> {
        let mut constructor = "__init__".to_owned();
        let made = self.instantiate(py, class, args, restarts, &mut constructor);
        match made {
            Ok(instance) => {
                let class = instance.bind(py).get_type().qualname()?.to_string();
                self.actor = Some((instance, class));
                self.session.report_actor(ToHead::ActorReady { actor }).or_raise(py)?;
                Ok(true)
            }
            Err(raised) if raised.is_instance_of::<PySystemExit>(py) => Err(raised),
            Err(raised) => {
                let packed = self.pack(py, raised, &constructor, &[])?;
                let error = Error::new(ErrorKind::ActorDied, packed.message()).with_detail(packed.detail().to_vec());
                let store = self.store();
                let cause = store.promise(store.me()).or_raise(py)?;
                store.fail(cause.id(), &error).or_raise(py)?;
                // The promise's own hold travels with the message.
                self.session
                    .report_actor(ToHead::ActorFailed {
                        actor,
                        cause: cause.id(),
                    })
                    .or_raise(py)?;
                Ok(false)
            }
        }
    }

    /// Loads the class and calls it. `constructor` becomes the name under which an error of it is told.
    fn instantiate(
        &self,
        py: Python<'_>,
        class: ObjectId,
        args: &Args,
        restarts: u32,
        constructor: &mut String,
    ) -> PyResult<Py<PyAny>> {
        let blob = blob(py, self.store(), class)?;
        let helper = py.import("park.worker")?;
        let class = helper.call_method1("load_actor_class", (blob, restarts))?;
        *constructor = format!("{}.__init__", class.getattr("__qualname__")?);
        let (args, kwargs) = load_args(py, self.store(), args)?;
        Ok(class.call(args, Some(&kwargs))?.unbind())
    }
}

fn generator_type(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static TYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let found = TYPE.get_or_try_init(py, || py.import("types")?.getattr("GeneratorType").map(Bound::unbind))?;
    Ok(found.bind(py))
}

fn blob<'py>(py: Python<'py>, store: &Arc<Store>, id: ObjectId) -> PyResult<Bound<'py, PyBytes>> {
    let object = store.resolve(id).or_raise(py)?;
    gate::bring_in(py, &object, None)?;
    let opened = object.open().or_raise(py)?;
    Ok(PyBytes::new(py, opened.bytes()))
}

fn load<'py>(py: Python<'py>, store: &Arc<Store>, id: ObjectId) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "pickle"))?
        .call_method1(intern!(py, "loads"), (blob(py, store, id)?,))
}

/// The arguments, with the values of their references filled in. A reference whose object is an error raises that error.
fn load_args<'py>(
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
