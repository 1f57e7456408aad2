//! The claim word of a piece of work: who runs it, and whether it is still to be run. It lies in the slot of the first result.
//!
//! ```text
//! generation:32 | attempt:29 | with its children:1 | cancelled:1 | claimed:1
//! ```
//! | | task | call |
//! |---|---|---|
//! | offers an attempt | the head | made with the promise; there is one attempt for ever |
//! | claims it, by CAS | the worker, if it finds exactly that attempt unclaimed | the actor's process, unless it is cancelled |
//! | takes it back, by CAS | the head, if nobody has claimed it | - |
//! | cancels it, by CAS | the head: takes it back, or sets the bit beside `claimed` | anyone: sets the bit, whoever runs it |
//!
//! Who cancels it *with its children* says so beside the bit: calls that it made and that were not sent yet see it there.
//!
//! The bits stay: work that was cancelled is not run again. Who cancels a call that has not begun also raises its results; if it dies in
//! between, the actor's process does, which finds the bit instead of beginning. The generation keeps a record that lay in a blocked
//! worker's ring while its task moved on, ended and left its slot to another task from claiming that other one.

use super::Store;
use super::slot::Slot;
use crate::id::{ObjectId, ParticipantId};
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

const CLAIMED: u64 = 1;
const CANCELLED: u64 = 2;
const CHILDREN: u64 = 4;
const ATTEMPT_SHIFT: u32 = 3;

/// What a cancellation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Nobody has begun it, and nobody will.
    Unstarted,
    /// It runs, and can see that it is not wanted any more.
    Running,
    /// It was cancelled before, or is over.
    Over,
}

/// The claim word of an attempt that nobody has claimed.
fn offered(id: ObjectId, attempt: u32) -> u64 {
    u64::from(id.generation) << 32 | u64::from(attempt << ATTEMPT_SHIFT)
}

/// What a cancellation sets.
fn bits(recursive: bool) -> u64 {
    CANCELLED | if recursive { CHILDREN } else { 0 }
}

impl Slot {
    /// The work is promised: its first attempt may be claimed.
    pub(super) fn offer_first(&self, generation: u32) {
        self.claim.store(u64::from(generation) << 32, Ordering::Relaxed);
    }
}

impl Store {
    /// Task attempt `attempt` may be claimed now. Written by the head; the slot is the task's first result.
    pub(crate) fn offer(&self, id: ObjectId, attempt: u32) {
        if let Ok(slot) = self.checked_slot(id) {
            slot.claim.store(offered(id, attempt), Ordering::Release);
            fail_point!("task.offered");
        }
    }

    /// Claims attempt `attempt` for execution. False if the head took it back, or the task is long over.
    pub(crate) fn claim(&self, id: ObjectId, attempt: u32) -> bool {
        let open = offered(id, attempt);
        let claimed = self.exchange(id, open, open | CLAIMED);
        if claimed {
            fail_point!("task.claimed");
        }
        claimed
    }

    /// Takes an attempt that was not claimed yet back and offers the next one instead. False if it is running.
    pub(crate) fn take_back(&self, id: ObjectId, attempt: u32) -> bool {
        let taken = self.exchange(id, offered(id, attempt), offered(id, attempt + 1));
        if taken {
            fail_point!("task.taken_back");
        }
        taken
    }

    /// Tells whoever runs this attempt of a task that it is not wanted any more, nor what it asked for if the cancellation is
    /// `recursive`. False if nobody does, or was told before.
    pub(crate) fn cancel_claimed(&self, id: ObjectId, attempt: u32, recursive: bool) -> bool {
        let running = offered(id, attempt) | CLAIMED;
        let cancelled = running | bits(recursive);
        self.exchange(id, running, cancelled) || self.exchange(id, running | CANCELLED, cancelled)
    }

    /// Begins the call with this first result, in the actor's worker, `runs`. False if it was cancelled: then it is not to run. A call that
    /// is repeated begins again.
    pub fn begin_call(&self, id: ObjectId, runs: ParticipantId) -> bool {
        while let Some(word) = self.claim_word(id) {
            if word & CANCELLED != 0 {
                return false;
            }
            if word & CLAIMED != 0 || self.exchange(id, word, word | CLAIMED) {
                self.note_runs(id, runs);
                fail_point!("call.begun");
                return true;
            }
        }
        // Nobody waits for its results any more; it runs for what it does.
        true
    }

