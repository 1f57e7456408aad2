//! The verbs, their failures, and what a dead participant leaves behind, all in one process.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::id::{ObjectId, ParticipantId};
use crate::shm::participant;
use crate::sync::atomic::Ordering;

fn store(bytes: u64) -> Arc<Store> {
    let config = Config::default()
        .capacity(bytes)
        .max_objects(4096)
        .full_timeout(Duration::from_millis(20));
    Arc::new(Store::open(&config, 7).unwrap())
}

/// A second membership of the same session, as another process would have it.
fn peer(store: &Arc<Store>, number: u16) -> Arc<Store> {
    let [control, arena] = store.fds().map(|fd| fd.try_clone_to_owned().unwrap());
    let id = ParticipantId(number);
    store.participant(id).state.store(participant::LIVE, Ordering::Release);
    store
        .header()
        .participants_used
        .fetch_max(u32::from(number) + 1, Ordering::AcqRel);
    Arc::new(Store::join(control, arena, id, None, None).unwrap())
}

fn kill(store: &Arc<Store>, peer: Arc<Store>) -> Vec<Orphan> {
    let id = peer.me();
    store.participant(id).state.store(participant::DEAD, Ordering::Release);
    // The process is gone: nothing of it runs destructors.
    std::mem::forget(peer);
    store.recover(id)
}

#[test]
fn bytes_come_back_inline_and_from_the_arena() {
    let store = store(1 << 20);
    for len in [0, 1, 64, 65, 1000, 100_000] {
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let reference = store.put(&bytes).unwrap();
        assert_eq!(store.get(&reference, None).unwrap().bytes(), bytes);
        assert!(store.contains(reference.id()));
        let id = reference.id();
        drop(reference);
        assert!(!store.contains(id));
    }
    assert_eq!((store.stats().used, store.stats().objects), (0, 0));
    assert_eq!(store.references_held(), 0);
}

#[test]
fn a_view_keeps_its_object_and_an_old_id_never_finds_a_new_object() {
    let store = store(1 << 20);
    let reference = store.put(&[1; 500]).unwrap();
    let id = reference.id();
    let view = store.get(&reference, None).unwrap();
    drop(reference);
    let others: Vec<_> = (0..200).map(|_| store.put(&[2; 500]).unwrap()).collect();
    assert_eq!(view.bytes(), &[1; 500]);
    drop(view);
    drop(others);
    let _again: Vec<_> = (0..200).map(|_| store.put(&[3; 500]).unwrap()).collect();
    assert_eq!(store.resolve(id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn full_and_too_large_are_errors_and_the_store_goes_on() {
    let store = store(1 << 20);
    let held: Vec<_> = std::iter::from_fn(|| store.put(&[0; 100_000]).ok()).collect();
    assert!(held.len() >= 9);
    let full = store.put(&[0; 100_000]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StoreFull);
    assert!(
        full.message().contains("100000 bytes") && full.message().contains("made by process"),
        "{full}"
    );
    assert!(
        store
            .put(&[0; 2 << 20])
            .unwrap_err()
            .message()
            .contains("larger than the store")
    );
    drop(held);
    store.put(&[0; 900_000]).unwrap();
}

#[test]
fn a_producer_waits_for_room() {
    let config = Config::default()
        .capacity(1 << 20)
        .max_objects(4096)
        .full_timeout(Duration::from_secs(20));
    let store = Arc::new(Store::open(&config, 7).unwrap());
    let held = store.put(&[0; 900_000]).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.put(&[1; 900_000]));
        std::thread::sleep(Duration::from_millis(30));
        drop(held);
        assert!(waiting.join().unwrap().is_ok());
    });
}

/// Waits until so many threads stand in the line.
fn in_line(store: &Store, count: usize) {
    while store.header().line.len() < count {
        std::thread::yield_now();
    }
}

#[test]
fn who_came_first_is_served_first_however_large() {
    let config = Config::default()
        .capacity(1 << 20)
        .max_objects(4096)
        .full_timeout(Duration::from_secs(20));
    let store = Arc::new(Store::open(&config, 7).unwrap());
    let other = peer(&store, 2);
    let mut held: Vec<_> = (0..10).map(|_| store.put(&[0; 100_000]).unwrap()).collect();
    std::thread::scope(|scope| {
        let make = |store: &Arc<Store>, len: usize| {
            let store = store.clone();
            scope.spawn(move || drop(store.put(&vec![1; len]).unwrap()));
        };
        make(&other, 600_000);
        in_line(&store, 1);
        for behind in [2, 3] {
            make(&store, 200_000);
            in_line(&store, behind);
        }
        // A little may pass: small things must not stand still behind a large one.
        store.put(&[2; 20_000]).unwrap();
        held.truncate(6);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(
            store.header().line.len(),
            3,
            "there is room for those behind, and it is not their turn"
        );
        held.clear();
    });
    assert!(store.header().line.is_empty());
}

