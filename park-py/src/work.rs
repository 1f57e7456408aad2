//! What this thread runs now, and what the session runs: the facts behind `get_runtime_context()` and `park.util.state`.

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use park_core::ObjectId;
use park_core::ipc::ToWorker;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::gate::{self, block};
use crate::member;
use crate::object::id_of;
use crate::title;

/// A task or a call of an actor.
struct Work {
    /// Its first result.
    id: ObjectId,
    name: String,
    /// A task's function, once it is loaded.
    function: Option<Py<PyAny>>,
    /// The name that somebody chose for a call.
    chosen: Option<String>,
    /// How many tasks and calls led to it, itself included.
    depth: u32,
}

thread_local! {
    static NOW: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// While this lives, the thread runs that work. Calls of an async actor share a thread: those are known to `park.event_loop`.
pub(crate) struct Now {
    on_main: bool,
}

/// First result of the task or call that this thread works for, if any.
pub(crate) fn current() -> Option<ObjectId> {
    NOW.with_borrow(|now| now.as_ref().map(|work| work.id))
        .or_else(|| member::with(|member| *member.main_work.lock()))
}

/// How many tasks and calls led to what this thread works for, that included; 0 for a program.
fn current_depth() -> u32 {
    NOW.with_borrow(|now| now.as_ref().map(|work| work.depth))
        .unwrap_or_else(|| member::with(|member| member.main_depth.load(Ordering::Relaxed)))
}

/// What asks, and its depth: as `current`, also for what a coroutine asks. An event loop serves many calls with one thread, and Python
/// knows whose turn it is.
pub(crate) fn asking(py: Python<'_>) -> PyResult<(Option<ObjectId>, u32)> {
    if !gate::runs_event_loop() {
        return Ok((current(), current_depth()));
    }
    static CALL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let call = CALL.get_or_try_init(py, || {
        let module = py.import("park.runtime_context")?;
        module.getattr("CURRENT_CALL")?.getattr("get").map(Bound::unbind)
    })?;
    match call.bind(py).call0()?.cast::<PyTuple>() {
        Ok(call) => {
            let id = call.get_item(0)?.cast_into::<PyBytes>()?;
            let id = id.as_bytes().try_into().ok().map(ObjectId::from_bytes);
            Ok((id, call.get_item(3)?.extract()?))
        }
        Err(_) => Ok((current(), current_depth())),
    }
}

/// How many tasks and calls led to the one that asks, itself included: 0 in a program, 1 in what it asks for.
#[pyfunction]
pub(crate) fn task_depth(py: Python<'_>) -> PyResult<u32> {
    asking(py).map(|(_, depth)| depth)
}

/// This thread begins with the work that this message asks for. `on_main`: it runs one job of the process after another.
pub(crate) fn begin(message: &ToWorker, on_main: bool) -> Now {
    let work = match message {
        ToWorker::Run {
            returns, name, depth, ..
        } => returns.first().map(|id| (*id, name, "", *depth)),
        ToWorker::Call {
            returns,
            method,
            name,
            depth,
            ..
        } => returns.first().map(|id| (*id, method, name.as_str(), *depth)),
        ToWorker::Create { .. } | ToWorker::Assign(_) | ToWorker::Cancel { .. } | ToWorker::Retire => None,
    };
    let work = work.map(|(id, name, chosen, depth)| Work {
        id,
        name: name.clone(),
        function: None,
        chosen: (!chosen.is_empty()).then(|| chosen.to_owned()),
        depth,
    });
    if on_main {
        set_main_work(work.as_ref().map(|work| (work.id, work.depth)));
        title::runs(message);
    }
    drop(NOW.replace(work));
    Now { on_main }
}

fn set_main_work(work: Option<(ObjectId, u32)>) {
    member::with(|member| {
        *member.main_work.lock() = work.map(|(id, _)| id);
        member
            .main_depth
            .store(work.map_or(0, |(_, depth)| depth), Ordering::Relaxed);
    });
}

/// The constructor of an actor of this depth runs, until that is 0 again.
pub(crate) fn constructs(depth: u32) {
    member::with(|member| member.main_depth.store(depth, Ordering::Relaxed));
}

/// The task that this thread has begun calls this function.
pub(crate) fn calls(function: &Bound<'_, PyAny>) {
    NOW.with_borrow_mut(|now| {
        if let Some(work) = now {
            work.function = Some(function.clone().unbind());
        }
    });
}

impl Drop for Now {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the function's end may run Python code that asks.
        drop(NOW.take());
        if self.on_main {
            set_main_work(None);
            title::rest();
        }
    }
}

