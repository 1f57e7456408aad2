//! Who is there: actors, unfinished tasks and worker processes, as the head knows them. For people and tests; nothing decides by it.
//!
//! The head forgets a task when it is done, and does not hear of single calls to actors: those that are not done it finds in the actors'
//! rings when it is asked for them.

use serde::{Deserialize, Serialize};

use crate::actor::call::parse;
use crate::actor::registry::Life;
use crate::id::{ObjectId, ParticipantId};
use crate::ipc::message::{Span, ToWorker};
use crate::proc::pool::{Role, Worker};
use crate::sched::node::Spot;
use crate::sched::task::Task;
use crate::sync::atomic::Ordering;

use super::head::{State, Work};

/// Looks at the ring of a living process before it counts as empty.
const LOOKS: u32 = 100;

/// One actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorRow {
    /// Its handle object.
    pub id: ObjectId,
    /// Its class.
    pub class_name: String,
    /// Namespace and name, if it has one.
    pub name: Option<(String, String)>,
    /// "waiting" for arguments, "queued" for resources, "starting", "alive", "restarting", "retiring" or "dead".
    pub life: String,
    /// Its process; 0 if it has none.
    pub pid: u32,
    /// The id of its node; empty if it has none.
    pub node: String,
    /// How often it was restarted.
    pub restarts: u32,
    /// When it first answered calls and when it ended, in microseconds of the machine's clock; 0: not yet.
    pub span: Span,
    /// What the head refers to for it.
    pub holds: Vec<ObjectId>,
}

/// One task that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its first result.
    pub id: ObjectId,
    /// Its name.
    pub name: String,
    /// "waiting" for arguments, "queued" for resources or a worker, "sent" to one ahead of its turn, "running" or "blocked" in a wait.
    pub life: String,
    /// Its worker's process; 0 if it has none.
    pub pid: u32,
    /// Its worker's entry in the session; 0 if it has none.
    pub participant: ParticipantId,
    /// Attempts that failed before.
    pub attempt: u32,
    /// The id of its worker's node; empty if it has none.
    pub node: String,
    /// First result of the task or call that submitted it.
    pub parent: Option<ObjectId>,
    /// Its results.
    pub returns: Vec<ObjectId>,
    /// What the head refers to for it, results included.
    pub holds: Vec<ObjectId>,
}

/// One worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its entry in the session.
    pub participant: ParticipantId,
    /// Its process; 0 while it is asked for.
    pub pid: u32,
    /// The actor that it is.
    pub actor: Option<ObjectId>,
    /// The id of the node that its work is on; empty while it has none.
    pub node: String,
    /// Whether it has nothing to do.
    pub idle: bool,
}

/// One call of an actor that was sent and is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// Its first result.
    pub id: ObjectId,
    /// Its actor's handle object.
    pub actor: ObjectId,
    /// Its actor's class.
    pub class_name: String,
    /// The method.
    pub method: String,
    /// What people know it by; empty: the method's name.
    pub name: String,
    /// Whether it has begun.
    pub running: bool,
    /// The actor's process; 0 if it has none.
    pub pid: u32,
    /// The entry of that in the session.
    pub participant: ParticipantId,
    /// The id of the actor's node; empty if it has none.
    pub node: String,
    /// Attempts that raised before.
    pub attempt: u32,
    /// First result of the task or call that made it.
    pub parent: Option<ObjectId>,
}

/// One program: that which opened the session, or one that joined it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverRow {
    /// Its entry in the session, which is another's after it has left.
    pub participant: ParticipantId,
    /// Its process.
    pub pid: u32,
    /// Whether it is still there.
    pub alive: bool,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Actors, also those that died lately.
    pub actors: Vec<ActorRow>,
    /// Tasks, oldest first.
    pub tasks: Vec<TaskRow>,
    /// Workers, by entry.
    pub workers: Vec<WorkerRow>,
    /// Programs: the first, those that left lately, and those that joined and are there.
    pub drivers: Vec<DriverRow>,
}

impl State {
    pub(super) fn describe(&self) -> Description {
        Description {
            actors: self.describe_actors(),
            tasks: self.describe_tasks(),
            workers: self.describe_workers(),
            drivers: self.describe_drivers(),
        }
    }

    fn describe_drivers(&self) -> Vec<DriverRow> {
        let first = self.driver(ParticipantId::HEAD, true);
        let joined = self.peers.keys().map(|id| self.driver(*id, true));
        [first]
            .into_iter()
            .chain(self.left.iter().cloned())
            .chain(joined)
            .collect()
    }

    pub(super) fn driver(&self, participant: ParticipantId, alive: bool) -> DriverRow {
        let pid = self.store.participant(participant).pid.load(Ordering::Relaxed);
        DriverRow {
            participant,
            pid,
            alive,
        }
    }

