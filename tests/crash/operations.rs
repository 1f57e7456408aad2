//! What a process does when it is killed. Each operation is a short script over the public surface of a session; together they pass
//! every fail point that a process other than the head can pass.

use std::time::Duration;

use park_core::ipc::message::{Args, Payload, Submission, ToWorker};
use park_core::store::{Place, never};
use park_core::{Format, ObjectId, ObjectRef, ParticipantId, Session, Spec, Store, View};

use crate::Fallible;
use crate::child::PATIENCE;

/// Who performs an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A process that attached by itself.
    Peer,
    /// A worker process, in a task.
    Task,
    /// A worker process that is an actor, in a call: the call's record owns what the call names.
    Call,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
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
        let met = ["ask", "submit", "parcel", "call", "outbox", "wait", "block", "start"];
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
    alone("create", EVERYWHERE, Given::Nothing, create),
    alone("put", EVERYWHERE, Given::Nothing, put),
    alone("read", EVERYWHERE, Given::Objects, read),
    alone("free", PEER, Given::Objects, free),
    alone("promise", EVERYWHERE, Given::Nothing, promise),
    alone("fulfil", PEER, Given::Promise, fulfil),
    alone("break", PEER, Given::Promise, break_promise),
    alone("wait", PEER, Given::Later, wait),
    alone("sizes", EVERYWHERE, Given::Nothing, sizes),
    alone("warm", PEER, Given::Nothing, warm),
    alone("table", EVERYWHERE, Given::Nothing, table),
    alone("ask", EVERYWHERE, Given::Nothing, ask),
    alone("submit", EVERYWHERE, Given::Objects, submit),
    alone("parcel", EVERYWHERE, Given::Objects, parcel),
    alone("call", EVERYWHERE, Given::Actor, call),
    alone("block", &[Role::Task], Given::Nothing, block),
    alone("outbox", PEER, Given::LateActor, call_late),
    Operation {
        name: "arena in use",
        roles: PEER,
        given: Given::Nothing,
        beside: Some(Beside {
            operation: "put",
            stopped_at: "object.create.sized",
        }),
        act: put,
    },
    Operation {
        name: "table in use",
        roles: PEER,
        given: Given::Nothing,
        beside: Some(Beside {
            operation: "table",
            stopped_at: "table.refill.taken",
        }),
        act: table,
    },
    Operation {
        name: "count in use",
        roles: PEER,
        given: Given::Shared,
        beside: Some(Beside {
            operation: "read",
            stopped_at: "reference.change.counted",
        }),
        act: read,
    },
    Operation {
        name: "ring in use",
        roles: PEER,
        given: Given::Nothing,
        beside: Some(Beside {
            operation: "ask",
            stopped_at: "ring.push.journalled",
        }),
        act: ask,
    },
];

/// The operation of this name.
pub(crate) fn named(name: &str) -> Fallible<&'static Operation> {
    OPERATIONS
        .iter()
        .find(|operation| operation.name == name)
        .ok_or_else(|| format!("there is no operation {name:?}").into())
}

/// Bytes that tell objects apart.
pub(crate) fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap_or(0)))
        .collect()
}

/// An object of `len` bytes that holds references to `nested`.
pub(crate) fn holding(store: &std::sync::Arc<Store>, len: usize, nested: &[ObjectId]) -> Fallible<ObjectRef> {
    let spec = Spec {
        len: len as u64,
        format: Format::Raw,
        view: View::Numpy,
        nested,
    };
    let mut object = store.create(spec, &mut never)?;
    object.write(0, &pattern(7, len))?;
    Ok(object.seal()?)
}

/// Two objects that leave at once, one that leaves with the one that holds it, and one that stays with its other owner.
fn create(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    for len in [10, 5000] {
        store.create(Spec::raw(len), &mut never)?.abort();
    }
    let inner = store.put(&pattern(1, 100))?;
    let spec = Spec {
        nested: &[inner.id(), inner.id()],
        ..Spec::raw(3000)
    };
    store.create(spec, &mut never)?.abort();
    Ok(())
}