/// The task or call that this thread of a worker runs: the id of its first result, its name, and the function if it is a task, or the
/// name that somebody chose if it is a call.
#[pyfunction]
pub(crate) fn current_work(py: Python<'_>) -> Option<(Bound<'_, PyBytes>, String, Option<Py<PyAny>>)> {
    NOW.with_borrow(|now| {
        now.as_ref().map(|work| {
            let chosen = || Some(PyString::new(py, work.chosen.as_ref()?).into_any().unbind());
            let function = work.function.as_ref().map(|function| function.clone_ref(py));
            let function = function.or_else(chosen);
            (PyBytes::new(py, &work.id.to_bytes()), work.name.clone(), function)
        })
    })
}

/// Kind and text of an error.
type Failed = Option<(String, String)>;

/// A row of the tasks that ended: first result, name, worker's process and entry, attempt, whether it failed, begin and end in microseconds,
/// how it failed if that is known, and the first result of what submitted it.
type Ended<'py> = (
    Bound<'py, PyBytes>,
    String,
    (u32, u16),
    u32,
    bool,
    u64,
    u64,
    Failed,
    Option<Bound<'py, PyBytes>>,
);

/// Tasks of the session that ended lately, oldest first.
#[pyfunction]
pub(crate) fn ended_tasks(py: Python<'_>) -> PyResult<Vec<Ended<'_>>> {
    let session = gate::session(py)?;
    let rows = block(py, |interrupt| session.ended_tasks(interrupt))?;
    let row = |row: park_core::runtime::EndedRow| {
        let id = PyBytes::new(py, &row.id.to_bytes());
        let (began, ended) = (row.span.began, row.span.ended);
        (
            id,
            row.name,
            (row.pid, row.participant.0),
            row.attempt,
            row.failed,
            began,
            ended,
            row.failure.map(|failure| (failure.kind, failure.text)),
            row.parent.map(|parent| PyBytes::new(py, &parent.to_bytes())),
        )
    };
    Ok(rows.into_iter().map(row).collect())
}

/// A call that ended: method, the name that somebody chose, first result, attempt, whether it failed, begin and end in microseconds, how
/// it failed if that is known, and the first result of what made it.
type Traced<'py> = (
    String,
    Option<String>,
    Bound<'py, PyBytes>,
    u32,
    bool,
    u64,
    u64,
    Failed,
    Option<Bound<'py, PyBytes>>,
);

/// The calls that this worker process finished last. Nothing elsewhere.
#[pyfunction]
pub(crate) fn traced_calls(py: Python<'_>) -> PyResult<Vec<Traced<'_>>> {
    let session = gate::session(py)?;
    let calls = session
        .inbox()
        .map(park_core::proc::inbox::Inbox::traced)
        .unwrap_or_default();
    let row = |(method, name, call): (String, Option<String>, park_core::proc::inbox::Traced)| {
        let id = PyBytes::new(py, &call.id?.to_bytes());
        Some((
            method,
            name,
            id,
            call.attempt,
            call.failed,
            call.span.began,
            call.span.ended,
            call.failure.map(|failure| (failure.kind, failure.text)),
            call.parent.map(|parent| PyBytes::new(py, &parent.to_bytes())),
        ))
    };
    Ok(calls.into_iter().filter_map(row).collect())
}

/// First results of the tasks and calls that the one with this first result asked for and that are not done, as far as the head and this
/// process know.
#[pyfunction]
pub(crate) fn children_of<'py>(py: Python<'py>, parent: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let session = gate::session(py)?;
    let parent = id_of(parent)?;
    let unsent = session.unsent_calls(parent);
    let calls = block(py, |interrupt| session.calls(interrupt))?;
    let tasks = block(py, |interrupt| session.describe(interrupt))?.tasks;
    let calls = calls.into_iter().filter(|call| call.parent == Some(parent));
    let tasks = tasks.into_iter().filter(|task| task.parent == Some(parent));
    let mut found: Vec<_> = unsent.into_iter().chain(calls.map(|call| call.id)).collect();
    found.extend(tasks.map(|task| task.id));
    found.sort_unstable();
    // One that was sent while this was asked for is in both lists.
    found.dedup();
    Ok(found.iter().map(|id| PyBytes::new(py, &id.to_bytes())).collect())
}

