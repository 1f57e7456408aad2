//! Waiting for objects: any number of them, one doorbell a process.

use std::time::{Duration, Instant};

use super::slot::{Phase, Watch};
use super::{ObjectRef, Store};
use crate::error::{Result, bail};
use crate::id::ObjectId;

/// Asked between sleeps, and after a signal, whether to give up; its error ends the wait.
pub type Interrupt<'a> = &'a mut dyn FnMut() -> Result<()>;

/// An `Interrupt` that never gives up.
pub fn never() -> Result<()> {
    Ok(())
}

/// The longest sleep between two looks at the interrupt and at the head's health.
pub(crate) const TICK: Duration = Duration::from_millis(100);

impl Store {
    /// Waits until `need` of the objects are sealed, and returns how many are. Fewer after `timeout`: `Timeout`.
    pub fn wait(
        &self,
        refs: &[&ObjectRef],
        need: usize,
        timeout: Option<Duration>,
        interrupt: Interrupt<'_>,
    ) -> Result<usize> {
        let need = need.min(refs.len());
        let ready = self.wait_some(refs, need, timeout, interrupt)?;
        if ready < need {
            bail!(
                Timeout,
                "{ready} of {need} objects were ready after {:?}",
                timeout.unwrap_or_default()
            );
        }
        Ok(ready)
    }

    /// As `wait`, but passing the deadline is no error: the count says what happened.
    pub fn wait_some(
        &self,
        refs: &[&ObjectRef],
        need: usize,
        timeout: Option<Duration>,
        interrupt: Interrupt<'_>,
    ) -> Result<usize> {
        if self.is_forked() {
            self.check_open()?;
        }
        for object in refs {
            if object.id().session != self.session() {
                self.checked_slot(object.id())?;
            }
        }
        let mut open: Vec<&ObjectRef> = refs.iter().copied().filter(|object| !object.is_sealed()).collect();
        let ready = |open: &[&ObjectRef]| refs.len() - open.len();
        if ready(&open) >= need || timeout == Some(Duration::ZERO) {
            return Ok(ready(&open));
        }
        self.check_open()?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if open.len() <= 16 {
            let found = self.spin.look(|| {
                open.retain(|object| !object.is_sealed());
                ready(&open) >= need
            });
            if found {
                return Ok(ready(&open));
            }
        }
        let bell = &self.participant(self.me()).doorbell;
        let mut ticket = bell.ticket();
        let mut gone = None;
        open.retain(
            |object| match self.slot(object.id().index).watch(object.id().generation, self.me()) {
                Ok(Watch::Armed) => true,
                Ok(Watch::Ready) => false,
                // Impossible while we hold a reference, unless shared memory was scribbled over.
                _ => {
                    gone = Some(object.id());
                    true
                }
            },
        );
        if let Some(id) = gone {
            bail!(Corrupt, "object {id} vanished while it was referenced");
        }
        while ready(&open) < need {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            bell.wait(ticket, Some(left.map_or(TICK, |left| left.min(TICK))));
            interrupt()?;
            ticket = bell.ticket();
            open.retain(|object| !object.is_sealed());
            if ready(&open) < need {
                self.check_head()?;
                // What is referenced stays; a slot that says otherwise was scribbled over, and would be waited for without end.
                if let Some(object) = open.iter().find(|object| !self.may_be_sealed(object.id())) {
                    bail!(Corrupt, "object {object:?} vanished while it was waited for");
                }
            }
        }
        Ok(ready(&open))
    }

    /// Whether the slot still is of this object, sealed or on the way there.
    pub(super) fn may_be_sealed(&self, id: ObjectId) -> bool {
        let open = |phase| matches!(phase, Phase::Pending | Phase::Writing | Phase::Sealed);
        self.slot(id.index)
            .state()
            .is_ok_and(|state| state.generation == id.generation && open(state.phase))
    }

    /// Asks to be rung on `participant`'s doorbell when the object is sealed. True if it is sealed already.
    pub(crate) fn watch_as(&self, object: crate::id::ObjectId, participant: crate::id::ParticipantId) -> Result<bool> {
        Ok(self.checked_slot(object)?.watch(object.generation, participant)? != Watch::Armed)
    }
}
