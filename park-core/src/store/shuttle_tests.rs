//! The whole store under random schedules, with a participant killed at a random fail point.
//!
//! Threads play processes: each has its own membership, over the same memory that real processes map. shuttle switches between them
//! before every atomic access. The victim unwinds at a fail point without running anything that touches the store; then the
//! head declares it dead and recovers what it held, while the others go on. At the end everything is dropped, and the audit must find
//! that all adds up and nothing is left.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::sync::Mutex as ShuttleMutex;
use shuttle::thread;

use super::*;
use crate::config::Config;
use crate::error::ErrorKind;
use crate::id::{ObjectId, ParticipantId};
use crate::shm::participant;
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::victim;

const OPERATIONS: usize = 8;

/// Ids that participants have announced, with the byte that fills them.
type Announced = Arc<ShuttleMutex<Vec<(ObjectId, u8)>>>;

pub(crate) fn open() -> Arc<Store> {
    let config = Config::default()
        .capacity(1 << 20)
        .max_objects(256)
        .full_timeout(Duration::ZERO);
    Arc::new(Store::open(&config, 7).unwrap())
}

pub(crate) fn join(store: &Arc<Store>, number: u16) -> Arc<Store> {
    let [control, arena] = store.fds().map(|fd| fd.try_clone_to_owned().unwrap());
    let id = ParticipantId(number);
    store.participant(id).state.store(participant::LIVE, Ordering::Release);
    store
        .header()
        .participants_used
        .fetch_max(u32::from(number) + 1, Ordering::AcqRel);
    Arc::new(Store::join(control, arena, id, None, None).unwrap())
}

/// A few random verbs; every byte read is checked.
fn live(store: &Arc<Store>, announced: &Announced) {
    let mut rng = shuttle::rand::thread_rng();
    let mut held: Vec<(ObjectRef, u8)> = Vec::new();
    for _ in 0..OPERATIONS {
        match rng.gen_range(0..6) {
            0 | 1 => {
                let (len, byte) = ([0usize, 40, 500, 5000][rng.gen_range(0..4)], rng.gen_range(1..255u8));
                if let Ok(object) = store.put(&vec![byte; len]) {
                    announced.lock().unwrap().push((object.id(), byte));
                    held.push((object, byte));
                }
            }
            2 if !held.is_empty() => {
                let (inner, byte) = &held[rng.gen_range(0..held.len())];
                let spec = Spec {
                    nested: &[inner.id(), inner.id()],
                    ..Spec::raw(100)
                };
                let mut object = store.create(spec, &mut never).unwrap();
                object.write(0, &[*byte; 100]).unwrap();
                let outer = object.seal().unwrap();
                announced.lock().unwrap().push((outer.id(), *byte));
                held.push((outer, *byte));
            }
            3 => {
                let chosen = {
                    let announced = announced.lock().unwrap();
                    (!announced.is_empty()).then(|| announced[rng.gen_range(0..announced.len())])
                };
                let Some((id, byte)) = chosen else { continue };
                match store.resolve(id) {
                    Ok(object) => {
                        let view = object.open().unwrap();
                        assert!(view.bytes().iter().all(|b| *b == byte), "torn or reused");
                        drop(view);
                        held.push((object, byte));
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                }
            }
            4 if !held.is_empty() => {
                let object = store.create(Spec::raw(300), &mut never).unwrap();
                object.abort();
            }
            _ if !held.is_empty() => {
                held.swap_remove(rng.gen_range(0..held.len()));
            }
            _ => {}
        }
    }
}

fn scenario() {
    let store = open();
    let announced: Announced = Arc::default();
    let passes = shuttle::rand::thread_rng().gen_range(0..120);
    let victim = {
        let (peer, announced) = (join(&store, 2), announced.clone());
        thread::spawn(move || {
            victim::arm(passes);
            // While it unwinds, its membership goes as the kernel would take it: the mappings and descriptors alone.
            let lived = catch_unwind(AssertUnwindSafe(move || live(&peer, &announced)));
            victim::disarm();
            if let Err(why) = &lived {
                assert!(why.is::<victim::Killed>(), "the victim failed by itself");
            }
        })
    };
    let others: Vec<_> = (3..5)
        .map(|number| {
            let (peer, announced) = (join(&store, number), announced.clone());
            thread::spawn(move || live(&peer, &announced))
        })
        .collect();
    victim.join().unwrap();
    // It ended, killed or not: the head does what it does when a process is gone.
    store
        .participant(ParticipantId(2))
        .state
        .store(participant::DEAD, Ordering::Release);
    assert_eq!(store.recover(ParticipantId(2)), vec![]);
    store
        .participant(ParticipantId(2))
        .state
        .store(participant::FREE, Ordering::Release);
    for other in others {
        other.join().unwrap();
    }
    for number in 3..5 {
        store
            .participant(ParticipantId(number))
            .state
            .store(participant::DEAD, Ordering::Release);
        store.recover(ParticipantId(number));
    }
    let audit = store.audit(&HashMap::new());
    assert_eq!(audit.complaints, Vec::<String>::new());
    assert_eq!((audit.objects, audit.references, audit.lent), (0, 0, 0));
}

/// A process died and left warm slots. The head takes what it left back while another process, which found the table full, looks for
/// warm slots: one of the two gets each.
fn warm_slots_of_the_dead() {
    let store = open();
    let (dead, taker) = (ParticipantId(2), join(&store, 3));
    let left = join(&store, 2);
    let objects: Vec<_> = (0..40).map(|_| left.put(&[1; 100]).unwrap()).collect();
    drop(objects);
    assert!(left.stats().cached > 0);
    std::mem::forget(left);
    store
        .participant(dead)
        .state
        .store(participant::DEAD, Ordering::Release);
    let starving = thread::spawn(move || {
        taker.cool_all();
        let objects: Vec<_> = (0..40).map(|_| taker.put(&[2; 40]).unwrap()).collect();
        drop(objects);
    });
    store.recover(dead);
    starving.join().unwrap();
    let (last, taker) = (store.put(&[3; 40]).unwrap(), ParticipantId(3));
    store
        .participant(taker)
        .state
        .store(participant::DEAD, Ordering::Release);
    store.recover(taker);
    drop(last);
    assert_eq!(store.audit(&HashMap::new()).complaints, Vec::<String>::new());
}

#[test]
fn shuttle_each_warm_slot_of_the_dead_goes_to_one() {
    shuttle::check_random(warm_slots_of_the_dead, 100);
}

/// How many schedules; `PARK_SHUTTLE` asks for more.
pub(crate) fn schedules() -> usize {
    std::env::var("PARK_SHUTTLE").map_or(400, |text| text.parse().expect("PARK_SHUTTLE is a number"))
}

/// A schedule that failed, as shuttle printed it, again: `PARK_SHUTTLE_REPLAY` names the file that it is in.
#[test]
fn shuttle_store_replays_a_schedule() {
    if let Ok(path) = std::env::var("PARK_SHUTTLE_REPLAY") {
        shuttle::replay(scenario, &std::fs::read_to_string(path).unwrap());
    }
}

#[test]
fn shuttle_store_survives_random_kills() {
    shuttle::check_random(scenario, schedules());
}

#[test]
fn shuttle_store_survives_kills_under_few_preemptions() {
    shuttle::check_pct(scenario, schedules(), 3);
}