#[test]
fn a_killed_waiter_holds_nobody_up() {
    let config = Config::default()
        .capacity(1 << 20)
        .max_objects(4096)
        .full_timeout(Duration::from_secs(20));
    let store = Arc::new(Store::open(&config, 7).unwrap());
    let dead = peer(&store, 2);
    let held = store.put(&[0; 900_000]).unwrap();
    let until = crate::sys::clock::now_ms() + 1_000_000;
    std::mem::forget(dead.header().line.join(dead.me(), 800_000, until, &dead.header().space));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.put(&[1; 700_000]));
        in_line(&store, 2);
        drop(held);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished(), "somebody alive is before it");
        kill(&store, dead.clone());
        assert!(waiting.join().unwrap().is_ok());
    });
    assert!(store.header().line.is_empty());
}

#[test]
fn a_report_leaves_out_blocks_that_are_kept_warm() {
    let store = store(16 << 20);
    drop(store.put(&[0; 3000]).unwrap());
    assert!(store.stats().cached > 0);
    let report = store.memory_report(5);
    assert_eq!((report.objects, report.used), (0, 0));
    assert!(report.largest.is_empty() && report.holders.is_empty(), "{report:?}");
}

#[test]
fn the_full_text_names_holders() {
    let store = store(1 << 20);
    let other = peer(&store, 2);
    let mine = store.put(&[0; 300_000]).unwrap();
    let _theirs = other.put(&[0; 500_000]).unwrap();
    let _shared = other.resolve(mine.id()).unwrap();
    let report = store.memory_report(1);
    let rows: Vec<_> = report.holders.iter().map(|h| (h.party, h.bytes, h.objects)).collect();
    assert_eq!(rows, [(Party::Process, 800_064, 2), (Party::Driver, 300_032, 1)]);
    assert_eq!((report.largest.len(), report.largest[0].bytes), (1, 500_032));
    let text = store.put(&[0; 400_000]).unwrap_err().to_string();
    let pid = std::process::id();
    assert!(
        text.contains(&format!("process {pid} (800064 bytes in 2 objects")) && text.contains("asked for 400000 bytes"),
        "{text}"
    );
    let inner = store.put(&[0; 1000]).unwrap();
    let spec = Spec {
        nested: &[inner.id()],
        ..Spec::raw(0)
    };
    let _outer = store.create(spec, &mut never).unwrap().seal().unwrap();
    drop(inner);
    let holders = store.memory_report(0).holders;
    assert_eq!(holders.last().map(|h| (h.party, h.bytes)), Some((Party::Nobody, 1024)));
}

#[test]
fn the_table_can_be_full() {
    let config = Config::default().capacity(1 << 20).max_objects(64);
    let store = Arc::new(Store::open(&config, 7).unwrap());
    let held: Vec<_> = (0..64).map(|_| store.put(b"x").unwrap()).collect();
    assert_eq!(store.put(b"x").unwrap_err().kind(), ErrorKind::TableFull);
    drop(held);
    store.put(b"x").unwrap();
}

