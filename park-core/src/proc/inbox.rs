//! What a worker process is asked to do next, and telling the ring and the head when it is done.
//!
//! One thread of the process takes jobs; any may finish them. A job's record stays in the ring until `finish`: if the process
//! dies before that, the head finds the record and acts on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::actor::call::{Caller, owned, parse};
use crate::actor::cancel::cancelled;
use crate::actor::order::CallOrder;
use crate::error::{ErrorKind, Result};
use crate::id::{ObjectId, TaskId};
use crate::ipc::message::{ToHead, ToWorker};
use crate::store::{Interrupt, Store};
use crate::sync::atomic::Ordering;
use crate::sync::ring::Position;
use crate::sync::{RingReader, SpinPolicy, Wake};

/// How long an idle worker keeps its last reports to itself, so that a busy head is not woken for each.
const REPORT_DELAY: Duration = Duration::from_millis(1);
/// With fewer jobs than this left, a worker tells the head at once that it can take more.
const LOW: usize = 8;

/// One thing to do.
#[derive(Debug)]
pub struct Job {
    /// What.
    pub message: ToWorker,
    attempt: u32,
    position: Position,
    /// What the record owns.
    owned: Vec<ObjectId>,
}

struct State {
    reader: RingReader,
    ready: VecDeque<Job>,
    order: CallOrder<Job>,
    unreported: bool,
}

/// See the module's documentation.
pub struct Inbox {
    store: Arc<Store>,
    caller: Arc<Caller>,
    spin: SpinPolicy,
    state: Mutex<State>,
    /// The actor that this process is, once it is one.
    actor: Mutex<Option<ObjectId>>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("actor", &*self.actor.lock())
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// The inbox of this process's participant entry.
    pub fn new(store: &Arc<Store>, caller: &Arc<Caller>) -> Self {
        let state = State {
            reader: RingReader::new(store.ring(store.me())),
            ready: VecDeque::new(),
            order: CallOrder::default(),
            unreported: false,
        };
        Self {
            store: store.clone(),
            caller: caller.clone(),
            spin: SpinPolicy::default(),
            state: Mutex::new(state),
            actor: Mutex::new(None),
        }
    }

    /// Blocks until there is something to do.
    pub fn next(&self, interrupt: Interrupt<'_>) -> Result<Job> {
        let bell = &self.store.participant(self.store.me()).doorbell;
        loop {
            let ticket = bell.ticket();
            if let Some(job) = self.poll()? {
                return Ok(job);
            }
            if self.spin.look(|| bell.rung_since(ticket)) {
                continue;
            }
            let unreported = self.state.lock().unreported;
            match bell.wait(ticket, unreported.then_some(REPORT_DELAY)) {
                Wake::TimedOut => self.report(),
                Wake::Interrupted => interrupt()?,
                Wake::Changed => {}
            }
        }
    }

    fn report(&self) {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.unreported) {
            self.store.ring_head();
        }
    }

    /// The next job that can run, if any.
    fn poll(&self) -> Result<Option<Job>> {
        let mut state = self.state.lock();
        let ring = self.store.ring(self.store.me());
        while let Some((position, record)) = state.reader.next(ring)? {
            let (attempt, message, parcel) = match parse(&self.store, &record) {
                Ok(parsed) => parsed,
                // A long task that the head took back and that ended elsewhere: the object that held it is gone with it.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    state.reader.finish(ring, position)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let job = Job {
                owned: owned(&message, parcel),
                message,
                attempt,
                position,
            };
            match &job.message {
                ToWorker::Call { actor, .. } if *self.actor.lock() != Some(*actor) => {
                    // Sent to this entry when another process had it: pass it on, with references of its own.
                    for id in job.message.holds() {
                        self.store.hold(id)?;
                    }
                    self.caller.call(*actor, &job.message)?;
                    self.store
                        .finish(position, &job.owned, |ring| state.reader.finish(ring, position))?;
                }
                ToWorker::Call { caller, .. } => {
                    let caller = *caller;
                    if let Some(job) = state.order.arrive(caller, job, |job| self.is_ready(job)) {
                        state.ready.push_back(job);
                    }
                }
                ToWorker::Create { actor, .. } => {
                    *self.actor.lock() = Some(*actor);
                    state.ready.push_back(job);
                }
                _ => state.ready.push_back(job),
            }
        }
        while let Some(job) = state.ready.pop_front() {
            if matches!(job.message, ToWorker::Retire) && !state.order.is_empty() {
                // Calls that wait for their arguments came before it.
                state.ready.push_front(job);
                break;
            }
            let ToWorker::Run { returns, .. } = &job.message else {
                return Ok(Some(job));
            };
            if returns
                .first()
                .is_some_and(|first| self.store.claim(*first, job.attempt))
            {
                return Ok(Some(job));
            }
            // The head took it back and gave it to another worker.
            state.reader.finish(ring, job.position)?;
        }
        Ok(state.order.next(|job| self.is_ready(job)))
    }

    fn is_ready(&self, job: &Job) -> bool {
        let ToWorker::Call { args, returns, .. } = &job.message else {
            return true;
        };
        // A call that is not to run waits for nothing.
        if returns.first().is_some_and(|first| self.store.is_cancelled(*first)) {
            return true;
        }
        args.dependencies.iter().fold(true, |ready, id| {
            let sealed = self.store.contains(*id) || self.store.watch_as(*id, self.store.me()).unwrap_or(true);
            ready && sealed
        })
    }

    /// Whether the job is to be run. A call that was cancelled before is not: its results are raised here, and its record is put away.
    pub fn begin(&self, job: &Job) -> Result<bool> {
        let ToWorker::Call { returns, stream, .. } = &job.message else {
            return Ok(true);
        };
        let Some(first) = returns.first().filter(|first| !self.store.begin_call(**first)) else {
            return Ok(true);
        };
        let error = cancelled(*first);
        let link = stream.and_then(|stream| stream.link);
        returns
            .iter()
            .chain(&link)
            .try_for_each(|id| self.store.fail(*id, &error))?;
        self.finish(job)?;
        Ok(false)
    }

    /// The job's results are sealed: its record may go, and a task is reported to the head.
    pub fn finish(&self, job: &Job) -> Result<()> {
        let done = match &job.message {
            ToWorker::Run { task, .. } => Some((*task, job.attempt)),
            _ => None,
        };
        if let Some((task, attempt)) = done {
            self.done(task, attempt)?;
        }
        let mark = |ring: crate::sync::Ring<'_>| self.state.lock().reader.finish(ring, job.position);
        self.store.finish(job.position, &job.owned, mark)
    }

    fn done(&self, task: TaskId, attempt: u32) -> Result<()> {
        let hungry = {
            let mut state = self.state.lock();
            let hungry = state.ready.len() < LOW && self.store.header().ready_hint.load(Ordering::Relaxed) > 0;
            state.unreported = !hungry;
            hungry
        };
        self.store.send_head(ToHead::Done { task, attempt }, hungry)
    }
}
