//! Participant entries: handed out and taken back by the head, one process each.

use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::shm::layout::MAX_PARTICIPANTS;
use crate::shm::participant::{DEAD, FREE, LIVE};
use crate::store::Store;
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

impl Store {
    /// A fresh entry with an empty ring. Records may be sent to it before its process runs.
    pub(crate) fn admit(&self) -> Result<ParticipantId> {
        let limit = u16::try_from(MAX_PARTICIPANTS).unwrap_or(u16::MAX);
        for number in 2..limit {
            let id = ParticipantId(number);
            let entry = self.participant(id);
            if entry.state.load(Ordering::Acquire) != FREE {
                continue;
            }
            self.ring(id)
                .reopen(self.me(), self.is_dead(), |head| self.abandon_sends(id, head));
            fail_point!("participant.admit.reopened");
            entry.doorbell.reset();
            entry.pid.store(0, Ordering::Relaxed);
            entry.state.store(LIVE, Ordering::Release);
            fail_point!("participant.admit.live");
            self.header()
                .participants_used
                .fetch_max(u32::from(number) + 1, Ordering::AcqRel);
            return Ok(id);
        }
        bail!(
            TableFull,
            "the session already has {} processes, its maximum",
            limit - 2
        )
    }

    /// The process of this entry has ended: others may take over its locks, and nobody may send to it any more.
    pub(crate) fn declare_dead(&self, id: ParticipantId) {
        self.participant(id).state.store(DEAD, Ordering::Release);
        fail_point!("participant.declare_dead");
        self.ring(id)
            .close(self.me(), self.is_dead(), |head| self.abandon_sends(id, head));
    }

    /// Everything the process held was given back: the entry may serve another one.
    pub(crate) fn dismiss(&self, id: ParticipantId) {
        self.know(id, None);
        self.participant(id).state.store(FREE, Ordering::Release);
        fail_point!("participant.dismiss");
    }
}
