//! What processes say to each other, as postcard records.
//!
//! Every id in a message stands for a reference that the message owns (store/README.md), unless the field says otherwise: the
//! sender's own until the message's record is published, then the record's, and given back as the record's work is done.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, ParticipantId, TaskId};

use super::placement::{Assignment, PlacementRequest, Where};

/// The serialised arguments of a task or call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Small ones travel in the message. Only the language that wrote them can read them.
    Inline(Vec<u8>),
    /// Large ones are an object.
    Stored(ObjectId),
}

/// Arguments: the payload, the references whose values it needs, and the references it merely contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Args {
    /// The serialised arguments.
    pub payload: Payload,
    /// Top-level references: the work starts when they are sealed, and gets their values.
    pub dependencies: Vec<ObjectId>,
    /// References inside an inline payload: passed on as references.
    pub nested: Vec<ObjectId>,
}

impl Args {
    /// Every object the arguments hold.
    pub fn holds(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let stored = if let Payload::Stored(id) = self.payload {
            Some(id)
        } else {
            None
        };
        stored
            .into_iter()
            .chain(self.dependencies.iter().copied())
            .chain(self.nested.iter().copied())
    }
}

/// That some work makes any number of items, which are read as they come: a stream, beside the one result that says how the work ended
/// (store/stream.rs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The first link (no hold: the stream lives as long as its consumer). Without one, the result holds all items together.
    pub link: Option<ObjectId>,
    /// How many items may wait for the consumer.
    pub limit: Option<u32>,
    /// How many items the generator yields at a time, at least one: each `yield` gives that many together.
    pub group: u32,
}

/// To a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Run a task. Its holds belong to the head.
    Run {
        /// The task.
        task: TaskId,
        /// Object with the serialised function.
        function: ObjectId,
        /// Its arguments; the dependencies are sealed.
        args: Args,
        /// Promised results, at least one.
        returns: Vec<ObjectId>,
        /// Its name, for whoever asks while it runs.
        name: String,
        /// The stream that it makes.
        stream: Option<Stream>,
        /// How many tasks and calls led to it, itself included.
        depth: u32,
    },
    /// Become an actor. Its holds belong to the head.
    Create {
        /// The actor's handle object.
        actor: ObjectId,
        /// Object with the serialised class.
        class: ObjectId,
        /// Constructor arguments; the dependencies are sealed.
        args: Args,
        /// How often the actor was restarted before.
        restarts: u32,
        /// Whether calls of one caller start in the order in which it made them, even if a later one could start sooner.
        in_order: bool,
        /// How many tasks and calls led to it, itself included.
        depth: u32,
    },
    /// Call a method. The message owns its holds, also one on the actor's handle: an actor outlives the calls made to it.
    Call {
        /// The actor's handle object.
        actor: ObjectId,
        /// Method name.
        method: String,
        /// Its arguments; the dependencies may still be open.
        args: Args,
        /// Promised results, at least one.
        returns: Vec<ObjectId>,
        /// The stream that it makes.
        stream: Option<Stream>,
        /// First result of the task or call that makes this call (no hold): cancelling that one cancels this one.
        parent: Option<ObjectId>,
        /// How many tasks and calls led to it, itself included.
        depth: u32,
        /// Calls of one caller run in the order in which it made them, unless the actor was made otherwise.
        caller: ParticipantId,
        /// The concurrency group that it runs in; empty: the actor's own.
        group: String,
        /// How often the call may be repeated, after a death of the actor's process or an exception; -1: without end.
        retries: i32,
        /// After which exceptions: none, or those that these bytes name to the language that wrote them.
        retry_on: Option<Vec<u8>>,
        /// What people know it by; empty: the method's name.
        name: String,
    },
    /// What comes next runs with these resources, on this node. Sent when that differs from what the worker was told last.
    Assign(Assignment),
    /// The call with this first result, which began here, was cancelled: for actors whose calls can be interrupted.
    Cancel {
        /// Its first result (no hold).
        call: ObjectId,
    },
    /// End once everything queued before is done: the actor's last handle is gone, or the worker is one too many.
    Retire,
}

impl ToWorker {
    /// Every object that the message itself owns a reference to.
    pub fn holds(&self) -> Vec<ObjectId> {
        match self {
            Self::Call {
                actor, args, returns, ..
            } => args.holds().chain(returns.iter().copied()).chain([*actor]).collect(),
            Self::Run { .. } | Self::Create { .. } | Self::Assign(_) | Self::Cancel { .. } | Self::Retire => Vec::new(),
        }
    }
}

/// Amounts of named resources, in units of 1/10,000.
pub type Amounts = Vec<(String, u64)>;

