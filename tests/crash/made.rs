//! What the tester makes for an operation to work on.

use park_core::channel::{Channel, ChannelSpec};
use park_core::store::never;
use park_core::{ObjectId, ObjectRef, ParticipantId, Spec};

use crate::Fallible;
use crate::child::Child;
use crate::operations::Given;
use crate::scene::Scene;
use crate::work::{create_actor, holding, pattern};

/// What the tester made for an operation.
#[derive(Default)]
pub(super) struct Made {
    /// What the performer is told to work on.
    pub(super) ids: Vec<ObjectId>,
    /// References that are given up once the performer has its own.
    pub(super) given: Vec<ObjectRef>,
    /// References that the tester keeps.
    pub(super) kept: Vec<ObjectRef>,
    /// What must be kept or raised in the end, whoever dies.
    pub(super) awaited: Vec<ObjectRef>,
    /// A promise of the tester's own, which it keeps a moment after the performer began.
    pub(super) gate: Option<ObjectRef>,
}

impl Scene {
    /// Makes what an operation is given. `performer` is who is to keep a promise.
    pub(super) fn make(&self, given: Given, performer: ParticipantId, made: &mut Made) -> Fallible {
        let store = self.session.store();
        match given {
            Given::Nothing => {}
            Given::Objects => {
                let (small, large) = (store.put(&pattern(1, 10))?, store.put(&pattern(2, 70_000))?);
                let inner = holding(store, 300, &[small.id(), large.id()])?;
                made.given.push(holding(store, 20, &[inner.id(), small.id()])?);
                made.given.push(store.put(&pattern(3, 5000))?);
            }
            Given::Shared => made.kept.push(store.put(&pattern(3, 5000))?),
            Given::Promise => {
                let promise = store.promise(performer)?;
                store.drop_hold(promise.id());
                made.awaited.push(promise);
            }
            Given::Later => made.gate = Some(self.promise()?),
            Given::Channel => {
                let spec = ChannelSpec {
                    slots: 2,
                    slot_bytes: 1000,
                    readers: 0,
                };
                made.kept.push(Channel::create(store, spec)?.reference().clone());
            }
            Given::Actor => made.ids.push(self.actor.id()),
            Given::LateActor => {
                let gate = self.promise()?;
                made.kept.push(create_actor(&self.session, &self.class, &[gate.id()])?);
                made.ids.extend(made.kept.iter().map(ObjectRef::id));
                made.gate = Some(gate);
                return Ok(());
            }
        }
        let own = made
            .given
            .iter()
            .chain(&made.kept)
            .chain(&made.awaited)
            .chain(&made.gate);
        let own: Vec<ObjectId> = own.map(ObjectRef::id).collect();
        made.ids.extend(own);
        Ok(())
    }

    /// A promise of the tester's.
    fn promise(&self) -> Fallible<ObjectRef> {
        let promise = self.session.store().promise(ParticipantId::DRIVER)?;
        self.session.store().drop_hold(promise.id());
        Ok(promise)
    }

    /// Keeps the tester's promise, if there is one.
    pub(super) fn open_gate(&self, made: &mut Made) -> Fallible {
        if let Some(gate) = made.gate.take() {
            let object = self.session.store().fulfil(gate.id(), Spec::raw(8), &mut never)?;
            object.ok_or("the tester's own promise was kept by another")?.seal()?;
        }
        Ok(())
    }
}

/// Gives a peer its ids and waits until it has references of its own.
pub(super) fn hand_over(peer: &mut Child, made: &Made) -> Fallible {
    let ids: Vec<String> = made.ids.iter().map(ToString::to_string).collect();
    peer.say(&format!("given {}", ids.join(" ")));
    peer.expect("held").map(drop)
}
