//! The life of a worker, a process or a thread: take a job, run it, seal its results, report it.
//!
//! A job's results are sealed before it is reported, and it is reported before its record leaves the ring: a death at any point
//! leaves either a finished job or one that the head can repeat or raise.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the main thread: takes jobs, runs them or gives them to a lane; how the process ends |
//! | `job` | what running a job means, whoever runs it: arguments in, results or an error out |
//! | `task` | the functions that this process has loaded |
//! | `actor` | becoming an actor: its class, its constructor, its lanes |
//! | `host` | workers that are threads: starting and ending them |
//! | `lane` | where calls run that the main thread does not run itself: threads, event loops |
//!
//! The main thread alone takes jobs. Tasks and the calls of a plain actor it runs itself, one after another. In an actor that is
//! async, threaded or has concurrency groups it only hands calls to lanes, and a lane's threads finish them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use park_core::ipc::placement::Assignment;
use park_core::ipc::{ToHead, ToWorker};
use park_core::proc::inbox::{Inbox, Job};
use park_core::{Error, ErrorKind, ObjectId, ParticipantId, Session, Store};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use crate::gate::{self, OrRaise, block, replace, set_runs_task};
use crate::member::{self, Member};
use crate::placement::in_wholes;
use crate::{title, work};

mod actor;
mod host;
mod job;
mod lane;
mod task;

pub(crate) use self::host::{Host, Vacant};
pub(crate) use self::job::pack;
pub(crate) use self::lane::{Call, LoopLane, Pool};

use self::actor::Actor;
use self::task::Functions;

/// How long calls that run when their actor ends itself may still take.
const GRACE: Duration = Duration::from_secs(10);

/// The number of this worker in its session; 0 elsewhere.
#[pyfunction]
pub(crate) fn worker_participant() -> u16 {
    gate::current()
        .filter(|session| session.inbox().is_ok())
        .map_or(0, |session| session.me().0)
}

/// What the threads of a worker share.
pub(crate) struct Worker {
    session: Session,
    /// The actor that this worker has become.
    actor: OnceLock<Actor>,
    /// The same actor's id, already while its constructor runs.
    becomes: OnceLock<ObjectId>,
    /// Calls that lanes have not finished.
    open: Mutex<usize>,
    none_open: Condvar,
    ending: Mutex<Ending>,
}

/// How the process is to end.
#[derive(Default)]
struct Ending {
    /// The actor asked for its end: it is no failure, and the actor does not come back.
    by_itself: bool,
    /// First results of the calls that asked for it: they fail, whatever they return.
    by_calls: Vec<ObjectId>,
    /// The head was told of that.
    told: bool,
    /// With what the main thread is to leave.
    with: Option<PyErr>,
}

/// Runs jobs until this process is told to end. The descriptors are the session's segments, inherited from the zygote.
#[pyfunction]
#[allow(unsafe_code, reason = "takes over two descriptors by number")]
pub(crate) fn worker_main(py: Python<'_>, control: i32, arena: i32, participant: u16) -> PyResult<()> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: the zygote received this descriptor for its workers, and this process, forked for the purpose, uses it here only.
    let control = unsafe { OwnedFd::from_raw_fd(control) };
    // SAFETY: as above.
    let arena = unsafe { OwnedFd::from_raw_fd(arena) };
    let session = Session::join_as_worker(control, arena, ParticipantId(participant)).or_raise(py)?;
    drop(replace(Some(session.clone())));
    title::take();
    let worker = Worker::new(session);
    member::with(|process| process.becomes(&worker));
    worker.live(py)
}

