//! The pool from outside: results, failures of every kind, waiting arguments, and shutdown from awkward places.

use std::sync::Arc;

use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::store::{DType, ObjectRef, Spec, Store, TensorSpec, View};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const LONG: Option<Duration> = Some(Duration::from_secs(30));

fn store() -> Arc<Store> {
    let config = Config::default()
        .capacity(8 << 20)
        .max_objects(1 << 14)
        .full_timeout(Duration::from_millis(20));
    Arc::new(Store::open(&config, 7).unwrap())
}

fn pool(threads: usize) -> (Arc<Store>, NativePool) {
    let store = store();
    let pool = NativePool::start(&store, threads).unwrap();
    pool.register("double", |call| {
        let bytes: Vec<u8> = call.arg(0)?.bytes().iter().map(|byte| byte.wrapping_mul(2)).collect();
        call.put(0, &bytes)
    })
    .unwrap();
    (store, pool)
}

fn bytes(reference: &ObjectRef) -> Vec<u8> {
    reference.store().get(reference, LONG).unwrap().bytes().to_vec()
}

fn error(reference: &ObjectRef) -> Error {
    reference.store().get(reference, LONG).unwrap_err()
}

#[test]
fn calls_return_and_nothing_is_left_behind() {
    let (store, pool) = pool(3);
    for round in 0..20u8 {
        let argument = store.put(&[round; 200]).unwrap();
        let returns: Vec<_> = (0..50)
            .map(|_| pool.submit("double", std::slice::from_ref(&argument), 1).unwrap())
            .collect();
        drop(argument);
        for [result] in returns
            .iter()
            .map(|returns| <&[ObjectRef; 1]>::try_from(returns.as_slice()).unwrap())
        {
            assert_eq!(bytes(result), [round * 2; 200]);
        }
    }
    pool.shutdown();
    assert_eq!((store.stats().objects, store.references_held()), (0, 0));
}

#[test]
fn a_chain_of_results_runs_without_waiting_in_between() {
    let (store, pool) = pool(1);
    let mut last = store.put(&[1]).unwrap();
    for _ in 0..300 {
        last = pool.submit("double", &[last], 1).unwrap().remove(0);
    }
    assert_eq!(bytes(&last), [0]);
}

#[test]
fn a_call_without_its_argument_occupies_no_thread() {
    let (store, pool) = pool(1);
    let promised = store.promise(store.me()).unwrap();
    let blocked = pool
        .submit("double", std::slice::from_ref(&promised), 1)
        .unwrap()
        .remove(0);
    let ready = store.put(&[4]).unwrap();
    let free = pool.submit("double", &[ready], 1).unwrap().remove(0);
    assert_eq!(bytes(&free), [8]);
    assert!(!blocked.is_sealed());
    let mut object = store
        .fulfil(promised.id(), Spec::raw(1), &mut crate::store::never)
        .unwrap()
        .unwrap();
    object.write(0, &[21]).unwrap();
    object.seal().unwrap();
    store.drop_hold(promised.id());
    assert_eq!(bytes(&blocked), [42]);
}

