//! Sending a call to an actor, from any process.

use std::sync::{Arc, Weak};

use crate::actor::cancel::cancelled;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, ParticipantId};
use crate::ipc::Outbox;
use crate::ipc::message::{ToWorker, decode, encode, frame, unframe};
use crate::ipc::outbox::Courier;
use crate::ipc::parcel::{pack, pack_for_a_crowd, unpack};
use crate::store::format::{Format, decode_error};
use crate::store::{Place, Store};
use crate::sync::ring::PushError;

/// What became of one attempt to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// In the actor's ring.
    Sent,
    /// The actor is dead: the results were failed.
    Failed,
    /// Not now.
    Later,
}

/// Delivers calls from this process: directly while it can, through the outbox while it cannot.
#[derive(Debug)]
pub struct Caller {
    store: Arc<Store>,
    outbox: Arc<Outbox>,
}

impl Caller {
    /// A caller for this process.
    pub fn new(store: &Arc<Store>) -> Self {
        Self {
            store: store.clone(),
            outbox: Outbox::new(Box::new(Sender(Arc::downgrade(store)))),
        }
    }

    /// Sends a `Call`. What it names is the message's from here on; a dead actor fails the results, not this call.
    pub fn call(&self, actor: ObjectId, message: &ToWorker) -> Result<()> {
        self.call_again(actor, message, 0)
    }

    /// As `call`, for one that was made before: `attempt` says how often it has raised and is repeated.
    pub fn call_again(&self, actor: ObjectId, message: &ToWorker, attempt: u32) -> Result<()> {
        let names = message.holds();
        let pack = match self.store.actor_place(actor) {
            Ok(Place::Bound { participant, .. }) if self.store.ring(participant).is_crowded() => pack_for_a_crowd,
            _ => pack,
        };
        let (body, parcel) = pack(&self.store, &encode(message)?, &names)?;
        if parcel.is_some() {
            // The parcel holds them now.
            names.iter().for_each(|id| self.store.drop_hold(*id));
        }
        let record = frame(attempt, &body);
        let returns = returns_of(message);
        let holds = owned(message, parcel);
        let delivered = if self.outbox.holds_calls_to(actor) {
            Delivery::Later
        } else {
            deliver(&self.store, actor, &record, returns, &holds)
                // What it names was the message's: nobody else would give it back.
                .inspect_err(|error| fail_call(&self.store, &record, error))?
        };
        if delivered == Delivery::Later {
            assign(&self.store, returns, self.store.me());
            self.outbox.push(actor, parent_of(message), record);
        }
        Ok(())
    }

    /// First results of the calls that this work made and that were not sent yet.
    pub(crate) fn unsent(&self, parent: ObjectId) -> Vec<ObjectId> {
        let records = self.outbox.calls_of(parent);
        let parsed = records.iter().filter_map(|record| parse(&self.store, record).ok());
        parsed
            .filter_map(|(_, message, _)| returns_of(&message).first().copied())
            .collect()
    }

    /// Work of this process, known by its first result, is over: if it was cancelled with its children, calls that it made and that
    /// were not sent yet go with it.
    pub(crate) fn parent_ends(&self, first: ObjectId) {
        if self.store.is_cancelled_with_children(first) {
            self.outbox.cancel_children(first);
        }
    }
}

/// What the outbox does with a process's calls. Not what keeps the store.
struct Sender(Weak<Store>);

impl Sender {
    /// The store, while somebody is left to answer or to ask.
    fn store(&self) -> Option<Arc<Store>> {
        self.0.upgrade().filter(|store| store.check_open().is_ok())
    }
}

impl Courier for Sender {
    fn deliver(&self, actor: ObjectId, record: &[u8]) -> bool {
        let Some(store) = self.store() else { return true };
        match parse(&store, record) {
            Ok((_, message, parcel)) => {
                let holds = owned(&message, parcel);
                !matches!(
                    deliver(&store, actor, record, returns_of(&message), &holds),
                    Ok(Delivery::Later)
                )
            }
            // Ours, and readable when it was put here: its parcel was scribbled over since.
            Err(_) => true,
        }
    }

    fn is_cancelled(&self, parent: ObjectId) -> bool {
        self.store()
            .is_some_and(|store| store.is_cancelled_with_children(parent))
    }