    /// Cancels the call with this first result, from any process; with `recursive`, what it asked for, too.
    pub(crate) fn cancel_call(&self, id: ObjectId, recursive: bool) -> Cancel {
        while let Some(word) = self.claim_word(id) {
            if word & CANCELLED != 0 {
                return Cancel::Over;
            }
            if self.exchange(id, word, word | bits(recursive)) {
                fail_point!("call.cancelled");
                return if word & CLAIMED == 0 {
                    Cancel::Unstarted
                } else {
                    Cancel::Running
                };
            }
        }
        Cancel::Over
    }

    /// Whether the work with this first result was cancelled while it ran.
    pub fn is_cancelled(&self, id: ObjectId) -> bool {
        self.claim_word(id).is_some_and(|word| word & CANCELLED != 0)
    }

    /// Whether that was to cancel what the work asked for, too.
    pub(crate) fn is_cancelled_with_children(&self, id: ObjectId) -> bool {
        self.claim_word(id).is_some_and(|word| word & CHILDREN != 0)
    }

    /// Whether the call with this first result has begun anywhere, now or in an earlier attempt.
    pub(crate) fn has_begun(&self, id: ObjectId) -> bool {
        self.claim_word(id).is_some_and(|word| word & CLAIMED != 0)
    }

    /// The claim word of this generation.
    fn claim_word(&self, id: ObjectId) -> Option<u64> {
        let word = self.checked_slot(id).ok()?.claim.load(Ordering::Acquire);
        (word >> 32 == u64::from(id.generation) && word != u64::MAX).then_some(word)
    }

    fn exchange(&self, id: ObjectId, from: u64, to: u64) -> bool {
        self.checked_slot(id).is_ok_and(|slot| {
            slot.claim
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::id::ParticipantId;
    use crate::store::promise::{Origin, Work};

    fn promised(work: Work) -> (Arc<Store>, crate::store::ObjectRef) {
        let store = Arc::new(Store::open(&Config::default().capacity(1 << 20), 9).unwrap());
        let results = store.promise_results(ParticipantId::HEAD, work, 2).unwrap();
        let first = results[0].id();
        let same = |origin| match origin {
            Some(Origin::Task { first: id, task: None } | Origin::Call { first: id, runs: None }) => id == first,
            _ => false,
        };
        assert!(results.iter().all(|result| same(store.origin(result.id()))));
        (store, results[0].clone())
    }

    #[test]
    fn a_call_is_either_begun_or_never_run() {
        let (store, result) = promised(Work::Call);
        assert_eq!(store.cancel_call(result.id(), false), Cancel::Unstarted);
        assert!(!store.begin_call(result.id(), store.me()) && store.is_cancelled(result.id()));
        assert_eq!(store.cancel_call(result.id(), false), Cancel::Over);

        let (store, result) = promised(Work::Call);
        assert!(!store.has_begun(result.id()));
        assert!(store.begin_call(result.id(), store.me()) && !store.is_cancelled(result.id()));
        assert!(store.has_begun(result.id()));
        assert!(matches!(store.origin(result.id()), Some(Origin::Call { runs: Some(who), .. }) if who == store.me()));
        assert!(store.begin_call(result.id(), store.me()), "repeated after an exception");
        assert_eq!(store.cancel_call(result.id(), true), Cancel::Running);
        assert!(store.is_cancelled_with_children(result.id()));
        assert!(
            !store.begin_call(result.id(), store.me()),
            "what was cancelled is not repeated"
        );
    }

    #[test]
    fn only_the_attempt_that_runs_is_cancelled() {
        let (store, result) = promised(Work::Task);
        let id = result.id();
        store.offer(id, 3);
        assert!(!store.cancel_claimed(id, 3, true), "nobody runs it");
        assert!(store.claim(id, 3) && !store.cancel_claimed(id, 2, true));
        assert!(store.cancel_claimed(id, 3, false) && store.is_cancelled(id) && !store.is_cancelled_with_children(id));
        assert!(store.cancel_claimed(id, 3, true) && store.is_cancelled_with_children(id));
        assert!(!store.take_back(id, 3) && !store.claim(id, 3));
    }
}
