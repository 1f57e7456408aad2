//! Changing references so that a death at any instruction loses none and frees nothing in use.
//!
//! A change has two halves: the count in the slot (`count`), and the *second word*, which says whose reference it is. The order is:
//! write down what is about to happen, open the lane, change the count, change the second word, close the lane. If the process
//! dies in between, the head finds the lane open (`finish_operations`): if the count was changed, which `count` can tell, and the
//! second word was not, which `before` tells, it changes the second word; if the count was not changed, nothing happened at all.
//! Afterwards every reference is either counted in both places or in neither, and the ledger says what to give back.
//!
//! | kind | count | second word |
//! |---|---|---|
//! | TAKE, GIVE | +1, -1 | references in this process's ledger entry, +1, -1 |
//! | NEST, UNNEST | +1, -1 | `nested` of the object that holds the reference, +1, -1 |
//!
//! A transfer moves a list at once, between this process and a record of a ring. What makes it happen is the ring's own commit, one
//! store: a record is published (SEND), or marked done (FINISH). The list is written down before that store; after it, entry by
//! entry, SEND takes the references out of this process's ledger (they are the record's now) and FINISH takes them off the counts.
//! `step` says how far that got. The head asks the ring whether the commit took place, and if so goes on at `step`.
//!
//! The head's own process writes no journal: if it dies, the session ends.

use std::sync::Arc;

use super::Store;
use super::count::{Count, Lanes, Stamp};
use super::slot::Slot;
use crate::id::{ObjectId, ParticipantId};
use crate::shm::journal::{Journal, LANES, LIST, Lane, TRANSFER};
use crate::shm::layout::MAX_PARTICIPANTS;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::ring::{Position, PushError};
use crate::sync::{MutexGuard, Ring, RingReader};
use crate::sys::failpoint::fail_point;

const TAKE: u32 = 1;
const GIVE: u32 = 2;
const NEST: u32 = 3;
const UNNEST: u32 = 4;
const SEND: u32 = 5;
const FINISH: u32 = 6;
/// In `step` of a SEND, in place of the entry's second word: the entry was not begun.
const UNBEGUN: u32 = u32::MAX;
/// A SEND whose record was never published: whoever took over the ring's lock has said so.
const ABANDONED: u32 = 7;

/// Whose reference a change is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Second {
    /// This process's.
    Ledger,
    /// That of the object in this slot.
    Nested(u32),
}

