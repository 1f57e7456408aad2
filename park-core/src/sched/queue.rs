//! Tasks that are ready to run, queued by what they need.
//!
//! Tasks of one shape (the same amounts of the same resources, in the same places) are interchangeable for placement, so only the oldest
//! of each shape is ever looked at, and a shape that does not fit now does not hold up another. Shapes are kept, as there are as many as
//! there are options in a program; those of a placement group end with the group, once the last task and lease of them is gone.
//!
//! Within a shape deeper tasks go first: somebody who holds a process waits for them, while a shallow one may ask for more. In the
//! order of their coming, a thousand tasks that each ask for another would all begin, and sit in a thousand processes, before the
//! first of the others ran. Now and then the oldest goes first whatever its depth, so that none waits for ever.

use std::collections::{HashMap, VecDeque};

use crate::id::{GroupId, TaskId};

use super::node::Demand;

/// Index of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShapeId(pub usize);

#[derive(Debug)]
struct Shape {
    demand: Demand,
    ready: Lines,
    /// Tasks and leases of this shape.
    users: usize,
    /// Its group is gone.
    ends: bool,
    /// People were told that it waits for a node that is not there.
    told: bool,
}

/// Of so many tasks that leave a queue of several depths, one is the oldest.
const TURNS: u32 = 8;

/// Tasks by depth, the deepest first, each line in its order. There are several only while tasks wait for others of their shape.
#[derive(Debug, Default)]
struct Lines {
    lines: Vec<(u32, VecDeque<TaskId>)>,
    turn: u32,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.lines.iter().all(|(_, line)| line.is_empty())
    }

    fn oldest(&self) -> Option<(TaskId, usize)> {
        let fronts = self.lines.iter().enumerate();
        fronts.filter_map(|(at, (_, line))| Some((*line.front()?, at))).min()
    }

    fn of(&mut self, depth: u32) -> &mut VecDeque<TaskId> {
        // The last line stays when it is empty, and is whoever's comes next.
        if let [(theirs, line)] = &mut self.lines[..]
            && line.is_empty()
        {
            *theirs = depth;
        }
        let found = self.lines.binary_search_by(|(theirs, _)| depth.cmp(theirs));
        let at = found.unwrap_or_else(|at| {
            self.lines.insert(at, (depth, VecDeque::new()));
            at
        });
        &mut self.lines[at].1
    }

    fn pop(&mut self) -> Option<TaskId> {
        let several = self.lines.len() > 1;
        self.turn = (self.turn + 1) % TURNS;
        let at = if several && self.turn == 0 { self.oldest()?.1 } else { 0 };
        let task = self.lines.get_mut(at)?.1.pop_front();
        self.tidy(at);
        task
    }

    /// Undoes a `pop`.
    fn put_back(&mut self, depth: u32, task: TaskId) {
        self.turn = (self.turn + TURNS - 1) % TURNS;
        self.of(depth).push_front(task);
    }

    fn remove(&mut self, task: TaskId) -> bool {
        for at in 0..self.lines.len() {
            let line = &mut self.lines[at].1;
            if let Some(place) = line.iter().position(|other| *other == task) {
                line.remove(place);
                self.tidy(at);
                return true;
            }
        }
        false
    }

    fn tidy(&mut self, at: usize) {
        if self.lines.len() > 1 && self.lines[at].1.is_empty() {
            self.lines.remove(at);
        }
    }
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
            ready: Lines::default(),
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

    /// Adds a task behind all others of its shape and depth.
    pub fn push(&mut self, shape: ShapeId, depth: u32, task: TaskId) {
        self.wake(shape);
        self.shapes[shape.0].ready.of(depth).push_back(task);
        self.len += 1;
    }

    /// Adds a task before all others of its shape and depth: one that was ready before.
    pub fn push_front(&mut self, shape: ShapeId, depth: u32, task: TaskId) {
        self.wake(shape);
        self.shapes[shape.0].ready.put_back(depth, task);
        self.len += 1;
    }

    fn wake(&mut self, shape: ShapeId) {
        if self.shapes[shape.0].ready.is_empty() && !self.busy.contains(&shape) {
            self.busy.push(shape);
        }
    }

    /// The task of a shape that goes next.
    pub fn pop(&mut self, shape: ShapeId) -> Option<TaskId> {
        let task = self.shapes[shape.0].ready.pop()?;
        self.len -= 1;
        Some(task)
    }

    /// Takes a task out of the line. False if it is not in it.
    pub fn remove(&mut self, shape: ShapeId, task: TaskId) -> bool {
        let found = self.shapes[shape.0].ready.remove(task);
        self.len -= usize::from(found);
        found
    }

    /// Shapes with ready tasks, the one with the oldest first.
    pub fn waiting_shapes(&mut self) -> Vec<ShapeId> {
        let shapes = &self.shapes;
        self.busy.retain(|shape| !shapes[shape.0].ready.is_empty());
        let mut waiting = self.busy.clone();
        waiting.sort_unstable_by_key(|shape| shapes[shape.0].ready.oldest().map(|(task, _)| task));
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
        queue.push(gpu, 1, TaskId(5));
        queue.push(cpu, 1, TaskId(7));
        queue.push_front(cpu, 1, TaskId(2));
        queue.push(cpu, 1, TaskId(8));
        assert!(queue.remove(cpu, TaskId(8)) && !queue.remove(cpu, TaskId(8)) && !queue.remove(gpu, TaskId(2)));
        assert_eq!(queue.waiting_shapes(), vec![cpu, gpu]);
        assert_eq!(
            (queue.pop(cpu), queue.pop(cpu), queue.pop(cpu)),
            (Some(TaskId(2)), Some(TaskId(7)), None)
        );
        assert_eq!((queue.len(), queue.waiting_shapes()), (1, vec![gpu]));
    }

    #[test]
    fn deeper_tasks_go_first_and_nobody_waits_for_ever() {
        let mut queue = ReadyQueue::default();
        let cpu = queue.shape(&of("CPU"));
        (0..3).for_each(|id| queue.push(cpu, 1, TaskId(id)));
        (3..30).for_each(|id| queue.push(cpu, 2, TaskId(id)));
        let mut order = Vec::new();
        while let Some(task) = queue.pop(cpu) {
            // What finds no worker goes back to where it was, and changes nothing.
            let depth = if task.0 < 3 { 1 } else { 2 };
            queue.push_front(cpu, depth, task);
            assert_eq!(queue.pop(cpu), Some(task));
            order.push(task.0);
        }
        let shallow: Vec<_> = (0..order.len()).filter(|at| order[*at] < 3).collect();
        assert_eq!((order.len(), shallow), (30, vec![7, 15, 23]));
        assert!(order.iter().filter(|id| **id >= 3).is_sorted() && queue.is_empty());
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
