//! Getting an object in another process: from having its id to having read its first word, and all of it.
//!
//! The child has joined the session and measures by itself; it is told an id, so the time includes counting a reference. Each sample
//! is a new object, whose memory the child has mapped since it joined.

use std::sync::Arc;
use std::time::Instant;

use park_bench::bytes::{pattern, sum, sum_of_pattern};
use park_bench::child::{Child, answer};
use park_bench::measure::{Case, Peer, Result};
use park_core::{ObjectId, Session, Store};

const SIZES: &[(&str, usize)] = &[("get 1 KB", 1 << 10), ("get 100 MB", 100_000_000)];

pub(crate) fn rows(peer: &mut Peer, session: &Session) -> Result<()> {
    for &(row, len) in SIZES {
        for part in ["first", "all"] {
            peer.row(&format!("{row}, {part}"), || looked_at(session, len, part))?;
        }
    }
    Ok(())
}

fn looked_at<'a>(session: &'a Session, len: usize, part: &'a str) -> Result<Case<'a>> {
    let bytes = pattern(len);
    let expected = match part {
        "first" => sum(&bytes[..8]),
        _ => sum_of_pattern(len),
    };
    let mut child = Child::start(&["get", session.address()])?;
    Ok(Case::reported(1.0, move || {
        let object = session.store().put(&bytes)?;
        let reply = child.ask(&format!("{part} {}", object.id()))?;
        let (seconds, found) = reply.split_once(' ').ok_or("the child told no sum")?;
        Ok((found.parse::<u64>()? == expected).then_some(seconds.parse()?))
    }))
}

/// Answers `first ID` and `all ID` with the seconds it took and the sum of the words read.
pub(crate) fn child(store: &Arc<Store>) -> Result<()> {
    answer(|line| {
        let (part, id) = line.split_once(' ').ok_or("which object?")?;
        let id: ObjectId = id.parse()?;
        let begin = Instant::now();
        let object = store.get(&store.resolve(id)?, None)?;
        let bytes = object.bytes();
        let found = sum(if part == "first" { &bytes[..8] } else { bytes });
        let seconds = begin.elapsed().as_secs_f64();
        Ok(format!("{seconds} {found}"))
    })
}
