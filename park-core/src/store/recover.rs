//! The reaper: gives back what a dead process held. Run by the head, once the participant's state is DEAD.
//!
//! Order matters: first the locks that it held, then what it was in the middle of (its journal), then the ledger (references), then
//! slots in the middle of something (so that a slot whose last reference just went is seen in its final phase). Each step is
//! idempotent, so a second run finds nothing to do.

use std::sync::Arc;

use super::Store;
use super::slot::{PROMISED, Phase, State};
use crate::id::{ObjectId, ParticipantId};
use crate::sys::failpoint::fail_point;

/// A promised object whose producer died before it was sealed. It is PENDING by the head now: to be retried or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The object.
    pub id: ObjectId,
}

impl Store {
    /// Gives back everything `dead` held, and returns the promises that it leaves open.
    pub(crate) fn recover(self: &Arc<Self>, dead: ParticipantId) -> Vec<Orphan> {
        self.pass_through_locks();
        fail_point!("recover.locks");
        self.finish_operations(dead);
        self.header().line.remove(dead);
        self.header().gatherers.remove(dead);
        self.header().space.ring();
        fail_point!("recover.operations");
        self.settle_ledger(dead);
        fail_point!("recover.ledger");
        let mut orphans = Vec::new();
        let mut free = Vec::new();
        for index in 0..self.slots_used() {
            let slot = self.slot(index);
            let Ok(seen) = slot.state() else { continue };
            let id = ObjectId {
                session: self.session(),
                index,
                generation: seen.generation,
            };
            match seen.phase {
                // Its count reached zero and the process died before it could act on that.
                Phase::Sealed | Phase::Pending | Phase::Spilled if slot.is_unreferenced() => {
                    self.reclaim(index, Some(seen.generation), self.me())
                }
                // Handed over by a read-only process, perhaps the dead one before it could say so.
                Phase::Freeing if seen.owner == ParticipantId::HEAD => self.finish_freeing(id),
                _ if seen.owner != dead => {}
                Phase::Cached if self.warm_state(index).is_some() => {
                    self.cool(index, seen);
                }
                // It was warm when `seen` was read, if somebody who starved has it now.
                Phase::Cached
                    if slot.advance(
                        seen,
                        State {
                            owner: self.me(),
                            ..seen
                        },
                    ) =>
                {
                    free.push(index)
                }
                Phase::Writing => {
                    self.unwrite(index, dead);
                    if seen.flags & PROMISED == 0 {
                        self.recycle(index, seen.generation, self.me());
                    } else if slot.is_unreferenced() {
                        // Its writer was the last who knew of it.
                        self.reclaim(index, Some(seen.generation), self.me());
                    } else {
                        orphans.push(Orphan { id });
                    }
                }
                Phase::Pending
                    if slot.advance(
                        seen,
                        State {
                            owner: ParticipantId::HEAD,
                            ..seen
                        },
                    ) =>
                {
                    orphans.push(Orphan { id })
                }
                Phase::Freeing => {
                    // It may have been on disk, and its owner may have died before it said so.
                    self.tell_spiller_freed();
                    let mut stack = Vec::new();
                    self.empty(index, seen, &mut stack);
                    self.recycle(index, seen.generation, self.me());
                    for (index, generation) in stack {
                        self.reclaim(index, generation, self.me());
                    }
                }
                _ => {}
            }
        }
        fail_point!("recover.objects");
        self.free_slots(&free);
        orphans
    }

    /// The producer that a promised object waits for, if it is still open.
    pub(crate) fn producer_of(&self, id: ObjectId) -> Option<ParticipantId> {
        let seen = self.checked_slot(id).ok()?.state().ok()?;
        (seen.generation == id.generation && seen.phase == Phase::Pending).then_some(seen.owner)
    }

    /// Hands an open promise to another producer.
    pub(crate) fn assign_producer(&self, id: ObjectId, producer: ParticipantId) {
        let Ok(slot) = self.checked_slot(id) else { return };
        while let Ok(seen) = slot.state() {
            let open = seen.generation == id.generation && seen.phase == Phase::Pending && seen.owner != producer;
            if !open
                || slot.advance(
                    seen,
                    State {
                        owner: producer,
                        ..seen
                    },
                )
            {
                fail_point!("object.promise.assigned");
                return;
            }
        }
    }
}
