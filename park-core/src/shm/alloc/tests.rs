//! Random traces against a plain model, exhaustion, and rebuilding after a death in the critical section.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::shm::{Layout, Segment};

struct Bench {
    control: Segment,
    layout: Layout,
    arena: Arena,
    live: RefCell<BTreeMap<u64, u64>>,
}

impl Bench {
    fn new(bytes: u64) -> Self {
        let layout = Layout::new(64, bytes, 1);
        let control = Segment::create("test", layout.control_bytes()).unwrap();
        let bench = Self {
            control,
            layout,
            arena: Arena::create("test", bytes).unwrap(),
            live: RefCell::default(),
        };
        bench.with(|allocator| allocator.format()).unwrap();
        bench
    }

    fn with<R>(
        &self,
        run: impl FnOnce(&Allocator<'_, fn(ParticipantId) -> bool, &dyn Fn() -> Vec<Allocation>>) -> R,
    ) -> R {
        let live = || {
            self.live
                .borrow()
                .iter()
                .map(|(&offset, &len)| Allocation { offset, len })
                .collect()
        };
        run(&Allocator {
            root: self.layout.arena_root(&self.control),
            arena: &self.arena,
            me: ParticipantId(1),
            is_dead: |owner| owner == ParticipantId(9),
            live: &live,
        })
    }

    fn allocate(&self, len: u64) -> Result<Allocation> {
        self.with(|a| {
            a.allocate(len, |got| {
                assert!(self.live.borrow_mut().insert(got.offset, got.len).is_none())
            })
        })
    }

    fn release(&self, offset: u64) -> Result<()> {
        self.with(|a| {
            a.release(|| {
                self.live.borrow_mut().remove(&offset);
                Some(offset)
            })
        })
    }

    fn check_disjoint(&self) {
        let mut end = 0;
        for (&offset, &len) in self.live.borrow().iter() {
            assert!(offset >= end && offset + len <= self.arena.size() && offset % 64 == 0);
            end = offset + len.max(1);
        }
    }

    fn used(&self) -> u64 {
        self.layout.arena_root(&self.control).usage().0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn lent_blocks_never_overlap_and_all_memory_comes_back(
        steps in prop::collection::vec((any::<bool>(), 0u64..40_000, any::<prop::sample::Index>()), 1..200)
    ) {
        let bench = Bench::new(1 << 20);
        for (allocate, len, pick) in steps {
            let held: Vec<u64> = bench.live.borrow().keys().copied().collect();
            if allocate || held.is_empty() {
                let _ = bench.allocate(len);
            } else {
                bench.release(*pick.get(&held)).unwrap();
            }
            bench.check_disjoint();
        }
        let held: Vec<u64> = bench.live.borrow().keys().copied().collect();
        for offset in held {
            bench.release(offset).unwrap();
        }
        prop_assert_eq!(bench.used(), 0);
        // One block again: everything merged.
        prop_assert!(bench.allocate((1 << 20) - 64 - 64).is_ok());
    }
}

#[test]
fn the_whole_arena_can_be_lent_and_more_is_refused() {
    let bench = Bench::new(1 << 20);
    let all = (1 << 20) - 128;
    assert_eq!(bench.allocate(all + 64).unwrap_err().kind(), ErrorKind::StoreFull);
    let one = bench.allocate(all).unwrap();
    assert_eq!(bench.allocate(1).unwrap_err().kind(), ErrorKind::StoreFull);
    bench.release(one.offset).unwrap();
    bench.allocate(all).unwrap();
}

#[test]
fn freed_memory_is_reused_before_new_pages_are_touched() {
    let bench = Bench::new(64 << 20);
    let first = bench.allocate(1 << 20).unwrap();
    bench.release(first.offset).unwrap();
    for _ in 0..100 {
        let again = bench.allocate(1 << 20).unwrap();
        assert_eq!(again.offset, first.offset);
        bench.release(again.offset).unwrap();
    }
}

#[test]
fn a_dead_owners_half_done_work_is_rebuilt_from_the_slots() {
    let bench = Bench::new(1 << 20);
    let kept = bench.allocate(1000).unwrap();
    let lost = bench.allocate(5000).unwrap();
    let root = bench.layout.arena_root(&bench.control);
    // Participant 9 dies holding the lock, with the bins scribbled over.
    std::mem::forget(root.lock.lock(ParticipantId(9), |_| false));
    root.bins.iter().for_each(|bin| bin.store(77, Ordering::Relaxed));
    bench.live.borrow_mut().remove(&lost.offset);
    let next = bench.allocate(5000).unwrap();
    assert_eq!(next.offset, lost.offset, "the lost block is free again");
    bench.check_disjoint();
    bench.release(kept.offset).unwrap();
    bench.release(next.offset).unwrap();
    assert_eq!(bench.used(), 0);
}

#[test]
fn scribbled_headers_are_errors() {
    let bench = Bench::new(1 << 20);
    let block = bench.allocate(100).unwrap();
    bench.arena.word(block.offset - 64).unwrap().store(3, Ordering::Relaxed);
    assert_eq!(bench.release(block.offset).unwrap_err().kind(), ErrorKind::Corrupt);
}
