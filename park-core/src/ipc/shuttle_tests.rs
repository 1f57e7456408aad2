//! Records that own references, under random schedules, with the process that sends them or the one that works on them killed.
//!
//! A sender publishes records, each of which owns what its text names. A consumer leaves the first open for as long as it lives, so that
//! it is carried along the ring, and ends the others. One of the two dies at a random fail point. Then the head does what it does: it
//! closes the ring, takes over what lies there undone, and recovers what the dead held. What a record names must be there when it is
//! read, and at the end everything must add up: no reference lost, none given back twice.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use shuttle::rand::Rng;
use shuttle::thread;

use crate::id::{ObjectId, ParticipantId};
use crate::store::Store;
use crate::store::shuttle_tests::{join, open, schedules};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::ring::{Position, PushError};
use crate::sync::{Ring, RingReader};
use crate::sys::failpoint::victim;

const CONSUMER: ParticipantId = ParticipantId(2);
const SENDER: ParticipantId = ParticipantId(3);
const RECORDS: usize = 8;
/// The ring has room for eight of them.
const LENGTH: usize = 480;
/// Looks at a full ring before a call is given up.
const TRIES: usize = 30;

fn text(names: &[ObjectId]) -> Vec<u8> {
    let mut text: Vec<u8> = names.iter().flat_map(|id| id.to_bytes()).collect();
    text.resize(LENGTH, 0);
    text
}

fn names(text: &[u8]) -> Vec<ObjectId> {
    let (ids, _) = text.as_chunks::<{ ObjectId::SIZE }>();
    ids[..3].iter().map(|id| ObjectId::from_bytes(*id)).collect()
}

/// Two arguments, one of them named twice.
fn send(store: &Arc<Store>) {
    for seed in 0..RECORDS {
        let (one, two) = (
            store.put(&[1; 100]).unwrap(),
            store.put(&vec![2; 40 * (seed + 1)]).unwrap(),
        );
        let named = [one.id(), two.id(), one.id()];
        named.iter().for_each(|id| store.hold(*id).unwrap());
        drop((one, two));
        let sent = (0..TRIES).any(|_| match store.push(CONSUMER, &text(&named), &named) {
            Ok(()) => true,
            Err(PushError::Full) => {
                thread::yield_now();
                false
            }
            Err(_) => false,
        });
        if !sent {
            named.iter().for_each(|id| store.drop_hold(*id));
        }
    }
}

fn end(store: &Arc<Store>, reader: &mut RingReader, position: Position, named: &[ObjectId]) {
    let position = reader.settle(position);
    let mark = |ring: Ring<'_>| reader.finish(ring, position);
    store.finish(store.me(), position, named, mark).unwrap();
    if reader.is_held_up(store.ring(store.me())) {
        store.carry(store.me(), reader).unwrap();
    }
}

fn consume(store: &Arc<Store>, no_more: &AtomicBool) {
    let ring = store.ring(store.me());
    let mut reader = RingReader::new(ring);
    let mut long = None;
    loop {
        let last = no_more.load(Ordering::Acquire);
        match reader.next(ring).unwrap() {
            Some((position, record)) => {
                let named = names(&record);
                assert!(
                    named.iter().all(|id| store.contains(*id)),
                    "a record names what is gone"
                );
                match &long {
                    None => long = Some((position, named)),
                    Some(_) => end(store, &mut reader, position, &named),
                }
            }
            None if last => break,
            None => thread::yield_now(),
        }
    }
    if let Some((position, named)) = long {
        end(store, &mut reader, position, &named);
    }
}

/// As `State::worker_ended`.
fn reap(store: &Arc<Store>, who: ParticipantId) {
    store.declare_dead(who);
    let undone = store.ring(who).unfinished().unwrap();
    assert_eq!(store.recover(who), vec![]);
    for record in undone {
        let named = names(&record);
        store.adopt(&named);
        assert!(
            named.iter().all(|id| store.contains(*id)),
            "what lies in the ring is gone"
        );
        named.iter().for_each(|id| store.drop_hold(*id));
    }
    store.dismiss(who);
}

/// Runs a process that may be killed.
fn play(dies_after: Option<u32>, life: impl FnOnce()) {
    if let Some(passes) = dies_after {
        victim::arm(passes);
    }
    let lived = catch_unwind(AssertUnwindSafe(life));
    victim::disarm();
    if let Err(why) = &lived {
        assert!(why.is::<victim::Killed>(), "the process failed by itself");
    }
}

fn scenario() {
    let store = open();
    let passes = shuttle::rand::thread_rng().gen_range(0..200);
    let sender_dies = shuttle::rand::thread_rng().gen_range(0..2) == 0;
    let no_more = Arc::new(AtomicBool::new(false));
    let consumer = {
        let (peer, no_more) = (join(&store, CONSUMER.0), no_more.clone());
        thread::spawn(move || play((!sender_dies).then_some(passes), move || consume(&peer, &no_more)))
    };
    let sender = {
        let peer = join(&store, SENDER.0);
        thread::spawn(move || {
            play(sender_dies.then_some(passes), move || send(&peer));
            no_more.store(true, Ordering::Release);
        })
    };
    // The dead one first: the other may wait for a lock that it left.
    let threads = if sender_dies {
        [(sender, SENDER), (consumer, CONSUMER)]
    } else {
        [(consumer, CONSUMER), (sender, SENDER)]
    };
    for (thread, who) in threads {
        thread.join().unwrap();
        reap(&store, who);
    }
    let audit = store.audit(&HashMap::new());
    assert_eq!(audit.complaints, Vec::<String>::new());
    assert_eq!((audit.objects, audit.references, audit.lent), (0, 0, 0));
}

#[test]
fn shuttle_records_own_what_they_name() {
    shuttle::check_random(scenario, schedules());
}

#[test]
fn shuttle_records_own_what_they_name_under_few_preemptions() {
    shuttle::check_pct(scenario, schedules(), 3);
}
