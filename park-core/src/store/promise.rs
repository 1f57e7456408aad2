//! What a promise says about itself while nobody has kept it: which work is to make the object.
//!
//! An open object has no payload yet, so the last two words of its slot's inline payload are free to say where it will come from:
//!
//! ```text
//! inline[6]  u64  generation:32 | index:32 of the first result of the work
//! inline[7]  u64  number:61 | kind:3       kind: 0 nothing is known   1 result of a task   2 result of a call   3 link of a stream
//! ```
//! `number` is the task's, filled in by the head when it takes the task; one more than the participant that runs a call, filled in by
//! that one as it begins; the position of a link. Whoever promises the object writes both words before it tells anybody the id; later
//! each word has the one writer named here. They are hints: a payload of more than 48 bytes that was written and given up overwrites
//! them, and any process may scribble, so whoever reads them checks what they say against what it knows itself.

use std::sync::Arc;

use super::slot::{Phase, Slot};
use super::{ObjectRef, Store};
use crate::error::Result;
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::sync::atomic::Ordering;

/// Which work makes a promised object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A task, if the head has taken it already.
    Task {
        /// Its first result: the claim word lies there.
        first: ObjectId,
        /// Its number.
        task: Option<TaskId>,
    },
    /// A call to an actor.
    Call {
        /// Its first result.
        first: ObjectId,
        /// The participant that runs it, once it has begun.
        runs: Option<ParticipantId>,
    },
    /// A link of a stream (stream.rs).
    Link {
        /// The first result of the task or call that makes the stream.
        first: ObjectId,
        /// How many links come before this one.
        position: u64,
    },
}

/// The kind of work that a result is promised for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A task.
    Task,
    /// A call to an actor.
    Call,
}

const TASK: u64 = 1;
const CALL: u64 = 2;
const LINK: u64 = 3;
const FIRST: usize = 6;
const NUMBER: usize = 7;

impl Store {
    /// Promises `count` results of one piece of work; the first is where its claim word lies.
    pub fn promise_results(
        self: &Arc<Self>,
        producer: ParticipantId,
        work: Work,
        count: usize,
    ) -> Result<Vec<ObjectRef>> {
        let mut results: Vec<ObjectRef> = Vec::with_capacity(count);
        let kind = match work {
            Work::Task => TASK,
            Work::Call => CALL,
        };
        for _ in 0..count {
            let made = self.promise(producer).inspect_err(|_| {
                // The holds of those that were made: nobody will be told of them.
                results.iter().for_each(|result| self.drop_hold(result.id()));
            })?;
            let first = results.first().unwrap_or(&made).id();
            self.note(made.id(), first, kind);
            results.push(made);
        }
        Ok(results)
    }

    /// Promises a link of the stream that the work with this first result makes. The caller's one reference is all there is.
    pub(super) fn promise_link(
        self: &Arc<Self>,
        producer: ParticipantId,
        first: ObjectId,
        position: u64,
    ) -> Result<ObjectRef> {
        let made = self.promise(producer)?;
        self.drop_hold(made.id());
        self.note(made.id(), first, position << 3 | LINK);
        Ok(made)
    }

    fn note(&self, id: ObjectId, first: ObjectId, number: u64) {
        let slot = self.slot(id.index);
        let first = u64::from(first.generation) << 32 | u64::from(first.index);
        slot.inline[FIRST].store(first, Ordering::Relaxed);
        slot.inline[NUMBER].store(number, Ordering::Release);
    }

    fn open_slot(&self, id: ObjectId) -> Option<&Slot> {
        let slot = self.checked_slot(id).ok()?;
        let seen = slot.state().ok()?;
        let open = matches!(seen.phase, Phase::Pending | Phase::Writing);
        (seen.generation == id.generation && open).then_some(slot)
    }

    /// Where an object that is not made yet is to come from. `None` if it is made, or was promised by itself.
    pub fn origin(&self, id: ObjectId) -> Option<Origin> {
        let slot = self.open_slot(id)?;
        let word = slot.inline[NUMBER].load(Ordering::Acquire);
        let first = slot.inline[FIRST].load(Ordering::Relaxed);
        let [a, b, c, d, generation @ ..] = first.to_le_bytes();
        let first = ObjectId {
            session: self.session(),
            index: u32::from_le_bytes([a, b, c, d]),
            generation: u32::from_le_bytes(generation),
        };
        let number = word >> 3;
        match word & 7 {
            TASK => Some(Origin::Task {
                first,
                task: number.checked_sub(1).map(TaskId),
            }),
            CALL => Some(Origin::Call {
                first,
                runs: number
                    .checked_sub(1)
                    .and_then(|number| u16::try_from(number).ok())
                    .map(ParticipantId),
            }),
            LINK => Some(Origin::Link {
                first,
                position: number,
            }),
            _ => None,
        }
    }

    /// The head has taken the task with this first result.
    pub(crate) fn note_task(&self, first: ObjectId, task: TaskId) {
        if let Some(slot) = self.open_slot(first) {
            slot.inline[NUMBER].store((task.0 + 1) << 3 | TASK, Ordering::Release);
        }
    }

    /// This participant begins the call with this first result.
    pub(super) fn note_runs(&self, first: ObjectId, runs: ParticipantId) {
        if let Some(slot) = self.open_slot(first) {
            slot.inline[NUMBER].store((u64::from(runs.0) + 1) << 3 | CALL, Ordering::Release);
        }
    }
}

impl Slot {
    /// Nothing is known yet of a promise that was just made.
    pub(super) fn forget_origin(&self) {
        self.inline[NUMBER].store(0, Ordering::Relaxed);
    }
}