#[test]
fn failures_of_every_kind_reach_the_reader() {
    let (store, pool) = pool(2);
    pool.register("err", |_| Err(Error::new(ErrorKind::Timeout, "inner")))
        .unwrap();
    pool.register("panic", |_| panic!("at the disco")).unwrap();
    pool.register("half", |call| call.put(1, b"one")).unwrap();
    pool.register("aborts", |call| {
        call.create(0, Spec::raw(1000))?.abort();
        Ok(())
    })
    .unwrap();
    pool.register("fails one", |call| {
        call.fail(0, &Error::new(ErrorKind::NotFound, "no such row"))?;
        assert_eq!(
            call.fail(0, &Error::new(ErrorKind::NotFound, "again"))
                .unwrap_err()
                .kind(),
            ErrorKind::AlreadyExists
        );
        assert_eq!(call.put(0, b"again").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(call.put(2, b"").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(call.arg(0).unwrap_err().kind(), ErrorKind::InvalidArgument);
        call.put(1, b"fine")
    })
    .unwrap();

    let failed = error(&pool.submit("err", &[], 1).unwrap()[0]);
    assert_eq!(
        (failed.kind(), failed.message()),
        (ErrorKind::TaskFailed, "task `err` failed: Timeout: inner")
    );
    let panicked = error(&pool.submit("panic", &[], 1).unwrap()[0]);
    assert_eq!(
        (panicked.kind(), panicked.message()),
        (ErrorKind::TaskFailed, "task `panic` panicked: at the disco")
    );

    let half = pool.submit("half", &[], 3).unwrap();
    assert_eq!(bytes(&half[1]), b"one");
    let missing = error(&half[2]);
    assert_eq!(missing.kind(), ErrorKind::TaskFailed);
    assert!(
        missing.message().contains("ended without writing return 0, 2 of 3"),
        "{missing}"
    );
    assert_eq!(
        error(&pool.submit("aborts", &[], 1).unwrap()[0]).kind(),
        ErrorKind::TaskFailed
    );

    let one = pool.submit("fails one", &[], 2).unwrap();
    assert_eq!(
        (error(&one[0]).kind(), bytes(&one[1])),
        (ErrorKind::NotFound, b"fine".to_vec())
    );

    // An argument that is an error is the call's error, as it was.
    let poisoned = pool.submit("double", &one[..1], 1).unwrap();
    assert_eq!(error(&poisoned[0]).message(), "no such row");

    assert_eq!(pool.submit("nobody", &[], 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        pool.submit("double", &[], 1 << 20).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        pool.register("double", |_| Ok(())).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        pool.register("", |_| Ok(())).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    let foreign = Arc::new(Store::open(&Config::default().capacity(1 << 20), 8).unwrap());
    let argument = foreign.put(b"x").unwrap();
    assert_eq!(
        pool.submit("double", &[argument], 1).unwrap_err().kind(),
        ErrorKind::ForeignSession
    );
    assert_eq!(
        bytes(&pool.submit("double", &[store.put(&[3]).unwrap()], 1).unwrap()[0]),
        [6]
    );
}

#[test]
fn a_tensor_is_returned_in_place() {
    let (store, pool) = pool(1);
    pool.register("ramp", |call| {
        let spec = TensorSpec::contiguous(DType::new(2, 32)?, &[8], View::Torch)?;
        let mut object = call.create_tensor(0, &spec)?;
        for at in 0..8u8 {
            object.write(192 + u64::from(at) * 4, &f32::from(at).to_le_bytes())?;
        }
        object.seal()?;
        Ok(())
    })
    .unwrap();
    let ramp = pool.submit("ramp", &[], 1).unwrap().remove(0);
    let view = store.get(&ramp, LONG).unwrap();
    let (spec, elements) = view.tensor().unwrap();
    assert_eq!((spec.shape.as_slice(), spec.view), (&[8][..], View::Torch));
    assert_eq!(elements[28..], 7f32.to_le_bytes());
}

#[test]
fn a_return_may_be_sealed_after_the_call_but_not_forgotten() {
    let (_store, pool) = pool(1);
    let (send, receive) = mpsc::channel();
    pool.register("later", move |call| {
        for index in 0..2 {
            send.send(call.create(index, Spec::raw(100))?)
                .map_err(|_| Error::new(ErrorKind::Internal, "nobody listens"))?;
        }
        Ok(())
    })
    .unwrap();
    pool.register("after", |call| call.put(0, b"")).unwrap();
    let late = pool.submit("later", &[], 2).unwrap();
    // One thread: once the second call has run, the first has ended.
    bytes(&pool.submit("after", &[], 1).unwrap()[0]);
    let (mut kept, dropped) = (receive.recv().unwrap(), receive.recv().unwrap());
    assert!(!late[0].is_sealed() && !late[1].is_sealed());
    kept.write(0, &[7; 100]).unwrap();
    kept.seal().unwrap();
    drop(dropped);
    assert_eq!(bytes(&late[0]), [7; 100]);
    let given_up = error(&late[1]);
    assert!(
        given_up.kind() == ErrorKind::TaskFailed && given_up.message().contains("given up"),
        "{given_up}"
    );
}

#[test]
fn functions_submit_functions() {
    let store = store();
    let pool = Arc::new(NativePool::start(&store, 2).unwrap());
    let (weak, count) = (Arc::downgrade(&pool), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    pool.register("split", move |call| {
        counted.fetch_add(1, Ordering::Relaxed);
        let depth = call.arg(0)?.bytes()[0];
        if let Some(pool) = weak.upgrade().filter(|_| depth > 0) {
            let less = call.store().put(&[depth - 1])?;
            for _ in 0..2 {
                pool.submit("split", std::slice::from_ref(&less), 0)?;
            }
        }
        Ok(())
    })
    .unwrap();
    pool.submit("split", &[store.put(&[6]).unwrap()], 0).unwrap();
    while count.load(Ordering::Relaxed) < 127 {
        std::thread::yield_now();
    }
}

#[test]
fn shutdown_fails_what_has_not_begun_and_joins_the_rest() {
    let (store, pool) = pool(1);
    let (send, started) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    let (end, gate) = (ended.clone(), store.promise(store.me()).unwrap());
    let awaited = gate.clone();
    pool.register("slow", move |call| {
        send.send(())
            .map_err(|_| Error::new(ErrorKind::Internal, "nobody listens"))?;
        // Blocked on what only shutdown can settle: a call queued behind this one.
        let _ = call.store().get(&awaited, LONG);
        end.store(true, Ordering::SeqCst);
        call.put(0, b"done")
    })
    .unwrap();
    let running = pool.submit("slow", &[], 1).unwrap().remove(0);
    started.recv().unwrap();
    let queued: Vec<_> = (0..20)
        .map(|_| pool.submit("slow", &[], 1).unwrap().remove(0))
        .collect();
    let never = store.promise(store.me()).unwrap();
    let waiting = pool
        .submit("double", std::slice::from_ref(&never), 1)
        .unwrap()
        .remove(0);
    std::thread::scope(|scope| {
        scope.spawn(|| pool.shutdown());
        assert_eq!(error(&waiting).kind(), ErrorKind::SessionClosed);
        for queued in &queued {
            assert_eq!(error(queued).kind(), ErrorKind::SessionClosed);
        }
        assert!(!ended.load(Ordering::SeqCst));
        store.fail(gate.id(), &Error::new(ErrorKind::NotFound, "")).unwrap();
    });
    assert!(
        ended.load(Ordering::SeqCst),
        "shutdown returned before the running call had ended"
    );
    assert_eq!(bytes(&running), b"done");
    assert_eq!(
        pool.submit("double", &[], 1).unwrap_err().kind(),
        ErrorKind::SessionClosed
    );
    assert_eq!(
        pool.register("new", |_| Ok(())).unwrap_err().kind(),
        ErrorKind::SessionClosed
    );
    pool.shutdown();
}

#[test]
fn the_last_handle_may_be_dropped_by_a_call() {
    let store = store();
    let pool = Arc::new(NativePool::start(&store, 2).unwrap());
    let slot = Arc::new(parking_lot::Mutex::new(Some(pool.clone())));
    let taken = slot.clone();
    pool.register("drop me", move |call| {
        drop(taken.lock().take());
        call.put(0, b"survived")
    })
    .unwrap();
    let mut pool = Some(pool);
    let guard = slot.lock();
    let result = pool.as_ref().unwrap().submit("drop me", &[], 1).unwrap().remove(0);
    // The call waits for the lock, so the handle it takes is the last one.
    drop(pool.take());
    drop(guard);
    assert_eq!(bytes(&result), b"survived");
}

#[test]
fn racing_submissions_and_shutdown_lose_no_call() {
    for _ in 0..30 {
        let (store, pool) = pool(2);
        let argument = store.put(&[5]).unwrap();
        std::thread::scope(|scope| {
            let submitters: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let submit = || pool.submit("double", std::slice::from_ref(&argument), 1);
                        std::iter::from_fn(|| submit().ok()).take(200).collect::<Vec<_>>()
                    })
                })
                .collect();
            std::thread::yield_now();
            pool.shutdown();
            for returns in submitters.into_iter().flat_map(|thread| thread.join().unwrap()) {
                match store.get(&returns[0], LONG) {
                    Ok(view) => assert_eq!(view.bytes(), [10]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::SessionClosed),
                }
            }
        });
        drop(argument);
        drop(pool);
        assert_eq!((store.stats().objects, store.references_held()), (0, 0));
    }
}
