//! Cancelling: what has not begun never does, what runs is told or killed, and what it submitted goes the same way.
//!
//! The head cancels tasks, for it knows where each is. A call to an actor is cancelled by whoever asks (`actor/cancel.rs`); the head only
//! looks for the calls that a cancelled task or call made. Those that were not sent yet are cancelled by the process that keeps them
//! (`ipc/outbox.rs`).

use std::collections::{HashMap, HashSet};

use crate::actor::cancel::cancel_call;
use crate::error::{Error, ErrorKind};
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::ipc::message::ToWorker;
use crate::proc::pool::{Hold, Role};
use crate::sched::task::Interruption;
use crate::store::promise::Origin;
use crate::sys::process;

use super::head::{State, Work};

/// Tasks by the first result of the task or call that submitted them. Tasks of drivers are nobody's.
#[derive(Debug, Default)]
pub(super) struct Families {
    children: HashMap<ObjectId, HashSet<TaskId>>,
}

impl Families {
    pub(super) fn add(&mut self, parent: Option<ObjectId>, child: TaskId) {
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().insert(child);
        }
    }

    pub(super) fn remove(&mut self, parent: Option<ObjectId>, child: TaskId) {
        let Some(parent) = parent else { return };
        if let Some(children) = self.children.get_mut(&parent) {
            children.remove(&child);
            if children.is_empty() {
                self.children.remove(&parent);
            }
        }
    }

    fn of(&self, parent: ObjectId) -> Vec<TaskId> {
        self.children.get(&parent).into_iter().flatten().copied().collect()
    }
}

impl State {
    /// Cancels the task that is to make `object`. What is made already, or by nobody, stays.
    pub(super) fn cancel(&mut self, object: ObjectId, force: bool, recursive: bool) {
        if let Some(Origin::Task { first, .. }) = self.store.origin(object)
            && let Some(id) = self.task_of(first)
        {
            self.cancel_task(id, force, recursive);
        }
    }

    fn task_of(&self, first: ObjectId) -> Option<TaskId> {
        let Some(Origin::Task { task: Some(id), .. }) = self.store.origin(first) else {
            return None;
        };
        // The slot's word may be anything.
        let same = self
            .tasks
            .get(&id)
            .is_some_and(|task| task.returns.first() == Some(&first));
        same.then_some(id)
    }

    fn cancel_task(&mut self, id: TaskId, force: bool, recursive: bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let (Some(first), attempt, shape) = (task.returns.first().copied(), task.attempt, task.shape) else {
            return;
        };
        if let Some(worker) = task.worker
            && !self.store.take_back(first, attempt)
        {
            let how = if force {
                Interruption::Kill
            } else {
                Interruption::Signal
            };
            task.cancelled = Some(how);
            self.store.cancel_claimed(first, attempt, recursive);
            if recursive {
                self.cancel_children(first, force);
            }
            self.interrupt(worker, how);
            return;
        }
        let (worker, holds) = (task.worker, task.holds.clone());
        if !self.waiting.remove(Work::Task(id), holds) {
            self.ready.remove(shape, id);
        }
        self.fail_task(id, &Error::new(ErrorKind::Cancelled, ""));
        if let Some(worker) = worker
            && self.pool.returned(worker, id)
        {
            self.settle_lease(worker);
        }
    }

    /// Cancels what this task or call submitted. It was cancelled itself, and may have ended by that.
    pub(super) fn cancel_children(&mut self, parent: ObjectId, force: bool) {
        for child in self.families.of(parent) {
            self.cancel_task(child, force, true);
        }
        for (call, returns) in self.calls_of(parent) {
            // Killing an actor would end more than the call; and what cannot be told any more is ending by itself.
            if cancel_call(&self.store, call, &returns, true).is_ok_and(|runs| runs) {
                self.cancel_children(call, force);
            }
        }
    }

    /// Calls that this task or call made and that are not done: their first results, and all of them.
    fn calls_of(&self, parent: ObjectId) -> Vec<(ObjectId, Vec<ObjectId>)> {
        let mut calls = Vec::new();
        for (worker, _) in self
            .pool
            .iter()
            .filter(|(_, worker)| matches!(worker.role, Role::Actor(_)))
        {
            for (_, message) in self.undone_calls(worker) {
                if let ToWorker::Call {
                    parent: Some(by),
                    returns,
                    stream,
                    ..
                } = message
                    && by == parent
                    && let Some(first) = returns.first()
                {
                    let link = stream.and_then(|stream| stream.link);
                    calls.push((*first, returns.iter().copied().chain(link).collect()));
                }
            }
        }
        calls
    }

    /// Makes a task that runs end, or its worker. False if that has not started yet: it is told when it has (`worker_started`).
    pub(super) fn interrupt(&self, worker: ParticipantId, how: Interruption) -> bool {
        let Some(hold) = self.pool.get(worker).and_then(|worker| worker.hold.as_ref()) else {
            return false;
        };
        match (hold, how) {
            (Hold::Process(pidfd), Interruption::Signal) => process::tell_cancelled(pidfd),
            (Hold::Process(pidfd), Interruption::Kill) => process::kill(pidfd),
            (Hold::Thread, _) => self.spawner.iter().for_each(|spawner| spawner.interrupt(worker, how)),
        }
        true
    }
}
