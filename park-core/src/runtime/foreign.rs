//! What the head does about zygotes of other interpreters: `proc/foreign.rs` has them.
//!
//! One that ends before it was ready fails all work that waits for it: the next attempt would go as this one did, and the caller can read
//! why. One that ends later takes its workers with it, as the session's own does, and their work is retried by the usual rules, in a new
//! one; unless nothing is ever finished there.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::actor::registry::Life;
use crate::error::Error;
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::ipc::placement::Environment;
use crate::proc::foreign::Foreigners;
use crate::proc::pool::{Hold, Role};
use crate::sys::process;

use super::head::State;
use super::spawner::Spawner;

/// So many zygotes or workers in a row that ended before anything was finished mean that an environment is of no use.
pub(super) const FRUITLESS_ZYGOTES: u32 = 4;

impl State {
    fn foreigners(&mut self) -> Option<&mut Foreigners> {
        self.spawner.as_mut().and_then(Spawner::foreign_mut)
    }

    /// The zygote of another interpreter is ready, as this process.
    pub(super) fn foreign_ready(&mut self, serial: u64, pidfd: OwnedFd) {
        if let Some(foreigners) = self.foreigners() {
            foreigners.ready(serial, pidfd);
        }
    }

    /// The zygote of another interpreter ended, and every worker with it; or it takes too long, and is ended.
    pub(super) fn foreign_ended(&mut self, serial: u64) {
        if self.closed {
            return;
        }
        let Some(foreign) = self.foreigners().and_then(|foreigners| foreigners.remove(serial)) else {
            return;
        };
        let (environment, ready) = (foreign.environment().clone(), foreign.is_ready());
        let error = foreign.end();
        let workers = self.workers_of(&environment);
        for id in &workers {
            if let Some(Hold::Process(pidfd)) = self.pool.get(*id).and_then(|worker| worker.hold.as_ref()) {
                // Its parent-death signal is on its way; make sure before its memory is given back.
                process::kill(pidfd);
                process::wait_ended(pidfd.as_fd(), Duration::from_secs(1));
            }
        }
        self.fruitless += u32::from(ready);
        if !ready || self.fruitless >= FRUITLESS_ZYGOTES {
            self.fruitless = 0;
            self.refuse_environment(&environment, &error);
        }
        for id in workers {
            self.worker_ended(id, 9);
        }
    }

    /// Sees to zygotes that take too long to be ready, and to those that were let go.
    pub(super) fn tend_foreign(&mut self) {
        let Some(foreigners) = self.foreigners() else { return };
        foreigners.reap();
        if let Some(serial) = foreigners.overdue() {
            self.foreign_ended(serial);
        }
    }

    /// A worker of this environment is gone: its zygote goes with the last one.
    pub(super) fn let_environment_go(&mut self, environment: &Environment) {
        if !self.pool.has_any(environment)
            && let Some(foreigners) = self.foreigners()
        {
            foreigners.let_go(environment);
        }
    }

    fn workers_of(&self, environment: &Environment) -> Vec<ParticipantId> {
        let of = self
            .pool
            .iter()
            .filter(|(_, worker)| worker.environment.as_ref() == Some(environment));
        of.map(|(id, _)| id).collect()
    }

    /// Fails all work that waits for an interpreter which cannot be had.
    pub(super) fn refuse_environment(&mut self, environment: &Environment, error: &Error) {
        let mut tasks: Vec<TaskId> = Vec::new();
        let mut actors: Vec<ObjectId> = Vec::new();
        for id in self.workers_of(environment) {
            let Some(worker) = self.pool.get(id).filter(|worker| worker.pid.is_none()) else {
                continue;
            };
            tasks.extend(&worker.sent);
            if let Role::Actor(actor) = worker.role {
                actors.push(actor);
            }
        }
        for shape in self.ready.waiting_shapes() {
            if self.ready.demand(shape).environment() == Some(environment) {
                tasks.extend(std::iter::from_fn(|| self.ready.pop(shape)));
            }
        }
        let queued = |actor: &crate::actor::registry::Actor| {
            actor.life == Life::Queued && actor.demand.environment() == Some(environment)
        };
        actors.extend(self.actors.iter().filter(|(_, actor)| queued(actor)).map(|(id, _)| id));
        tasks.into_iter().for_each(|id| self.fail_task(id, error));
        actors.into_iter().for_each(|id| self.bury(id, error));
    }
}
