//! A process that was given the arena for reading only (store/README.md, "Read-only members").
//!
//! It finds, awaits, reads and releases objects, and makes none. What it cannot do is the last step of a release: giving memory back
//! writes a block header in the arena. If its reference was the last one, it leaves the slot FREEING *by the head* and tells the head,
//! which finishes. Nobody else makes a slot FREEING by that participant (the head's own process frees as the driver), so whoever
//! finds one knows what it is; the head also looks for them when it recovers a process that died before it could tell.

use std::sync::Arc;

use super::Store;
use super::slot::{Phase, State};
use crate::error::{Result, bail};
use crate::id::{ObjectId, ParticipantId};

/// Called with the id of an object whose memory the head must give back.
pub(crate) type HandOver = Box<dyn Fn(ObjectId) + Send + Sync>;

impl Store {
    /// Whether this process may only look.
    pub fn is_read_only(&self) -> bool {
        self.arena.is_read_only()
    }

    /// Refuses whatever would make or change an object.
    pub fn check_writable(&self) -> Result<()> {
        if self.is_read_only() {
            bail!(
                PermissionDenied,
                "this process attached to the park session read-only: it can read objects, not make them"
            );
        }
        Ok(())
    }

    /// How the head is told what to free for this process. Only the first caller is heard.
    pub(crate) fn on_hand_over(&self, tell: HandOver) {
        let _ = self.hand_over.set(tell);
    }

    /// Who frees what this process's last reference kept.
    pub(super) fn freer(&self, me: ParticipantId) -> ParticipantId {
        if self.is_read_only() { ParticipantId::HEAD } else { me }
    }

    /// The slot is FREEING by the head: tells it.
    pub(super) fn tell_head(&self, index: u32, generation: u32) {
        if let Some(tell) = self.hand_over.get() {
            tell(ObjectId {
                session: self.session(),
                index,
                generation,
            });
        }
    }

    /// The head's side: finishes what a read-only process began. Does nothing if it is finished already, or never began.
    pub(crate) fn finish_freeing(self: &Arc<Self>, id: ObjectId) {
        let Ok(slot) = self.checked_slot(id) else { return };
        let Ok(seen) = slot.state() else { return };
        if seen.generation != id.generation || seen.phase != Phase::Freeing || seen.owner != ParticipantId::HEAD {
            return;
        }
        let mine = State {
            owner: self.me(),
            ..seen
        };
        if slot.advance(seen, mine) {
            let mut stack = Vec::new();
            self.empty(slot, mine, &mut stack);
            self.recycle(id.index, id.generation, self.me());
            for (index, generation) in stack {
                self.reclaim(index, generation, self.me());
            }
        }
    }
}
