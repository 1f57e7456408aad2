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
fn offered(generation: u32, attempt: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(attempt << ATTEMPT_SHIFT)
}

/// What a cancellation sets.
fn bits(recursive: bool) -> u64 {
    CANCELLED | if recursive { CHILDREN } else { 0 }
}

/// The transitions of the word, each of one generation. loom runs them against each other below.
impl Slot {
    /// The work is promised: its first attempt may be claimed.
    pub(super) fn offer_first(&self, generation: u32) {
        self.claim.store(u64::from(generation) << 32, Ordering::Relaxed);
    }

    fn offer(&self, generation: u32, attempt: u32) {
        self.claim.store(offered(generation, attempt), Ordering::Release);
    }

    fn claim_attempt(&self, generation: u32, attempt: u32) -> bool {
        let open = offered(generation, attempt);
        self.exchange(open, open | CLAIMED)
    }

    fn take_back(&self, generation: u32, attempt: u32) -> bool {
        self.exchange(offered(generation, attempt), offered(generation, attempt + 1))
    }

    fn cancel_claimed(&self, generation: u32, attempt: u32, recursive: bool) -> bool {
        let running = offered(generation, attempt) | CLAIMED;
        let cancelled = running | bits(recursive);
        self.exchange(running, cancelled) || self.exchange(running | CANCELLED, cancelled)
    }

    /// Begins a call. False if it was cancelled; none if this generation is over.
    fn begin_call(&self, generation: u32) -> Option<bool> {
        loop {
            let word = self.claim_word(generation)?;
            if word & CANCELLED != 0 {
                return Some(false);
            }
            if word & CLAIMED != 0 || self.exchange(word, word | CLAIMED) {
                return Some(true);
            }
        }
    }

    fn cancel_call(&self, generation: u32, recursive: bool) -> Cancel {
        while let Some(word) = self.claim_word(generation) {
            if word & CANCELLED != 0 {
                return Cancel::Over;
            }
            if self.exchange(word, word | bits(recursive)) {
                return match word & CLAIMED {
                    0 => Cancel::Unstarted,
                    _ => Cancel::Running,
                };
            }
        }
        Cancel::Over
    }

