//! What a block costs in memory, by what the process holds: the pool's own account of itself is held against it.

use std::fs::read_to_string;

use park_bench::measure::{Peer, Result};
use park_core::kv::Changes;

use crate::{BLOCK, add, cache, compute, tokens};

const BLOCKS: u32 = 1 << 20;
/// Sequences that fill the pool, one after the other, so that little besides it is in memory.
const SEQUENCES: u32 = 256;
const PAGE: usize = 4096;

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    peer.single("memory per block", resident_per_block)
}

/// Bytes for each block of a pool of 2^20, all of them cached: the growth of the process's resident memory.
fn resident_per_block() -> Result<f64> {
    let mut changes = Changes::default();
    // What the first sequence needs besides the pool is there before.
    let warm = |changes: &mut Changes| -> Result<()> {
        let mut small = cache(BLOCKS / SEQUENCES + 2)?;
        let id = add(&mut small, &tokens(1, BLOCKS / SEQUENCES * BLOCK))?;
        compute(&mut small, id, changes)
    };
    warm(&mut changes)?;
    let before = resident()?;
    let mut cache = cache(BLOCKS + 1)?;
    for seed in 0..SEQUENCES {
        let id = add(&mut cache, &tokens(seed, BLOCKS / SEQUENCES * BLOCK))?;
        compute(&mut cache, id, &mut changes)?;
        cache.finish(id)?;
    }
    let held = (resident()? - before) as f64 / f64::from(BLOCKS);
    let told = cache.pool().bytes_per_block() as f64;
    // What nobody ever wrote to is told and not held; what sequences left behind is held and not told, but little.
    if cache.pool().cached_blocks() != BLOCKS || held > told + 4.0 || held < 0.75 * told {
        return Err(format!("a block takes {held} bytes of memory, and {told} are told").into());
    }
    Ok(held)
}

fn resident() -> Result<usize> {
    let statm = read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("statm has no second number")?;
    Ok(pages.parse::<usize>()? * PAGE)
}
