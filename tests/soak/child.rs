//! A child: does what its standard input says, one line at a time, and answers on its standard output.

use std::io::{BufRead, Write};
use std::sync::Arc;

use park_core::{ErrorKind, ObjectId, ObjectRef, Session, Spec, Store};

use crate::pattern::{Random, fill, mismatch};

/// Serves until the parent closes the pipe.
pub(crate) fn run(address: &str) {
    let session = Session::attach(address).expect("the parent's session is open");
    let store = session.store();
    let mut held: Option<ObjectRef> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("lines are text");
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["make", seed, len] => {
                let made = make(store, number(seed), number(len));
                let answer = made
                    .as_ref()
                    .map_or_else(Clone::clone, |object| format!("made {}", object.id()));
                held = made.ok();
                answer
            }
            ["drop"] => {
                held = None;
                "dropped".to_owned()
            }
            ["take", id, seed] => take(store, id, number(seed)),
            _ => format!("wrong: what is {line:?}?"),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .expect("the parent reads");
    }
    drop(held);
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// Writes an object in place, in pieces, so that a kill can strike half-way.
fn make(store: &Arc<Store>, seed: u64, len: u64) -> Result<ObjectRef, String> {
    let explain = |error: park_core::Error| match error.kind() {
        ErrorKind::StoreFull => "full".to_owned(),
        _ => format!("wrong: put of {len} bytes: {error}"),
    };
    let mut object = store
        .create(Spec::raw(len), &mut park_core::store::never)
        .map_err(explain)?;
    let mut random = Random(seed);
    let mut piece = vec![0; 1024];
    let mut at = 0;
    while at < len {
        let take = 1024.min(len - at);
        let piece = &mut piece[..usize::try_from(take).unwrap_or(0)];
        let word = random.next().to_le_bytes();
        for (byte, value) in piece.iter_mut().zip(word.iter().cycle()) {
            *byte = *value;
        }
        object.write(at, piece).map_err(explain)?;
        at += take;
    }
    object.seal().map_err(explain)
}

fn take(store: &Arc<Store>, id: &str, seed: u64) -> String {
    let id: ObjectId = id.parse().expect("an id");
    let object = match store.resolve(id).and_then(|reference| store.get(&reference, None)) {
        Ok(object) => object,
        Err(error) if error.kind() == ErrorKind::StoreFull => return "full".to_owned(),
        Err(error) => return format!("wrong: {id}: {error}"),
    };
    match mismatch(object.bytes(), seed) {
        None => format!("read {}", object.bytes().len()),
        Some(at) => format!("wrong: {id} differs at byte {at} of {}", object.bytes().len()),
    }
}

/// The pattern that `make` writes in pieces is the one that `fill` writes at once.
#[allow(
    dead_code,
    reason = "kept beside what it checks; called by the parent before it starts"
)]
pub(crate) fn self_check() {
    let mut bytes = vec![0; 5000];
    fill(&mut bytes, 7);
    assert_eq!(mismatch(&bytes, 7), None);
    assert!(mismatch(&bytes, 8).is_some());
    bytes[4999] ^= 1;
    assert_eq!(mismatch(&bytes, 7), Some(4999));
}
