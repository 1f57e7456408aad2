//! Putting objects from one process: small ones by their number, large ones by their bytes, beside a warm copy of the same bytes.

use std::hint::black_box;
use std::sync::Arc;

use park_bench::bytes::{pattern, stamp, stamped};
use park_bench::measure::{Case, Peer, Result};
use park_core::store::never;
use park_core::{ObjectRef, Spec, Store};

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
/// A write of this size stays on the calling thread, and is long enough to pass by the caches as one of the whole object would.
const PIECE: usize = 15 << 20;

pub(crate) fn rows(peer: &mut Peer, store: &Arc<Store>) -> Result<()> {
    for &(row, len) in SMALL {
        peer.row(row, || Ok(small(store, len)))?;
    }
    for &(row, len) in LARGE {
        peer.row(row, || Ok(large(store, len, len)))?;
    }
    peer.row("put 100 MB, one thread", || Ok(large(store, 100_000_000, PIECE)))
}

/// Create, write, seal and release objects one after another; the last one is looked at.
fn small(store: &Arc<Store>, len: usize) -> Case<'_> {
    let mut source = pattern(len);
    let mut number = 0;
    Case::timed(
        COUNT as f64,
        move || {
            let mut last = None;
            for _ in 0..COUNT {
                number += 1;
                last = Some(once(store, &mut source, number)?);
            }
            Ok((last, number))
        },
        move |(last, number)| {
            let last = last.as_ref().ok_or("nothing was created")?;
            Ok(store.get(last, None)?.bytes() == stamped(len, *number))
        },
    )
}

/// One object with `number` in its first word.
pub(crate) fn once(store: &Arc<Store>, source: &mut [u8], number: u64) -> Result<ObjectRef> {
    stamp(source, number);
    let mut object = store.create(Spec::raw(source.len() as u64), &mut never)?;
    object.write(0, black_box(source))?;
    Ok(object.seal()?)
}

/// Put one object, written in pieces of at most `piece` bytes.
fn large(store: &Arc<Store>, len: usize, piece: usize) -> Case<'_> {
    let source = Arc::new(pattern(len));
    let mut copy = source.to_vec();
    let (put, right) = (source.clone(), source.clone());
    Case::timed(
        len as f64 / 1e9,
        move || {
            let mut object = store.create(Spec::raw(len as u64), &mut never)?;
            for (number, bytes) in put.chunks(piece).enumerate() {
                object.write((number * piece) as u64, black_box(bytes))?;
            }
            Ok(object.seal()?)
        },
        move |object| Ok(store.get(object, None)?.bytes() == *right),
    )
    .beside(move || black_box(&mut copy).copy_from_slice(black_box(&source)))
}
