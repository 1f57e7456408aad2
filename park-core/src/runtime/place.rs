//! Which worker gets which task.
//!
//! A worker takes a lease on the resources of one shape and then runs tasks of that shape until none is left. While it runs one,
//! more are sent ahead, so that it never waits for the head; a task sent ahead is only offered, and can be taken back until the
//! worker claims it (one CAS on a word of the task's first result). That happens when the worker blocks in a `get`, and when
//! another worker has nothing to do.

use crate::actor::registry::Life;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ParticipantId, TaskId};
use crate::ipc::message::{Amounts, Span, Submission, ToWorker, encode, frame};
use crate::ipc::parcel::pack;
use crate::ipc::placement::{Assignment, Environment};
use crate::proc::inbox::Failure;
use crate::proc::pool::{Lease, Needs, Role};
use crate::sched::group;
use crate::sched::node::{Demand, Outlook, PoolId, Spot};
use crate::sched::queue::ShapeId;
use crate::sched::task::{Interruption, Task};
use crate::sync::atomic::Ordering;
use crate::sync::ring::PushError;
use crate::sys::socket;

use super::head::{State, Work};

impl State {
    pub(super) fn submit(&mut self, mut submission: Submission) -> Result<()> {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        self.counts.submitted += 1;
        let shape = self.ready.shape(&Demand {
            amounts: std::mem::take(&mut submission.resources),
            place: submission.place.take(),
        });
        let (mut task, dependencies) = Task::new(&self.store, id, shape, submission)?;
        if task.retries_left != 0 {
            task.memory_retries_left = self.setup.as_ref().map_or(0, |setup| setup.memory.retries);
        }
        let open = self.open_among(&dependencies);
        self.ready.retain(shape);
        if let Some(first) = task.returns.first() {
            self.store.note_task(*first, id);
        }
        self.families.add(task.parent, id);
        self.tasks.insert(id, task);
        if open.is_empty() {
            self.enqueue(id);
        } else {
            self.waiting.add(Work::Task(id), open);
        }
        Ok(())
    }

    pub(super) fn enqueue(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        if let Some(group) = self.ready.demand(task.shape).group()
            && !self.groups.is_open(group)
        {
            self.fail_task(id, &group::removed());
            self.ready.end_group(group);
            return;
        }
        self.ready.push(task.shape, task.depth, id);
    }

    /// Sends every task that can go to a worker, places actors, evens out, and tells workers how things stand.
    pub(super) fn pump(&mut self) {
        if self.closed {
            return;
        }
        self.place_groups();
        self.place_actors();
        if !self.ready.is_empty() {
            let shapes = self.ready.waiting_shapes();
            // Sending ahead keeps a lease for ever under a steady stream; not while something else waits for the resources.
            let alone = !self.is_contended(&shapes);
            if !alone && self.pool.backlog() > 0 {
                for worker in self.pool.ids() {
                    self.take_back(worker, usize::MAX);
                }
            }
            for shape in shapes {
                while let Some(task) = self.ready.pop(shape) {
                    let worker = match self.worker_for(shape, alone) {
                        Ok(worker) => worker,
                        Err(error) => {
                            self.fail_task(task, &error);
                            continue;
                        }
                    };
                    if worker.is_none_or(|worker| !self.send_task(task, worker)) {
                        self.put_back(shape, task);
                        match worker {
                            Some(worker) => self.settle_lease(worker),
                            None => self.look_ahead(shape),
                        }
                        break;
                    }
                }
            }
        }
        if self.ready.is_empty() {
            self.even_out();
        }
        self.publish_hint();
    }

    /// A task is ready again that was before.
    pub(super) fn put_back(&mut self, shape: ShapeId, id: TaskId) {
        let depth = self.tasks.get(&id).map_or(1, |task| task.depth);
        self.ready.push_front(shape, depth, id);
    }

