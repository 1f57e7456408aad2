//! Tasks that are ready to run, queued by what they need.
//!
//! Tasks of one shape (the same amounts of the same resources) are interchangeable for placement, so only the oldest of each shape
//! is ever looked at, and a shape that does not fit now does not hold up another.

use std::collections::{HashMap, VecDeque};

use crate::id::TaskId;
use crate::ipc::message::Amounts;

/// Index of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShapeId(pub usize);

#[derive(Debug)]
struct Shape {
    amounts: Amounts,
    ready: VecDeque<TaskId>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    shapes: Vec<Shape>,
    by_amounts: HashMap<Amounts, ShapeId>,
    len: usize,
}

impl ReadyQueue {
    /// The shape of these amounts.
    pub fn shape(&mut self, amounts: &Amounts) -> ShapeId {
        if let Some(shape) = self.by_amounts.get(amounts) {
            return *shape;
        }
        let shape = ShapeId(self.shapes.len());
        self.shapes.push(Shape {
            amounts: amounts.clone(),
            ready: VecDeque::new(),
        });
        self.by_amounts.insert(amounts.clone(), shape);
        shape
    }

    /// What a shape needs.
    pub fn amounts(&self, shape: ShapeId) -> &Amounts {
        &self.shapes[shape.0].amounts
    }

    /// Adds a task behind all others of its shape.
    pub fn push(&mut self, shape: ShapeId, task: TaskId) {
        self.shapes[shape.0].ready.push_back(task);
        self.len += 1;
    }

    /// Adds a task before all others of its shape: one that was ready before.
    pub fn push_front(&mut self, shape: ShapeId, task: TaskId) {
        self.shapes[shape.0].ready.push_front(task);
        self.len += 1;
    }

    /// The oldest task of a shape.
    pub fn pop(&mut self, shape: ShapeId) -> Option<TaskId> {
        let task = self.shapes[shape.0].ready.pop_front()?;
        self.len -= 1;
        Some(task)
    }

    /// Takes a task out of the line. False if it is not in it.
    pub fn remove(&mut self, shape: ShapeId, task: TaskId) -> bool {
        let ready = &mut self.shapes[shape.0].ready;
        let Some(at) = ready.iter().position(|other| *other == task) else {
            return false;
        };
        ready.remove(at);
        self.len -= 1;
        true
    }

    /// Shapes with ready tasks, the one with the oldest first.
    pub fn waiting_shapes(&self) -> Vec<ShapeId> {
        let mut shapes: Vec<_> = self
            .shapes
            .iter()
            .enumerate()
            .filter_map(|(at, shape)| shape.ready.front().map(|first| (*first, ShapeId(at))))
            .collect();
        shapes.sort_unstable_by_key(|(first, _)| *first);
        shapes.into_iter().map(|(_, shape)| shape).collect()
    }

    /// How many tasks are ready.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no task is ready.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_ordered_by_their_oldest_task() {
        let mut queue = ReadyQueue::default();
        let cpu = queue.shape(&vec![("CPU".into(), 10_000)]);
        let gpu = queue.shape(&vec![("GPU".into(), 10_000)]);
        assert_eq!(queue.shape(&vec![("CPU".into(), 10_000)]), cpu);
        queue.push(gpu, TaskId(5));
        queue.push(cpu, TaskId(7));
        queue.push_front(cpu, TaskId(2));
        queue.push(cpu, TaskId(8));
        assert!(queue.remove(cpu, TaskId(8)) && !queue.remove(cpu, TaskId(8)) && !queue.remove(gpu, TaskId(2)));
        assert_eq!(queue.waiting_shapes(), vec![cpu, gpu]);
        assert_eq!(
            (queue.pop(cpu), queue.pop(cpu), queue.pop(cpu)),
            (Some(TaskId(2)), Some(TaskId(7)), None)
        );
        assert_eq!(queue.len(), 1);
    }
}
