//! What happens when a process ends.
//!
//! The order is: declare it dead (others may take over its locks, its ring is closed), read what it left undone, give back what it
//! held, then decide about each piece of work. Work is retried if its policy allows and raised otherwise; nothing is dropped.

use std::collections::{HashMap, HashSet};

use crate::actor::call::{fail_call, owned, parse};
use crate::actor::cancel::cancelled;
use crate::actor::registry::Life;
use crate::error::{Error, ErrorKind};
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::ipc::message::{Span, ToWorker, decode, encode};
use crate::ipc::parcel::{pack, unpack};
use crate::proc::pool::{Hold, Role, Worker};
use crate::store::promise::Origin;
use crate::store::{Orphan, Place};
use crate::sys::process;

use super::actors::GONE;
use super::foreign::FRUITLESS_ZYGOTES;
use super::head::State;
use super::spawner::Spawner;

/// So many workers in a row that ended before they finished anything mean that the worker program itself is broken.
const FRUITLESS: u32 = 16;

/// Processes that left and are still told of.
const REMEMBERED: usize = 1000;

/// Looks at the ring of a living process before it counts as empty.
const LOOKS: u32 = 100;

/// Where a stream ends, by the first result of the work that makes it.
type Tails = HashMap<ObjectId, ObjectId>;

/// Which worker died and why, by its `wait` status.
fn obituary(worker: &Worker, id: ParticipantId, status: i32) -> String {
    let who = match (worker.pid, &worker.hold) {
        (Some(_), Some(Hold::Thread)) => format!("thread {}", id.0),
        (Some(pid), _) => format!("process {pid}"),
        (None, _) => "process (not started)".to_owned(),
    };
    let why = match (status & 0x7f, &worker.hold) {
        (0, _) => format!("it exited with code {}", status >> 8 & 0xff),
        (_, Some(Hold::Thread)) => "it was killed".to_owned(),
        (signal, _) => format!("it was killed by signal {signal}"),
    };
    format!("worker {who} died: {why}")
}

impl State {
    pub(super) fn worker_started(&mut self, id: ParticipantId, pid: u32, hold: Hold) {
        let Some(worker) = self.pool.get_mut(id) else { return };
        worker.pid = Some(pid);
        worker.hold = Some(hold);
        if let Role::Actor(actor) = worker.role
            && self.actors.get_mut(actor).is_some_and(|actor| actor.doomed)
        {
            self.kill_worker(id);
        }
        // Cancelled before it was known whom to tell.
        let sent = self.pool.get(id).into_iter().flat_map(|worker| &worker.sent);
        let cancelled: Vec<_> = sent.filter_map(|task| self.tasks.get(task)?.cancelled).collect();
        cancelled.into_iter().for_each(|how| {
            self.interrupt(id, how);
        });
    }

