//! Random traces against a plain model, exhaustion, and rebuilding after a death in the critical section.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::shm::{Layout, Segment};
use crate::sys::memfd;

pub(super) struct Bench {
    pub(super) control: Segment,
    pub(super) layout: Layout,
    arena: Arena,
    live: RefCell<BTreeMap<u64, u64>>,
}

impl Bench {
    pub(super) fn new(bytes: u64) -> Self {
        let layout = Layout::new(64, address_bytes(bytes), 1);
        let control = Segment::create("test", layout.control_bytes()).unwrap();
        let bench = Self {
            control,
            layout,
            arena: Arena::create("test", address_bytes(bytes)).unwrap(),
            live: RefCell::default(),
        };
        bench.with(|allocator| allocator.format(bytes)).unwrap();
        bench
    }

    pub(super) fn with<R>(
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
            map: self.layout.page_map(&self.control),
            me: ParticipantId(1),
            is_dead: |owner| owner == ParticipantId(9),
            live: &live,
        })
    }

    pub(super) fn allocate(&self, len: u64) -> Result<Allocation> {
        let last = Cell::new(0);
        self.with(|a| {
            a.allocate(len, |got| {
                let mut live = self.live.borrow_mut();
                if got == Allocation::NONE {
                    live.remove(&last.get());
                } else {
                    assert!(live.insert(got.offset, got.len).is_none() && got.len >= len);
                    last.set(got.offset);
                }
            })
        })
    }

    pub(super) fn release(&self, offset: u64) -> Result<bool> {
        self.with(|a| {
            a.release(|| {
                self.live.borrow_mut().remove(&offset);
                Some(offset)
            })
        })
    }

    /// Participant 9 dies holding the lock, with the bins and the counts scribbled over.
    fn die_in_the_critical_section(&self) {
        let root = self.layout.arena_root(&self.control);
        std::mem::forget(root.lock.lock(ParticipantId(9), |_| false));
        root.bins.iter().for_each(|bin| bin.store(77, Ordering::Relaxed));
        root.used.store(1 << 40, Ordering::Relaxed);
        root.touched.store(3, Ordering::Relaxed);
    }

    /// Gives back everything there is; as `Store::trim`.
    fn trim(&self) -> u64 {
        let (mut next, mut bytes) = (None, 0);
        loop {
            let step = self.with(|a| a.trim_step(next)).unwrap();
            bytes += step.bytes;
            next = step.next;
            if next.is_none() {
                return bytes;
            }
        }
    }

    /// Fills a block with words that only it has.
    fn fill(&self, got: Allocation) {
        for at in (0..got.len).step_by(8) {
            self.arena
                .word(got.offset + at)
                .unwrap()
                .store(got.offset ^ at, Ordering::Relaxed);
        }
    }

    fn check_filled(&self, offset: u64, len: u64) {
        for at in (0..len).step_by(8) {
            assert_eq!(
                self.arena.word(offset + at).unwrap().load(Ordering::Relaxed),
                offset ^ at
            );
        }
    }

    /// What an audit complains about, and nothing else.
    pub(super) fn audit(&self, expected: &[&str]) {
        let walk = self.with(|a| a.walk(a.live)).unwrap();
        let fits = |(complaint, expected): (&String, &&str)| complaint.contains(expected);
        assert!(
            walk.complaints.len() == expected.len() && walk.complaints.iter().zip(expected).all(fits),
            "{walk:?}"
        );
    }

    /// The allocator's own records agree with each other and with the model, and no lent byte has changed.
    fn check(&self) {
        self.audit(&[]);
        for (&offset, &len) in self.live.borrow().iter() {
            self.check_filled(offset, len);
        }
    }

    fn resident(&self) -> u64 {
        memfd::resident(self.arena.fd()).unwrap()
    }

    pub(super) fn used(&self) -> u64 {
        self.layout.arena_root(&self.control).usage().0
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u64),
    Release(prop::sample::Index),
    Trim,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u64..40_000).prop_map(Step::Allocate),
        2 => (40_000u64..3_000_000).prop_map(Step::Allocate),
        8 => any::<prop::sample::Index>().prop_map(Step::Release),
        1 => Just(Step::Trim),
        1 => Just(Step::Die),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_sequence_of_operations_adds_up_and_all_memory_comes_back(steps in prop::collection::vec(step(), 1..120)) {
        let bench = Bench::new(4 << 20);
        for step in steps {
            match step {
                Step::Allocate(len) => match bench.allocate(len) {
                    Ok(got) => bench.fill(got),
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::StoreFull),
                },
                Step::Release(pick) => {
                    let held: Vec<u64> = bench.live.borrow().keys().copied().collect();
                    if !held.is_empty() {
                        bench.release(*pick.get(&held)).unwrap();
                    }
                }
                Step::Trim => {
                    bench.trim();
                }
                Step::Die => bench.die_in_the_critical_section(),
            }
            bench.check();
        }
        let held: Vec<u64> = bench.live.borrow().keys().copied().collect();
        for offset in held {
            bench.release(offset).unwrap();
        }
        bench.check();
        prop_assert_eq!(bench.used(), 0);
        // One block again: everything merged.
        prop_assert!(bench.allocate((4 << 20) - 64 - 64).is_ok());
    }
}