    fn describe_actors(&self) -> Vec<ActorRow> {
        let dead = self.actors.dead().map(|dead| ActorRow {
            id: dead.id,
            class_name: dead.class_name.clone(),
            name: dead.name.clone(),
            life: "dead".to_owned(),
            pid: 0,
            node: String::new(),
            restarts: dead.restarts,
            span: dead.span,
            holds: self.actors.cause_of(dead.id).into_iter().collect(),
        });
        let living = self.actors.iter().map(|(id, actor)| {
            let has_process = matches!(actor.life, Life::Starting | Life::Alive | Life::Retiring);
            let life = match actor.life {
                _ if actor.restarts > 0 && !matches!(actor.life, Life::Alive | Life::Retiring) => "restarting",
                Life::Waiting => "waiting",
                Life::Queued => "queued",
                Life::Starting => "starting",
                Life::Alive => "alive",
                Life::Retiring => "retiring",
            };
            ActorRow {
                id,
                class_name: actor.spec.class_name.clone(),
                name: actor.spec.name.clone(),
                life: life.to_owned(),
                pid: if has_process { self.pid_of(actor.participant) } else { 0 },
                node: self.node_at(actor.spot.as_ref()),
                restarts: actor.restarts,
                span: Span {
                    began: actor.began,
                    ended: 0,
                },
                holds: actor.spec.holds().chain(actor.parcels.iter().copied()).collect(),
            }
        });
        dead.chain(living).collect()
    }

    fn describe_tasks(&self) -> Vec<TaskRow> {
        let mut tasks: Vec<_> = self.tasks.values().collect();
        tasks.sort_unstable_by_key(|task| task.id.0);
        let row = |task: &&Task| {
            let worker = task.worker.and_then(|id| self.pool.get(id));
            let life = match worker {
                None if self.waiting.contains(Work::Task(task.id)) => "waiting",
                None => "queued",
                Some(worker) if worker.pid.is_none() || worker.sent.front() != Some(&task.id) => "sent",
                Some(worker) if worker.blocked => "blocked",
                Some(_) => "running",
            };
            Some(TaskRow {
                id: *task.returns.first()?,
                name: task.name.clone(),
                life: life.to_owned(),
                pid: worker.and_then(|worker| worker.pid).unwrap_or(0),
                participant: task.worker.unwrap_or(ParticipantId::HEAD),
                node: self.node_at(worker.and_then(Worker::spot)),
                attempt: task.attempt,
                parent: task.parent,
                returns: task.returns.clone(),
                holds: task.holds.clone(),
            })
        };
        tasks.iter().filter_map(row).collect()
    }

    pub(super) fn describe_calls(&self) -> Vec<CallRow> {
        let actors = self.pool.iter().filter_map(|(worker, entry)| match entry.role {
            Role::Actor(id) => Some((worker, id)),
            Role::Tasks | Role::Surplus => None,
        });
        let mut rows = Vec::new();
        for (worker, id) in actors {
            let Some(of) = self.actors.get(id) else { continue };
            for (attempt, message) in self.undone_calls(worker) {
                let ToWorker::Call {
                    actor,
                    method,
                    name,
                    returns,
                    parent,
                    ..
                } = message
                else {
                    continue;
                };
                let Some(first) = returns
                    .first()
                    .filter(|first| actor == id && self.store.is_promised(**first))
                else {
                    continue;
                };
                rows.push(CallRow {
                    id: *first,
                    actor,
                    class_name: of.spec.class_name.clone(),
                    method,
                    name,
                    running: self.store.has_begun(*first),
                    pid: self.pid_of(worker),
                    participant: worker,
                    node: self.node_at(of.spot.as_ref()),
                    attempt,
                    parent,
                });
            }
        }
        rows
    }

    /// What the ring of a living worker holds, with the attempt of each.
    pub(super) fn undone_calls(&self, worker: ParticipantId) -> impl Iterator<Item = (u32, ToWorker)> {
        // Its consumer is at work, so a look may go wrong; the next one will not.
        let records = (0..LOOKS).find_map(|_| self.store.ring(worker).unfinished().ok());
        let parsed = |record: Vec<u8>| parse(&self.store, &record).ok();
        records
            .unwrap_or_default()
            .into_iter()
            .filter_map(parsed)
            .map(|(attempt, message, _)| (attempt, message))
    }

    fn describe_workers(&self) -> Vec<WorkerRow> {
        let mut rows: Vec<_> = self
            .pool
            .iter()
            .map(|(participant, worker)| WorkerRow {
                participant,
                pid: worker.pid.unwrap_or(0),
                actor: match worker.role {
                    Role::Actor(id) => Some(id),
                    Role::Tasks | Role::Surplus => None,
                },
                node: self.node_at(match worker.role {
                    Role::Actor(id) => self.actors.get(id).and_then(|actor| actor.spot.as_ref()),
                    Role::Tasks | Role::Surplus => worker.spot(),
                }),
                idle: worker.role == Role::Tasks && worker.sent.is_empty(),
            })
            .collect();
        rows.sort_unstable_by_key(|row| row.participant);
        rows
    }

    fn node_at(&self, spot: Option<&Spot>) -> String {
        spot.map_or_else(String::new, |spot| {
            self.nodes.name(self.nodes.node_of(spot.pool)).to_owned()
        })
    }

    pub(super) fn pid_of(&self, worker: ParticipantId) -> u32 {
        self.pool.get(worker).and_then(|worker| worker.pid).unwrap_or(0)
    }
}