#[test]
fn foreign_and_unknown_ids_are_refused() {
    let (a, b) = (
        store(1 << 20),
        Arc::new(Store::open(&Config::default().capacity(1 << 20), 8).unwrap()),
    );
    let reference = a.put(b"a").unwrap();
    assert_eq!(b.resolve(reference.id()).unwrap_err().kind(), ErrorKind::ForeignSession);
    assert_eq!(
        b.wait(&[&reference], 1, None, &mut never).unwrap_err().kind(),
        ErrorKind::ForeignSession
    );
    let nobody = ObjectId {
        index: u32::MAX,
        ..reference.id()
    };
    assert_eq!(a.resolve(nobody).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_promise_is_kept_once_and_waiters_are_woken() {
    let store = store(1 << 20);
    let worker = peer(&store, 2);
    let promised = store.promise(worker.me()).unwrap();
    assert_eq!(
        store.get(&promised, Some(Duration::from_millis(5))).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!(
        store
            .wait_some(&[&promised], 1, Some(Duration::ZERO), &mut never)
            .unwrap(),
        0
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.get(&promised, None).map(|object| object.bytes().to_vec()));
        std::thread::sleep(Duration::from_millis(20));
        let mut object = worker.fulfil(promised.id(), Spec::raw(3), &mut never).unwrap().unwrap();
        object.write(0, b"one").unwrap();
        drop(object.seal().unwrap());
        assert_eq!(waiting.join().unwrap().unwrap(), b"one");
    });
    assert!(
        worker
            .fulfil(promised.id(), Spec::raw(3), &mut never)
            .unwrap()
            .is_none()
    );
    store.drop_hold(promised.id());
    drop(promised);
    assert_eq!(store.stats().objects + store.stats().promised, 0);
}

#[test]
fn a_stale_offer_cannot_claim_the_next_task_in_its_slot() {
    let store = store(1 << 20);
    let old = store.promise(ParticipantId::HEAD).unwrap();
    let id = old.id();
    store.offer(id, 0);
    assert!(
        store.take_back(id, 0) && !store.claim(id, 0),
        "taken back before it was claimed"
    );
    assert!(
        store.claim(id, 1) && !store.take_back(id, 1),
        "claimed before it was taken back"
    );
    store.drop_hold(id);
    drop(old);
    assert!(
        !store.claim(id, 0) && !store.claim(id, 2),
        "nobody can claim what is over"
    );
    let next = store.promise(ParticipantId::HEAD).unwrap();
    assert_eq!(next.id().index, id.index, "the slot is used again");
    store.offer(next.id(), 0);
    assert!(
        !store.claim(id, 0),
        "the old record lay in a blocked worker's ring all the while"
    );
    assert!(store.claim(next.id(), 0));
    store.drop_hold(next.id());
}

#[test]
fn failures_are_raised_by_get() {
    let store = store(1 << 20);
    let promised = store.promise(ParticipantId::HEAD).unwrap();
    let error = Error::new(ErrorKind::WorkerDied, "process 12 died").with_detail(vec![1, 2]);
    store.fail(promised.id(), &error).unwrap();
    let got = store.get(&promised, None).unwrap_err();
    assert_eq!(
        (got.kind(), got.message(), got.detail()),
        (ErrorKind::WorkerDied, "process 12 died", &[1u8, 2][..])
    );
    store.drop_hold(promised.id());
}

#[test]
fn nested_references_live_as_long_as_what_holds_them() {
    let store = store(1 << 20);
    let mut inner = store.put(&[9; 300]).unwrap();
    let first = inner.id();
    // A chain deep enough to overflow the stack of a recursive release.
    for _ in 0..3000 {
        let spec = Spec {
            len: 10,
            format: Format::Raw,
            view: View::Numpy,
            nested: &[inner.id()],
        };
        inner = store.create(spec, &mut never).unwrap().seal().unwrap();
    }
    assert!(store.contains(first));
    drop(inner);
    assert!(!store.contains(first));
    assert_eq!((store.stats().used, store.stats().objects), (0, 0));
}

#[test]
fn everything_a_dead_process_held_comes_back() {
    let store = store(1 << 20);
    let worker = peer(&store, 2);
    let mine = store.put(&[1; 1000]).unwrap();
    // It holds the last reference to one object, shares one, was writing one, and owed one.
    let last = worker.put(&[2; 1000]).unwrap();
    let shared = worker.resolve(mine.id()).unwrap();
    let writing = worker.create(Spec::raw(1000), &mut never).unwrap();
    let owed = store.promise(worker.me()).unwrap();
    let half = store.promise(worker.me()).unwrap();
    let half_written = worker.fulfil(half.id(), Spec::raw(500), &mut never).unwrap().unwrap();
    let id = last.id();
    std::mem::forget((last, shared, writing, half_written));
    let orphans = kill(&store, worker);
    assert_eq!(orphans, vec![Orphan { id: owed.id() }, Orphan { id: half.id() }]);
    assert!(!store.contains(id) && store.contains(mine.id()));
    for orphan in orphans {
        store
            .fail(orphan.id, &Error::new(ErrorKind::WorkerDied, "gone"))
            .unwrap();
        store.drop_hold(orphan.id);
    }
    assert_eq!(store.get(&half, None).unwrap_err().kind(), ErrorKind::WorkerDied);
    drop((mine, owed, half));
    assert_eq!(
        (store.stats().used, store.stats().objects, store.stats().promised),
        (0, 0, 0)
    );
    // Its private list of slots came back too.
    let held: Vec<_> = std::iter::from_fn(|| store.put(b"x").ok()).collect();
    assert_eq!(held.len(), 4096);
}

#[test]
fn a_closed_session_refuses_and_views_stay() {
    let store = store(1 << 20);
    let reference = store.put(&[5; 100]).unwrap();
    let view = store.get(&reference, None).unwrap();
    store.close_session();
    assert_eq!(store.put(b"x").unwrap_err().kind(), ErrorKind::SessionClosed);
    assert_eq!(view.bytes(), &[5; 100]);
}

#[test]
fn foreign_memory_is_refused() {
    let [_, arena] = store(1 << 20).fds().map(|fd| fd.try_clone_to_owned().unwrap());
    let zeroes = crate::sys::memfd::create("zeroes", 8192).unwrap();
    let join = |control| {
        Store::join(control, arena.try_clone().unwrap(), ParticipantId(2), None, None)
            .unwrap_err()
            .kind()
    };
    assert_eq!(join(zeroes), ErrorKind::BadSegment);
    assert_eq!(
        join(crate::sys::memfd::create("short", 64).unwrap()),
        ErrorKind::BadSegment
    );
    let file = tempfile::tempfile().unwrap();
    assert_eq!(join(file.into()), ErrorKind::BadSegment);
}

#[test]
fn writes_outside_the_object_are_refused() {
    let store = store(1 << 20);
    let mut object = store.create(Spec::raw(10), &mut never).unwrap();
    assert_eq!(object.write(8, &[0; 3]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        object.write(u64::MAX, &[0; 3]).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    object.write(8, &[1; 2]).unwrap();
    object.abort();
    assert_eq!(store.stats().promised, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Random verbs on two memberships against a plain list of what should be alive.
    #[test]
    fn random_verbs_match_a_plain_model(steps in prop::collection::vec((0u8..5, any::<prop::sample::Index>(), 0usize..3000), 1..150)) {
        let store = store(1 << 20);
        let other = peer(&store, 2);
        let mut alive: Vec<(ObjectRef, Vec<u8>)> = Vec::new();
        for (verb, pick, len) in steps {
            let who = if len % 2 == 0 { &store } else { &other };
            match verb {
                0 | 1 => {
                    let bytes = vec![u8::try_from(len % 256).unwrap(); len];
                    if let Ok(reference) = who.put(&bytes) {
                        alive.push((reference, bytes));
                    }
                }
                2 if !alive.is_empty() => {
                    alive.swap_remove(pick.index(alive.len()));
                }
                3 if !alive.is_empty() => {
                    let (reference, bytes) = &alive[pick.index(alive.len())];
                    let again = who.resolve(reference.id()).unwrap();
                    let copy = (again, bytes.clone());
                    alive.push(copy);
                }
                _ => who.create(Spec::raw(len as u64), &mut never).unwrap().abort(),
            }
            for (reference, bytes) in &alive {
                let sealed = reference.sealed().unwrap();
                prop_assert_eq!(sealed.bytes, &bytes[..]);
            }
        }
        alive.clear();
        prop_assert_eq!((store.stats().used, store.stats().objects), (0, 0));
        prop_assert_eq!(store.references_held() + other.references_held(), 0);
    }
}

#[test]
fn an_actors_place_is_read_as_words_and_never_as_bytes() {
    let store = store(1 << 20);
    let handle = store.create_actor_handle().unwrap();
    assert_eq!(store.actor_place(handle.id()).unwrap(), Place::Unbound);
    let bound = Place::Bound {
        participant: ParticipantId(7),
        incarnation: 3,
    };
    store.set_actor_place(handle.id(), bound);
    assert_eq!(store.actor_place(handle.id()).unwrap(), bound);
    let cause = store.put(b"why").unwrap().id();
    store.set_actor_place(handle.id(), Place::Dead { cause: Some(cause) });
    assert_eq!(
        store.actor_place(handle.id()).unwrap(),
        Place::Dead { cause: Some(cause) }
    );
    assert!(store.get(&handle, None).unwrap().bytes().is_empty());
    let plain = store.put(&[0; 16]).unwrap();
    assert_eq!(store.actor_place(plain.id()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn free_memory_is_given_back_by_hand_and_when_idle() {
    let store = store(64 << 20);
    let held = store.put(&vec![1; 40 << 20]).unwrap();
    assert!(store.stats().resident >= 40 << 20);
    assert_eq!(
        store.trim().unwrap(),
        0,
        "nothing is free that was touched, beyond what is reserved ahead"
    );
    drop(held);
    let given = store.trim().unwrap();
    assert!(given >= 39 << 20 && store.stats().resident <= 4 << 20, "{given}");

    let mut idle = IdleTrim::after(Duration::from_millis(30));
    drop(store.put(&vec![1; 40 << 20]).unwrap());
    let left = idle.step(&store).unwrap();
    assert!(store.stats().resident >= 40 << 20);
    std::thread::sleep(left);
    assert_eq!(idle.step(&store), None);
    assert!(store.stats().resident <= 4 << 20);
    // The head sleeps without a limit now, and the next release rings it.
    let bell = &store.participant(ParticipantId::HEAD).doorbell;
    let ticket = bell.ticket();
    drop(store.put(&vec![1; 2 << 20]).unwrap());
    assert!(bell.rung_since(ticket) && idle.step(&store).is_some());
}

#[test]
fn a_reserved_store_has_its_memory_from_the_start() {
    for config in [Config::default().reserve(true), Config::default().prefault(true)] {
        let store = Arc::new(Store::open(&config.capacity(8 << 20).max_objects(64), 7).unwrap());
        assert_eq!(store.stats().resident, 8 << 20);
        drop(store.put(&vec![1; 5 << 20]).unwrap());
        assert_eq!(store.trim().unwrap(), 0);
    }
    let too_much = Config::default().capacity(1 << 45).max_objects(64).reserve(true);
    assert_eq!(Store::open(&too_much, 7).unwrap_err().kind(), ErrorKind::StoreFull);
}

#[test]
fn huge_pages_are_reported_as_what_was_got() {
    let policy = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let allowed = !policy.is_empty() && !policy.contains("[never]") && !policy.contains("[deny]");
    let config = Config::default().capacity(8 << 20).max_objects(64);
    assert!(!Store::open(&config, 7).unwrap().huge_pages());
    let store = Arc::new(Store::open(&config.huge_pages(true), 7).unwrap());
    assert_eq!(store.huge_pages(), allowed);
    assert_eq!(peer(&store, 5).huge_pages(), allowed);
}

#[test]
fn a_released_block_is_kept_for_the_next_object_of_its_size() {
    let store = store(64 << 20);
    let address = |len: usize| store.put(&vec![7; len]).unwrap().sealed().unwrap().bytes.as_ptr();
    let first = address(1000);
    let stats = store.stats();
    assert_eq!((stats.used, stats.cached, stats.objects), (0, 1024 + 64, 0));
    assert_eq!(address(1000), first);
    assert_eq!(address(900), first, "a little waste is fine");
    assert_ne!(address(500), first, "much is not");
    assert_ne!(address(1025), first, "too small");
    store.trim().unwrap();
    assert_eq!(store.stats().cached, 0);
}

#[test]
fn who_finds_the_store_full_takes_what_others_keep() {
    let store = store(64 << 20);
    let other = peer(&store, 5);
    for keeper in [&store, &other] {
        let held: Vec<_> = (0..16).map(|_| keeper.put(&[1; 60_000]).unwrap()).collect();
        drop(held);
    }
    let kept = store.stats().cached;
    assert!(kept > 1 << 20, "{kept}");
    let most = store.capacity() as usize - 128;
    let all = store.put(&vec![2; most]).unwrap();
    assert_eq!(store.stats().cached, 0);
    drop(all);
    // Both lists name slots that are somebody else's now.
    for keeper in [&store, &other] {
        assert_eq!(keeper.put(&[3; 60_000]).unwrap().sealed().unwrap().bytes, &[3; 60_000]);
    }
}

#[test]
fn what_a_dead_process_kept_comes_back() {
    let store = store(64 << 20);
    let other = peer(&store, 5);
    drop(other.put(&[1; 60_000]).unwrap());
    assert!(store.stats().cached > 0);
    assert_eq!(kill(&store, other), []);
    assert_eq!((store.stats().cached, store.stats().used), (0, 0));
}

#[test]
fn warm_slots_do_not_make_the_table_full() {
    let config = Config::default().capacity(64 << 20).max_objects(64);
    let store = Arc::new(Store::open(&config, 7).unwrap());
    drop((0..40).map(|_| store.put(&[1; 100]).unwrap()).collect::<Vec<_>>());
    let _held: Vec<_> = (0..64).map(|_| store.put(b"x").unwrap()).collect();
    assert_eq!(store.put(b"x").unwrap_err().kind(), ErrorKind::TableFull);
}

#[test]
fn large_payloads_arrive_whole() {
    let store = store(64 << 20);
    let bytes: Vec<u8> = (0..(40 << 20) + 123).map(|n: u32| (n % 251) as u8).collect();
    let reference = store.put(&bytes).unwrap();
    assert!(store.get(&reference, None).unwrap().bytes() == bytes);
}
