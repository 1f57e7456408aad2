//! Tasks that are ready to run, queued by what they need.
//!
//! Tasks of one shape (the same amounts of the same resources, in the same places) are interchangeable for placement, so only the oldest
//! of each shape is ever looked at, and a shape that does not fit now does not hold up another. Shapes are kept, as there are as many as
//! there are options in a program; those of a placement group end with the group, once the last task and lease of them is gone.

use std::collections::{HashMap, VecDeque};

use crate::id::{GroupId, TaskId};

use super::node::Demand;

/// Index of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShapeId(pub usize);

#[derive(Debug)]
struct Shape {
    demand: Demand,
    ready: VecDeque<TaskId>,
    /// Tasks and leases of this shape.
    users: usize,
    /// Its group is gone.
    ends: bool,
    /// People were told that it waits for a node that is not there.
    told: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    shapes: Vec<Shape>,
    by_demand: HashMap<Demand, ShapeId>,
    /// Shapes that have ready tasks, and perhaps some that had.
    busy: Vec<ShapeId>,
    vacant: Vec<ShapeId>,
    len: usize,
}

impl ReadyQueue {
    /// The shape of this demand.
    pub fn shape(&mut self, demand: &Demand) -> ShapeId {
        if let Some(shape) = self.by_demand.get(demand) {
            return *shape;
        }
        let new = Shape {
            demand: demand.clone(),
            ready: VecDeque::new(),
            users: 0,
            ends: false,
            told: false,
        };
        let shape = if let Some(shape) = self.vacant.pop() {
            self.shapes[shape.0] = new;
            shape
        } else {
            self.shapes.push(new);
            ShapeId(self.shapes.len() - 1)
        };
        self.by_demand.insert(demand.clone(), shape);
        shape
    }

    /// What a shape needs.
    pub fn demand(&self, shape: ShapeId) -> &Demand {
        &self.shapes[shape.0].demand
    }

    /// One more task or lease has this shape.
    pub fn retain(&mut self, shape: ShapeId) {
        self.shapes[shape.0].users += 1;
    }

    /// One less.
    pub fn release(&mut self, shape: ShapeId) {
        let entry = &mut self.shapes[shape.0];
        entry.users -= 1;
        if entry.ends && entry.users == 0 {
            self.vacate(shape);
        }
    }

    /// A placement group is gone: its shapes, which are returned, end when their last users do.
    pub fn end_group(&mut self, group: GroupId) -> Vec<ShapeId> {
        let of_group = |shape: &ShapeId| self.demand(*shape).group() == Some(group);
        let shapes: Vec<_> = self.by_demand.values().copied().filter(of_group).collect();
        for shape in &shapes {
            let entry = &mut self.shapes[shape.0];
            entry.ends = true;
            if entry.users == 0 {
                self.vacate(*shape);
            }
        }
        shapes
    }

    fn vacate(&mut self, shape: ShapeId) {
        self.by_demand.remove(&self.shapes[shape.0].demand);
        self.busy.retain(|busy| *busy != shape);
        self.vacant.push(shape);
    }

    /// Adds a task behind all others of its shape.
    pub fn push(&mut self, shape: ShapeId, task: TaskId) {
        self.wake(shape);
        self.shapes[shape.0].ready.push_back(task);
        self.len += 1;
    }

    /// Adds a task before all others of its shape: one that was ready before.
    pub fn push_front(&mut self, shape: ShapeId, task: TaskId) {
        self.wake(shape);
        self.shapes[shape.0].ready.push_front(task);
        self.len += 1;
    }

    fn wake(&mut self, shape: ShapeId) {
        if self.shapes[shape.0].ready.is_empty() && !self.busy.contains(&shape) {
            self.busy.push(shape);
        }
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
    pub fn waiting_shapes(&mut self) -> Vec<ShapeId> {
        let shapes = &self.shapes;
        self.busy.retain(|shape| !shapes[shape.0].ready.is_empty());
        let mut waiting = self.busy.clone();
        waiting.sort_unstable_by_key(|shape| shapes[shape.0].ready.front().copied());
        waiting
    }

    /// Whether people were told that this shape waits in vain; they are from now on.
    pub fn tell(&mut self, shape: ShapeId) -> bool {
        std::mem::replace(&mut self.shapes[shape.0].told, true)
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
    use crate::ipc::placement::{Target, Where};

    fn of(resource: &str) -> Demand {
        Demand {
            amounts: vec![(resource.into(), 10_000)],
            place: None,
        }
    }

    #[test]
    fn shapes_are_ordered_by_their_oldest_task() {
        let mut queue = ReadyQueue::default();
        let cpu = queue.shape(&of("CPU"));
        let gpu = queue.shape(&of("GPU"));
        assert_eq!(queue.shape(&of("CPU")), cpu);
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
        assert_eq!((queue.len(), queue.waiting_shapes()), (1, vec![gpu]));
    }

    #[test]
    fn the_shapes_of_a_group_end_with_their_last_user() {
        let mut queue = ReadyQueue::default();
        let inside = |group| Demand {
            place: Some(Box::new(Where {
                target: Target::Bundle {
                    group: GroupId(group),
                    index: None,
                },
                ..Where::default()
            })),
            ..of("CPU")
        };
        let (used, other) = (queue.shape(&inside(1)), queue.shape(&inside(2)));
        queue.retain(used);
        assert_eq!(queue.end_group(GroupId(1)), [used]);
        assert_ne!(queue.shape(&inside(3)), used);
        queue.release(used);
        assert_eq!(queue.shape(&inside(4)), used);
        assert_eq!(queue.shape(&inside(2)), other);
    }
}
