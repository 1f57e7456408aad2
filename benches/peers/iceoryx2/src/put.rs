//! Sending samples to a subscriber in the same process: small ones by their number, large ones by their bytes, beside a warm copy.

use std::hint::black_box;
use std::rc::Rc;

use crate::bytes::{pattern, stamp, stamped};
use crate::measure::{Case, Peer, Result};
use crate::port;

const SMALL: &[(&str, usize)] = &[
    ("create 64 B", 64),
    ("create 1 KB", 1 << 10),
    ("create 64 KB", 64 << 10),
];
const LARGE: &[(&str, usize)] = &[
    ("put 1 MB", 1_000_000),
    ("put 10 MB", 10_000_000),
    ("put 100 MB", 100_000_000),
];
const COUNT: u64 = 2_000;

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    for &(row, len) in SMALL {
        peer.row(row, || small(len))?;
    }
    for &(row, len) in LARGE {
        peer.row(row, || large(len))?;
    }
    Ok(())
}

/// A publisher and a subscriber of one service in one process.
#[derive(Debug)]
pub(crate) struct Pair {
    sender: port::Sender,
    receiver: port::Receiver,
}

impl Pair {
    pub(crate) fn new(len: usize) -> Result<Self> {
        let service = port::service(&port::node()?, &port::fresh_name())?;
        Ok(Self {
            receiver: port::receiver(&service)?,
            sender: port::sender(&service, len)?,
        })
    }

    /// Loan, write, send, receive.
    pub(crate) fn pass(&self, bytes: &[u8]) -> Result<port::Bytes> {
        port::send(&self.sender, black_box(bytes))?;
        port::receive(&self.receiver)
    }

    /// Passes `count` samples one after another, each given back before the next is received; returns the last.
    pub(crate) fn cycle(&self, source: &mut [u8], from: u64, count: u64) -> Result<port::Bytes> {
        for number in from..from + count - 1 {
            stamp(source, number);
            drop(self.pass(source)?);
        }
        stamp(source, from + count - 1);
        self.pass(source)
    }
}

fn small<'a>(len: usize) -> Result<Case<'a>> {
    let pair = Pair::new(len)?;
    let mut source = pattern(len);
    let mut number = 0;
    Ok(Case::timed(
        COUNT as f64,
        move || {
            let last = pair.cycle(&mut source, number, COUNT)?;
            number += COUNT;
            Ok((last, number - 1))
        },
        move |(last, number)| Ok(last.payload() == stamped(len, *number)),
    ))
}

fn large<'a>(len: usize) -> Result<Case<'a>> {
    let pair = Pair::new(len)?;
    let source = Rc::new(pattern(len));
    let mut copy = source.to_vec();
    let (put, right) = (source.clone(), source.clone());
    Ok(Case::timed(
        len as f64 / 1e9,
        move || pair.pass(&put),
        move |sample| Ok(sample.payload() == right.as_slice()),
    )
    .beside(move || black_box(&mut copy).copy_from_slice(black_box(&source))))
}