    fn cancel(&self, record: &[u8]) {
        let Some(store) = self.store() else { return };
        if let Ok((_, message, _)) = parse(&store, record)
            && let Some(first) = returns_of(&message).first()
        {
            fail_call(&store, record, &cancelled(*first));
        }
    }
}

/// One attempt. Loops only while the actor moves from one process to the next.
fn deliver(
    store: &Arc<Store>,
    actor: ObjectId,
    record: &[u8],
    returns: &[ObjectId],
    holds: &[ObjectId],
) -> Result<Delivery> {
    loop {
        match store.actor_place(actor)? {
            Place::Unbound => return Ok(Delivery::Later),
            Place::Dead { cause } => {
                fail_call(store, record, &death(store, actor, cause));
                return Ok(Delivery::Failed);
            }
            Place::Bound { participant, .. } => {
                // The caller's to make until the call is in the ring, and known by the ring from then on: `State::without_heirs`.
                assign(store, returns, store.me());
                match store.send(participant, record, holds) {
                    Ok(()) => return Ok(Delivery::Sent),
                    Err(PushError::Full) => return Ok(Delivery::Later),
                    Err(PushError::Closed) => {
                        // The process died, and the head is about to say what becomes of the actor: look again.
                        std::thread::yield_now();
                        store.check_open()?;
                    }
                    Err(PushError::TooLong) => {
                        let error = Error::new(
                            ErrorKind::InvalidArgument,
                            format!("a call of {} bytes is too long", record.len()),
                        );
                        fail_call(store, record, &error);
                        return Ok(Delivery::Failed);
                    }
                }
            }
        }
    }
}

fn assign(store: &Store, returns: &[ObjectId], producer: ParticipantId) {
    returns.iter().for_each(|id| store.assign_producer(*id, producer));
}

fn parent_of(message: &ToWorker) -> Option<ObjectId> {
    if let ToWorker::Call { parent, .. } = message {
        *parent
    } else {
        None
    }
}

fn returns_of(message: &ToWorker) -> &[ObjectId] {
    if let ToWorker::Call { returns, .. } = message {
        returns
    } else {
        &[]
    }
}

/// What the record of this message owns: what the message names, or the parcel, which holds that in its turn.
pub fn owned(message: &ToWorker, parcel: Option<ObjectId>) -> Vec<ObjectId> {
    match (message, parcel) {
        // Everything in it is the head's.
        (
            ToWorker::Run { .. }
            | ToWorker::Create { .. }
            | ToWorker::Assign(_)
            | ToWorker::Cancel { .. }
            | ToWorker::Retire,
            _,
        ) => Vec::new(),
        (ToWorker::Call { .. }, Some(parcel)) => vec![parcel],
        (ToWorker::Call { .. }, None) => message.holds(),
    }
}

/// The attempt and message of a worker record, and the object that held it, if it was long.
pub fn parse(store: &Arc<Store>, record: &[u8]) -> Result<(u32, ToWorker, Option<ObjectId>)> {
    let (attempt, body) = unframe(record)?;
    let (message, parcel) = unpack(store, body)?;
    Ok((attempt, decode(&message)?, parcel))
}

/// Raises a call's results, and gives back what the message owned, which is this process's.
pub fn fail_call(store: &Arc<Store>, record: &[u8], error: &Error) {
    let Ok((_, message, parcel)) = parse(store, record) else {
        return;
    };
    if let ToWorker::Call { returns, stream, .. } = &message {
        let link = stream
            .and_then(|stream| stream.link)
            .filter(|link| store.is_open(*link));
        for id in returns.iter().chain(&link) {
            // A result that cannot be written stays open; the store's statistics show it.
            let _ = store.fail(*id, error);
        }
    }
    owned(&message, parcel).into_iter().for_each(|id| store.drop_hold(id));
}

/// The error of a dead actor.
pub fn death(store: &Arc<Store>, actor: ObjectId, cause: Option<ObjectId>) -> Error {
    let stored = cause.and_then(|id| store.resolve(id).ok());
    let unknown = || Error::new(ErrorKind::ActorDied, format!("actor {actor} is dead"));
    let sealed = match &stored {
        Some(object) => object.sealed(),
        None => return unknown(),
    };
    match sealed {
        Ok(sealed) if sealed.format == Format::Error => decode_error(sealed.bytes),
        _ => unknown(),
    }
}
