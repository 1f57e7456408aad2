//! What a worker is asked to do next, and telling the ring and the head when it is done.
//!
//! One thread of the process takes jobs (`next`), or another in its place for a while (`attendance`); any thread may finish them, in any
//! order, many at a time. A job's record stays in the ring until `finish`: if the process dies before that, the head finds the records of
//! exactly the jobs that were not finished, and acts on each. A job that goes on for long does not hold up the ring: its record is carried
//! along (`sync/ring.rs`).
//!
//! | lock | protects | while it is held, these may be taken |
//! |---|---|---|
//! | `turn` | who takes jobs | all of the below, and what `place` and `take` do |
//! | `asleep` | that nobody is at the doorbell who should not be | `state` |
//! | `state` | what was read and not handed out yet | `reader`, the store's lanes |
//! | the transfer lane of the journal (in `Store::finish`) | which record is being finished | `reader` |
//! | `reader` | the ring's read position and its tail | the ring's own lock |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::attendance::Attendance;
use super::trace::Trace;
pub use super::trace::{Failure, Traced};
use crate::actor::call::{Caller, owned, parse};
use crate::actor::cancel::cancelled;
use crate::actor::order::CallOrder;
use crate::error::{ErrorKind, Result};
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::ipc::message::{Span, ToHead, ToWorker};
use crate::store::{Interrupt, Store};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::ring::Position;
use crate::sync::{Ring, RingReader, SpinPolicy, Wake};
use crate::sys::clock;

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
    /// When it was taken to be run, in microseconds.
    began: u64,
    /// What the record owns.
    owned: Vec<ObjectId>,
}

/// Calls of one line start in the order in which they came: those of one caller to one concurrency group, or, in an actor that keeps
/// no order, each by itself (the number tells them apart).
type Line = (ParticipantId, String, u64);

/// The actor that this process is.
#[derive(Clone, Copy, Debug)]
struct Actor {
    id: ObjectId,
    in_order: bool,
}

struct State {
    ready: VecDeque<Job>,
    order: CallOrder<Line, Job>,
    actor: Option<Actor>,
    /// Calls that came so far.
    arrivals: u64,
    unreported: bool,
}

/// See the module's documentation.
pub struct Inbox {
    store: Arc<Store>,
    /// Whose inbox it is.
    me: ParticipantId,
    caller: Arc<Caller>,
    spin: SpinPolicy,
    reader: Mutex<RingReader>,
    state: Mutex<State>,
    attendance: Attendance,
    /// Held from taking a call until it is in its lane's queue: two threads that take calls in turns must not overtake each other.
    turn: Mutex<()>,
    /// Nothing more is to be taken. Set by any thread of the process, read by the one that takes jobs.
    stopped: AtomicBool,
    /// The thread in `attend` is to look at something other than calls. Set before the doorbell is rung, cleared after a ticket was taken.
    knocked: AtomicBool,
    /// Shared by threads that sleep on the doorbell; see `settle`.
    asleep: RwLock<()>,
    trace: Trace,
}

/// What a thread does in [`Inbox::attend`] when no call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It has other things to do.
    No,
    /// It is about to sleep elsewhere: it looks for a short while longer, then the thread in `next` takes over.
    Look,
    /// It sleeps until calls come, somebody knocks or so much time has passed.
    Sleep(Option<Duration>),
}