    /// A worker ended.
    pub(super) fn worker_ended(&mut self, id: ParticipantId, status: i32) {
        if self.pool.get(id).is_none() {
            return;
        }
        // What it reported before it died counts.
        if let Err(error) = self.drain() {
            self.abandon(&error);
            return;
        }
        let Some(worker) = self.pool.get(id) else { return };
        let (pid, role) = (worker.pid, worker.role);
        self.store.declare_dead(id);
        let undone = self.store.ring(id).unfinished().unwrap_or_default();
        let Some(worker) = self.pool.remove(id) else { return };
        if let Some(lease) = &worker.lease {
            self.end_lease(lease, worker.blocked);
        }
        worker.parcels.iter().for_each(|id| self.store.drop_hold(*id));
        let orphans = self.store.recover(id);
        let tails = self.tails(&orphans);
        let death = match &worker.verdict {
            Some(verdict) => verdict.clone(),
            None => Error::new(ErrorKind::WorkerDied, obituary(&worker, id, status)),
        };
        let retiring = match role {
            // One that was told to end before its constructor returned never became `Retiring`.
            Role::Actor(actor) => self
                .actors
                .get_mut(actor)
                .is_none_or(|actor| actor.life == Life::Retiring || (actor.no_restart && status == 0)),
            Role::Surplus => true,
            Role::Tasks => false,
        };
        if !retiring {
            self.counts.workers_died += 1;
        }
        let mut kept: HashSet<ObjectId> = HashSet::new();
        let mut claimed = false;
        for task in worker.sent.iter().rev() {
            claimed |= self.task_lost_its_worker(*task, &death, &tails, &mut kept);
        }
        if role == Role::Tasks && !claimed && pid.is_some() {
            self.fruitless += 1;
        }
        // While its constructor runs, no call has begun.
        let mut took_calls = pid.is_some();
        if let Role::Actor(actor) = role {
            took_calls &= self.actors.get(actor).is_none_or(|actor| actor.life != Life::Starting);
            self.actor_lost_its_process(actor, pid.is_some(), &death);
            self.remove_groups_of(id);
        }
        self.owner_ended(id, !matches!(role, Role::Actor(_)) && status == 0);
        for record in undone {
            self.call_lost_its_actor(&record, took_calls, &tails, &mut kept);
        }
        for orphan in self.without_heirs(orphans) {
            if self.store.producer_of(orphan.id) == Some(ParticipantId::HEAD) && !kept.contains(&orphan.id) {
                self.raise(orphan.id, &death);
            }
        }
        self.store.dismiss(id);
        // It may have been killed between publishing something and waking whoever waits for that.
        self.store.ring_everyone();
        self.notice_sealed();
        if self.fruitless >= FRUITLESS {
            let text = format!("workers end before they do anything; the last {death}");
            match &worker.environment {
                Some(environment) => {
                    self.fruitless = 0;
                    self.refuse_environment(environment, &Error::new(ErrorKind::EnvironmentSetup, text));
                }
                None => self.abandon(&Error::new(ErrorKind::WorkerDied, text)),
            }
        }
        self.pump();
        if let Some(environment) = &worker.environment {
            self.let_environment_go(environment);
        }
    }

    /// Where the streams end that a dead process was making. Of each, one link is open and without a maker.
    fn tails(&self, orphans: &[Orphan]) -> Tails {
        let tail = |orphan: &Orphan| match self.store.origin(orphan.id) {
            Some(Origin::Link { first, .. }) => Some((first, orphan.id)),
            _ => None,
        };
        orphans.iter().filter_map(tail).collect()
    }