    /// Whether tasks of several shapes, actors or placement groups wait for resources. What can never be placed does not count.
    fn is_contended(&self, shapes: &[ShapeId]) -> bool {
        let feasible = |demand: &Demand| self.nodes.outlook(demand) == Outlook::Feasible;
        let mut actors = self.actors.iter().filter(|(_, actor)| actor.life == Life::Queued);
        let mut tasks = shapes.iter().filter(|shape| feasible(self.ready.demand(**shape)));
        (shapes.len() > 1 && tasks.nth(1).is_some())
            || actors.any(|(_, actor)| feasible(&actor.demand))
            || self.groups.wants_room()
    }

    /// Tasks found no worker: says so if only another node would help, and fails them if none would.
    fn look_ahead(&mut self, shape: ShapeId) {
        let demand = self.ready.demand(shape);
        match self.nodes.outlook(demand) {
            Outlook::Feasible => {}
            Outlook::Later => {
                if demand.group().is_none() && !self.ready.tell(shape) {
                    self.warn_infeasible(self.ready.demand(shape));
                }
            }
            Outlook::Never if self.nodes.fits(demand) => {}
            Outlook::Never => {
                let error = Error::new(ErrorKind::Unschedulable, unschedulable(demand));
                while let Some(task) = self.ready.pop(shape) {
                    self.fail_task(task, &error);
                }
            }
        }
    }

    /// Tells people about work that waits for a node that is not there.
    pub(super) fn warn_infeasible(&self, demand: &Demand) {
        if let Some(setup) = &self.setup {
            (setup.warn)(&format!(
                "Error: No available node types can fulfill resource request {}. Add suitable node types to this cluster to resolve \
                 this issue.",
                shown(&demand.amounts)
            ));
        }
    }

    /// A worker for a task of this shape, if there is one now. Fails if there will be none, for want of an interpreter.
    fn worker_for(&mut self, shape: ShapeId, ahead: bool) -> Result<Option<ParticipantId>> {
        let follows = self.ready.demand(shape).may_follow();
        if follows && let Some(hot) = self.hot.filter(|hot| self.is_just_done(*hot, shape)) {
            return Ok(Some(hot));
        }
        if let Some(spot) = self.nodes.place(self.ready.demand(shape)) {
            let found = match self.pool.take_idle(needs_of(self.ready.demand(shape))) {
                Some(worker) => Ok(Some(worker)),
                None => self.hire(shape),
            };
            if let Ok(Some(worker)) = found {
                if self.lease(worker, shape, spot) {
                    return Ok(Some(worker));
                }
            } else {
                self.nodes.leave(&spot, &self.ready.demand(shape).amounts);
                found?;
            }
        }
        Ok(if ahead && follows {
            self.pool.least_loaded(shape)
        } else {
            None
        })
    }

    /// Whether a worker with this lease has sealed all its results and only its report is under way. It still looks into its ring,
    /// while an idle one sleeps: waking a process on another core costs more than most tasks.
    fn is_just_done(&self, worker: ParticipantId, shape: ShapeId) -> bool {
        self.pool.get(worker).is_some_and(|worker| {
            let sealed = |id: &TaskId| {
                self.tasks
                    .get(id)
                    .is_none_or(|task| task.returns.iter().all(|id| self.store.contains(*id)))
            };
            let open = worker.role == Role::Tasks && !worker.blocked;
            worker.leases(shape) && open && worker.sent.len() < 4 && worker.sent.iter().all(sealed)
        })
    }

    /// Gives an idle worker what was taken for it, and tells it if that is not what it had last. If it cannot be told it stays idle.
    fn lease(&mut self, id: ParticipantId, shape: ShapeId, spot: Spot) -> bool {
        let usual = shape == self.plain && spot.pool == PoolId::Node(0);
        let lease = Lease { shape, spot };
        let news = if usual { None } else { Some(lease.clone()) };
        if self.pool.get(id).is_some_and(|worker| worker.told != news) {
            let amounts = &self.ready.demand(shape).amounts;
            let capture = self
                .ready
                .demand(shape)
                .place
                .as_deref()
                .is_some_and(|place| place.capture);
            if !self.assign(id, &lease.spot, amounts.clone(), capture) {
                self.nodes.leave(&lease.spot, &self.ready.demand(shape).amounts);
                self.pool.put_idle(id);
                return false;
            }
        }
        self.ready.retain(shape);
        if let Some(worker) = self.pool.get_mut(id) {
            worker.told = news;
            worker.lease = Some(lease);
        }
        true
    }