    /// The claim word, if it is of this generation.
    fn claim_word(&self, generation: u32) -> Option<u64> {
        let word = self.claim.load(Ordering::Acquire);
        (word >> 32 == u64::from(generation) && word != u64::MAX).then_some(word)
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.claim
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

impl Store {
    /// Task attempt `attempt` may be claimed now. Written by the head; the slot is the task's first result.
    pub(crate) fn offer(&self, id: ObjectId, attempt: u32) {
        if let Ok(slot) = self.checked_slot(id) {
            slot.offer(id.generation, attempt);
            fail_point!("task.offered");
        }
    }

    /// Claims attempt `attempt` for execution. False if the head took it back, or the task is long over.
    pub(crate) fn claim(&self, id: ObjectId, attempt: u32) -> bool {
        let slot = self.checked_slot(id);
        let claimed = slot.is_ok_and(|slot| slot.claim_attempt(id.generation, attempt));
        if claimed {
            fail_point!("task.claimed");
        }
        claimed
    }

    /// Takes an attempt that was not claimed yet back and offers the next one instead. False if it is running.
    pub(crate) fn take_back(&self, id: ObjectId, attempt: u32) -> bool {
        let slot = self.checked_slot(id);
        let taken = slot.is_ok_and(|slot| slot.take_back(id.generation, attempt));
        if taken {
            fail_point!("task.taken_back");
        }
        taken
    }

    /// Tells whoever runs this attempt of a task that it is not wanted any more, nor what it asked for if the cancellation is
    /// `recursive`. False if nobody does, or was told before.
    pub(crate) fn cancel_claimed(&self, id: ObjectId, attempt: u32, recursive: bool) -> bool {
        let slot = self.checked_slot(id);
        slot.is_ok_and(|slot| slot.cancel_claimed(id.generation, attempt, recursive))
    }

    /// Begins the call with this first result, in the actor's worker, `runs`. False if it was cancelled: then it is not to run. A call that
    /// is repeated begins again.
    pub fn begin_call(&self, id: ObjectId, runs: ParticipantId) -> bool {
        match self
            .checked_slot(id)
            .ok()
            .and_then(|slot| slot.begin_call(id.generation))
        {
            Some(true) => {
                self.note_runs(id, runs);
                fail_point!("call.begun");
                true
            }
            Some(false) => false,
            // Nobody waits for its results any more; it runs for what it does.
            None => true,
        }
    }

    /// Cancels the call with this first result, from any process; with `recursive`, what it asked for, too.
    pub(crate) fn cancel_call(&self, id: ObjectId, recursive: bool) -> Cancel {
        let Ok(slot) = self.checked_slot(id) else {
            return Cancel::Over;
        };
        let found = slot.cancel_call(id.generation, recursive);
        if found != Cancel::Over {
            fail_point!("call.cancelled");
        }
        found
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
        self.checked_slot(id).ok()?.claim_word(id.generation)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::atomic::AtomicU32;

    /// A slot of generation 7, and how often its work was run.
    struct World {
        slot: Slot,
        runs: AtomicU32,
    }

    impl World {
        fn new() -> Arc<Self> {
            let world = Self {
                slot: Slot::new(),
                runs: AtomicU32::new(0),
            };
            world.slot.offer_first(7);
            Arc::new(world)
        }
    }

    /// A worker with a record of this attempt of this generation.
    fn work(world: &Arc<World>, generation: u32, attempt: u32) -> thread::JoinHandle<bool> {
        let world = world.clone();
        thread::spawn(move || {
            let claimed = world.slot.claim_attempt(generation, attempt);
            if claimed {
                world.runs.fetch_add(1, Ordering::Relaxed);
            }
            claimed
        })
    }

    /// The head takes a task back from a worker that is blocked, and sends it to another: one of the two runs it, once.
    #[test]
    fn loom_claim_a_task_runs_once() {
        loom::model(|| {
            let world = World::new();
            let blocked = work(&world, 7, 0);
            let other = world.slot.take_back(7, 0).then(|| work(&world, 7, 1));
            let ran = blocked.join().unwrap();
            let ran_elsewhere = other.map(|other| other.join().unwrap());
            assert_eq!(
                (ran, ran_elsewhere),
                if ran { (true, None) } else { (false, Some(true)) }
            );
            assert_eq!(world.runs.load(Ordering::Relaxed), 1);
        });
    }

    /// A record outlives its task, whose slot is promised to another one meanwhile: it claims neither that one nor its attempts, and
    /// that one is claimed by its own worker.
    #[test]
    fn loom_claim_an_old_record_claims_nothing_new() {
        loom::model(|| {
            let world = World::new();
            assert!(world.slot.take_back(7, 0), "the task moves on");
            assert!(world.slot.claim_attempt(7, 1), "and ends elsewhere");
            let old = work(&world, 7, 0);
            world.slot.offer_first(8);
            let new = work(&world, 8, 0);
            assert!(!old.join().unwrap());
            assert!(new.join().unwrap());
            assert_eq!(world.slot.claim_word(7), None);
        });
    }

    /// Whoever claims an attempt sees what the head wrote before it offered it.
    #[test]
    fn loom_claim_comes_with_what_was_offered() {
        loom::model(|| {
            let world = World::new();
            let worker = {
                let world = world.clone();
                thread::spawn(move || {
                    if world.slot.claim_attempt(7, 3) {
                        assert_eq!(world.slot.len.load(Ordering::Relaxed), 42);
                    }
                })
            };
            world.slot.len.store(42, Ordering::Relaxed);
            world.slot.offer(7, 3);
            worker.join().unwrap();
        });
    }

    /// Two cancel a call while its actor begins it: it runs exactly if nobody is told that it will not, and one of the two is told
    /// what it found. A cancellation that found it running is seen by whoever runs it.
    #[test]
    fn loom_claim_a_call_is_begun_or_raised() {
        loom::model(|| {
            let world = World::new();
            let cancel = |recursive: bool| {
                let world = world.clone();
                thread::spawn(move || world.slot.cancel_call(7, recursive))
            };
            let cancelling = [cancel(false), cancel(true)];
            let begun = world.slot.begin_call(7).unwrap();
            let found = cancelling.map(|cancelling| cancelling.join().unwrap());
            let told: Vec<Cancel> = found.into_iter().filter(|found| *found != Cancel::Over).collect();
            assert_eq!(told, [if begun { Cancel::Running } else { Cancel::Unstarted }]);
            let word = world.slot.claim_word(7).unwrap();
            assert_eq!(word & CLAIMED != 0, begun);
            // The bit says whether the one that counted was to take the children along.
            assert_eq!(word & !CLAIMED & u64::from(u32::MAX), bits(found[1] != Cancel::Over));
        });
    }

    /// A task ends its attempt's cancellation or its retry: the head cancels what runs while the worker looks, and never an attempt that
    /// was taken back.
    #[test]
    fn loom_claim_only_a_running_attempt_is_cancelled() {
        loom::model(|| {
            let world = World::new();
            let worker = work(&world, 7, 0);
            let cancelled = world.slot.cancel_claimed(7, 0, true);
            let taken = world.slot.take_back(7, 0);
            let ran = worker.join().unwrap();
            assert!(!(cancelled && !ran), "nobody ran what was cancelled as running");
            assert!(ran != taken, "it runs, or is offered again");
            let word = world.slot.claim_word(7).unwrap();
            assert_eq!(word & (CANCELLED | CHILDREN) != 0, cancelled);
        });
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
