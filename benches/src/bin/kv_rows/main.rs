//! The peer park-rust of the KV bench (`make bench-kv`): the rows of `benches/peers/kv_rows.py` on `park_core::kv`.
//!
//! Each answer is checked outside of the timed part. Blocks hold 16 tokens, the pool 32,768 blocks unless a row says otherwise.
//! `growth` and `replay` have rows of many points; `kv_report.py` draws them.

mod blocks;
mod growth;
mod hash;
mod memory;
mod replay;
mod steps;

use park_bench::measure::{Peer, Result};
use park_core::kv::{Cache, CacheConfig, Changes, Namespace, SequenceId, TenantId};

/// Tokens of a block.
pub(crate) const BLOCK: u32 = 16;
/// Blocks of the pool, the null block included.
pub(crate) const POOL: u32 = 32_768;
/// Tokens and blocks of the long prompt.
pub(crate) const PROMPT: u32 = 131_072;
pub(crate) const BLOCKS: u32 = PROMPT / BLOCK;

fn main() -> Result<()> {
    let mut peer = Peer::from_arguments("park-rust", env!("CARGO_PKG_VERSION"))?;
    hash::rows(&mut peer)?;
    blocks::rows(&mut peer)?;
    steps::rows(&mut peer)?;
    memory::rows(&mut peer)?;
    growth::rows(&mut peer)?;
    replay::rows(&mut peer)?;
    peer.write()
}

/// `count` tokens of a vocabulary of 2^17; other seeds give others.
pub(crate) fn tokens(seed: u32, count: u32) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state >> 15
        })
        .collect()
}

pub(crate) fn cache(blocks: u32) -> Result<Cache> {
    Ok(Cache::new(CacheConfig {
        blocks,
        block_size: BLOCK,
        ..CacheConfig::default()
    })?)
}

pub(crate) fn add(cache: &mut Cache, tokens: &[u32]) -> Result<SequenceId> {
    Ok(cache.add(TenantId::default(), &Namespace::default(), tokens, &[])?)
}

/// Room for all known tokens of a sequence, all of which are computed then.
pub(crate) fn compute(cache: &mut Cache, id: SequenceId, changes: &mut Changes) -> Result<()> {
    let known = cache.known(id)?;
    changes.clear();
    if !cache.grow(id, known, changes)? {
        return Err(format!("no blocks for {known} tokens").into());
    }
    Ok(cache.advance(id, known)?)
}
