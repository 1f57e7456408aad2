//! How objects were made: finished tasks that could be repeated, should one of their results be lost on disk.
//!
//! A result can only be lost once it was spilled, so only tasks with a result that may be spilled are remembered, and only if they have
//! repeats left. Nothing is kept alive for them: when a result is lost, the task's function and arguments either still exist, because
//! somebody else refers to them, or it cannot be repeated. The oldest are forgotten first, beyond a bound.

use std::collections::VecDeque;

use crate::error::{Error, ErrorKind};
use crate::id::ObjectId;
use crate::sched::task::Task;

use super::head::{State, Work};

/// So many tasks are remembered at most,
const TASKS: usize = 100_000;
/// and so many bytes of them.
const BYTES: usize = 64 << 20;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    tasks: VecDeque<Task>,
    bytes: usize,
}

fn size_of_task(task: &Task) -> usize {
    size_of::<Task>() + task.body.len() + task.name.len() + (task.returns.len() + task.holds.len()) * ObjectId::SIZE
}

impl Lineage {
    /// Remembers a task that ended well; its holds were given back.
    pub(super) fn remember(&mut self, task: Task) {
        self.bytes += size_of_task(&task);
        self.tasks.push_back(task);
        while self.tasks.len() > TASKS || self.bytes > BYTES {
            let Some(oldest) = self.tasks.pop_front() else { return };
            self.bytes -= size_of_task(&oldest);
        }
    }

    /// The task that made this object, if it is remembered; forgets it.
    pub(super) fn take(&mut self, object: ObjectId) -> Option<Task> {
        // Rare, and as slow as reading a file: a walk does. The newest first, since slots are used again.
        let at = self.tasks.iter().rposition(|task| task.returns.contains(&object))?;
        let task = self.tasks.remove(at)?;
        self.bytes -= size_of_task(&task);
        Some(task)
    }
}

impl State {
    /// Whether a task's results may be spilled one day, and it may be repeated then. Asked while it still holds them.
    pub(super) fn is_worth_remembering(&self, task: &Task) -> bool {
        let stays = self.ready.demand(task.shape).group().is_none();
        stays
            && task.retries_left != 0
            && self.store.may_spill()
            && task.returns.iter().any(|id| self.store.may_go_to_disk(*id))
    }

    /// An object's bytes on disk are gone. The hold that came with it is given back here.
    pub(super) fn object_lost(&mut self, id: ObjectId, error: &Error) {
        let why_not = match self.lineage.take(id).map(|task| self.repeat(task, id)) {
            Some(true) => {
                self.store.drop_hold(id);
                return;
            }
            Some(false) => "the function or an argument of the task that made it is gone",
            None => "no task that may be repeated made it",
        };
        let text = format!("{}; {why_not}", error.message());
        self.store.give_up_lost(id, &Error::new(ErrorKind::ObjectLost, text));
    }

    /// Runs a task once more, for one lost result. What is left of its other results stands.
    fn repeat(&mut self, mut task: Task, lost: ObjectId) -> bool {
        for (at, id) in task.holds.iter().enumerate() {
            if self.store.hold(*id).is_err() {
                task.holds[..at].iter().for_each(|held| self.store.drop_hold(*held));
                return false;
            }
        }
        if !task.use_retry() {
            task.holds.iter().for_each(|held| self.store.drop_hold(*held));
            return false;
        }
        // Before anyone can run it: who runs it must find the promise open.
        self.store.reopen_lost(lost);
        // Records of earlier attempts may still lie in a ring.
        task.attempt += 1;
        task.worker = None;
        self.counts.retried += 1;
        let inputs: Vec<ObjectId> = task
            .holds
            .iter()
            .copied()
            .filter(|id| !task.returns.contains(id))
            .collect();
        let open = self.open_among(&inputs);
        let id = task.id;
        self.ready.retain(task.shape);
        self.tasks.insert(id, task);
        if open.is_empty() {
            self.enqueue(id);
        } else {
            self.waiting.add(Work::Task(id), open);
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::sched::node::Demand;
    use crate::sched::queue::ReadyQueue;

    fn object(index: u32) -> ObjectId {
        ObjectId {
            session: 1,
            index,
            generation: 0,
        }
    }

    fn task(number: u32, body: usize) -> Task {
        Task {
            id: TaskId(number.into()),
            attempt: 0,
            retries_left: 3,
            memory_retries_left: 0,
            body: vec![0; body],
            returns: vec![object(number)],
            holds: vec![],
            shape: ReadyQueue::default().shape(&Demand::default()),
            name: String::new(),
            worker: None,
            stream: None,
            parent: None,
            depth: 1,
            cancelled: None,
        }
    }

    #[test]
    fn the_maker_is_found_once() {
        let mut lineage = Lineage::default();
        (0..10).for_each(|number| lineage.remember(task(number, 10)));
        assert_eq!(lineage.take(object(4)).map(|task| task.id), Some(TaskId(4)));
        assert!(lineage.take(object(4)).is_none() && lineage.take(object(11)).is_none());
        (0..10).for_each(|number| drop(lineage.take(object(number))));
        assert_eq!(lineage.bytes, 0);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut lineage = Lineage::default();
        (0..100).for_each(|number| lineage.remember(task(number, 1 << 20)));
        assert!(lineage.bytes <= BYTES && lineage.tasks.len() > 50);
        assert!(lineage.take(object(0)).is_none() && lineage.take(object(99)).is_some());
    }
}
