//! What a process does when it is killed. Each operation is a short script over the public surface of a session; together they pass
//! every fail point that a process other than the head can pass.

use park_core::{ObjectId, ObjectRef, Session};

use crate::{Fallible, scripts};

/// Who performs an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A process that attached by itself.
    Peer,
    /// One that attached read-only.
    Reader,
    /// A worker process, in a task.
    Task,
    /// A worker process that is an actor, in a call: the call's record owns what the call names.
    Call,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Reader => "reader",
            Self::Task => "task",
            Self::Call => "call",
        }
    }
}

/// What the operation works on, made by the tester beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// Nothing.
    Nothing,
    /// Objects, large ones and one that holds others, whose only references are given away.
    Objects,
    /// One object that the tester also keeps.
    Shared,
    /// A promise that the performer is to keep, on which the tester waits.
    Promise,
    /// A promise that the tester keeps a moment later.
    Later,
    /// A channel that the tester goes on with afterwards.
    Channel,
    /// The handle of an actor that runs.
    Actor,
    /// The handle of an actor that is placed a moment later.
    LateActor,
}

/// Another peer that is stopped in the middle of something, and killed a moment later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    pub(crate) operation: &'static str,
    pub(crate) stopped_at: &'static str,
}

/// One operation.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) roles: &'static [Role],
    pub(crate) given: Given,
    pub(crate) beside: Option<Beside>,
    pub(crate) act: fn(&Stage) -> Fallible,
}

impl Operation {
    /// Whether others have a part in it, whose pace decides how often some fail points are passed.
    pub(crate) fn meets_others(&self) -> bool {
        let met = [
            "ask", "submit", "parcel", "call", "outbox", "wait", "block", "start", "overflow", "carry",
        ];
        self.beside.is_some() || met.contains(&self.name)
    }
}

/// Where an operation is performed.
pub(crate) struct Stage {
    pub(crate) session: Session,
    /// References of this process to what it was given. Dropped by the operation, or after it.
    pub(crate) given: std::cell::RefCell<Vec<ObjectRef>>,
    /// The object with the function of tasks.
    pub(crate) function: ObjectId,
    /// Tells the tester an id to wait for.
    pub(crate) tell: fn(ObjectId),
}

const EVERYWHERE: &[Role] = &[Role::Peer, Role::Task, Role::Call];
const ALL: &[Role] = &[Role::Peer, Role::Reader, Role::Task, Role::Call];
const PEER: &[Role] = &[Role::Peer];

const fn alone(name: &'static str, roles: &'static [Role], given: Given, act: fn(&Stage) -> Fallible) -> Operation {
    Operation {
        name,
        roles,
        given,
        beside: None,
        act,
    }
}

/// All of them.
pub(crate) const OPERATIONS: &[Operation] = &[
    alone("nothing", &[Role::Task, Role::Call], Given::Objects, |_| Ok(())),
    alone("start", &[Role::Task], Given::Nothing, |_| Ok(())),
    alone("create", EVERYWHERE, Given::Nothing, scripts::create),
    alone("put", EVERYWHERE, Given::Nothing, scripts::put),
    alone("read", ALL, Given::Objects, scripts::read),
    alone("free", &[Role::Peer, Role::Reader], Given::Objects, scripts::free),
    alone("promise", EVERYWHERE, Given::Nothing, scripts::promise),
    alone("fulfil", PEER, Given::Promise, scripts::fulfil),
    alone("break", PEER, Given::Promise, scripts::break_promise),
    alone("wait", PEER, Given::Later, scripts::wait),
    alone("sizes", EVERYWHERE, Given::Nothing, scripts::sizes),
    alone("trim", EVERYWHERE, Given::Nothing, scripts::trim),
    alone("overflow", &[Role::Peer, Role::Task], Given::Nothing, scripts::overflow),
    alone("channel", EVERYWHERE, Given::Channel, scripts::channel),
    alone("table", EVERYWHERE, Given::Nothing, scripts::table),
    alone("stream", EVERYWHERE, Given::Nothing, scripts::stream),
    alone("cancel", EVERYWHERE, Given::Nothing, scripts::cancel),
    alone("ask", EVERYWHERE, Given::Nothing, scripts::ask),
    alone("submit", EVERYWHERE, Given::Objects, scripts::submit),
    alone("parcel", EVERYWHERE, Given::Objects, scripts::parcel),
    alone("call", EVERYWHERE, Given::Actor, scripts::call),
    alone("carry", &[Role::Call], Given::Nothing, scripts::carry),
    alone("block", &[Role::Task], Given::Nothing, scripts::block),
    alone("outbox", PEER, Given::LateActor, scripts::call_late),
    Operation {
        name: "arena in use",
        roles: PEER,
        given: Given::Nothing,
        beside: Some(Beside {
            operation: "put",
            stopped_at: "object.create.sized",
        }),
        act: scripts::put,
    },
    Operation {
        name: "table in use",
        roles: PEER,
        given: Given::Nothing,
        beside: Some(Beside {
            operation: "table",
            stopped_at: "table.refill.taken",
        }),
        act: scripts::table,
    },
    Operation {
        name: "count in use",
        roles: PEER,
        given: Given::Shared,
        beside: Some(Beside {
            operation: "read",
            stopped_at: "reference.change.counted",
        }),
        act: scripts::read,
    },
    Operation {
        name: "ring in use",
        roles: PEER,
        given: Given::Nothing,
        beside: Some(Beside {
            operation: "ask",
            stopped_at: "ring.push.journalled",
        }),
        act: scripts::ask,
    },
];

/// The operation of this name.
pub(crate) fn named(name: &str) -> Fallible<&'static Operation> {
    OPERATIONS
        .iter()
        .find(|operation| operation.name == name)
        .ok_or_else(|| format!("there is no operation {name:?}").into())
}