    /// Tells a worker what its next work runs with; false if its ring is full.
    pub(super) fn assign(&mut self, id: ParticipantId, spot: &Spot, amounts: Amounts, capture: bool) -> bool {
        let assignment = Assignment {
            node: self.nodes.name(self.nodes.node_of(spot.pool)).to_owned(),
            amounts,
            devices: spot.devices.iter().map(|share| share.device).collect(),
            group: self.nodes.group_of(spot.pool),
            capture,
        };
        let packed = encode(&ToWorker::Assign(assignment)).and_then(|body| pack(&self.store, &body, &[]));
        let Ok((body, parcel)) = packed else { return false };
        if let Some(worker) = self.pool.get_mut(id) {
            worker.parcels.extend(parcel);
        }
        self.store.send(id, &frame(0, &body), &[]).is_ok()
    }

    /// Starts one more worker, unless as many are available as there are CPUs; tasks without CPUs may use four times as many.
    fn hire(&mut self, shape: ShapeId) -> Result<Option<ParticipantId>> {
        let cpus = crate::sys::cgroup::cpus().max(self.nodes.whole("CPU"));
        if self.pool.available() >= 4 * cpus.max(1) {
            // One that idles since it may not have this work makes room.
            if !self.pool.take_surplus().is_some_and(|idle| self.dismiss(idle)) {
                return Ok(None);
            }
        }
        let environment = self.ready.demand(shape).environment().cloned();
        match self.spawn(Role::Tasks, environment) {
            Ok(_) => Ok(self.pool.take_idle(needs_of(self.ready.demand(shape)))),
            Err(error) if error.kind() == ErrorKind::EnvironmentSetup => Err(error),
            // Room for one more may come.
            Err(_) => Ok(None),
        }
    }

    /// Tells a worker without work to end. If it cannot be told, it is idle, and this false.
    fn dismiss(&mut self, id: ParticipantId) -> bool {
        let told = self.send_retire(id);
        if told && let Some(worker) = self.pool.get_mut(id) {
            worker.role = Role::Surplus;
        }
        if !told {
            self.pool.put_idle(id);
        }
        told
    }

    pub(super) fn spawn(&mut self, role: Role, environment: Option<Environment>) -> Result<ParticipantId> {
        let id = self.store.admit()?;
        let asked = match &mut self.spawner {
            Some(spawner) => spawner.spawn(&self.store, environment.as_ref(), id),
            None => Err(Error::new(ErrorKind::Unsupported, "this session has no workers")),
        };
        match asked {
            Ok(more) => {
                if more && let Some(watcher) = &self.watcher {
                    // It is gone only when the session closes.
                    let _ = socket::send(&**watcher, b"w", &[]);
                }
            }
            Err(error) => {
                self.store.declare_dead(id);
                self.store.dismiss(id);
                return Err(error);
            }
        }
        self.pool.add(id, role, environment);
        Ok(id)
    }

