//! The handle object of an actor: where its calls go, readable by every process without asking anyone.
//!
//! An actor's id is the id of this object, and its references are the actor's handles: when the last one goes, wherever it was,
//! the ordinary end of an object tells the head. The payload is the one exception to "sealed bytes never change": two words that
//! the head alone writes and that are only ever read as atomics, never as bytes.
//!
//! ```text
//! cause  u64  slot index + 1 : 32 | generation : 32 of the ERROR object that says why it died, or 0
//! place  u64  incarnation:32 | participant:16 | state:16      state: 0 unbound, 1 bound, 2 dead
//! ```
//! The head writes `cause` before it moves `place` to dead (Release); callers read `place` first (Acquire).

use std::sync::Arc;

use super::{Format, ObjectRef, Spec, Store, View, never};
use crate::error::{Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

/// Where an actor's calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The head has not placed it yet.
    Unbound,
    /// Into this participant's ring; its process may still be starting.
    Bound {
        /// Whose ring.
        participant: ParticipantId,
        /// How often it was restarted.
        incarnation: u32,
    },
    /// It is dead; the object says why.
    Dead {
        /// An ERROR object, kept by the head.
        cause: Option<ObjectId>,
    },
}

impl Store {
    /// A new actor's handle object, unbound.
    pub fn create_actor_handle(self: &Arc<Self>) -> Result<ObjectRef> {
        let mut object = self.create(
            Spec {
                len: 16,
                format: Format::Actor,
                view: View::Numpy,
                nested: &[],
            },
            &mut never,
        )?;
        object.write(0, &[0; 16])?;
        object.seal()
    }

    /// Where calls to this actor go now.
    pub fn actor_place(&self, actor: ObjectId) -> Result<Place> {
        let slot = self.checked_slot(actor)?;
        if !slot.is_sealed(actor.generation)
            || slot.meta.load(Ordering::Relaxed) & 0xff != u32::from(Format::Actor as u8)
        {
            bail!(NotFound, "there is no actor {actor}");
        }
        let [state_low, state_high, p_low, p_high, incarnation @ ..] =
            slot.inline[1].load(Ordering::Acquire).to_le_bytes();
        Ok(match u16::from_le_bytes([state_low, state_high]) {
            0 => Place::Unbound,
            1 => Place::Bound {
                participant: ParticipantId(u16::from_le_bytes([p_low, p_high])),
                incarnation: u32::from_le_bytes(incarnation),
            },
            2 => {
                let [a, b, c, d, generation @ ..] = slot.inline[0].load(Ordering::Relaxed).to_le_bytes();
                let index = u32::from_le_bytes([a, b, c, d]).checked_sub(1);
                let generation = u32::from_le_bytes(generation);
                Place::Dead {
                    cause: index.map(|index| ObjectId {
                        session: self.session(),
                        index,
                        generation,
                    }),
                }
            }
            state => bail!(Corrupt, "actor {actor} has state {state}"),
        })
    }

    /// Moves an actor. For the head only.
    pub(crate) fn set_actor_place(&self, actor: ObjectId, place: Place) {
        let Ok(slot) = self.checked_slot(actor) else { return };
        if !slot.is_sealed(actor.generation) {
            return;
        }
        let word = match place {
            Place::Unbound => 0,
            Place::Bound {
                participant,
                incarnation,
            } => u64::from(incarnation) << 32 | u64::from(participant.0) << 16 | 1,
            Place::Dead { cause } => {
                let word = cause.map_or(0, |id| u64::from(id.generation) << 32 | u64::from(id.index + 1));
                slot.inline[0].store(word, Ordering::Relaxed);
                fail_point!("actor.place.cause");
                2
            }
        };
        slot.inline[1].store(word, Ordering::Release);
        fail_point!("actor.place.moved");
    }

    /// Called with an actor's id when the last reference to its handle object is gone, by whichever process held it.
    pub(crate) fn on_actor_freed(&self, hook: super::handle::ActorFreed) {
        // A second hook would mean two runtimes on one store; the first stays.
        let _ = self.actor_freed.set(hook);
    }
}