/// A task as submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Object with the serialised function.
    pub function: ObjectId,
    /// Its arguments.
    pub args: Args,
    /// Promised results, at least one.
    pub returns: Vec<ObjectId>,
    /// The stream that it makes.
    pub stream: Option<Stream>,
    /// First result of the task or call that submits it (no hold): cancelling that one cancels this one.
    pub parent: Option<ObjectId>,
    /// How many tasks and calls led to it, itself included: 1 for what a program submits.
    pub depth: u32,
    /// What it needs while it runs.
    pub resources: Amounts,
    /// Where it may run, if not anywhere.
    pub place: Option<Box<Where>>,
    /// How often it is repeated after a death of its worker; -1: without end.
    pub max_retries: i32,
    /// Name for error texts.
    pub name: String,
}

/// An actor as created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorSpec {
    /// Its handle object (no hold, unless it is detached: the actor lives as long as somebody else refers to it).
    pub actor: ObjectId,
    /// Object with the serialised class.
    pub class: ObjectId,
    /// Constructor arguments.
    pub args: Args,
    /// What it needs to be placed.
    pub placement: Amounts,
    /// What it keeps while it lives.
    pub lifetime: Amounts,
    /// Where it may live, if not anywhere.
    pub place: Option<Box<Where>>,
    /// How often its process is started again; -1: without end.
    pub max_restarts: i32,
    /// Whether calls of one caller start in the order in which it made them.
    pub in_order: bool,
    /// How many tasks and calls led to it, its creation included.
    pub depth: u32,
    /// Name for error texts.
    pub class_name: String,
    /// Namespace and name under which `get_actor` finds it.
    pub name: Option<(String, String)>,
    /// It lives until it is killed or the session ends: the head keeps a hold on its handle object, which comes with this.
    pub detached: bool,
}

impl ActorSpec {
    /// The objects that it owns holds on.
    pub fn holds(&self) -> impl Iterator<Item = ObjectId> {
        self.args
            .holds()
            .chain([self.class])
            .chain(self.detached.then_some(self.actor))
    }
}

/// From when to when something ran, in microseconds of `sys::clock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its begin; 0 if that is not known.
    pub began: u64,
    /// Its end.
    pub ended: u64,
}

/// About the session's table of keys and values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PairsRequest {
    /// What has this key?
    Get {
        /// Which.
        key: Vec<u8>,
    },
    /// Keep this.
    Put {
        /// Under which key.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
        /// Also if the key has a value.
        overwrite: bool,
    },
    /// Forget this key.
    Remove {
        /// Which.
        key: Vec<u8>,
    },
    /// Which keys are there?
    Keys {
        /// What they begin with.
        prefix: Vec<u8>,
    },
}

/// To the head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHead {
    /// Run this task somewhere.
    Submit(Submission),
    /// Create this actor, which has no name.
    CreateActor(ActorSpec),
    /// Create this actor unless its name is taken. Answered by sealing `reply` with nothing, or, if the one who has the name will do, with
    /// the ids of its handle and of its class.
    CreateNamed {
        /// The actor.
        spec: ActorSpec,
        /// Whether an actor that has the name already will do.
        get_if_exists: bool,
        /// A promised object.
        reply: ObjectId,
    },
    /// A task attempt was finished: its results are sealed.
    Done {
        /// The task.
        task: TaskId,
        /// Which attempt.
        attempt: u32,
        /// When it ran.
        span: Span,
    },
    /// The actor's constructor returned.
    ActorReady {
        /// Its handle object (no hold).
        actor: ObjectId,
    },
    /// The actor is dead for good: its constructor raised, or it ends itself. The process is about to end.
    ActorEnded {
        /// Its handle object (no hold).
        actor: ObjectId,
        /// ERROR object that says why.
        cause: ObjectId,
    },
    /// The last reference to the actor's handle object is gone.
    ActorReleased {
        /// Its handle object (no hold).
        actor: ObjectId,
    },
    /// Kill the actor's process.
    KillActor {
        /// Its handle object (no hold).
        actor: ObjectId,
        /// Whether it may be restarted.
        no_restart: bool,
    },
    /// Which actor has this name? Answered by sealing `reply` with the handle's id, or an error.
    FindActor {
        /// Namespace and name.
        name: (String, String),
        /// A promised object.
        reply: ObjectId,
    },
    /// Which calls of actors are not done? Answered by sealing `reply` with the encoded rows.
    Calls {
        /// A promised object.
        reply: ObjectId,
    },
    /// Which tasks ended lately? Answered by sealing `reply` with the encoded rows.
    Ended {
        /// A promised object.
        reply: ObjectId,
    },
    /// Which actors, tasks and workers are there? Answered by sealing `reply` with an encoded description.
    Describe {
        /// A promised object.
        reply: ObjectId,
    },
    /// Cancel the task that is to make this object.
    Cancel {
        /// One of its results (no hold).
        object: ObjectId,
        /// Whether to kill the process that runs it.
        force: bool,
        /// Whether to cancel the work that it submitted, too.
        recursive: bool,
    },
    /// Cancel what a call submitted that was cancelled while it ran. By the time that this is read it may be over.
    CancelChildren {
        /// Its first result (no hold).
        parent: ObjectId,
        /// Whether to kill the processes that run tasks.
        force: bool,
    },
    /// This worker has run as many tasks of one function as it may: it ends, and is to be sent no more.
    Leave,
    /// How is scheduling going? Answered by sealing `reply` with encoded statistics.
    Stats {
        /// A promised object.
        reply: ObjectId,
    },
    /// Something about nodes and placement groups. Answered by sealing `reply`.
    Placement {
        /// What.
        request: PlacementRequest,
        /// A promised object.
        reply: ObjectId,
    },
    /// Something about the table of keys and values. Answered by sealing `reply` with the encoded list that it comes to.
    Pairs {
        /// What.
        request: PairsRequest,
        /// A promised object.
        reply: ObjectId,
    },
    /// The task that runs on this worker waits for an object.
    Blocked,
    /// It goes on.
    Unblocked,
    /// A read-only process gave back the last reference: the object is FREEING by the head (no hold).
    Free {
        /// The object.
        object: ObjectId,
    },
}

