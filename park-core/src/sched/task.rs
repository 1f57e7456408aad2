//! A task as the head knows it, from submission until its holds are given back.

use std::sync::Arc;

use crate::error::Result;
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::ipc::message::{Submission, ToWorker, encode};
use crate::ipc::parcel::pack;
use crate::store::Store;

use super::queue::ShapeId;

/// See the module's documentation.
#[derive(Debug)]
pub struct Task {
    /// Its number.
    pub id: TaskId,
    /// Which attempt is offered or running. A worker that claims another one is refused.
    pub attempt: u32,
    /// Repeats left after a death of its worker; negative: without end.
    pub retries_left: i32,
    /// Repeats left after its worker was ended for want of memory; negative: without end.
    pub memory_retries_left: i32,
    /// The encoded message for a worker.
    pub body: Vec<u8>,
    /// Promised results; the claim word lies in the first.
    pub returns: Vec<ObjectId>,
    /// Everything the task holds, results included.
    pub holds: Vec<ObjectId>,
    /// What it needs while it runs.
    pub shape: ShapeId,
    /// Name for error texts.
    pub name: String,
    /// Where it was sent.
    pub worker: Option<ParticipantId>,
    /// First link of the stream that it makes.
    pub stream: Option<ObjectId>,
    /// First result of the task or call that submitted it.
    pub parent: Option<ObjectId>,
    /// How many tasks and calls led to it, itself included.
    pub depth: u32,
    /// It is not wanted any more: not to be repeated, and its process to be told.
    pub cancelled: Option<Interruption>,
}

/// How a task that runs is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Its process is told, and may go on.
    Signal,
    /// Its process is killed.
    Kill,
}

impl Task {
    /// Takes a submission over, with its holds. Also returns the references whose values it needs.
    pub fn new(
        store: &Arc<Store>,
        id: TaskId,
        shape: ShapeId,
        submission: Submission,
    ) -> Result<(Self, Vec<ObjectId>)> {
        let Submission {
            function,
            args,
            returns,
            stream,
            parent,
            depth,
            resources: _,
            place: _,
            max_retries,
            name,
        } = submission;
        let mut holds: Vec<ObjectId> = Vec::with_capacity(2 + returns.len() + args.dependencies.len());
        holds.push(function);
        holds.extend(args.holds());
        holds.extend(&returns);
        let dependencies = args.dependencies.clone();
        let (body, parcel) = pack(
            store,
            &encode(&ToWorker::Run {
                task: id,
                function,
                args,
                returns: returns.clone(),
                name: name.clone(),
                stream,
                depth,
            })?,
            &[],
        )?;
        holds.extend(parcel);
        Ok((
            Self {
                id,
                attempt: 0,
                retries_left: max_retries,
                memory_retries_left: 0,
                body,
                returns,
                holds,
                shape,
                name,
                worker: None,
                stream: stream.and_then(|stream| stream.link),
                parent,
                depth,
                cancelled: None,
            },
            dependencies,
        ))
    }

    /// Whether a death of its worker may be followed by another attempt; uses one up.
    pub fn use_retry(&mut self) -> bool {
        if self.cancelled.is_some() {
            return false;
        }
        if self.retries_left > 0 {
            self.retries_left -= 1;
            return true;
        }
        self.retries_left < 0
    }

    /// Whether it would be repeated after its worker was ended for want of memory.
    pub fn has_memory_retry(&self) -> bool {
        self.cancelled.is_none() && self.memory_retries_left != 0
    }

    /// As `use_retry`, after its worker was ended for want of memory.
    pub fn use_memory_retry(&mut self) -> bool {
        let again = self.has_memory_retry();
        self.memory_retries_left -= i32::from(again && self.memory_retries_left > 0);
        again
    }
}