#[test]
fn free_memory_goes_back_to_the_system_and_lent_memory_stays() {
    let bench = Bench::new(64 << 20);
    let sizes = [20 << 20, 100, 20 << 20, 5000, 15 << 20];
    let blocks = sizes.map(|len| bench.allocate(len).unwrap());
    blocks.iter().for_each(|got| bench.fill(*got));
    let full = bench.resident();
    assert!(full >= 55 << 20);
    for large in [0, 2, 4] {
        bench.release(blocks[large].offset).unwrap();
    }
    let given = bench.trim();
    assert_eq!(full - bench.resident(), given);
    assert!(given >= (55 << 20) - 8 * pages::UNIT, "{given}");
    bench.check();
    assert_eq!(bench.trim(), 0);
    // And is taken again.
    let again = bench.allocate(50 << 20).unwrap();
    bench.fill(again);
    bench.check();
}

#[test]
fn holes_give_up_their_pages_for_what_fits_into_none_of_them() {
    let bench = Bench::new(64 << 20);
    let blocks: Vec<_> = (0..62).map(|_| bench.allocate((1 << 20) - 64).unwrap()).collect();
    blocks.iter().for_each(|got| bench.fill(*got));
    for got in blocks.iter().step_by(2) {
        bench.release(got.offset).unwrap();
    }
    // 31 MiB are free in holes of one.
    let large = bench.allocate(30 << 20).unwrap();
    bench.fill(large);
    bench.check();
    assert!(
        bench.resident() <= (64 << 20) * 17 / 16 + 32 * pages::UNIT,
        "{}",
        bench.resident()
    );
}

#[test]
fn a_reserved_arena_keeps_its_memory() {
    let bench = Bench::new(8 << 20);
    bench.with(|a| a.reserve_all()).unwrap();
    let full = bench.resident();
    assert_eq!(full, bench.arena.size());
    let got = bench.allocate(5 << 20).unwrap();
    bench.release(got.offset).unwrap();
    assert_eq!((bench.trim(), bench.resident()), (0, full));
    bench.check();
}

#[test]
fn a_watched_release_says_so_once() {
    let bench = Bench::new(1 << 20);
    let blocks = [0; 3].map(|_| bench.allocate(100).unwrap().offset);
    bench.layout.arena_root(&bench.control).watch();
    assert_eq!(
        blocks.map(|offset| bench.release(offset).unwrap()),
        [true, false, false]
    );
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
    bench.die_in_the_critical_section();
    bench.live.borrow_mut().remove(&lost.offset);
    let next = bench.allocate(5000).unwrap();
    assert_eq!(next.offset, lost.offset, "the lost block is free again");
    bench.audit(&[]);
    bench.release(kept.offset).unwrap();
    bench.release(next.offset).unwrap();
    assert_eq!(bench.used(), 0);
}

#[test]
fn the_audit_sees_what_does_not_add_up() {
    let bench = Bench::new(1 << 20);
    let got = bench.allocate(1000).unwrap();
    let root = bench.layout.arena_root(&bench.control);
    root.used.fetch_add(64, Ordering::Relaxed);
    bench.audit(&["counted as lent"]);
    root.used.fetch_sub(64, Ordering::Relaxed);
    root.touched.fetch_add(1, Ordering::Relaxed);
    bench.audit(&["touched"]);
    root.touched.fetch_sub(1, Ordering::Relaxed);
    bench.live.borrow_mut().remove(&got.offset);
    bench.audit(&["lent to no slot"]);
}

#[test]
fn scribbled_headers_are_errors() {
    let bench = Bench::new(1 << 20);
    let block = bench.allocate(100).unwrap();
    bench.arena.word(block.offset - 64).unwrap().store(3, Ordering::Relaxed);
    assert_eq!(bench.release(block.offset).unwrap_err().kind(), ErrorKind::Corrupt);
}