    /// True if the worker had started it.
    fn task_lost_its_worker(&mut self, id: TaskId, death: &Error, tails: &Tails, kept: &mut HashSet<ObjectId>) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else {
            return false;
        };
        if task.returns.iter().all(|id| self.store.contains(*id)) {
            // It was done; only the report was lost.
            self.end_task(id, Span::default());
            return true;
        }
        let tail = task.returns.first().and_then(|first| tails.get(first)).copied();
        if let Some(tail) = tail {
            task.stream = Some(tail);
            kept.insert(tail);
        }
        let started = !task
            .returns
            .first()
            .is_some_and(|first| self.store.take_back(*first, task.attempt));
        let starved = death.kind() == ErrorKind::OutOfMemory;
        let again = !started
            || if starved {
                task.use_memory_retry()
            } else {
                task.use_retry()
            };
        if !again {
            let error = match task.cancelled {
                Some(_) => Error::new(ErrorKind::Cancelled, ""),
                None => Error::new(death.kind(), format!("task {} failed: {death}", task.name)),
            };
            self.fail_task(id, &error);
            return true;
        }
        if let Some(tail) = tail
            && let Err(error) = self.resume_at(id, tail)
        {
            self.fail_task(id, &error);
            return true;
        }
        let Some(task) = self.tasks.get_mut(&id) else {
            return true;
        };
        task.attempt += 1;
        task.worker = None;
        kept.extend(&task.returns);
        let shape = task.shape;
        self.counts.retried += u64::from(started);
        self.put_back(shape, id);
        started
    }

    /// The next attempt of a task goes on with its stream at this link.
    fn resume_at(&mut self, id: TaskId, tail: ObjectId) -> crate::error::Result<()> {
        let Some(task) = self.tasks.get_mut(&id) else {
            return Ok(());
        };
        let mut message: ToWorker = decode(&unpack(&self.store, &task.body)?.0)?;
        if let ToWorker::Run {
            stream: Some(stream), ..
        } = &mut message
        {
            stream.link = Some(tail);
        }
        let (body, parcel) = pack(&self.store, &encode(&message)?, &[])?;
        task.body = body;
        task.holds.extend(parcel);
        Ok(())
    }

    fn actor_lost_its_process(&mut self, id: ObjectId, started: bool, death: &Error) {
        let Some(actor) = self.actors.get_mut(id) else { return };
        let again = !started || actor.use_restart();
        if !again {
            let ended = actor.life == Life::Retiring;
            let class = &actor.spec.class_name;
            let error = match actor.verdict {
                _ if ended => Error::new(ErrorKind::ActorDied, format!("actor {class} ended: {GONE}")),
                Some(verdict) => Error::new(ErrorKind::ActorDied, format!("actor {class} died: {verdict}")),
                None if death.kind() == ErrorKind::OutOfMemory => {
                    Error::new(ErrorKind::OutOfMemory, format!("actor {class} died: {death}"))
                }
                None => {
                    let text =
                        format!("actor {class} died: The actor is dead because its worker process has died: {death}");
                    Error::new(ErrorKind::ActorDied, text)
                }
            };
            self.bury(id, &error);
            return;
        }
        if let Some((spot, amounts)) = actor.vacate() {
            self.nodes.leave(&spot, &amounts);
        }
        actor.life = Life::Queued;
        actor.doomed = false;
        actor.verdict = None;
        self.counts.actors_restarted += u64::from(started);
        self.store.set_actor_place(id, Place::Unbound);
    }

    /// A call that was queued or running. Callers are told by the rule of the actor's place; retries apply if it comes back. A call to
    /// a process that never `took_calls` costs none, unless it began after all, in one that was not announced any more.
    fn call_lost_its_actor(&mut self, record: &[u8], took_calls: bool, tails: &Tails, kept: &mut HashSet<ObjectId>) {
        let Ok((attempt, mut message, parcel)) = parse(&self.store, record) else {
            return;
        };
        // What the record owned is the head's from here on.
        self.store.adopt(&owned(&message, parcel));
        let ToWorker::Call {
            actor,
            retries,
            returns,
            stream,
            ..
        } = &mut message
        else {
            return;
        };
        if returns.iter().all(|id| self.store.contains(*id)) {
            // It was done; only its record was not.
            owned(&message, parcel)
                .into_iter()
                .for_each(|id| self.store.drop_hold(id));
            return;
        }
        let actor = *actor;
        let first = returns.first().copied();
        let tail = first.and_then(|first| tails.get(&first)).copied();
        if let (Some(stream), Some(tail)) = (stream, tail) {
            // Whatever becomes of the call, this is where its consumer waits.
            stream.link = Some(tail);
            kept.insert(tail);
        }
        if let Some(first) = first.filter(|first| self.store.is_cancelled(*first)) {
            self.fail_lost(record, tail, &cancelled(first));
            return;
        }
        let begun = took_calls || first.is_some_and(|first| self.store.has_begun(first));
        if begun && self.actors.get_mut(actor).is_some() {
            if *retries == 0 {
                let text = "the actor's process died during the call, or before it began; the actor is being restarted";
                self.fail_lost(record, tail, &Error::new(ErrorKind::ActorUnavailable, text));
                return;
            }
            *retries -= i32::from(*retries > 0);
            self.counts.retried += 1;
        }
        if let Some(parcel) = parcel {
            // A new parcel is made on the way; this one still keeps alive what it names.
            let held = message.holds().into_iter().try_for_each(|id| self.store.hold(id));
            if held.is_ok() {
                // A call that cannot be sent at all (the session closes) fails with the session.
                let _ = self.caller.call_again(actor, &message, attempt);
            }
            self.store.drop_hold(parcel);
            return;
        }
        let _ = self.caller.call_again(actor, &message, attempt);
    }

    fn fail_lost(&self, record: &[u8], tail: Option<ObjectId>, error: &Error) {
        fail_call(&self.store, record, error);
        tail.into_iter().for_each(|tail| self.raise(tail, error));
    }

    /// Results of calls that a dead process made and that lie in an actor's ring are the actor's to make from now on. Returns the others.
    fn without_heirs(&self, mut orphans: Vec<Orphan>) -> Vec<Orphan> {
        for (worker, _) in self.pool.iter() {
            if orphans.is_empty() {
                break;
            }
            // Its consumer is at work, so a look may go wrong; the next one will not.
            let records = (0..LOOKS).find_map(|_| self.store.ring(worker).unfinished().ok());
            for record in records.unwrap_or_default() {
                if let Ok((_, ToWorker::Call { returns, .. }, _)) = parse(&self.store, &record) {
                    let (owed, others): (Vec<_>, _) =
                        orphans.into_iter().partition(|orphan| returns.contains(&orphan.id));
                    owed.iter()
                        .for_each(|orphan| self.store.assign_producer(orphan.id, worker));
                    orphans = others;
                }
            }
        }
        orphans
    }

    /// An attached process left or died.
    pub(super) fn peer_ended(&mut self, id: ParticipantId) {
        if self.peers.remove(&id).is_none() {
            return;
        }
        if self.left.len() == REMEMBERED {
            self.left.pop_front();
        }
        self.left.push_back(self.driver(id, false));
        self.remove_groups_of(id);
        self.owner_ended(id, false);
        self.store.declare_dead(id);
        let undone = self.store.ring(id).unfinished().unwrap_or_default();
        let orphans = self.store.recover(id);
        for record in undone {
            self.call_lost_its_actor(&record, true, &Tails::new(), &mut HashSet::new());
        }
        for orphan in self.without_heirs(orphans) {
            self.raise(
                orphan.id,
                &Error::new(
                    ErrorKind::WorkerDied,
                    "the attached process that was to make this object has ended",
                ),
            );
        }
        self.store.dismiss(id);
        // It may have been killed between publishing something and waking whoever waits for that.
        self.store.ring_everyone();
        self.notice_sealed();
        self.pump();
    }

    /// The zygote ended, and every worker with it.
    pub(super) fn zygote_ended(&mut self) {
        if self.closed {
            return;
        }
        if let Some(spawner) = self.spawner.take() {
            spawner.stop();
        }
        let workers = self.pool.ids();
        for id in &workers {
            if let Some(Hold::Process(pidfd)) = self.pool.get(*id).and_then(|worker| worker.hold.as_ref()) {
                // Its parent-death signal is on its way; make sure before its memory is given back.
                process::kill(pidfd);
                process::wait_ended(std::os::fd::AsFd::as_fd(pidfd), std::time::Duration::from_secs(1));
            }
        }
        self.fruitless += 1;
        if self.fruitless >= FRUITLESS_ZYGOTES {
            self.abandon(&Error::new(
                ErrorKind::WorkerDied,
                "the worker interpreter ends at once; its error output says why",
            ));
            return;
        }
        if let Err(error) = self.start_workers() {
            self.abandon(&error);
            return;
        }
        for id in workers {
            self.worker_ended(id, 9);
        }
    }

    /// From now on there can be workers; some are started at once.
    pub(super) fn start_workers(&mut self) -> crate::error::Result<()> {
        let Some(setup) = &mut self.setup else { return Ok(()) };
        let prestart = setup.prestart;
        self.spawner = Some(Spawner::start(
            &mut setup.source,
            &self.store,
            &self.head,
            &self.caller,
        )?);
        for _ in 0..prestart {
            self.spawn(Role::Tasks, None)?;
        }
        Ok(())
    }

    /// The session cannot go on: everything open is raised, and nothing new is accepted.
    pub(super) fn abandon(&mut self, error: &Error) {
        self.closed = true;
        let tasks: Vec<TaskId> = self.tasks.keys().copied().collect();
        tasks.into_iter().for_each(|id| self.fail_task(id, error));
        let actors: Vec<ObjectId> = self.actors.iter().map(|(id, _)| id).collect();
        actors.into_iter().for_each(|id| self.bury(id, error));
        self.abandon_groups(error);
        self.store.close_session();
    }
}