/// How [`Inbox::attend`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attended {
    /// Calls were taken.
    Came,
    /// None came; the thread still attends.
    Nothing,
    /// The thread in `next` looks for calls again.
    Left,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("actor", &self.state.lock().actor)
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// The inbox of this worker's participant entry.
    pub fn new(store: &Arc<Store>, me: ParticipantId, caller: &Arc<Caller>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            order: CallOrder::default(),
            actor: None,
            arrivals: 0,
            unreported: false,
        };
        Self {
            store: store.clone(),
            me,
            caller: caller.clone(),
            spin: SpinPolicy::default(),
            trace: Trace::default(),
            reader: Mutex::new(RingReader::new(store.ring(me))),
            state: Mutex::new(state),
            attendance: Attendance::default(),
            turn: Mutex::new(()),
            stopped: AtomicBool::new(false),
            knocked: AtomicBool::new(false),
            asleep: RwLock::new(()),
        }
    }

    /// Blocks until there is something to do. `None` once the inbox was stopped.
    pub fn next(&self, interrupt: Interrupt<'_>) -> Result<Option<Job>> {
        self.next_left(interrupt, &mut Some)
    }

    /// As [`next`](Self::next), for a thread that passes some jobs on: `place` gets each, and what it gives back is for the caller. What
    /// it keeps is in its place before another thread takes a job.
    pub fn next_left(
        &self,
        interrupt: Interrupt<'_>,
        place: &mut dyn FnMut(Job) -> Option<Job>,
    ) -> Result<Option<Job>> {
        let bell = &self.store.participant(self.me).doorbell;
        loop {
            let ticket = bell.ticket();
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if self.attendance.wait(interrupt)? {
                continue;
            }
            let taken = {
                let _turn = self.turn.lock();
                self.poll()?.map(&mut *place)
            };
            match taken {
                Some(Some(job)) => return Ok(Some(job)),
                Some(None) => continue,
                None => {}
            }
            if self.spin.look(|| bell.rung_since(ticket)) {
                continue;
            }
            if self.sleep(ticket, None) == Wake::Interrupted {
                interrupt()?;
            }
        }
    }

    /// The actor that this process is, if it is one.
    pub fn actor(&self) -> Option<ObjectId> {
        self.state.lock().actor.map(|actor| actor.id)
    }

    /// No more jobs are taken: what was not finished stays in the ring, for the head to find. From any thread.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.attendance.end();
        self.store.participant(self.me).doorbell.ring();
    }

    /// After `stop`, for a thread that another one declares dead: waits until no thread looks into the ring or is at the doorbell any
    /// more. Both may then be given to another worker, who would miss rings if somebody else still took himself off the bell.
    pub fn settle(&self) {
        drop(self.state.lock());
        drop(self.asleep.write());
    }

    /// For a thread that looks for calls in place of the one in `next`: passes every call that has come, and what cancels calls, to
    /// `take`. `seen` is the thread's own, 0 at first: it says whether a look is worth while.
    pub fn attend(&self, seen: &mut u32, pause: Pause, mut take: impl FnMut(Job)) -> Result<Attended> {
        let bell = &self.store.participant(self.me).doorbell;
        if !self.attendance.attend() {
            return Ok(Attended::Left);
        }
        let began = Instant::now();
        let mut any = false;
        loop {
            let ticket = bell.ticket();
            if ticket != *seen {
                *seen = ticket;
                let _turn = self.turn.lock();
                while let Some(job) = self.poll()? {
                    if !matches!(job.message, ToWorker::Call { .. } | ToWorker::Cancel { .. }) {
                        // The last thing that this process is told, and for the thread in `next`.
                        self.state.lock().ready.push_front(job);
                        self.attendance.end();
                        return Ok(if any { Attended::Came } else { Attended::Left });
                    }
                    any = true;
                    take(job);
                }
            }
            if any {
                return Ok(Attended::Came);
            }
            if pause == Pause::No || self.knocked.swap(false, Ordering::Acquire) {
                return Ok(Attended::Nothing);
            }
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(Attended::Left);
            }
            if self.spin.look(|| bell.rung_since(ticket)) {
                continue;
            }
            let Pause::Sleep(limit) = pause else {
                self.attendance.leave();
                return Ok(Attended::Left);
            };
            let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok(Attended::Nothing);
            }
            self.sleep(ticket, left);
        }
    }

    /// Ends the sleep of the thread in `attend`, or the next one if it does not sleep. From any thread of the process.
    pub fn knock(&self) {
        self.knocked.swap(true, Ordering::Release);
        self.store.participant(self.me).doorbell.ring();
    }

    /// Sleeps on the doorbell, and tells the head what it was not told yet if that lasts.
    fn sleep(&self, ticket: u32, limit: Option<Duration>) -> Wake {
        let bell = &self.store.participant(self.me).doorbell;
        let _asleep = self.asleep.read();
        if self.stopped.load(Ordering::Relaxed) {
            return Wake::Changed;
        }
        let delay = self.state.lock().unreported.then_some(REPORT_DELAY);
        let limit = limit.into_iter().chain(delay).min();
        let wake = bell.wait(ticket, limit);
        if wake == Wake::TimedOut {
            self.report();
        }
        wake
    }

    /// The calls that this process finished last, oldest first: method, the name that somebody chose, and what is known of each.
    pub fn traced(&self) -> Vec<(String, Option<String>, Traced)> {
        self.trace.calls()
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
        if self.stopped.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let ring = self.store.ring(self.me);
        loop {
            let next = self.reader.lock().next(ring)?;
            let Some((position, record)) = next else { break };
            let (attempt, message, parcel) = match parse(&self.store, &record) {
                Ok(parsed) => parsed,
                // A long task that the head took back and that ended elsewhere: the object that held it is gone with it.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.drop_record(position)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.arrived(
                &mut state,
                Job {
                    owned: owned(&message, parcel),
                    message,
                    attempt,
                    position,
                    began: 0,
                },
            )?;
        }
        while let Some(mut job) = state.ready.pop_front() {
            if matches!(job.message, ToWorker::Retire) && !state.order.is_empty() {
                // Calls that wait for their arguments came before it.
                state.ready.push_front(job);
                break;
            }
            job.began = clock::now_us();
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
            self.drop_record(job.position)?;
        }
        let mut next = state.order.next(|job| self.is_ready(job));
        if let Some(job) = &mut next {
            job.began = clock::now_us();
        }
        Ok(next)
    }

    fn arrived(&self, state: &mut State, job: Job) -> Result<()> {
        match &job.message {
            ToWorker::Call {
                actor, caller, group, ..
            } => {
                let Some(own) = state.actor.filter(|own| own.id == *actor) else {
                    // Sent to this entry when another process had it.
                    self.pass_on(*actor, &job.message, job.attempt)?;
                    return self.put_away(&job);
                };
                state.arrivals += 1;
                // One that is repeated comes behind calls that may wait for its result.
                let line = if own.in_order && job.attempt == 0 {
                    (*caller, group.clone(), 0)
                } else {
                    (*caller, String::new(), state.arrivals)
                };
                if let Some(job) = state.order.arrive(line, job, |job| self.is_ready(job)) {
                    state.ready.push_back(job);
                }
            }
            ToWorker::Create { actor, in_order, .. } => {
                state.actor = Some(Actor {
                    id: *actor,
                    in_order: *in_order,
                });
                state.ready.push_back(job);
            }
            ToWorker::Run { .. } | ToWorker::Assign(_) | ToWorker::Cancel { .. } | ToWorker::Retire => {
                state.ready.push_back(job)
            }
        }
        Ok(())
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
            let sealed = self.store.contains(*id) || self.store.watch_as(*id, self.me).unwrap_or(true);
            ready && sealed
        })
    }

    /// Sends a call again, with references of its own.
    fn pass_on(&self, actor: ObjectId, call: &ToWorker, attempt: u32) -> Result<()> {
        for id in call.holds() {
            self.store.hold(id)?;
        }
        self.caller.call_again(actor, call, attempt)
    }

    /// If the job is a call that may be repeated: makes it again, with one retry less, behind the calls that came meanwhile but in no
    /// order with them. The job itself is then finished without results.
    pub fn retry(&self, job: &Job) -> Result<bool> {
        let mut again = job.message.clone();
        let ToWorker::Call { actor, retries, .. } = &mut again else {
            return Ok(false);
        };
        if *retries == 0 {
            return Ok(false);
        }
        *retries -= i32::from(*retries > 0);
        let actor = *actor;
        self.pass_on(actor, &again, job.attempt.saturating_add(1))?;
        self.put_away(job)?;
        Ok(true)
    }

    /// Whether the job is to be run. A call that was cancelled before is not: its results are raised here, and its record is put away.
    pub fn begin(&self, job: &Job) -> Result<bool> {
        let ToWorker::Call { returns, stream, .. } = &job.message else {
            return Ok(true);
        };
        let Some(first) = returns.first().filter(|first| !self.store.begin_call(**first, self.me)) else {
            return Ok(true);
        };
        let error = cancelled(*first);
        let link = stream.and_then(|stream| stream.link);
        returns
            .iter()
            .chain(&link)
            .try_for_each(|id| self.store.fail(*id, &error))?;
        self.finish_failed(job)?;
        Ok(false)
    }

    /// The job's results are sealed: its record may go, and a task is reported to the head.
    pub fn finish(&self, job: &Job) -> Result<()> {
        self.end(job, false)
    }

    /// As [`finish`](Self::finish), where the results are an error.
    pub fn finish_failed(&self, job: &Job) -> Result<()> {
        self.end(job, true)
    }

    fn end(&self, job: &Job, failed: bool) -> Result<()> {
        if let ToWorker::Call {
            method,
            name,
            returns,
            parent,
            ..
        } = &job.message
        {
            let span = Span {
                began: job.began,
                ended: 0,
            };
            let (id, attempt) = (returns.first().copied(), job.attempt);
            self.trace.add(
                method,
                name,
                Traced {
                    id,
                    span,
                    attempt,
                    failed,
                    failure: id
                        .filter(|_| failed)
                        .and_then(|id| Failure::of(&self.store, id))
                        .map(Box::new),
                    parent: *parent,
                },
            );
        }
        if let ToWorker::Run { returns, .. } | ToWorker::Call { returns, .. } = &job.message
            && let Some(first) = returns.first()
        {
            self.caller.parent_ends(*first);
        }
        if let ToWorker::Run { task, .. } = &job.message {
            self.done(*task, job)?;
        }
        self.put_away(job)
    }

    fn put_away(&self, job: &Job) -> Result<()> {
        let position = self.reader.lock().settle(job.position);
        let mut held_up = false;
        let mark = |ring: Ring<'_>| {
            let mut reader = self.reader.lock();
            reader.finish(ring, position)?;
            held_up = reader.is_held_up(ring);
            Ok(())
        };
        self.store.finish(self.me, position, &job.owned, mark)?;
        if held_up {
            self.store.carry(self.me, &mut self.reader.lock())?;
        }
        Ok(())
    }

    /// Does away with a record that owns nothing.
    fn drop_record(&self, position: Position) -> Result<()> {
        let mut reader = self.reader.lock();
        let position = reader.settle(position);
        reader.finish(self.store.ring(self.me), position)
    }

    fn done(&self, task: TaskId, job: &Job) -> Result<()> {
        let hungry = {
            let mut state = self.state.lock();
            let hungry = state.ready.len() < LOW && self.store.header().ready_hint.load(Ordering::Relaxed) > 0;
            state.unreported = !hungry;
            hungry
        };
        let (attempt, began, ended) = (job.attempt, job.began, clock::now_us());
        let span = Span { began, ended };
        self.store
            .send_head_as(self.me, ToHead::Done { task, attempt, span }, hungry)
    }
}