    fn send_task(&mut self, id: TaskId, worker: ParticipantId) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else {
            return true;
        };
        if let Some(first) = task.returns.first() {
            self.store.offer(*first, task.attempt);
        }
        match self.store.send(worker, &frame(task.attempt, &task.body), &[]) {
            Ok(()) => {
                task.worker = Some(worker);
                self.hot = Some(worker);
                self.pool.sent(worker, id);
                true
            }
            Err(PushError::TooLong) => {
                let error = Error::new(
                    ErrorKind::InvalidArgument,
                    format!("task {} has a message that is too long", task.name),
                );
                self.fail_task(id, &error);
                true
            }
            Err(PushError::Full | PushError::Closed) => false,
        }
    }

    /// Gives a worker's resources back if it has no tasks.
    pub(super) fn settle_lease(&mut self, id: ParticipantId) {
        let Some(worker) = self.pool.get_mut(id) else { return };
        if !worker.sent.is_empty() || worker.role != Role::Tasks {
            return;
        }
        let blocked = std::mem::take(&mut worker.blocked);
        if let Some(lease) = worker.lease.take() {
            self.end_lease(&lease, blocked);
            self.rest(id);
        }
    }

    /// A worker's resources are free again. If it lent its CPUs out they were already.
    pub(super) fn end_lease(&mut self, lease: &Lease, blocked: bool) {
        let amounts = &self.ready.demand(lease.shape).amounts;
        if blocked {
            self.nodes.take(lease.spot.pool, &cpus_of(amounts));
        }
        self.nodes.leave(&lease.spot, amounts);
        self.ready.release(lease.shape);
    }

    /// Asks a worker to end after what is queued; false if its ring is full.
    pub(super) fn send_retire(&self, id: ParticipantId) -> bool {
        let packed = encode(&ToWorker::Retire).and_then(|body| pack(&self.store, &body, &[]));
        packed.is_ok_and(|(body, _)| self.store.send(id, &frame(0, &body), &[]).is_ok())
    }

    /// The worker has nothing to do. Blocked tasks made the pool grow; it shrinks again to one idle worker a CPU.
    fn rest(&mut self, id: ParticipantId) {
        let enough = crate::sys::cgroup::cpus().max(self.nodes.whole("CPU"));
        self.pool.put_idle(id);
        if self.pool.idle() > enough
            && let Some(surplus) = self.pool.take_surplus()
        {
            self.dismiss(surplus);
        }
    }

    pub(super) fn task_done(&mut self, from: ParticipantId, id: TaskId, attempt: u32, span: Span) {
        match self.tasks.get_mut(&id) {
            Some(task) if task.attempt == attempt => task.worker = Some(from),
            _ => return,
        }
        self.end_task(id, span);
        if self.pool.returned(from, id) {
            self.settle_lease(from);
        }
    }

    /// The task's results are sealed: whoever waits for them may start, and its holds go back.
    pub(super) fn end_task(&mut self, id: TaskId, span: Span) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let pid = task.worker.map_or(0, |worker| match self.pid_of(worker) {
            // The zygote's word of a new process may be on its way still; who reports has written its id down.
            0 if span.ended != 0 => self.store.participant(worker).pid.load(Ordering::Relaxed),
            pid => pid,
        });
        // One that was told to end, and did, did as it was told.
        let obeyed = task.cancelled == Some(Interruption::Signal) && span.ended != 0;
        let failed = task
            .returns
            .first()
            .copied()
            .filter(|first| !obeyed && self.store.has_failed(*first));
        let failed = failed.map(|first| Failure::of(&self.store, first));
        let worker = (task.worker.unwrap_or(ParticipantId::HEAD), pid);
        self.history.add(&task, worker, failed, span);
        self.families.remove(task.parent, id);
        self.counts.finished += 1;
        self.fruitless = 0;
        if !self.waiting.is_empty() {
            task.returns.iter().for_each(|id| self.object_sealed(*id));
        }
        let worth = self.is_worth_remembering(&task);
        self.ready.release(task.shape);
        task.holds.iter().for_each(|id| self.store.drop_hold(*id));
        if worth {
            self.lineage.remember(task);
        }
    }

    pub(super) fn fail_task(&mut self, id: TaskId, error: &Error) {
        if let Some(task) = self.tasks.get(&id) {
            let link = task.stream.filter(|link| self.store.is_open(*link));
            task.returns.iter().chain(&link).for_each(|id| self.raise(*id, error));
        }
        self.end_task(id, Span::default());
    }

    /// Takes back what was sent ahead to a worker and not claimed; it is ready again.
    pub(super) fn take_back(&mut self, worker: ParticipantId, most: usize) -> usize {
        let Some(sent) = self.pool.get(worker).map(|worker| worker.sent.clone()) else {
            return 0;
        };
        let mut taken = 0;
        for id in sent.into_iter().rev().take(most) {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            if !task
                .returns
                .first()
                .is_some_and(|first| self.store.take_back(*first, task.attempt))
            {
                break;
            }
            task.attempt += 1;
            task.worker = None;
            let shape = task.shape;
            self.pool.returned(worker, id);
            self.put_back(shape, id);
            taken += 1;
        }
        self.settle_lease(worker);
        taken
    }

    /// Workers without work get some that was sent ahead to others.
    fn even_out(&mut self) {
        while self.pool.idle() > 0 && self.pool.backlog() > 0 {
            let Some((loaded, shape)) = self.most_loaded() else {
                return;
            };
            if !self.pool.has_idle(needs_of(self.ready.demand(shape))) {
                return;
            }
            let Some(spot) = self.nodes.place(self.ready.demand(shape)) else {
                return;
            };
            let worker = if self.take_back(loaded, 1) > 0 {
                self.pool.take_idle(needs_of(self.ready.demand(shape)))
            } else {
                None
            };
            let (Some(worker), Some(task)) = (worker, self.ready.pop(shape)) else {
                self.nodes.leave(&spot, &self.ready.demand(shape).amounts);
                return;
            };
            if !self.lease(worker, shape, spot) || !self.send_task(task, worker) {
                self.put_back(shape, task);
                self.settle_lease(worker);
                return;
            }
        }
    }

    /// The worker with the most tasks that are not done, if it has more than the one it runs, and what its lease is.
    fn most_loaded(&self) -> Option<(ParticipantId, ShapeId)> {
        let open = |id: &TaskId| {
            self.tasks
                .get(id)
                .is_some_and(|task| !task.returns.iter().all(|id| self.store.contains(*id)))
        };
        let load = self.pool.iter().map(|(id, worker)| {
            (
                worker.sent.iter().filter(|task| open(task)).count(),
                id,
                worker.lease.as_ref(),
            )
        });
        let (count, id, lease) = load.max_by_key(|(count, ..)| *count)?;
        if count > 1 { Some((id, lease?.shape)) } else { None }
    }

    pub(super) fn worker_blocked(&mut self, id: ParticipantId) {
        let Some(worker) = self.pool.get_mut(id) else { return };
        if worker.role != Role::Tasks || std::mem::replace(&mut worker.blocked, true) {
            return;
        }
        if let Some(lease) = &worker.lease {
            let amounts = cpus_of(&self.ready.demand(lease.shape).amounts);
            self.nodes.give(lease.spot.pool, &amounts);
        }
        self.take_back(id, usize::MAX);
    }

    /// The worker ends by itself. What was sent ahead to it goes to others; its lease is given back with it.
    pub(super) fn worker_leaves(&mut self, id: ParticipantId) {
        if self.pool.get(id).is_some_and(|worker| worker.role == Role::Tasks) {
            self.take_back(id, usize::MAX);
            self.pool.leaves(id);
        }
    }

    pub(super) fn worker_unblocked(&mut self, id: ParticipantId) {
        let Some(worker) = self.pool.get_mut(id) else { return };
        if !std::mem::replace(&mut worker.blocked, false) {
            return;
        }
        if let Some(lease) = &worker.lease {
            // It runs on at once, even if that is more than the machine has for a moment.
            let amounts = cpus_of(&self.ready.demand(lease.shape).amounts);
            self.nodes.take(lease.spot.pool, &amounts);
        }
    }
}

/// What tasks of this kind ask of the process that runs them.
fn needs_of(demand: &Demand) -> Needs<'_> {
    Needs {
        gpu: has_gpu(&demand.amounts),
        environment: demand.environment(),
    }
}

/// Whether there is a GPU among the resources, or a part of one.
pub(super) fn has_gpu(amounts: &Amounts) -> bool {
    amounts.iter().any(|(name, _)| name == "GPU")
}

/// What a blocked task lends out: its CPUs. What else it holds (a GPU, a licence) stays its own.
pub(super) fn cpus_of(amounts: &Amounts) -> Amounts {
    amounts.iter().filter(|(name, _)| name == "CPU").cloned().collect()
}

/// Amounts as Ray shows them.
fn shown(amounts: &Amounts) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown to people; amounts are far below 2^53")]
    let one = |(name, amount): &(String, u64)| format!("'{name}': {:?}", *amount as f64 / 10_000.0);
    format!("{{{}}}", amounts.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Why work that is tied to nodes cannot run.
pub(super) fn unschedulable(demand: &Demand) -> String {
    format!(
        "the node that it is tied to is gone, or does not have {}, or has no room for it now and it was not to wait",
        shown(&demand.amounts)
    )
}
