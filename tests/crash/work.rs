//! What testers and performers alike do with a session: objects that are told apart, tasks, actors and calls.

use std::sync::Arc;

use park_core::ipc::message::{ActorSpec, Args, Payload, Submission, ToWorker};
use park_core::store::{Place, never};
use park_core::{Format, ObjectId, ObjectRef, ParticipantId, Session, Spec, Store, View};

use crate::Fallible;

/// Bytes that tell objects apart.
pub(crate) fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap_or(0)))
        .collect()
}

/// An object of `len` bytes that holds references to `nested`.
pub(crate) fn holding(store: &Arc<Store>, len: usize, nested: &[ObjectId]) -> Fallible<ObjectRef> {
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
        stream: None,
        parent: None,
        depth: 1,
        resources: vec![("CPU".to_owned(), 10_000)],
        place: None,
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
        stream: None,
        parent: None,
        depth: 1,
        caller: store.me(),
        group: String::new(),
        retries: 0,
        retry_on: None,
        name: String::new(),
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

/// An actor that starts once `dependencies` are sealed.
pub(crate) fn create_actor(session: &Session, class: &ObjectRef, dependencies: &[ObjectId]) -> Fallible<ObjectRef> {
    let store = session.store();
    for id in dependencies.iter().chain([&class.id()]) {
        store.hold(*id)?;
    }
    let actor = store.create_actor_handle()?;
    session.create_actor(ActorSpec {
        actor: actor.id(),
        class: class.id(),
        args: Args {
            payload: Payload::Inline(Vec::new()),
            dependencies: dependencies.to_vec(),
            nested: Vec::new(),
        },
        placement: Vec::new(),
        lifetime: Vec::new(),
        place: None,
        max_restarts: 0,
        in_order: true,
        depth: 1,
        class_name: "Crash".to_owned(),
        name: None,
        detached: false,
    })?;
    Ok(actor)
}