impl ToHead {
    /// Every object that the message owns a reference to.
    pub fn holds(&self) -> Vec<ObjectId> {
        match self {
            Self::Submit(task) => {
                let named = [task.function].into_iter().chain(task.args.holds());
                named.chain(task.returns.iter().copied()).collect()
            }
            Self::CreateActor(spec) => spec.holds().collect(),
            Self::CreateNamed { spec, reply, .. } => spec.holds().chain([*reply]).collect(),
            Self::ActorEnded { cause: id, .. }
            | Self::FindActor { reply: id, .. }
            | Self::Stats { reply: id }
            | Self::Calls { reply: id }
            | Self::Ended { reply: id }
            | Self::Describe { reply: id }
            | Self::Pairs { reply: id, .. } => {
                vec![*id]
            }
            Self::Placement { request, reply } => request.held().into_iter().chain([*reply]).collect(),
            Self::Done { .. }
            | Self::ActorReady { .. }
            | Self::ActorReleased { .. }
            | Self::KillActor { .. }
            | Self::Free { .. }
            | Self::Cancel { .. }
            | Self::CancelChildren { .. }
            | Self::Leave
            | Self::Blocked
            | Self::Unblocked => Vec::new(),
        }
    }
}

/// A record in the head's ring names its sender.
pub type Envelope = (ParticipantId, ToHead);

/// Bytes of a record.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(message)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("cannot encode a message: {error}")))
}

/// A record from another process; garbage is an error.
pub fn decode<'a, T: Deserialize<'a>>(record: &'a [u8]) -> Result<T> {
    postcard::from_bytes(record).map_err(|error| {
        Error::new(
            ErrorKind::Corrupt,
            format!("a message of {} bytes is malformed: {error}", record.len()),
        )
    })
}

/// A record for a worker: the attempt in front, so that a repeat need not be encoded again.
pub fn frame(attempt: u32, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(4 + body.len());
    record.extend_from_slice(&attempt.to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// The attempt and the body of a record for a worker.
pub fn unframe(record: &[u8]) -> Result<(u32, &[u8])> {
    match record.split_first_chunk::<4>() {
        Some((attempt, body)) => Ok((u32::from_le_bytes(*attempt), body)),
        None => Err(Error::new(
            ErrorKind::Corrupt,
            format!("a message of {} bytes is malformed", record.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_round_trip() {
        let id = ObjectId {
            session: 1,
            index: 2,
            generation: 3,
        };
        let args = Args {
            payload: Payload::Inline(vec![1, 2, 3]),
            dependencies: vec![id],
            nested: vec![],
        };
        let call = ToWorker::Call {
            actor: id,
            method: "add".into(),
            args,
            returns: vec![id],
            stream: Some(Stream {
                link: Some(id),
                limit: Some(2),
                group: 1,
            }),
            parent: Some(id),
            depth: 3,
            caller: ParticipantId(9),
            group: "io".into(),
            retries: -1,
            retry_on: Some(vec![4]),
            name: "first".into(),
        };
        let record = frame(7, &encode(&call).unwrap());
        let (attempt, body) = unframe(&record).unwrap();
        assert_eq!((attempt, decode::<ToWorker>(body).unwrap()), (7, call));
    }

    proptest! {
        #[test]
        fn hostile_records_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Envelope>(&bytes);
            if let Ok((_, body)) = unframe(&bytes) {
                let _ = decode::<ToWorker>(body);
            }
        }
    }
}