/// The second word of a change.
#[derive(Clone, Copy, Debug)]
enum SecondWord<'a> {
    Ledger(&'a AtomicU64),
    Nested(&'a AtomicU32, u32),
}

impl SecondWord<'_> {
    fn get(self) -> u32 {
        match self {
            Self::Ledger(word) => references(word.load(Ordering::Relaxed)),
            Self::Nested(word, _) => word.load(Ordering::Relaxed),
        }
    }

    fn add(self, change: i64) {
        match self {
            Self::Ledger(word) => {
                word.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
            }
            // Changed by one process at a time: the object's writer, or whoever frees it.
            Self::Nested(word, _) if change > 0 => {
                word.fetch_add(1, Ordering::Relaxed);
            }
            Self::Nested(word, _) => {
                word.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// A lane, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Owned<'a> {
    who: ParticipantId,
    number: usize,
    lane: &'a Lane,
}

/// One change on its way: `open`, `count`, `enter`, `close`. A process can die between any two of them.
#[derive(Debug)]
struct Operation<'a> {
    owned: Owned<'a>,
    number: u64,
    count: Count<'a>,
    second: SecondWord<'a>,
    change: i64,
}

impl<'a> Operation<'a> {
    fn open(owned: Owned<'a>, count: Count<'a>, second: SecondWord<'a>, change: i64) -> Self {
        let Owned { who, number, lane } = owned;
        let operation = lane.next_operation(who, number, count.stamp());
        let (kind, parent) = match second {
            SecondWord::Ledger(_) => (if change > 0 { TAKE } else { GIVE }, 0),
            SecondWord::Nested(_, parent) => (if change > 0 { NEST } else { UNNEST }, parent),
        };
        lane.slot.store(count.slot, Ordering::Relaxed);
        lane.kind.store(kind, Ordering::Relaxed);
        lane.parent.store(parent, Ordering::Relaxed);
        lane.before.store(second.get(), Ordering::Relaxed);
        lane.begin(operation);
        Self {
            owned,
            number: operation,
            count,
            second,
            change,
        }
    }

    fn count<'j>(&self, lanes: &impl Lanes<'j>) -> Option<u32> {
        let stamp = Stamp::new(self.owned.who, self.owned.number, self.number);
        self.count.change(self.change, stamp, lanes)
    }

    fn enter(&self) {
        self.second.add(self.change);
    }

    fn close(self) {
        self.owned.lane.end(self.number);
    }
}

/// For an operation that a dead process left open: if the count was changed and the second word was not, changes the second word.
fn finish_dead(owned: Owned<'_>, operation: u64, count: Count<'_>, second: SecondWord<'_>) {
    let lane = owned.lane;
    if count.was_changed(owned.who, owned.number, lane, operation)
        && second.get() == lane.before.load(Ordering::Relaxed)
    {
        let up = matches!(lane.kind.load(Ordering::Relaxed), TAKE | NEST);
        second.add(if up { 1 } else { -1 });
    }
}

/// References in a ledger word; pins lie above.
pub(super) fn references(ledger: u64) -> u32 {
    u32::try_from(ledger & u64::from(u32::MAX)).unwrap_or(0)
}

fn lane_of(slot: u32) -> usize {
    // Fibonacci hashing: neighbouring slots, which one thread tends to use in turn, go to different lanes.
    (slot.wrapping_mul(0x9e37_79b9) >> 30) as usize % LANES
}

impl Store {
    pub(super) fn count(&self, index: u32) -> Count<'_> {
        Count {
            word: &self.slot(index).counts,
            slot: index,
        }
    }

    pub(super) fn ledger(&self, participant: ParticipantId, index: u32) -> &AtomicU64 {
        self.layout.ledger(&self.control, participant.index(), index)
    }

    pub(super) fn journal(&self, participant: ParticipantId) -> Option<&Journal> {
        (u32::from(participant.0) < MAX_PARTICIPANTS).then(|| self.layout.journal(&self.control, participant.index()))
    }

    fn my_lane(&self, number: usize) -> (MutexGuard<'_, ()>, &Lane) {
        let guard = self.lanes[number].lock();
        (
            guard,
            &self.layout.journal(&self.control, self.me().index()).lanes[number],
        )
    }

    /// Adds 1 or takes 1 away, on both sides. Returns the new count; `None`, with nothing changed, if the object is gone.
    pub(super) fn change(&self, index: u32, change: i64, second: Second) -> Option<u32> {
        let count = self.count(index);
        let lanes = |who| self.journal(who);
        let second = match second {
            Second::Ledger => SecondWord::Ledger(self.ledger(self.me(), index)),
            Second::Nested(parent) => SecondWord::Nested(&self.slot(parent).nested, parent),
        };
        if change < 0 && second.get() == 0 {
            // Not ours to give: a record of a hostile process named it, or the words were scribbled over.
            return None;
        }
        if self.is_head() {
            let count = count.change(change, Stamp::NOBODY, &lanes)?;
            second.add(change);
            return Some(count);
        }
        let number = lane_of(index);
        let (_guard, lane) = self.my_lane(number);
        let who = self.me();
        let operation = Operation::open(Owned { who, number, lane }, count, second, change);
        fail_point!("reference.change.opened");
        let counted = operation.count(&lanes);
        if counted.is_some() {
            fail_point!("reference.change.counted");
            operation.enter();
            fail_point!("reference.change.entered");
        }
        operation.close();
        counted
    }

    // --- transfers ------------------------------------------------------------------------------------------------------------

    /// Appends a record to `target`'s ring. The references of this process to `holds` are the record's from then on; if the push
    /// fails they stay this process's.
    pub(crate) fn push(&self, target: ParticipantId, record: &[u8], holds: &[ObjectId]) -> Result<(), PushError> {
        let ring = self.ring(target);
        let recovered = |head: u64| self.abandon_sends(target, head);
        if holds.is_empty() || self.is_head() {
            ring.push_with(self.me(), self.is_dead(), record, |_| {}, recovered)?;
            holds.iter().for_each(|id| self.disown(id.index));
            return Ok(());
        }
        if holds.len() > LIST {
            return Err(PushError::TooLong);
        }
        let (guard, lane) = self.my_lane(TRANSFER);
        let operation = lane.next_operation(self.me(), TRANSFER, Stamp::NOBODY);
        self.write_transfer(lane, holds, SEND, target);
        let written = |start: u64| {
            lane.place.store(start, Ordering::Relaxed);
            lane.begin(operation);
            fail_point!("ring.push.journalled");
        };
        ring.push_with(self.me(), self.is_dead(), record, written, recovered)?;
        fail_point!("ring.push.published");
        for (at, id) in (0u32..).zip(holds) {
            let _lane = self.lanes[lane_of(id.index)].lock();
            self.write_step(lane, at, id.index);
            fail_point!("ring.push.step");
            self.disown(id.index);
            fail_point!("ring.push.disowned");
            // Said before the ledger's lane is let go: another thread may change this entry next, and what it was before says nothing.
            lane.step
                .store(u64::from(at + 1) << 32 | u64::from(UNBEGUN), Ordering::Release);
        }
        lane.end(operation);
        drop(guard);
        Ok(())
    }

    /// Marks a record of a ring of this process as done, by `mark`. The references that the record owns go back.
    pub(crate) fn finish(
        self: &Arc<Self>,
        whose: ParticipantId,
        position: Position,
        holds: &[ObjectId],
        mark: impl FnOnce(Ring<'_>) -> crate::error::Result<()>,
    ) -> crate::error::Result<()> {
        let ring = self.ring(whose);
        if holds.is_empty() || self.is_head() {
            mark(ring)?;
            holds.iter().for_each(|id| self.release_uncounted(*id));
            return Ok(());
        }
        if holds.len() > LIST {
            crate::error::bail!(Corrupt, "a record owns {} references", holds.len());
        }
        let (guard, lane) = self.my_lane(TRANSFER);
        let operation = lane.next_operation(self.me(), TRANSFER, Stamp::NOBODY);
        self.write_transfer(lane, holds, FINISH, whose);
        lane.place.store(position.number(), Ordering::Relaxed);
        lane.begin(operation);
        fail_point!("ring.finish.journalled");
        if let Err(error) = mark(ring) {
            lane.end(operation);
            return Err(error);
        }
        fail_point!("ring.finish.done");
        let list: Vec<u32> = holds.iter().map(|id| id.index).collect();
        let freed = self.give_listed(lane, self.me(), operation, &list, 0);
        let last = lane.open.load(Ordering::Relaxed) >> 1;
        lane.end(last);
        drop(guard);
        freed.into_iter().for_each(|index| self.reclaim(index, None, self.me()));
        Ok(())
    }

    /// Makes room in a ring of this process, should its oldest work hold that up. No reference changes hands: the copy is the same
    /// record.
    pub(crate) fn carry(&self, whose: ParticipantId, reader: &mut RingReader) -> crate::error::Result<()> {
        let recovered = |head: u64| self.abandon_sends(whose, head);
        reader.carry(self.ring(whose), self.me(), self.is_dead(), recovered)
    }

    /// Takes over the references that a record owns: for the head, whose holdings nobody needs to find after its death.
    pub(crate) fn adopt(&self, holds: &[ObjectId]) {
        for id in holds {
            if self.checked_slot(*id).is_ok() {
                self.ledger(self.me(), id.index).fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn disown(&self, index: u32) {
        if index < self.layout.max_objects {
            self.ledger(self.me(), index).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Gives back a reference that no ledger counts.
    fn release_uncounted(self: &Arc<Self>, id: ObjectId) {
        if self.checked_slot(id).is_ok()
            && self.count(id.index).change(-1, Stamp::NOBODY, &|who| self.journal(who)) == Some(0)
        {
            self.reclaim(id.index, None, self.me());
        }
    }

    fn write_transfer(&self, lane: &Lane, holds: &[ObjectId], kind: u32, ring: ParticipantId) {
        let list = self.layout.journal_list(&self.control, self.me().index());
        for (entry, id) in list.iter().zip(holds) {
            entry.store(id.index, Ordering::Relaxed);
        }
        lane.kind.store(kind, Ordering::Relaxed);
        lane.parent.store(ring.0.into(), Ordering::Relaxed);
        lane.before
            .store(u32::try_from(holds.len()).unwrap_or(0), Ordering::Relaxed);
        // No entry is begun: its "before" is written with the entry's number.
        lane.step.store(u64::from(u32::MAX) << 32, Ordering::Relaxed);
    }

    fn write_step(&self, lane: &Lane, at: u32, index: u32) {
        let before = if index < self.layout.max_objects {
            references(self.ledger(self.me(), index).load(Ordering::Relaxed))
        } else {
            0
        };
        lane.step
            .store(u64::from(at) << 32 | u64::from(before), Ordering::Release);
    }

    /// Takes 1 off the count of each listed slot from `from` on, on behalf of `who`. Returns those that nothing refers to any more.
    /// Each entry is an operation of its own of the lane, so that each can be told to have happened; `step` names the entry.
    fn give_listed(&self, lane: &Lane, who: ParticipantId, operation: u64, list: &[u32], from: usize) -> Vec<u32> {
        let mut freed = Vec::new();
        let mut operation = operation;
        for (at, &index) in list.iter().enumerate().skip(from) {
            if index >= self.layout.max_objects {
                continue;
            }
            let count = self.count(index);
            // A new number, in place of the open one: `step` goes first and carries the number's low half.
            operation = lane.next_operation(who, TRANSFER, count.stamp()).max(operation + 1);
            // Says that the entry before is done, so it goes before `slot`, by which that one can still be acknowledged.
            lane.step
                .store((at as u64) << 32 | (operation & u64::from(u32::MAX)), Ordering::Release);
            fail_point!("ring.finish.step");
            lane.slot.store(index, Ordering::Release);
            lane.begin(operation);
            fail_point!("ring.finish.opened");
            if count.change(-1, Stamp::new(who, TRANSFER, operation), &|who| self.journal(who)) == Some(0) {
                freed.push(index);
            }
            fail_point!("ring.finish.counted");
        }
        freed
    }

    /// The ring's lock was taken over from a dead process. If that one had written down a record and not published it, it never will:
    /// said here, before the ring moves on, because afterwards nobody could tell.
    pub(crate) fn abandon_sends(&self, ring: ParticipantId, head: u64) {
        let is_dead = self.is_dead();
        for number in 0..self.participants_used() {
            let who = ParticipantId(number);
            let Some(lane) = self.journal(who).map(|journal| &journal.lanes[TRANSFER]) else {
                continue;
            };
            if is_dead(who)
                && lane.opened().is_some()
                && lane.kind.load(Ordering::Acquire) == SEND
                && lane.parent.load(Ordering::Relaxed) == u32::from(ring.0)
                && lane.place.load(Ordering::Relaxed) >= head
                && self.is_dead()(who)
            {
                lane.kind.store(ABANDONED, Ordering::Release);
            }
        }
    }

    // --- after a death --------------------------------------------------------------------------------------------------------

    /// Finishes, or forgets, what a dead process was in the middle of. Run by the head before it reads the process's ledger.
    pub(super) fn finish_operations(self: &Arc<Self>, dead: ParticipantId) {
        let Some(journal) = self.journal(dead) else { return };
        for (number, lane) in journal.lanes[..LANES].iter().enumerate() {
            if let Some(operation) = lane.opened() {
                self.finish_change(dead, number, lane, operation);
                lane.end(operation);
            }
        }
        let lane = &journal.lanes[TRANSFER];
        if let Some(operation) = lane.opened() {
            self.finish_transfer(dead, lane, operation);
            lane.end(lane.open.load(Ordering::Relaxed) >> 1);
        }
    }

    fn finish_change(&self, dead: ParticipantId, number: usize, lane: &Lane, operation: u64) {
        let (index, parent) = (lane.slot.load(Ordering::Relaxed), lane.parent.load(Ordering::Relaxed));
        if index >= self.layout.max_objects || parent >= self.layout.max_objects {
            return;
        }
        let second = match lane.kind.load(Ordering::Relaxed) {
            TAKE | GIVE => SecondWord::Ledger(self.ledger(dead, index)),
            NEST | UNNEST => SecondWord::Nested(&self.slot(parent).nested, parent),
            _ => return,
        };
        let owned = Owned {
            who: dead,
            number,
            lane,
        };
        finish_dead(owned, operation, self.count(index), second);
    }

    fn finish_transfer(self: &Arc<Self>, dead: ParticipantId, lane: &Lane, operation: u64) {
        let list = self.layout.journal_list(&self.control, dead.index());
        let len = (lane.before.load(Ordering::Relaxed) as usize).min(list.len());
        let list: Vec<u32> = list[..len]
            .iter()
            .map(|entry| entry.load(Ordering::Relaxed))
            .filter(|index| *index < self.layout.max_objects)
            .collect();
        let place = lane.place.load(Ordering::Relaxed);
        let step = lane.step.load(Ordering::Acquire);
        let (at, low) = (step >> 32, u32::try_from(step & u64::from(u32::MAX)).unwrap_or(0));
        let begun = at < list.len() as u64;
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let ring = ParticipantId(u16::try_from(lane.parent.load(Ordering::Relaxed)).unwrap_or(u16::MAX));
        if u32::from(ring.0) >= MAX_PARTICIPANTS {
            return;
        }
        match lane.kind.load(Ordering::Acquire) {
            SEND => {
                // Under the ring's lock: if the dead process still has it, this takes it over, and nothing moves meanwhile.
                let abandon = |head| self.abandon_sends(ring, head);
                let Ok(head) = self.ring(ring).settle(self.me(), self.is_dead(), abandon) else {
                    // The lock is stuck: nobody can tell. What the ledger says is given back, which at worst is once too often for a
                    // record that nobody can read any more either.
                    return;
                };
                if lane.kind.load(Ordering::Acquire) != SEND || head <= place {
                    return;
                }
                let mut from = 0;
                if begun {
                    let entry = self.ledger(dead, list[at]);
                    from = at + usize::from(low != UNBEGUN && references(entry.load(Ordering::Relaxed)) != low);
                }
                for index in &list[from..] {
                    self.ledger(dead, *index).fetch_sub(1, Ordering::Relaxed);
                }
            }
            FINISH => {
                if !self.ring(dead).is_finished(place) {
                    return;
                }
                let mut from = 0;
                if begun {
                    let changed = u64::from(low) == operation & u64::from(u32::MAX)
                        && self.count(list[at]).was_changed(dead, TRANSFER, lane, operation);
                    from = at + usize::from(changed);
                }
                for index in self.give_listed(lane, dead, operation, &list, from) {
                    self.reclaim(index, None, self.me());
                }
            }
            _ => {}
        }
    }

    /// Whether a participant is in the middle of nothing; for audits.
    pub(super) fn is_quiet(&self, who: ParticipantId) -> bool {
        self.journal(who)
            .is_none_or(|journal| journal.lanes.iter().all(|lane| lane.opened().is_none()))
    }
}

impl Slot {
    /// Nothing refers to this slot yet, or any more.
    pub(super) fn is_unreferenced(&self) -> bool {
        self.counts.load(Ordering::Acquire) & u64::from(u32::MAX) == 0
    }
}

#[cfg(all(test, loom))]
mod loom_tests;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shm::participant;

    fn join(store: &Arc<Store>, number: u16) -> Arc<Store> {
        let [control, arena] = store.fds().map(|fd| fd.try_clone_to_owned().unwrap());
        let id = ParticipantId(number);
        store.participant(id).state.store(participant::LIVE, Ordering::Release);
        store
            .header()
            .participants_used
            .fetch_max(u32::from(number) + 1, Ordering::AcqRel);
        Arc::new(Store::join(control, arena, id, None, None).unwrap())
    }

    fn bury(store: &Arc<Store>, dead: Arc<Store>) {
        let id = dead.me();
        store.participant(id).state.store(participant::DEAD, Ordering::Release);
        std::mem::forget(dead);
        assert!(store.recover(id).is_empty());
    }

    /// Two processes die. The first took the last reference off a count and never wrote that down; clearing up after the second frees
    /// the slot, and it is used again before anybody clears up after the first.
    #[test]
    fn a_slot_used_again_does_not_pay_for_a_change_that_was_cut_off() {
        let config = Config::default().capacity(1 << 20).max_objects(64);
        let store = Arc::new(Store::open(&config, 7).unwrap());
        let (first, second) = (join(&store, 2), join(&store, 3));
        let object = first.put(b"last").unwrap();
        let index = object.id().index;
        std::mem::forget(object);
        let number = lane_of(index);
        let (guard, lane) = first.my_lane(number);
        let owned = Owned {
            who: first.me(),
            number,
            lane,
        };
        let ledger = SecondWord::Ledger(first.ledger(first.me(), index));
        let cut_off = Operation::open(owned, first.count(index), ledger, -1);
        assert_eq!(cut_off.count(&|who| first.journal(who)), Some(0));
        drop(guard);
        bury(&store, second);
        let again: Vec<_> = (0..64).map_while(|_| store.put(b"next").ok()).collect();
        let next = again.iter().find(|object| object.id().index == index).unwrap();
        bury(&store, first);
        assert_eq!(store.get(next, None).unwrap().bytes(), b"next");
        assert_eq!(store.count(index).get(), 1);
    }
}
