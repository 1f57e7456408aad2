//! Lanes: where calls run that the main thread does not run itself. One lane for each concurrency group, the nameless one included.
//!
//! A lane is a queue, first come first served, of which at most `limit` calls run at a time. The main thread pushes; what it may not
//! do is wait for the interpreter, which a busy lane may hold, so a push only touches the interpreter when somebody must be woken
//! through it.
//!
//! * A [`Pool`] is served by threads that sleep here, without the interpreter. Each of the first `limit` calls starts one, and is its first,
//!   as if all had been there from the beginning; they stay for the life of the process, so that what methods keep in `threading.local`
//!   is found again. A thread takes a call only once it has the interpreter, and goes on without letting go of it while there are more:
//!   a call that somebody took who must wait for the interpreter would wait with him. So it is whoever has the interpreter that works;
//!   when a method lets go of it, the next thread, which was woken meanwhile, goes on. One at a time is on its way (`Crew::coming`).
//! * A [`LoopLane`] is served by one event loop (python/park/event_loop.py). A push wakes the loop unless it was woken before and has
//!   not looked since; a call that ends lets the loop look again by itself. The loop of an actor without groups also takes calls by
//!   itself while it is awake (`Inbox::attend`): all calls are its own then, but for those of the system's groups.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use park_core::ipc::ToWorker;
use park_core::proc::inbox::{Attended, Job, Pause};
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::Worker;
use super::job::results;
use crate::encode::encode;
use crate::gate::OrRaise;
use crate::stream::Producer;

/// Of threads or of an event loop.
pub(super) enum Lane {
    Threads(Py<Pool>),
    Loop(Py<LoopLane>),
}

impl Lane {
    /// A lane for a group of this worker's actor. An event loop that `attends` takes calls itself while it is awake; then there must be
    /// no other lane whose calls it could hold up.
    pub(super) fn start(
        py: Python<'_>,
        worker: &Arc<Worker>,
        group: &str,
        limit: usize,
        asynchronous: bool,
        attends: bool,
    ) -> PyResult<Self> {
        let name = if group.is_empty() { "default" } else { group };
        if asynchronous {
            let home = py.import("park.event_loop")?.getattr("ActorLoop")?.call1((name,))?;
            let lane = Py::new(
                py,
                LoopLane {
                    worker: worker.clone(),
                    limit,
                    wake: home.getattr("wake")?.unbind(),
                    home: home.clone().unbind(),
                    queue: Mutex::default(),
                    seen: Mutex::new(0),
                },
            )?;
            home.call_method1("serve", (lane.clone_ref(py), attends))?;
            return Ok(Self::Loop(lane));
        }
        let start = py.import("park.worker")?.getattr("start_thread")?.unbind();
        let pool = Pool {
            worker: worker.clone(),
            name: name.to_owned(),
            limit,
            start,
            crew: Mutex::default(),
            arrived: Condvar::new(),
        };
        Ok(Self::Threads(Py::new(py, pool)?))
    }

    /// Appends a call.
    pub(super) fn push(&self, job: Job) {
        match self {
            Self::Threads(pool) => Pool::push(pool, job),
            Self::Loop(lane) => lane.get().push(job),
        }
    }

    /// Takes the calls that wait: they are not to begin. Nobody pushes any more.
    pub(super) fn take_waiting(&self) -> VecDeque<Job> {
        match self {
            Self::Threads(pool) => std::mem::take(&mut pool.get().crew.lock().waiting),
            Self::Loop(lane) => std::mem::take(&mut lane.get().queue.lock().waiting),
        }
    }

    /// Its threads are to end: those that wait for calls do so at once. An event loop is to be stopped by whoever asks.
    pub(super) fn close(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        if let Self::Threads(pool) = self {
            let pool = pool.get();
            pool.crew.lock().over = true;
            pool.arrived.notify_all();
        }
        self.event_loop(py)
    }

    /// Where its calls run, if they are coroutines.
    pub(super) fn event_loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match self {
            Self::Threads(_) => None,
            Self::Loop(lane) => Some(lane.get().home.clone_ref(py)),
        }
    }

    /// Runs the constructor where the calls will run.
    pub(super) fn construct<'py>(
        &self,
        py: Python<'py>,
        call: (Bound<'py, PyAny>, Bound<'py, PyTuple>, Bound<'py, PyDict>),
    ) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Loop(lane) => lane.get().home.bind(py).call_method1("construct", call),
            Self::Threads(_) => call.0.call(call.1, Some(&call.2)),
        }
    }
}

/// The threads of a group.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Pool {
    worker: Arc<Worker>,
    name: String,
    limit: usize,
    /// Starts one more thread.
    start: Py<PyAny>,
    crew: Mutex<Crew>,
    arrived: Condvar,
}