fn put(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let (small, large) = (store.put(&pattern(1, 8))?, store.put(&pattern(2, 70_000))?);
    let outer = holding(store, 500, &[small.id(), large.id(), small.id()])?;
    drop((small, large));
    let outermost = holding(store, 10, &[outer.id()])?;
    drop(outer);
    drop(outermost);
    Ok(())
}

fn read(stage: &Stage) -> Fallible {
    let given = stage.given.take();
    for object in &given {
        let view = object.open()?;
        let again = view.clone();
        stage.session.store().resolve(object.id())?;
        if view.bytes() != again.bytes() {
            return Err("two views differ".into());
        }
    }
    Ok(())
}

fn free(stage: &Stage) -> Fallible {
    stage.given.take();
    Ok(())
}

/// Promises of this process to itself: one that it keeps, one that it breaks, one that it forgets.
fn promise(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let kept = store.promise(store.me())?;
    let inner = store.put(&pattern(3, 300))?;
    let spec = Spec {
        nested: &[inner.id()],
        ..Spec::raw(2000)
    };
    let object = store
        .fulfil(kept.id(), spec, &mut never)?
        .ok_or("somebody else kept the promise")?;
    object.seal()?;
    store.drop_hold(kept.id());
    let broken = store.promise(store.me())?;
    store
        .fulfil(broken.id(), Spec::raw(3000), &mut never)?
        .ok_or("somebody else kept the promise")?
        .abort();
    store.drop_hold(broken.id());
    let forgotten = store.promise(ParticipantId::HEAD)?;
    store.drop_hold(forgotten.id());
    Ok(())
}

fn fulfil(stage: &Stage) -> Fallible {
    let given = stage.given.take();
    let inner = stage.session.store().put(&pattern(3, 300))?;
    for promised in &given {
        let spec = Spec {
            nested: &[inner.id()],
            ..Spec::raw(2000)
        };
        stage
            .session
            .store()
            .fulfil(promised.id(), spec, &mut never)?
            .ok_or("somebody else kept it")?
            .seal()?;
    }
    Ok(())
}

/// Begins to keep the promise, gives up, and ends: who waits is told by the end.
fn break_promise(stage: &Stage) -> Fallible {
    for promised in stage.given.take() {
        let object = stage
            .session
            .store()
            .fulfil(promised.id(), Spec::raw(2000), &mut never)?;
        object.ok_or("somebody else kept it")?.abort();
    }
    Ok(())
}

fn wait(stage: &Stage) -> Fallible {
    for promised in stage.given.take() {
        stage.session.store().get(&promised, Some(PATIENCE))?;
    }
    Ok(())
}

/// Splits blocks and joins them with both neighbours.
fn sizes(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let lens = [100, 5000, 200, 70_000, 1000, 300_000, 64, 9000];
    let mut held: Vec<Option<ObjectRef>> = Vec::new();
    for len in lens {
        held.push(Some(store.put(&pattern(4, len))?));
    }
    for at in [1, 3, 2, 6, 0, 5, 7, 4] {
        held[at] = None;
    }
    Ok(())
}

/// More memory than the arena has reserved so far.
fn warm(stage: &Stage) -> Fallible {
    stage.session.store().create(Spec::raw(10 << 20), &mut never)?.abort();
    Ok(())
}

/// More slots than a process keeps for itself: it takes them from the table and gives them back.
fn table(stage: &Stage) -> Fallible {
    let store = stage.session.store();
    let held = (0..150)
        .map(|_| store.put(&pattern(5, 4)))
        .collect::<Result<Vec<_>, _>>()?;
    drop(held);
    Ok(())
}

fn ask(stage: &Stage) -> Fallible {
    if stage.session.find_actor("", "nobody", &mut never).is_ok() {
        return Err("there is no such actor".into());
    }
    stage.session.head_stats(&mut never)?;
    Ok(())
}