/// The actor that this thread's worker is ends itself: once the call that asks for it is over, or its constructor; an actor with an event
/// loop at once, for on that it may be asked by what belongs to no call. False if the worker is no actor.
#[pyfunction]
pub(crate) fn leave_actor(py: Python<'_>) -> PyResult<bool> {
    let worker = member::with(Member::worker);
    let Some(worker) = worker.filter(|worker| worker.becomes.get().is_some()) else {
        return Ok(false);
    };
    let (call, _) = work::asking(py)?;
    {
        let mut ending = worker.ending.lock();
        ending.by_itself = true;
        ending.by_calls.extend(call);
    }
    // While the constructor runs there is nobody to tell it yet; the main thread looks when that is over.
    if gate::runs_event_loop()
        && worker.actor.get().is_some()
        && let Some(leaving) = worker.leave(py)?
    {
        worker.end_with(leaving);
    }
    Ok(true)
}

impl Worker {
    fn new(session: Session) -> Arc<Self> {
        Arc::new(Self {
            session,
            actor: OnceLock::new(),
            becomes: OnceLock::new(),
            open: Mutex::new(0),
            none_open: Condvar::new(),
            ending: Mutex::default(),
        })
    }

    /// Runs jobs until the worker is told to end.
    fn live(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let ended = self.serve(py);
        // A worker thread that was killed is a thread still, but its actor has ended.
        if member::step(|| Ok(())).is_ok() {
            self.shut_actor_down(py)?;
        }
        ended
    }

    fn serve(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let mut functions = Functions::default();
        while let Some(job) = block(py, |interrupt| self.next(interrupt))? {
            if !self.run(py, job, &mut functions)? {
                return Ok(());
            }
            if functions.worn_out {
                return member::step(|| self.session.leave().or_raise(py));
            }
        }
        self.settle_lanes(py)
    }

    /// The worker has ended, but not its process: its lanes' threads are to end.
    fn close_lanes(&self, py: Python<'_>) -> PyResult<()> {
        self.actor.get().map_or(Ok(()), |actor| actor.close_lanes(py))
    }

    /// Its lanes know the worker, and the worker its lanes: that ends here.
    fn dismantle(&self) {
        if let Some(actor) = self.actor.get() {
            actor.forget_lanes();
        }
    }

    /// Does something to the inbox that others see.
    fn inbox_step<T>(&self, py: Python<'_>, does: impl FnOnce(&Inbox) -> park_core::Result<T>) -> PyResult<T> {
        member::step(|| self.inbox().and_then(does).or_raise(py))
    }

    fn store(&self) -> &Arc<Store> {
        self.session.store()
    }

    fn inbox(&self) -> park_core::Result<&Inbox> {
        self.session.inbox()
    }

    /// The next job for the main thread. Calls that belong to a lane are passed there on the way, without the interpreter.
    fn next(&self, interrupt: &mut dyn FnMut() -> park_core::Result<()>) -> park_core::Result<Option<Job>> {
        self.inbox()?.next_left(interrupt, &mut |job| match self.actor.get() {
            Some(actor) => actor.place(self, job),
            None => Some(job),
        })
    }

    /// Runs one job. False if the process is to end. An error is one of the process, not of user code.
    fn run(self: &Arc<Self>, py: Python<'_>, job: Job, functions: &mut Functions) -> PyResult<bool> {
        match &job.message {
            ToWorker::Run { .. } => {
                set_runs_task(true);
                let outcome = functions.run(py, self.store(), &job);
                set_runs_task(false);
                self.conclude(py, &job, outcome, functions.name(&job))?;
                Ok(true)
            }
            ToWorker::Call { .. } => {
                if let Some(job) = self.give_to_lane(py, job)? {
                    self.perform(py, &job, true)?;
                }
                Ok(true)
            }
            ToWorker::Create { .. } => {
                let lives = self.become_actor(py, &job)?;
                self.inbox_step(py, |inbox| inbox.finish(&job))?;
                Ok(lives)
            }
            ToWorker::Assign(assignment) => {
                assume(py, assignment)?;
                self.inbox_step(py, |inbox| inbox.finish(&job))?;
                Ok(true)
            }
            ToWorker::Cancel { .. } => {
                self.interrupt_call(py, &job)?;
                Ok(true)
            }
            ToWorker::Retire => {
                py.detach(|| self.wait_for_lanes(None));
                self.inbox_step(py, |inbox| inbox.finish(&job))?;
                Ok(false)
            }
        }
    }

