//! Workers that are threads: starting them, interrupting them, and what the end of one means (park-core/src/runtime/spawner.rs).
//!
//! The head leaves notes for one thread, the *keeper*, which may wait for the interpreter where the head may not. A worker's thread is a
//! `threading.Thread`, so that debuggers and profilers know it (python/park/threads.py).
//!
//! A task that was cancelled gets a KeyboardInterrupt. It comes when the thread runs Python code again; if that takes longer than
//! `PATIENCE`, as in `time.sleep`, the worker is given up as if it had been killed, and its task is cancelled all the same.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use park_core::runtime::{Seat, ThreadHost};
use park_core::sched::task::Interruption;
use park_core::{ParticipantId, Session};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::{PyRuntimeError, PySystemExit};
use pyo3::prelude::*;

use super::Worker;
use crate::gate::OrRaise;
use crate::member::Member;

/// How long a task that was cancelled may run on without running Python code.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the end of a session waits for its workers.
const GRACE: Duration = Duration::from_millis(250);
/// Wait statuses: killed by SIGKILL, and exited with 1.
const KILLED: i32 = 9;
const FAILED: i32 = 1 << 8;

/// What the keeper is to do.
enum Note {
    Start(Seat),
    Interrupt(ParticipantId),
    /// It was marked: it is to end as a process with this wait status would have.
    End(Living, i32),
    Close,
}

/// See the module's documentation.
pub(crate) struct Host {
    notes: Sender<Note>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    crowd: Arc<Crowd>,
}

/// The workers that there are.
#[derive(Default)]
struct Crowd {
    workers: Mutex<HashMap<ParticipantId, Living>>,
    gone: Condvar,
}

#[derive(Clone)]
struct Living {
    worker: Arc<Worker>,
    member: Arc<Member>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    pub(crate) fn start() -> std::io::Result<Arc<Self>> {
        let (notes, received) = channel();
        let crowd = Arc::<Crowd>::default();
        let keeper = {
            let crowd = crowd.clone();
            std::thread::Builder::new()
                .name("park-keeper".into())
                .spawn(move || keep(&received, &crowd))?
        };
        Ok(Arc::new(Self {
            notes,
            keeper: Mutex::new(Some(keeper)),
            crowd,
        }))
    }

    fn note(&self, note: Note) {
        // Without a keeper the session has ended: a seat that is dropped is nobody's.
        let _ = self.notes.send(note);
    }
}

impl ThreadHost for Host {
    fn start(&self, seat: Seat) {
        self.note(Note::Start(seat));
    }

    fn interrupt(&self, worker: ParticipantId, how: Interruption) {
        match how {
            Interruption::Signal => self.note(Note::Interrupt(worker)),
            // At once, or it would begin what comes next.
            Interruption::Kill => match self.crowd.find(worker) {
                Some(living) if living.mark() => self.note(Note::End(living, KILLED)),
                _ => {}
            },
        }
    }

    fn stop(&self) {
        self.note(Note::Close);
        if let Some(keeper) = self.keeper.lock().take() {
            // A panic there has been printed; there is nothing more to do about it while closing.
            let _ = keeper.join();
        }
        let living: Vec<_> = self.crowd.workers.lock().values().cloned().collect();
        for one in living {
            one.end(KILLED);
        }
        let deadline = Instant::now() + GRACE;
        let mut workers = self.crowd.workers.lock();
        while !workers.is_empty() && !self.crowd.gone.wait_until(&mut workers, deadline).timed_out() {}
        // Those that are left run C code, and find the session closed when they are done.
        let left = std::mem::take(&mut *workers);
        drop(workers);
        drop(left);
    }
}

/// The life of the keeper.
fn keep(notes: &Receiver<Note>, crowd: &Arc<Crowd>) {
    let mut deaf: Vec<(Instant, ParticipantId, Weak<Member>)> = Vec::new();
    loop {
        let next = match deaf.first() {
            Some((until, ..)) => notes.recv_timeout(until.saturating_duration_since(Instant::now())),
            None => notes.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(Note::Start(seat)) => seat_one(seat, crowd),
            Ok(Note::Interrupt(id)) => {
                let Some(living) = crowd.find(id) else { continue };
                if Python::attach(|py| living.member.interrupt(py)).unwrap_or(false) {
                    deaf.push((Instant::now() + PATIENCE, id, Arc::downgrade(&living.member)));
                }
                living.worker.session.wake();
            }
            Ok(Note::End(living, status)) => {
                living.finish(status);
                crowd.forget(&living);
            }
            Ok(Note::Close) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let (_, id, member) = deaf.remove(0);
                if let (Some(living), Some(member)) = (crowd.find(id), member.upgrade())
                    && Arc::ptr_eq(&living.member, &member)
                    && member.is_deaf()
                {
                    living.end(KILLED);
                    crowd.forget(&living);
                }
            }
        }
    }
}

