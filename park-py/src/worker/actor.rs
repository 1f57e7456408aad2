//! Being an actor: its class and constructor, which lane a call belongs to, and calling a method.

use std::collections::HashMap;
use std::sync::Arc;

use park_core::ipc::{ToHead, ToWorker};
use park_core::proc::inbox::Job;
use park_core::store::StreamBudget;
use park_core::{Error, ErrorKind, ObjectId};
use parking_lot::RwLock;
use pyo3::exceptions::{PyAttributeError, PySystemExit, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::Worker;
use super::job::{Outcome, blob, ends_process, keep, load_args, pack, results};
use super::lane::Lane;
use crate::cancel;
use crate::gate::{self, OrRaise};
use crate::member;
use crate::method::method_of;
use crate::work;

/// The actor that a process has become.
pub(super) struct Actor {
    pub(super) id: ObjectId,
    instance: Py<PyAny>,
    class: String,
    modes: Modes,
    /// What items of all its generators may wait to be taken, if that is limited.
    budget: Option<Arc<StreamBudget>>,
    /// Made when the first call comes for them; the groups that there may be are in `modes`.
    lanes: RwLock<HashMap<String, Lane>>,
}

/// How an actor's calls run beside each other, as `park.worker.load_actor` says.
#[derive(FromPyObject)]
pub(super) struct Modes {
    /// Calls run on event loops, one for each group; else on threads.
    asynchronous: bool,
    /// The one event loop takes calls by itself.
    attends: bool,
    /// How many calls of each group run at a time. Without the group of no name, its calls run on the main thread.
    groups: HashMap<String, usize>,
    /// How many items of all generators may wait to be taken.
    untaken: Option<usize>,
}

impl Actor {
    /// Gives a call to its lane. What has no lane, or none yet, comes back. Needs no interpreter.
    pub(super) fn place(&self, worker: &Worker, job: Job) -> Option<Job> {
        let ToWorker::Call { group, .. } = &job.message else {
            return Some(job);
        };
        if self.runs_here(group) {
            return Some(job);
        }
        let lanes = self.lanes.read();
        let Some(lane) = lanes.get(group) else {
            return Some(job);
        };
        worker.opened();
        lane.push(job);
        None
    }

    /// Takes the calls that lanes have not begun. For the main thread, which alone makes lanes and gives them calls.
    pub(super) fn take_waiting(&self) -> Vec<Job> {
        self.lanes.read().values().flat_map(Lane::take_waiting).collect()
    }

    /// Their threads are to end.
    pub(super) fn close_lanes(&self, py: Python<'_>) -> PyResult<()> {
        // Not under the lock: Python code may give the interpreter to a thread that wants it.
        let loops: Vec<_> = self.lanes.read().values().filter_map(|lane| lane.close(py)).collect();
        loops
            .iter()
            .try_for_each(|event_loop| event_loop.call_method0(py, intern!(py, "stop")).map(drop))
    }

    pub(super) fn forget_lanes(&self) {
        self.lanes.write().clear();
    }

    fn runs_here(&self, group: &str) -> bool {
        group.is_empty() && !self.modes.groups.contains_key(group)
    }
}

impl Worker {
    /// Gives a call to its lane, making that first if need be. The job comes back if the main thread is to run it.
    pub(super) fn give_to_lane(self: &Arc<Self>, py: Python<'_>, job: Job) -> PyResult<Option<Job>> {
        let (Some(actor), ToWorker::Call { group, .. }) = (self.actor.get(), &job.message) else {
            return Ok(Some(job));
        };
        if actor.runs_here(group) {
            return Ok(Some(job));
        }
        let Some(limit) = actor.modes.groups.get(group) else {
            let known: Vec<_> = actor.modes.groups.keys().filter(|name| !name.is_empty()).collect();
            let wrong = format!("the actor has no concurrency group {group:?}; it has {known:?}");
            self.conclude_call(py, &job, Err(PyValueError::new_err(wrong)), false)?;
            return Ok(None);
        };
        if !actor.lanes.read().contains_key(group) {
            let lane = Lane::start(py, self, group, *limit, actor.modes.asynchronous, false)?;
            actor.lanes.write().insert(group.clone(), lane);
        }
        Ok(actor.place(self, job))
    }

    /// Runs a call, unless it was cancelled before, and puts it away. `on_main`: on the main thread, which runs nothing beside it.
    pub(super) fn perform(&self, py: Python<'_>, job: &Job, on_main: bool) -> PyResult<()> {
        if !self.inbox_step(py, |inbox| inbox.begin(job))? {
            return Ok(());
        }
        let _now = work::begin(&job.message, on_main);
        let mut began = false;
        let outcome = self
            .begin_call(py, job, &mut began)
            .and_then(|value| self.keep_results(py, job, &value));
        self.conclude_call(py, job, outcome, began)
    }

    /// Calls the method; of a coroutine function, that is its coroutine. `began` becomes true once the arguments were there.
    pub(super) fn begin_call<'py>(&self, py: Python<'py>, job: &Job, began: &mut bool) -> PyResult<Bound<'py, PyAny>> {
        let ToWorker::Call { method, args, .. } = &job.message else {
            return Err(PyAttributeError::new_err("not a call"));
        };
        let (args, kwargs) = load_args(py, self.store(), args)?;
        let Some(actor) = self.actor.get() else {
            return Err(PyAttributeError::new_err("the actor was not created"));
        };
        let bound = actor.method(py, method)?;
        *began = true;
        bound.call(args, Some(&kwargs))
    }

    /// Seals the results of a call that returned; not of one that was cancelled meanwhile, or that asked for the actor's end and then
    /// swallowed the exception that was to bring it.
    pub(super) fn keep_results(&self, py: Python<'_>, job: &Job, value: &Bound<'_, PyAny>) -> Outcome {
        if self.asked_to_leave(results(job).0.first()) {
            return Err(PySystemExit::new_err(0));
        }
        if cancel::error_of_call(self.store(), results(job).0).is_some() {
            return Ok(());
        }
        keep(
            py,
            self.store(),
            value,
            &self.call_name(job),
            results(job),
            self.stream_budget(),
        )
    }

    /// As `conclude`, under the method's name. A call that never began is not repeated, and one that was cancelled is raised as that.
    pub(super) fn conclude_call(&self, py: Python<'_>, job: &Job, outcome: Outcome, began: bool) -> PyResult<()> {
        let ends = outcome.as_ref().is_err_and(|raised| ends_process(py, raised));
        if let Some(error) = cancel::error_of_call(self.store(), results(job).0).filter(|_| !ends) {
            self.fail(py, job, &error)?;
            return self.leave(py)?.map_or(Ok(()), Err);
        }
        let Err(raised) = outcome else {
            return self.conclude(py, job, Ok(()), "");
        };
        if began && !ends_process(py, &raised) && self.repeat(py, job, &raised)? {
            return Ok(());
        }
        self.conclude(py, job, Err(raised), &self.call_name(job))
    }

    /// In what the items count that calls' generators yield.
    pub(super) fn stream_budget(&self) -> Option<Arc<StreamBudget>> {
        self.actor.get()?.budget.clone()
    }

    /// Under which name an error of the call is told.
    pub(super) fn call_name(&self, job: &Job) -> String {
        let class = self.actor.get().map_or("actor", |actor| actor.class.as_str());
        match &job.message {
            ToWorker::Call { method, .. } => format!("{class}.{method}"),
            _ => class.to_owned(),
        }
    }

    /// A call that runs here was cancelled. Those of plain and threaded actors run on, and see it if they ask.
    pub(super) fn interrupt_call(&self, py: Python<'_>, job: &Job) -> PyResult<()> {
        if let (ToWorker::Cancel { call }, Some(actor)) = (&job.message, self.actor.get()) {
            // Not under the lock: Python code may give the interpreter to a thread that wants it.
            let loops: Vec<_> = actor
                .lanes
                .read()
                .values()
                .filter_map(|lane| lane.event_loop(py))
                .collect();
            for event_loop in loops {
                event_loop.call_method1(py, intern!(py, "cancel"), (call.to_string(),))?;
            }
        }
        self.inbox_step(py, |inbox| inbox.finish(job))
    }

    /// Makes the call again if it is to be repeated after this exception and may be.
    fn repeat(&self, py: Python<'_>, job: &Job, raised: &PyErr) -> PyResult<bool> {
        let ToWorker::Call {
            retry_on: Some(classes),
            ..
        } = &job.message
        else {
            return Ok(false);
        };
        let wanted = py
            .import("park.worker")?
            .call_method1("wants_retry", (classes.as_slice(), raised.value(py)))?
            .extract()?;
        Ok(wanted && self.inbox_step(py, |inbox| inbox.retry(job))?)
    }

    /// Lets the actor clean up, if this process is one.
    pub(super) fn shut_actor_down(&self, py: Python<'_>) -> PyResult<()> {
        let Some(actor) = self.actor.get() else { return Ok(()) };
        py.import("park.worker")?
            .call_method1("shut_down", (&actor.instance,))
            .map(drop)
    }

    /// Becomes the actor. False if its constructor raised, and the process is to end.
    pub(super) fn become_actor(self: &Arc<Self>, py: Python<'_>, job: &Job) -> PyResult<bool> {
        let ToWorker::Create { actor: id, depth, .. } = &job.message else {
            return Ok(true);
        };
        let mut constructor = "__init__".to_owned();
        // A process is told to become an actor once.
        let _ = self.becomes.set(*id);
        work::constructs(*depth);
        let made = self.instantiate(py, job, &mut constructor);
        work::constructs(0);
        match made {
            Ok(actor) => {
                let _ = self.actor.set(actor);
                if let Some(leaving) = self.leave(py)? {
                    return Err(leaving);
                }
                let ready = ToHead::ActorReady { actor: *id };
                member::step(|| self.session.report_actor(ready).or_raise(py))?;
                Ok(true)
            }
            Err(raised) if ends_process(py, &raised) => Err(self.leave(py)?.unwrap_or(raised)),
            Err(raised) => {
                let packed = pack(py, raised, &constructor, &[])?;
                let error = Error::new(ErrorKind::ActorDied, packed.message()).with_detail(packed.detail().to_vec());
                self.report_end(py, *id, &error)?;
                Ok(false)
            }
        }
    }

    /// Loads the class and calls it. `constructor` becomes the name under which an error of it is told.
    fn instantiate(self: &Arc<Self>, py: Python<'_>, job: &Job, constructor: &mut String) -> PyResult<Actor> {
        let ToWorker::Create {
            actor,
            class,
            args,
            restarts,
            ..
        } = &job.message
        else {
            return Err(PyAttributeError::new_err("not a constructor's call"));
        };
        let loaded = py.import("park.worker")?.call_method1(
            "load_actor",
            (
                blob(py, self.store(), *class)?,
                *restarts,
                PyBytes::new(py, &actor.to_bytes()),
            ),
        )?;
        let (class, modes): (Bound<'_, PyAny>, Modes) = loaded.extract()?;
        *constructor = format!("{}.__init__", class.getattr("__qualname__")?);
        let (args, kwargs) = load_args(py, self.store(), args)?;
        let mut lanes = HashMap::new();
        let instance = match modes.groups.get("") {
            Some(limit) if modes.asynchronous => {
                gate::set_runs_event_loop();
                let lane = Lane::start(py, self, "", *limit, true, modes.attends)?;
                let made = match lane.construct(py, (class.clone(), args, kwargs)) {
                    Ok(made) => made,
                    Err(raised) => {
                        // The process of a worker that is a thread goes on: the loop must not.
                        if let Some(event_loop) = lane.close(py) {
                            event_loop.call_method0(py, intern!(py, "stop"))?;
                        }
                        return Err(raised);
                    }
                };
                lanes.insert(String::new(), lane);
                made
            }
            _ => class.call(args, Some(&kwargs))?,
        };
        Ok(Actor {
            id: *actor,
            class: instance.get_type().qualname()?.to_string(),
            instance: instance.unbind(),
            budget: modes.untaken.map(|limit| Arc::new(StreamBudget::new(limit))),
            modes,
            lanes: RwLock::new(lanes),
        })
    }
}

impl Actor {
    fn method<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let instance = self.instance.bind(py);
        if let Ok(bound) = method_of(instance, name) {
            return Ok(bound);
        }
        // What every actor has.
        static OWN: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
        let own = OWN.get_or_try_init(py, || -> PyResult<_> {
            let methods = py.import("park.actor")?.getattr("EVERY_ACTOR")?;
            Ok(methods.cast_into::<PyDict>()?.unbind())
        })?;
        let Some(function) = own.bind(py).get_item(name)? else {
            let text = format!("'{}' object has no attribute '{name}'", self.class);
            return Err(PyAttributeError::new_err(text));
        };
        function.call_method1(intern!(py, "__get__"), PyTuple::new(py, [instance])?)
    }
}