#[derive(Default)]
struct Crew {
    waiting: VecDeque<Job>,
    threads: usize,
    /// First calls of threads that are being started.
    firsts: VecDeque<Job>,
    asleep: usize,
    /// One was woken, and has not yet had the interpreter to look with.
    coming: bool,
    /// The worker has ended, but not its process.
    over: bool,
}

impl Crew {
    /// Whether somebody is to be woken for what waits; then it is on its way.
    fn calls_for_help(&mut self) -> bool {
        let calls = !self.coming && self.asleep > 0 && !self.waiting.is_empty();
        self.coming |= calls;
        calls
    }
}

impl Pool {
    fn push(pool: &Py<Self>, job: Job) {
        let this = pool.get();
        {
            let mut crew = this.crew.lock();
            if crew.threads == this.limit {
                crew.waiting.push_back(job);
                if crew.calls_for_help() {
                    this.arrived.notify_one();
                }
                return;
            }
            crew.threads += 1;
            crew.firsts.push_back(job);
        }
        let started = Python::attach(|py| this.start.call1(py, (pool.clone_ref(py), &this.name)).map(drop));
        if let Err(error) = started {
            this.worker.end_with(error);
        }
    }

    /// The next call for a thread that has the interpreter; with none it is to sleep. `woken` if this thread is the one that was on its
    /// way. Breaks once the worker has ended.
    fn next(&self, first: bool, woken: bool) -> ControlFlow<(), Option<Job>> {
        let mut crew = self.crew.lock();
        if woken {
            crew.coming = false;
        }
        if crew.over {
            return ControlFlow::Break(());
        }
        let job = if first {
            crew.firsts.pop_front()
        } else {
            crew.waiting.pop_front()
        };
        if crew.calls_for_help() {
            self.arrived.notify_one();
        }
        ControlFlow::Continue(job)
    }

    /// Without the interpreter, until there may be something to do. True if this thread was woken for it.
    fn sleep(&self) -> bool {
        let mut crew = self.crew.lock();
        if crew.over || !(crew.waiting.is_empty() || crew.coming) {
            return false;
        }
        crew.asleep += 1;
        self.arrived.wait(&mut crew);
        crew.asleep -= 1;
        true
    }
}

#[pymethods]
impl Pool {
    /// The life of one thread: calls, one after another, until the worker ends.
    fn serve(&self, py: Python<'_>) {
        let mut first = true;
        let mut woken = false;
        while let ControlFlow::Continue(next) = self.next(std::mem::take(&mut first), std::mem::take(&mut woken)) {
            let Some(job) = next else {
                woken = py.detach(|| self.sleep());
                continue;
            };
            let done = self.worker.perform(py, &job, false);
            self.worker.closed();
            if let Err(ending) = done {
                self.worker.end_with(ending);
                return;
            }
        }
    }
}

/// The calls of a group that run on an event loop.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct LoopLane {
    worker: Arc<Worker>,
    limit: usize,
    home: Py<PyAny>,
    /// Makes the loop call `admit`.
    wake: Py<PyAny>,
    queue: Mutex<Queue>,
    /// Which ring of the doorbell the loop has seen.
    seen: Mutex<u32>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    running: usize,
    /// The loop was woken and has not looked yet.
    woken: bool,
}

impl LoopLane {
    fn push(&self, job: Job) {
        let sleeps = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(job);
            // With as many running as may, the end of one lets the loop look.
            queue.running < self.limit && !std::mem::replace(&mut queue.woken, true)
        };
        if !sleeps {
            return;
        }
        if let Err(error) = Python::attach(|py| self.wake.call0(py).map(drop)) {
            self.worker.end_with(error);
        }
    }
}

#[pymethods]
impl LoopLane {
    /// The calls that may start now, without those that were cancelled before. On the loop's thread.
    fn admit(&self, py: Python<'_>) -> PyResult<Vec<Call>> {
        let mut queue = self.queue.lock();
        queue.woken = false;
        let mut started = Vec::new();
        while queue.running < self.limit
            && let Some(job) = queue.waiting.pop_front()
        {
            if self.worker.inbox_step(py, |inbox| inbox.begin(&job))? {
                queue.running += 1;
                started.push(Call::new(&self.worker, job));
            } else {
                self.worker.closed();
            }
        }
        Ok(started)
    }

