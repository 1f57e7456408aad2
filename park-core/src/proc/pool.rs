//! The head's list of workers: which entry, which process, what it is doing.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use crate::error::Error;
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::ipc::placement::Environment;
use crate::sched::node::Spot;
use crate::sched::queue::ShapeId;

/// Tasks sent ahead to one worker, the running one included. Deep enough to hide the round trip to the head, shallow enough that
/// taking them back is cheap.
pub const DEPTH: usize = 32;

/// What a worker process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs tasks, one after another.
    Tasks,
    /// Is this actor.
    Actor(ObjectId),
    /// Is about to end: it was told to, as there are more idle workers than CPUs, or it said so.
    Surplus,
}

/// What work asks of the process that runs it.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// Whether it has GPUs.
    pub gpu: bool,
    /// Its interpreter, if that is not the session's own.
    pub environment: Option<&'a Environment>,
}

/// What a worker holds, and for which tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Tasks of this shape.
    pub shape: ShapeId,
    /// Where the resources are.
    pub spot: Spot,
}

/// By what a worker is made to end.
#[derive(Debug)]
pub enum Hold {
    /// It is this process.
    Process(OwnedFd),
    /// It is a thread of the head's process: its host ends it.
    Thread,
}

/// One worker: a process, or a thread.
#[derive(Debug)]
pub struct Worker {
    /// What it is for.
    pub role: Role,
    /// Its interpreter, if that is not the session's own.
    pub environment: Option<Environment>,
    /// Whether what it ran so far had GPUs; `None` before its first work. Libraries keep contexts on a GPU that they once used, and look
    /// only once for which there are: work with GPUs and work without share no process.
    pub with_gpu: Option<bool>,
    /// Its process, once it runs.
    pub pid: Option<u32>,
    /// What ends it, once it runs.
    pub hold: Option<Hold>,
    /// The resources it holds, while it has tasks.
    pub lease: Option<Lease>,
    /// The lease that it was told of last; none before the first that is not the usual one.
    pub told: Option<Lease>,
    /// Objects that held long messages about that.
    pub parcels: Vec<ObjectId>,
    /// Its task waits for an object and has given the resources back meanwhile.
    pub blocked: bool,
    /// When it got what it does: more than that of all that got theirs before.
    pub since: u64,
    /// Why it was killed, if that says more than how it died.
    pub verdict: Option<Error>,
    /// Tasks sent to it and not reported done, oldest first.
    pub sent: VecDeque<TaskId>,
}

impl Worker {
    /// Whether it may run such work.
    fn suits(&self, needs: Needs<'_>) -> bool {
        self.with_gpu.is_none_or(|with_gpu| with_gpu == needs.gpu) && self.environment.as_ref() == needs.environment
    }

    /// Where the work is that it has.
    pub fn spot(&self) -> Option<&Spot> {
        self.lease.as_ref().map(|lease| &lease.spot)
    }

    /// Whether it holds what tasks of this shape need.
    pub fn leases(&self, shape: ShapeId) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.shape == shape)
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct WorkerPool {
    workers: HashMap<ParticipantId, Worker>,
    idle: Vec<ParticipantId>,
    sent: usize,
    busy: usize,
    /// How often work was given to a worker.
    taken: u64,
}

impl WorkerPool {
    /// Adds a worker that was just asked for.
    pub fn add(&mut self, id: ParticipantId, role: Role, environment: Option<Environment>) {
        self.taken += 1;
        self.workers.insert(
            id,
            Worker {
                role,
                environment,
                with_gpu: None,
                pid: None,
                hold: None,
                lease: None,
                told: None,
                parcels: Vec::new(),
                blocked: false,
                since: self.taken,
                verdict: None,
                sent: VecDeque::new(),
            },
        );
        if role == Role::Tasks {
            self.idle.push(id);
        }
    }

    /// One worker.
    pub fn get_mut(&mut self, id: ParticipantId) -> Option<&mut Worker> {
        self.workers.get_mut(&id)
    }

