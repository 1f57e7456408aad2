//! The victims: members that use the store the whole time, and take every error as an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use park_core::store::never;
use park_core::{
    Config, DType, ErrorKind, Object, ObjectId, ObjectRef, Result, Session, Spec, Store, TensorSpec, View,
};
use park_tests::random::Random;
use park_tests::role::say;

/// Members begin before the attack and end after it.
const LIFE: Duration = Duration::from_millis(500);
const MOMENT: Option<Duration> = Some(Duration::from_millis(2));

/// Opens the session, says its address, and is a member itself.
pub(crate) fn host(seed: &str) {
    let config = Config::default()
        .capacity(8 << 20)
        .max_objects(512)
        .full_timeout(Duration::from_millis(2))
        .native_threads(2);
    let session = Session::open(&config).expect("a session opens");
    say(session.address());
    // Native tasks are work of the head too. A name is refused only when it is taken.
    let task = session.pool().and_then(|pool| {
        pool.register("copy", |call| {
            let bytes = call.arg(0)?.bytes().to_vec();
            call.put(0, &bytes)
        })
    });
    task.expect("nobody attacks yet");
    use_it(&session, seed.parse().expect("a number"), true);
    session.close();
}

pub(crate) fn member(argument: &str, only_looks: bool) {
    let (address, seed) = argument.split_once(' ').expect("address and seed");
    let session = if only_looks {
        Session::attach_read_only(address)
    } else {
        Session::attach(address)
    };
    let session = session.expect("nobody attacks yet");
    say("joined");
    use_it(&session, seed.parse().expect("a number"), false);
}

fn use_it(session: &Session, seed: u64, tasks: bool) {
    let store = session.store();
    let mut random = Random::new(seed);
    let mut held: Vec<ObjectRef> = Vec::new();
    let mut views: Vec<Object> = Vec::new();
    let mut errors: Vec<ErrorKind> = Vec::new();
    let end = Instant::now() + LIFE;
    while Instant::now() < end {
        // Each may fail, in any way that is an error.
        match make(store, &mut random, &held) {
            Ok(made) => held.extend(made),
            Err(error) => errors.push(error.kind()),
        }
        if tasks
            && random.below(8) == 0
            && let (Some(argument), Ok(pool)) = (held.last(), session.pool())
        {
            held.extend(
                pool.submit("copy", std::slice::from_ref(argument), 1)
                    .unwrap_or_default(),
            );
        }
        match look(store, &mut random, &held) {
            Ok(view) => views.extend(view),
            Err(error) => errors.push(error.kind()),
        }
        if held.len() > 40 {
            held.swap_remove(random.below(held.len()));
        }
        if views.len() > 10 {
            views.swap_remove(random.below(views.len()));
        }
    }
    // What nobody would have met without an attack.
    let odd = errors.iter().filter(|kind| **kind == ErrorKind::Corrupt).count();
    say(&format!("corrupt {odd} of {}", errors.len()));
}

fn make(store: &Arc<Store>, random: &mut Random, held: &[ObjectRef]) -> Result<Option<ObjectRef>> {
    let len = [0, 10, 64, 65, 500, 5_000, 100_000][random.below(7)];
    Ok(Some(match random.below(6) {
        0 | 1 => store.put(&vec![random.next() as u8; len])?,
        2 => {
            let nested: Vec<ObjectId> = held.iter().take(random.below(4)).map(ObjectRef::id).collect();
            let spec = Spec {
                nested: &nested,
                ..Spec::raw(len as u64)
            };
            let mut object = store.create(spec, &mut never)?;
            object.write(0, &vec![1; len])?;
            if random.below(4) == 0 {
                object.abort();
                return Ok(None);
            }
            object.seal()?
        }
        3 => {
            let promise = store.promise(store.me())?;
            store.drop_hold(promise.id());
            if random.below(2) == 0 {
                store.fail(
                    promise.id(),
                    &park_core::Error::new(park_core::ErrorKind::TaskFailed, "on purpose"),
                )?;
            } else if let Some(object) = store.fulfil(promise.id(), Spec::raw(len as u64), &mut never)? {
                object.seal()?;
            }
            promise
        }
        4 => {
            let spec = TensorSpec::contiguous(DType::new(2, 32)?, &[3, 50], View::Numpy)?;
            store.create_tensor(&spec, &mut never)?.seal()?
        }
        // Somebody else's: ids are small numbers, and anyone may guess them.
        _ => store.resolve(ObjectId {
            session: store.session(),
            index: random.next() as u32 % 600,
            generation: random.next() as u32 % 8,
        })?,
    }))
}

fn look(store: &Arc<Store>, random: &mut Random, held: &[ObjectRef]) -> Result<Option<Object>> {
    let some: Vec<&ObjectRef> = held.iter().rev().take(3).collect();
    store.wait_some(&some, some.len(), MOMENT, &mut never)?;
    let _ = store.stats();
    let Some(reference) = held.get(random.below(held.len().max(1))) else {
        return Ok(None);
    };
    let object = store.get(reference, MOMENT)?;
    // Every byte, so that memory that is not there would show.
    let sum = object.bytes().iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    std::hint::black_box(sum);
    let _ = std::hint::black_box(object.tensor().is_ok());
    let _ = object.nested();
    Ok(Some(object))
}
