//! Native actors: state, order with arguments that are late, death by panic, and the end of the thread.

use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::error::bail;
use crate::store::{Spec, never};

const LONG: Option<Duration> = Some(Duration::from_secs(30));

/// Remembers the bytes it was given, in order.
struct Log {
    seen: Vec<u8>,
    dropped: mpsc::Sender<Vec<u8>>,
}

impl NativeActor for Log {
    fn call(&mut self, method: &str, call: &mut NativeCall<'_>) -> Result<()> {
        match method {
            "add" => {
                for argument in call.args() {
                    self.seen.extend_from_slice(argument.bytes());
                }
                (0..call.returns()).try_for_each(|index| call.put(index, &self.seen))
            }
            "panic" => panic!("enough"),
            _ => bail!(NotFound, "no method `{method}`"),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The receiver of a test that does not care is gone.
        let _ = self.dropped.send(self.seen.clone());
    }
}

fn spawn() -> (Arc<Store>, NativePool, NativeActorHandle, mpsc::Receiver<Vec<u8>>) {
    let config = Config::default().capacity(1 << 20).max_objects(4096);
    let store = Arc::new(Store::open(&config, 7).unwrap());
    let pool = NativePool::start(&store, 1).unwrap();
    let (dropped, receiver) = mpsc::channel();
    let actor = NativeActorHandle::spawn(
        &pool,
        "log",
        Box::new(Log {
            seen: Vec::new(),
            dropped,
        }),
    )
    .unwrap();
    (store, pool, actor, receiver)
}

fn fulfil(store: &Arc<Store>, promised: &ObjectRef, bytes: &[u8]) {
    let mut object = store
        .fulfil(promised.id(), Spec::raw(bytes.len() as u64), &mut never)
        .unwrap()
        .unwrap();
    object.write(0, bytes).unwrap();
    object.seal().unwrap();
    store.drop_hold(promised.id());
}

#[test]
fn state_lasts_and_errors_do_not_kill() {
    let (store, _pool, actor, _) = spawn();
    let one = store.put(b"a").unwrap();
    actor.call("add", std::slice::from_ref(&one), 0).unwrap();
    let both = actor.call("add", &[one], 2).unwrap();
    assert_eq!(store.get(&both[1], LONG).unwrap().bytes(), b"aa");
    let wrong = actor.call("sub", &[], 1).unwrap();
    let error = store.get(&wrong[0], LONG).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::TaskFailed,
            "method `sub` of actor `log` failed: NotFound: no method `sub`"
        )
    );
    assert_eq!(
        store.get(&actor.call("add", &[], 1).unwrap()[0], LONG).unwrap().bytes(),
        b"aa"
    );
}

#[test]
fn a_callers_order_holds_when_arguments_are_late_and_other_callers_pass() {
    let (store, _pool, actor, _) = spawn();
    let (first, second) = (store.promise(store.me()).unwrap(), store.promise(store.me()).unwrap());
    actor.call("add", std::slice::from_ref(&first), 0).unwrap();
    actor.call("add", &[store.put(b"2").unwrap()], 0).unwrap();
    actor.call("add", std::slice::from_ref(&second), 0).unwrap();
    let last = actor.call("add", &[store.put(b"4").unwrap()], 1).unwrap().remove(0);
    // Another caller is not held up.
    let other = actor.clone();
    let passed = other.call("add", &[store.put(b"0").unwrap()], 1).unwrap().remove(0);
    assert_eq!(store.get(&passed, LONG).unwrap().bytes(), b"0");
    fulfil(&store, &second, b"3");
    assert!(!last.is_sealed());
    fulfil(&store, &first, b"1");
    assert_eq!(store.get(&last, LONG).unwrap().bytes(), b"01234");
}

#[test]
fn a_panic_is_the_end() {
    let (store, _pool, actor, dropped) = spawn();
    let promised = store.promise(store.me()).unwrap();
    let other = actor.clone();
    let late = other.call("add", std::slice::from_ref(&promised), 1).unwrap().remove(0);
    let panicked = actor.call("panic", &[], 1).unwrap().remove(0);
    let after = actor.call("add", &[], 1).unwrap().remove(0);
    for (reference, wait) in [(&panicked, false), (&after, false), (&late, true)] {
        if wait {
            fulfil(&store, &promised, b"1");
        }
        let error = store.get(reference, LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ActorDied);
        assert!(error.message().contains("method `panic`: enough"), "{error}");
    }
    dropped.recv_timeout(Duration::from_secs(30)).unwrap();
}

#[test]
fn the_last_handle_ends_it_after_what_was_asked() {
    let (store, _pool, actor, dropped) = spawn();
    let promised = store.promise(store.me()).unwrap();
    actor.call("add", std::slice::from_ref(&promised), 0).unwrap();
    actor.call("add", &[store.put(b"2").unwrap()], 0).unwrap();
    drop(actor);
    assert!(
        dropped.recv_timeout(Duration::from_millis(50)).is_err(),
        "ended with a call still waiting"
    );
    fulfil(&store, &promised, b"1");
    assert_eq!(dropped.recv_timeout(Duration::from_secs(30)).unwrap(), b"12");
    drop(promised);
}

#[test]
fn a_closed_pool_fails_calls_that_wait() {
    let (store, pool, actor, dropped) = spawn();
    let promised = store.promise(store.me()).unwrap();
    let late = actor.call("add", std::slice::from_ref(&promised), 1).unwrap().remove(0);
    pool.shutdown();
    assert_eq!(store.get(&late, LONG).unwrap_err().kind(), ErrorKind::SessionClosed);
    store.close();
    assert_eq!(actor.call("add", &[], 1).unwrap_err().kind(), ErrorKind::SessionClosed);
    drop(actor);
    dropped.recv_timeout(Duration::from_secs(30)).unwrap();
}