/// Calls of actors that were sent and are not done.
#[pyfunction]
pub(crate) fn open_calls(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let session = gate::session(py)?;
    let calls = block(py, |interrupt| session.calls(interrupt))?;
    let row = |call: park_core::runtime::CallRow| {
        let row = PyDict::new(py);
        row.set_item("id", PyBytes::new(py, &call.id.to_bytes()))?;
        row.set_item("actor", PyBytes::new(py, &call.actor.to_bytes()))?;
        row.set_item("class_name", call.class_name)?;
        row.set_item("method", call.method)?;
        row.set_item("name", call.name)?;
        row.set_item("running", call.running)?;
        row.set_item("pid", call.pid)?;
        row.set_item("participant", call.participant.0)?;
        row.set_item("node", call.node)?;
        row.set_item("attempt", call.attempt)?;
        row.set_item("parent", call.parent.map(|id| PyBytes::new(py, &id.to_bytes())))?;
        Ok(row)
    };
    calls.into_iter().map(row).collect()
}

fn in_bytes<'py>(py: Python<'py>, ids: &[ObjectId]) -> Vec<Bound<'py, PyBytes>> {
    ids.iter().map(|id| PyBytes::new(py, &id.to_bytes())).collect()
}

/// Actors, unfinished tasks and workers of the session, as the head knows them.
#[pyfunction]
pub(crate) fn describe_session(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let session = gate::session(py)?;
    let description = block(py, |interrupt| session.describe(interrupt))?;
    let actors = description.actors.into_iter().map(|actor| {
        let (namespace, name) = actor.name.unwrap_or_default();
        let row = PyDict::new(py);
        row.set_item("id", PyBytes::new(py, &actor.id.to_bytes()))?;
        row.set_item("class_name", actor.class_name)?;
        row.set_item("namespace", namespace)?;
        row.set_item("name", name)?;
        row.set_item("life", actor.life)?;
        row.set_item("pid", actor.pid)?;
        row.set_item("node", actor.node)?;
        row.set_item("restarts", actor.restarts)?;
        row.set_item("began", actor.span.began)?;
        row.set_item("ended", actor.span.ended)?;
        row.set_item("holds", in_bytes(py, &actor.holds))?;
        Ok(row)
    });
    let tasks = description.tasks.into_iter().map(|task| {
        let row = PyDict::new(py);
        row.set_item("id", PyBytes::new(py, &task.id.to_bytes()))?;
        row.set_item("name", task.name)?;
        row.set_item("life", task.life)?;
        row.set_item("pid", task.pid)?;
        row.set_item("participant", task.participant.0)?;
        row.set_item("node", task.node)?;
        row.set_item("attempt", task.attempt)?;
        row.set_item("returns", in_bytes(py, &task.returns))?;
        row.set_item("holds", in_bytes(py, &task.holds))?;
        row.set_item("parent", task.parent.map(|id| PyBytes::new(py, &id.to_bytes())))?;
        Ok(row)
    });
    let workers = description.workers.into_iter().map(|worker| {
        let row = PyDict::new(py);
        row.set_item("participant", worker.participant.0)?;
        row.set_item("pid", worker.pid)?;
        row.set_item("node", worker.node)?;
        row.set_item("actor", worker.actor.map(|id| PyBytes::new(py, &id.to_bytes())))?;
        row.set_item("idle", worker.idle)?;
        Ok(row)
    });
    let drivers = description.drivers.into_iter().map(|driver| {
        let row = PyDict::new(py);
        row.set_item("participant", driver.participant.0)?;
        row.set_item("pid", driver.pid)?;
        row.set_item("alive", driver.alive)?;
        Ok(row)
    });
    let dict = PyDict::new(py);
    dict.set_item("drivers", drivers.collect::<PyResult<Vec<_>>>()?)?;
    dict.set_item("actors", actors.collect::<PyResult<Vec<_>>>()?)?;
    dict.set_item("tasks", tasks.collect::<PyResult<Vec<_>>>()?)?;
    dict.set_item("workers", workers.collect::<PyResult<Vec<_>>>()?)?;
    Ok(dict)
}