/// A task that gets `given` as arguments, and `bytes` of message around its own text. Returns its result.
pub(crate) fn submit_task(
    session: &Session,
    function: ObjectId,
    text: &str,
    given: &[ObjectId],
    bytes: usize,
) -> Fallible<ObjectRef> {
    let store = session.store();
    for id in given.iter().chain([&function]) {
        store.hold(*id)?;
    }
    let result = store.promise(ParticipantId::HEAD)?;
    session.submit(Submission {
        function,
        args: arguments(text, given, bytes),
        returns: vec![result.id()],
        resources: vec![("CPU".to_owned(), 10_000)],
        max_retries: 0,
        name: "crash".to_owned(),
    })?;
    Ok(result)
}

/// A call of `actor`. Returns its result.
pub(crate) fn call_actor(session: &Session, actor: ObjectId, text: &str, given: &[ObjectId]) -> Fallible<ObjectRef> {
    let store = session.store();
    for id in given.iter().chain([&actor]) {
        store.hold(*id)?;
    }
    let producer = match store.actor_place(actor)? {
        Place::Bound { participant, .. } => participant,
        Place::Unbound | Place::Dead { .. } => store.me(),
    };
    let result = store.promise(producer)?;
    let call = ToWorker::Call {
        actor,
        method: "perform".to_owned(),
        args: arguments(text, given, 0),
        returns: vec![result.id()],
        caller: store.me(),
        retries: 0,
    };
    session.call_actor(actor, &call)?;
    Ok(result)
}

fn arguments(text: &str, given: &[ObjectId], bytes: usize) -> Args {
    let mut payload = text.as_bytes().to_vec();
    payload.resize(payload.len().max(bytes), b' ');
    Args {
        payload: Payload::Inline(payload),
        dependencies: Vec::new(),
        nested: given.to_vec(),
    }
}

/// Waits like a task that lends its CPU meanwhile.
fn settle(stage: &Stage, result: &ObjectRef) -> Fallible {
    let is_worker = stage.session.inbox().is_ok();
    if is_worker {
        stage.session.set_blocked(true)?;
    }
    stage.session.store().get(result, Some(PATIENCE))?;
    if is_worker {
        stage.session.set_blocked(false)?;
    }
    Ok(())
}

/// Lends its CPU to others for a moment, for nothing.
fn block(stage: &Stage) -> Fallible {
    stage.session.set_blocked(true)?;
    std::thread::sleep(Duration::from_millis(20));
    stage.session.set_blocked(false)?;
    Ok(())
}

fn submit(stage: &Stage) -> Fallible {
    let given: Vec<ObjectId> = stage.given.borrow().iter().map(ObjectRef::id).collect();
    let result = submit_task(&stage.session, stage.function, "nothing", &given, 0)?;
    stage.given.take();
    settle(stage, &result)
}

/// Messages that are too long for a ring.
fn parcel(stage: &Stage) -> Fallible {
    let given: Vec<ObjectId> = stage.given.borrow().iter().map(ObjectRef::id).collect();
    let result = submit_task(&stage.session, stage.function, "nothing", &given, 40_000)?;
    stage.given.take();
    settle(stage, &result)
}

fn call(stage: &Stage) -> Fallible {
    let argument = stage.session.store().put(&pattern(6, 4000))?;
    let actor = stage.given.take().pop().ok_or("no actor was given")?;
    let result = call_actor(&stage.session, actor.id(), "nothing", &[argument.id(), argument.id()])?;
    drop(argument);
    settle(stage, &result)
}

/// As `call`, of an actor without a process: the call waits in the caller's outbox, and the tester knows its result meanwhile.
fn call_late(stage: &Stage) -> Fallible {
    let argument = stage.session.store().put(&pattern(6, 4000))?;
    let actor = stage.given.take().pop().ok_or("no actor was given")?;
    let result = call_actor(&stage.session, actor.id(), "nothing", &[argument.id()])?;
    (stage.tell)(result.id());
    drop(argument);
    // Until the tester knows, so that what follows comes after.
    std::thread::sleep(Duration::from_millis(1));
    settle(stage, &result)
}
