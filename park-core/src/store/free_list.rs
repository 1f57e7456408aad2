//! The list of FREE slots, which every process takes from and gives to under one lock.
//!
//! The list is derived: a slot is free because its state says so, and the `next` links only make it quick to find. So whoever takes the
//! lock over from a dead owner relinks the list from the states, and the dead one may have stopped between any two lines here.

use super::slot::{Phase, Slot, State};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{RobustGuard, RobustMutex};
use crate::sys::failpoint::fail_point;

/// One process's access to the list.
pub(super) struct FreeList<'a, Slots, Dead> {
    /// Guards `first` and the links of free slots.
    pub(super) lock: &'a RobustMutex,
    /// First free slot + 1, or 0.
    pub(super) first: &'a AtomicU32,
    /// Slots from this number on were never used: they are FREE and not in the list.
    pub(super) used: &'a AtomicU32,
    /// How many slots there are.
    pub(super) max: u32,
    /// The slot with a number below `max`.
    pub(super) slot: Slots,
    /// Who is asking.
    pub(super) me: ParticipantId,
    /// Whether a participant's process is known to have ended.
    pub(super) is_dead: Dead,
}

impl<'a, Slots: Fn(u32) -> &'a Slot, Dead: Fn(ParticipantId) -> bool> FreeList<'a, Slots, Dead> {
    fn lock(&self) -> Result<RobustGuard<'a>> {
        let guard = self.lock.lock(self.me, &self.is_dead)?;
        if guard.recovered() {
            self.relink();
        }
        Ok(guard)
    }

    /// Takes up to `most` slots, which are CACHED by this process then; lowest first, so that the table stays dense.
    pub(super) fn take(&self, most: usize) -> Result<Vec<u32>> {
        let _guard = self.lock()?;
        let mut taken = Vec::with_capacity(most);
        while taken.len() < most {
            let first = self.first.load(Ordering::Relaxed);
            let index = if let Some(index) = first.checked_sub(1).filter(|index| *index < self.max) {
                self.first.store(
                    (self.slot)(index).next_free().load(Ordering::Relaxed),
                    Ordering::Relaxed,
                );
                fail_point!("table.refill.unlinked");
                index
            } else {
                let fresh = self.used.load(Ordering::Relaxed);
                if fresh >= self.max {
                    break;
                }
                self.used.store(fresh + 1, Ordering::Release);
                fail_point!("table.refill.extended");
                fresh
            };
            let slot = (self.slot)(index);
            let seen = slot.state()?;
            if seen.phase != Phase::Free {
                bail!(Corrupt, "object slot {index} is in the free list and {:?}", seen.phase);
            }
            slot.next_free().store(0, Ordering::Relaxed);
            slot.assign(State {
                owner: self.me,
                flags: 0,
                phase: Phase::Cached,
                ..seen
            });
            fail_point!("table.refill.taken");
            taken.push(index);
        }
        Ok(taken)
    }

    /// Makes slots FREE for everyone. They are CACHED by this process.
    pub(super) fn give(&self, indices: &[u32]) {
        // Without the lock they stay CACHED, and are lost to the session: that beats a list that two processes write.
        let Ok(_guard) = self.lock() else { return };
        for &index in indices {
            let slot = (self.slot)(index);
            if let Ok(seen) = slot.state() {
                slot.next_free()
                    .store(self.first.load(Ordering::Relaxed), Ordering::Relaxed);
                slot.assign(State {
                    owner: ParticipantId::HEAD,
                    flags: 0,
                    phase: Phase::Free,
                    ..seen
                });
                fail_point!("table.free.assigned");
                self.first.store(index + 1, Ordering::Relaxed);
                fail_point!("table.free.linked");
            }
        }
    }

    /// The slots in the list, first to last; a list that runs in a circle is cut.
    pub(super) fn listed(&self) -> Vec<u32> {
        let Ok(_guard) = self.lock() else { return Vec::new() };
        let mut listed = Vec::new();
        let mut next = self.first.load(Ordering::Relaxed);
        while let Some(index) = next.checked_sub(1).filter(|index| *index < self.max) {
            listed.push(index);
            if listed.len() > self.max as usize {
                break;
            }
            next = (self.slot)(index).next_free().load(Ordering::Relaxed);
        }
        listed
    }

    /// Rebuilds the list from the slots' own states. The lock is held.
    fn relink(&self) {
        let mut first = 0;
        for index in (0..self.used.load(Ordering::Relaxed).min(self.max)).rev() {
            let slot = (self.slot)(index);
            if slot.state().is_ok_and(|state| state.phase == Phase::Free) {
                slot.next_free().store(first, Ordering::Relaxed);
                first = index + 1;
            }
        }
        self.first.store(first, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    struct Table {
        lock: RobustMutex,
        first: AtomicU32,
        used: AtomicU32,
        slots: [Slot; 2],
    }

    impl Table {
        fn new() -> Self {
            Self {
                lock: RobustMutex::new(),
                first: AtomicU32::new(0),
                used: AtomicU32::new(0),
                slots: [Slot::new(), Slot::new()],
            }
        }

        fn list<'a>(&'a self, me: u16) -> FreeList<'a, impl Fn(u32) -> &'a Slot, impl Fn(ParticipantId) -> bool> {
            FreeList {
                lock: &self.lock,
                first: &self.first,
                used: &self.used,
                max: 2,
                slot: |index| &self.slots[index as usize],
                me: ParticipantId(me),
                is_dead: |id| id == DEAD,
            }
        }
    }

    const DEAD: ParticipantId = ParticipantId(9);

    /// Two processes take and give back: no slot is ever two's, and both are free in the end.
    #[test]
    fn loom_free_list_a_slot_is_one_processes() {
        loom::model(|| {
            let table = Arc::new(Table::new());
            let take_and_give = |me: u16| {
                let table = table.clone();
                move || {
                    let taken = table.list(me).take(1).unwrap();
                    for index in &taken {
                        let state = table.slots[*index as usize].state().unwrap();
                        assert_eq!((state.phase, state.owner), (Phase::Cached, ParticipantId(me)));
                    }
                    table.list(me).give(&taken);
                }
            };
            let other = thread::spawn(take_and_give(3));
            take_and_give(2)();
            other.join().unwrap();
            let mut listed = table.list(2).listed();
            listed.sort_unstable();
            let used = table.used.load(Ordering::Relaxed);
            assert_eq!(listed, (0..used).collect::<Vec<_>>());
        });
    }

    /// One process died inside, after it made a slot free and before it linked it: two others find it, once.
    #[test]
    fn loom_free_list_is_relinked_after_a_death() {
        loom::model(|| {
            let table = Arc::new(Table::new());
            table.used.store(2, Ordering::Relaxed);
            std::mem::forget(table.lock.lock(DEAD, |_| false).unwrap());
            let take = |me: u16| {
                let table = table.clone();
                move || table.list(me).take(1).unwrap()
            };
            let other = thread::spawn(take(3));
            let mut taken = take(2)();
            taken.extend(other.join().unwrap());
            taken.sort_unstable();
            assert_eq!(taken, [0, 1]);
        });
    }
}
