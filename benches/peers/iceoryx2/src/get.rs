//! Receiving a sample in another process: from being told that it was sent to having read its first word, and all of it.

use std::time::Instant;

use crate::bytes::{pattern, sum, sum_of_pattern};
use crate::child::{Child, answer};
use crate::measure::{Case, Peer, Result};
use crate::port;

const SIZES: &[(&str, usize)] = &[("get 1 KB", 1 << 10), ("get 100 MB", 100_000_000)];

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    for &(row, len) in SIZES {
        for part in ["first", "all"] {
            peer.row(&format!("{row}, {part}"), || looked_at(len, part))?;
        }
    }
    Ok(())
}

fn looked_at(len: usize, part: &str) -> Result<Case<'_>> {
    let bytes = pattern(len);
    let expected = match part {
        "first" => sum(&bytes[..8]),
        _ => sum_of_pattern(len),
    };
    let name = port::fresh_name();
    let sender = port::sender(&port::service(&port::node()?, &name)?, len)?;
    let mut child = Child::start(&["get", &name])?;
    Ok(Case::reported(1.0, move || {
        port::send(&sender, &bytes)?;
        let reply = child.ask(part)?;
        let (seconds, found) = reply.split_once(' ').ok_or("the child told no sum")?;
        Ok((found.parse::<u64>()? == expected).then_some(seconds.parse()?))
    }))
}

/// Answers `first` and `all` with the seconds it took and the sum of the words read.
pub(crate) fn child(name: &str) -> Result<()> {
    let receiver = port::receiver(&port::service(&port::node()?, name)?)?;
    answer(|part| {
        let begin = Instant::now();
        let sample = port::receive(&receiver)?;
        let bytes = sample.payload();
        let found = sum(if part == "first" { &bytes[..8] } else { bytes });
        let seconds = begin.elapsed().as_secs_f64();
        Ok(format!("{seconds} {found}"))
    })
}