    /// One worker.
    pub fn get(&self, id: ParticipantId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    /// Takes a dead worker off the list.
    pub fn remove(&mut self, id: ParticipantId) -> Option<Worker> {
        self.idle.retain(|idle| *idle != id);
        let worker = self.workers.remove(&id)?;
        self.sent -= worker.sent.len();
        self.busy -= usize::from(!worker.sent.is_empty());
        Some(worker)
    }

    /// An idle worker for such work, the one used last (its caches are warm). A running one is preferred to one that is still starting.
    pub fn take_idle(&mut self, needs: Needs<'_>) -> Option<ParticipantId> {
        let running = |worker: &Worker| worker.pid.is_some() && worker.suits(needs);
        let at = self
            .last_idle(running)
            .or_else(|| self.last_idle(|worker| worker.suits(needs)))?;
        let id = self.idle.remove(at);
        self.taken += 1;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.since = self.taken;
            worker.with_gpu = Some(needs.gpu);
        }
        Some(id)
    }

    /// An idle worker to be told to end, the one that was used least lately.
    pub fn take_surplus(&mut self) -> Option<ParticipantId> {
        if self.idle.is_empty() {
            None
        } else {
            Some(self.idle.remove(0))
        }
    }

    fn last_idle(&self, fits: impl Fn(&Worker) -> bool) -> Option<usize> {
        self.idle.iter().rposition(|id| self.workers.get(id).is_some_and(&fits))
    }

    /// The worker has nothing to do.
    pub fn put_idle(&mut self, id: ParticipantId) {
        self.idle.push(id);
    }

    /// The worker is not to be given anything any more.
    pub fn leaves(&mut self, id: ParticipantId) {
        self.idle.retain(|idle| *idle != id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.role = Role::Surplus;
        }
    }

    /// How many workers have nothing to do.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Whether some worker that may do such work has nothing to do.
    pub fn has_idle(&self, needs: Needs<'_>) -> bool {
        self.last_idle(|worker| worker.suits(needs)).is_some()
    }

    /// Whether there is a worker with this interpreter.
    pub fn has_any(&self, environment: &Environment) -> bool {
        let has = |worker: &Worker| worker.environment.as_ref() == Some(environment);
        self.workers.values().any(has)
    }

    /// A task was sent to it.
    pub fn sent(&mut self, id: ParticipantId, task: TaskId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            self.busy += usize::from(worker.sent.is_empty());
            worker.sent.push_back(task);
            self.sent += 1;
        }
    }

    /// A task came back from it, done or taken back. True if it has none left.
    pub fn returned(&mut self, id: ParticipantId, task: TaskId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        let Some(at) = worker.sent.iter().position(|sent| *sent == task) else {
            return false;
        };
        worker.sent.remove(at);
        self.sent -= 1;
        let empty = worker.sent.is_empty();
        self.busy -= usize::from(empty);
        empty
    }

    /// The worker leasing `shape` that has the fewest tasks ahead, if one has room and is not blocked.
    pub fn least_loaded(&self, shape: ShapeId) -> Option<ParticipantId> {
        let open = |worker: &&Worker| {
            worker.leases(shape) && !worker.blocked && worker.sent.len() < DEPTH && worker.role == Role::Tasks
        };
        self.workers
            .iter()
            .filter(|(_, w)| open(w))
            .min_by_key(|(_, worker)| worker.sent.len())
            .map(|(id, _)| *id)
    }

    /// Task workers that are not blocked.
    pub fn available(&self) -> usize {
        self.workers
            .values()
            .filter(|worker| worker.role == Role::Tasks && !worker.blocked)
            .count()
    }

    /// Tasks sent ahead and not started, as far as the head knows.
    pub fn backlog(&self) -> usize {
        self.sent - self.busy
    }

    /// Tasks that are running, as far as the head knows.
    pub fn running(&self) -> usize {
        self.busy
    }

    /// Every worker's entry.
    pub fn ids(&self) -> Vec<ParticipantId> {
        self.workers.keys().copied().collect()
    }

    /// Every worker.
    pub fn iter(&self) -> impl Iterator<Item = (ParticipantId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }
}