    /// Takes the calls that have come, on the loop's thread. `limit` is how long, in seconds, the loop may sleep: 0 not at all, None as
    /// long as it likes. If it is `alone`, with nothing to wait for but calls and whoever wakes it, it sleeps here. True if calls may
    /// start now, false if none came and it is to go on, None if it is to sleep as event loops do.
    #[pyo3(signature = (limit, alone))]
    fn attend(&self, py: Python<'_>, limit: Option<f64>, alone: bool) -> Option<bool> {
        // Until the constructor has run, calls are not taken.
        self.worker.actor.get()?;
        let pause = match limit {
            Some(limit) if limit <= 0.0 => Pause::No,
            // Longer than a duration can be is as good as for ever.
            _ if alone => Pause::Sleep(limit.and_then(|limit| Duration::try_from_secs_f64(limit).ok())),
            _ => Pause::Look,
        };
        let ended = py.detach(|| {
            let mut seen = self.seen.lock();
            let inbox = self.worker.inbox()?;
            inbox.attend(&mut seen, pause, |job| {
                if matches!(job.message, ToWorker::Cancel { .. }) {
                    if let Err(error) = Python::attach(|py| self.worker.interrupt_call(py, &job)) {
                        self.worker.end_with(error);
                    }
                    return;
                }
                self.worker.opened();
                self.queue.lock().waiting.push_back(job);
            })
        });
        match ended.or_raise(py) {
            Ok(Attended::Came) => Some(true),
            Ok(Attended::Nothing) => Some(false),
            Ok(Attended::Left) => None,
            Err(error) => {
                self.worker.end_with(error);
                None
            }
        }
    }

    /// Ends the loop's sleep in `attend`. From any thread.
    fn knock(&self, py: Python<'_>) {
        // Where there is no inbox any more, nobody sleeps.
        if let Ok(inbox) = self.worker.inbox() {
            py.detach(|| inbox.knock());
        }
    }

    /// A call has ended. True if others may start now.
    fn leave(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.running -= 1;
        !queue.waiting.is_empty()
    }
}

/// One call of an async actor. `begin`, then either `succeed` or `fail`, once.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Call {
    worker: Arc<Worker>,
    job: Job,
    began: AtomicBool,
}

impl Call {
    fn new(worker: &Arc<Worker>, job: Job) -> Self {
        Self {
            worker: worker.clone(),
            job,
            began: AtomicBool::new(false),
        }
    }

    fn conclude(&self, py: Python<'_>, outcome: PyResult<()>) {
        let began = self.began.load(Ordering::Relaxed);
        let done = self.worker.conclude_call(py, &self.job, outcome, began);
        self.worker.closed();
        if let Err(ending) = done {
            self.worker.end_with(ending);
        }
    }
}

#[pymethods]
impl Call {
    /// The method's name.
    #[getter]
    fn method(&self) -> &str {
        match &self.job.message {
            ToWorker::Call { method, .. } => method,
            _ => "",
        }
    }

    /// The name that somebody chose for it.
    #[getter]
    fn chosen_name(&self) -> Option<&str> {
        match &self.job.message {
            ToWorker::Call { name, .. } if !name.is_empty() => Some(name),
            _ => None,
        }
    }

    /// How many tasks and calls led to it, itself included.
    #[getter]
    fn depth(&self) -> u32 {
        match &self.job.message {
            ToWorker::Call { depth, .. } => *depth,
            _ => 0,
        }
    }

    /// Which call it is, among all calls of the session.
    #[getter]
    fn task_id(&self) -> String {
        match &self.job.message {
            ToWorker::Call { returns, .. } => returns.first().map_or_else(String::new, ToString::to_string),
            _ => String::new(),
        }
    }

    /// Loads the arguments and calls the method: what it returns, or the coroutine that it is.
    fn begin<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut began = false;
        let value = self.worker.begin_call(py, &self.job, &mut began);
        self.began.store(began, Ordering::Relaxed);
        value
    }

    /// The producing end of the stream that the call makes; None if it makes none.
    fn stream(&self) -> Option<Producer> {
        let (returns, stream) = results(&self.job);
        let name = self.worker.call_name(&self.job);
        Producer::new(
            self.worker.store(),
            *returns.first()?,
            stream?,
            self.worker.stream_budget(),
            name,
        )
    }

    /// The stream has come to its end: so has the call.
    fn end(&self, py: Python<'_>) {
        let outcome = match results(&self.job).0.first() {
            Some(first) => {
                encode(&py.None().into_bound(py)).and_then(|none| none.fulfil(py, self.worker.store(), *first))
            }
            None => Ok(()),
        };
        self.conclude(py, outcome);
    }

    /// Seals the results.
    fn succeed(&self, value: &Bound<'_, PyAny>) {
        let py = value.py();
        let outcome = self.worker.keep_results(py, &self.job, value);
        self.conclude(py, outcome);
    }

    /// Raises the exception in the results, makes the call again, or ends the process, whichever it is to be.
    fn fail(&self, error: &Bound<'_, PyAny>) {
        self.conclude(error.py(), Err(PyErr::from_value(error.clone())));
    }
}