    /// A lane got a call.
    fn opened(&self) {
        *self.open.lock() += 1;
    }

    /// A lane is done with a call.
    fn closed(&self) {
        let mut open = self.open.lock();
        *open -= 1;
        if *open == 0 {
            self.none_open.notify_all();
        }
    }

    /// Waits until lanes have no calls left.
    fn wait_for_lanes(&self, until: Option<Instant>) {
        let mut open = self.open.lock();
        while *open > 0 {
            match until {
                Some(until) if self.none_open.wait_until(&mut open, until).timed_out() => return,
                Some(_) => {}
                None => self.none_open.wait(&mut open),
            }
        }
    }

    /// The inbox was stopped by a lane. If the actor ends itself, calls that wait fail and those that run may come to their end;
    /// otherwise the process ends as the lane said.
    fn settle_lanes(&self, py: Python<'_>) -> PyResult<()> {
        let Some(ending) = self.ending.lock().with.take() else {
            return Ok(());
        };
        if let Some(actor) = self.actor.get().filter(|_| self.ending.lock().told) {
            for job in actor.take_waiting() {
                self.fail(py, &job, &left(actor.id))?;
                self.closed();
            }
            py.detach(|| self.wait_for_lanes(Instant::now().checked_add(GRACE)));
        }
        Err(ending)
    }

    /// What a thread of a lane could not handle ends the process, as it would on the main thread.
    fn end_with(&self, ending: PyErr) {
        self.ending.lock().with.get_or_insert(ending);
        if let Ok(inbox) = self.inbox() {
            inbox.stop();
        }
    }

    /// If the actor asked for its end: says so to the head, once, and returns what the thread is to leave with.
    fn leave(&self, py: Python<'_>) -> PyResult<Option<PyErr>> {
        if !std::mem::take(&mut self.ending.lock().by_itself) {
            return Ok(None);
        }
        if let Some(actor) = self.becomes.get() {
            self.report_end(py, *actor, &left(*actor))?;
            self.ending.lock().told = true;
        }
        Ok(Some(PySystemExit::new_err(0)))
    }

    /// Whether this call asked for the actor's end.
    fn asked_to_leave(&self, first: Option<&ObjectId>) -> bool {
        first.is_some_and(|first| self.ending.lock().by_calls.contains(first))
    }

    /// Tells the head that the actor is dead for good, and why.
    fn report_end(&self, py: Python<'_>, actor: ObjectId, error: &Error) -> PyResult<()> {
        let store = self.store();
        let cause = store.promise(store.me()).or_raise(py)?;
        store.fail(cause.id(), error).or_raise(py)?;
        let ended = ToHead::ActorEnded {
            actor,
            cause: cause.id(),
        };
        // The promise's own hold travels with the message.
        member::step(|| self.session.report_actor(ended).or_raise(py))
    }
}

/// Why the calls of an actor that ended itself fail. The detail says which actor.
fn left(actor: ObjectId) -> Error {
    Error::new(
        ErrorKind::ActorDied,
        "The actor is dead because its worker process has died. Worker exit type: INTENDED_USER_EXIT Worker exit detail: Worker exits by \
         an user request. exit_actor() is called.",
    )
    .with_detail(actor.to_bytes().to_vec())
}

/// What comes next runs with these resources; `park.assignment` keeps them, and shows the process its GPUs.
fn assume(py: Python<'_>, assignment: &Assignment) -> PyResult<()> {
    let Assignment {
        node,
        amounts,
        devices,
        group,
        capture,
    } = assignment;
    let group = group.map(|group| group.0);
    py.import("park.assignment")?
        .call_method1("assume", (node, in_wholes(amounts), devices, group, capture))?;
    Ok(())
}