/// Starts a thread for a seat.
fn seat_one(seat: Seat, crowd: &Arc<Crowd>) {
    let vacant = Vacant {
        seat: Mutex::new(Some(seat)),
        crowd: crowd.clone(),
    };
    Python::attach(|py| {
        let started = Py::new(py, vacant).and_then(|vacant| {
            let module = py.import("park.threads")?;
            module.call_method1("start", (vacant.clone_ref(py),)).inspect_err(|_| {
                if let Some(seat) = vacant.get().seat.lock().take() {
                    py.detach(|| seat.refuse());
                }
            })
        });
        if let Err(error) = started {
            error.print(py);
        }
    });
}

impl Crowd {
    fn find(&self, id: ParticipantId) -> Option<Living> {
        self.workers.lock().get(&id).cloned()
    }

    fn insert(&self, living: &Living) {
        let before = self.workers.lock().insert(living.worker.session.me(), living.clone());
        // Not under the lock: what it kept alive may be of Python.
        drop(before);
    }

    fn forget(&self, gone: &Living) {
        let mut workers = self.workers.lock();
        let id = gone.worker.session.me();
        // The entry may be another worker's by now.
        let listed = workers
            .get(&id)
            .is_some_and(|other| Arc::ptr_eq(&other.member, &gone.member));
        let removed = if listed { workers.remove(&id) } else { None };
        self.gone.notify_all();
        drop(workers);
        drop(removed);
    }
}

impl Living {
    /// The worker ends now, as a process with this wait status would have; only the first to say so is heard.
    fn end(&self, status: i32) {
        if self.mark() {
            self.finish(status);
        }
    }

    /// The worker is to end: it begins nothing more. True for the first to say so, who is to `finish`.
    fn mark(&self) -> bool {
        let first = self.member.end();
        if first && let Ok(inbox) = self.worker.inbox() {
            inbox.stop();
        }
        first
    }

    fn finish(&self, status: i32) {
        if let Ok(inbox) = self.worker.inbox() {
            inbox.settle();
        }
        Python::attach(|py| {
            let expelled = self.member.expel_crew(py).and_then(|()| self.worker.close_lanes(py));
            if let Err(error) = expelled {
                error.print(py);
            }
        });
        self.worker.session.wake();
        self.member.await_steps();
        self.worker.session.leave_seat(status);
    }
}

/// A seat that a thread is to take.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Vacant {
    seat: Mutex<Option<Seat>>,
    crowd: Arc<Crowd>,
}

#[pymethods]
impl Vacant {
    /// Takes the seat: this thread is a worker until it returns.
    fn take(&self, py: Python<'_>) -> PyResult<()> {
        let Some(seat) = self.seat.lock().take() else {
            return Err(PyRuntimeError::new_err("the seat is taken"));
        };
        let session = Session::take_seat(seat);
        let entered = Member::enter(py, session.clone())?;
        let worker = Worker::new(session.clone());
        entered.member.becomes(&worker);
        let living = Living {
            worker,
            member: entered.member.clone(),
        };
        self.crowd.insert(&living);
        py.detach(|| session.tell_seated());
        let outcome = living.worker.live(py);
        let status = status_of(py, &living.member, outcome);
        py.detach(|| living.end(status));
        living.member.forget_worker();
        // Whoever ended it may not have come to this yet.
        living.worker.close_lanes(py)?;
        living.worker.dismantle();
        // Last: the end of the session waits for this.
        self.crowd.forget(&living);
        Ok(())
    }
}

/// How a process would have ended whose main thread ended so.
fn status_of(py: Python<'_>, member: &Member, outcome: PyResult<()>) -> i32 {
    let Err(raised) = outcome else { return 0 };
    if member.has_ended() {
        // It was told to end, and this is how it noticed.
        return KILLED;
    }
    if !raised.is_instance_of::<PySystemExit>(py) {
        let closed = member
            .worker()
            .is_none_or(|worker| worker.session.store().check_open().or_raise(py).is_err());
        if !closed {
            raised.print(py);
        }
        return FAILED;
    }
    let code = raised.value(py).getattr("code").ok();
    match code {
        Some(code) if code.is_none() => 0,
        Some(code) => code.extract::<i32>().map_or(FAILED, |code| (code & 0xff) << 8),
        None => FAILED,
    }
}
