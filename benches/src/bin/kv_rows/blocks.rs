//! Blocks of one long prompt: taken, registered, found, given back.

use std::time::Instant;

use park_bench::measure::{Case, Peer, Result};
use park_core::kv::{BlockId, Cache, Changes, Eviction, Pool, PoolConfig, SequenceId, TenantId};

use crate::{BLOCKS, POOL, PROMPT, add, cache, compute, tokens};

/// Pairs of calls that one sample of a short row times.
const REPEATED: u32 = 10;
/// Blocks of the short row.
const SOME: u32 = 1_000;
/// The tree that a look-up goes through: nodes, and tokens of each.
const NODES: u32 = 64;
const NODE: u32 = 512;

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    peer.row("allocate and register 8,192 blocks", || allocate(POOL, false))?;
    peer.row("allocate and register 8,192 blocks, evicting", || allocate(POOL, true))?;
    peer.row("match 8,192 blocks in use", || matched(POOL, true))?;
    peer.row("match 8,192 blocks, cached", || matched(POOL, false))?;
    peer.row("match 32,768 tokens over 64 nodes", || nodes(false))?;
    peer.row("hash and match 32,768 tokens over 64 nodes", || nodes(true))?;
    peer.row("free 8,192 blocks", || free(false))?;
    peer.row("free 8,192 blocks, shared", || free(true))?;
    peer.row("get and free 1,000 blocks", || get_and_free(POOL))?;
    Ok(())
}

/// Blocks for a prompt that nothing is cached of, and their keys in the index.
pub(crate) fn allocate(blocks: u32, evicting: bool) -> Result<Case<'static>> {
    let mut cache = cache(blocks)?;
    let mut changes = Changes::default();
    let mut seed = 1;
    if evicting {
        while cache.pool().cached_blocks() + BLOCKS < blocks {
            seed += 1;
            let id = add(&mut cache, &tokens(seed, PROMPT))?;
            compute(&mut cache, id, &mut changes)?;
            cache.finish(id)?;
        }
        // From here on each prompt takes the place of an older one.
        let rest = blocks - 1 - cache.pool().cached_blocks();
        if rest > 0 {
            let id = add(&mut cache, &tokens(seed + 1, rest * crate::BLOCK))?;
            compute(&mut cache, id, &mut changes)?;
            cache.finish(id)?;
        }
        seed += 1;
    }
    Ok(Case::reported(1.0, move || {
        seed += u32::from(evicting);
        let id = add(&mut cache, &tokens(seed, PROMPT))?;
        let (evicted, cached) = (cache.pool_stats().evicted, cache.pool().cached_blocks());
        let begin = Instant::now();
        compute(&mut cache, id, &mut changes)?;
        let seconds = begin.elapsed().as_secs_f64();
        let evicted = cache.pool_stats().evicted - evicted;
        let good = cache.positions(id)? == BLOCKS
            && changes.placed.len() == BLOCKS as usize
            && match evicting {
                true => evicted == u64::from(BLOCKS) && cache.pool().cached_blocks() == cached,
                false => evicted == 0 && cache.pool().cached_blocks() == BLOCKS,
            };
        cache.finish(id)?;
        if !evicting {
            cache.reset();
        }
        Ok(good.then_some(seconds))
    }))
}

/// A prompt and a few tokens more, beside a sequence that has computed that prompt, or after it.
fn with_prompt(blocks: u32, in_use: bool) -> Result<(Cache, SequenceId, SequenceId)> {
    let mut cache = cache(blocks)?;
    let mut prompt = tokens(1, PROMPT);
    let first = add(&mut cache, &prompt)?;
    compute(&mut cache, first, &mut Changes::default())?;
    if !in_use {
        cache.finish(first)?;
    }
    prompt.extend([1, 2, 3]);
    let second = add(&mut cache, &prompt)?;
    Ok((cache, first, second))
}

pub(crate) fn matched(blocks: u32, in_use: bool) -> Result<Case<'static>> {
    let (cache, _, id) = with_prompt(blocks, in_use)?;
    Ok(Case::timed(
        1.0,
        move || Ok(cache.lookup(id, u32::MAX)?),
        move |hit| Ok(hit.tokens == PROMPT && hit.free == if in_use { 0 } else { BLOCKS }),
    ))
}

/// The same in a pool that is full of other sequences' blocks, the prompt's own lying in pieces of 64 anywhere.
pub(crate) fn spread(blocks: u32) -> Result<Case<'static>> {
    const PIECE: u32 = 64;
    let (mut cache, mut changes) = (cache(blocks)?, Changes::default());
    let mut fill = |cache: &mut Cache, seed: u32| -> Result<SequenceId> {
        let id = add(cache, &tokens(seed, PIECE * crate::BLOCK))?;
        compute(cache, id, &mut changes)?;
        Ok(id)
    };
    let pieces = (blocks - 1) / PIECE;
    let mut ids = Vec::new();
    for seed in 0..pieces {
        ids.push(fill(&mut cache, 10 + seed)?);
    }
    // They end in another order than they began in, and that is the order in which their blocks are taken.
    let mut order: Vec<usize> = (0..ids.len()).collect();
    for at in (1..order.len()).rev() {
        let other = (at as u32).wrapping_mul(0x9e37_79b9) as usize % (at + 1);
        order.swap(at, other);
    }
    for at in order {
        cache.finish(ids[at])?;
    }
    let mut prompt = tokens(1, PROMPT);
    let first = add(&mut cache, &prompt)?;
    compute(&mut cache, first, &mut Changes::default())?;
    prompt.extend([1, 2, 3]);
    let id = add(&mut cache, &prompt)?;
    Ok(Case::timed(
        1.0,
        move || Ok(cache.lookup(id, u32::MAX)?),
        |hit| Ok(hit.tokens == PROMPT && hit.free == 0),
    ))
}

/// The longest of 64 prompts, each of which goes on from the one before: in a radix tree, a path of 64 nodes.
fn nodes(hash: bool) -> Result<Case<'static>> {
    let mut cache = cache(POOL)?;
    let path = tokens(1, NODES * NODE);
    for node in 1..=NODES {
        let mut prompt = path[..(node * NODE) as usize].to_vec();
        prompt.extend(tokens(1000 + node, 64));
        let id = add(&mut cache, &prompt)?;
        let hit = cache.lookup(id, u32::MAX)?;
        cache.attach(id, &hit)?;
        compute(&mut cache, id, &mut Changes::default())?;
        cache.finish(id)?;
    }
    let mut prompt = path;
    prompt.extend([1, 2, 3]);
    let known = add(&mut cache, &prompt)?;
    Ok(Case::reported(1.0, move || {
        let begin = Instant::now();
        let id = if hash { add(&mut cache, &prompt)? } else { known };
        let hit = cache.lookup(id, u32::MAX)?;
        let seconds = begin.elapsed().as_secs_f64();
        if hash {
            cache.finish(id)?;
        }
        Ok((hit.tokens == NODES * NODE).then_some(seconds))
    }))
}

fn free(shared: bool) -> Result<Case<'static>> {
    let (mut cache, mut first, second) = with_prompt(POOL, true)?;
    if !shared {
        cache.finish(second)?;
    }
    let prompt = tokens(1, PROMPT);
    let mut second = second;
    let mut more = prompt.clone();
    more.extend([1, 2, 3]);
    let mut changes = Changes::default();
    Ok(Case::reported(1.0, move || {
        if shared {
            let hit = cache.lookup(second, u32::MAX)?;
            cache.attach(second, &hit)?;
        }
        let before = cache.pool().free_blocks();
        let begin = Instant::now();
        cache.finish(if shared { second } else { first })?;
        let seconds = begin.elapsed().as_secs_f64();
        let freed = cache.pool().free_blocks() - before;
        if shared {
            second = add(&mut cache, &more)?;
        } else {
            cache.reset();
            first = add(&mut cache, &prompt)?;
            compute(&mut cache, first, &mut changes)?;
        }
        Ok((freed == if shared { 0 } else { BLOCKS }).then_some(seconds))
    }))
}

/// Blocks by number, without a sequence: what an engine with tables of its own does.
pub(crate) fn get_and_free(blocks: u32) -> Result<Case<'static>> {
    let mut pool = Pool::new(&PoolConfig {
        blocks,
        eviction: Eviction::Lru,
        events: false,
    })?;
    let mut taken: Vec<BlockId> = Vec::with_capacity(SOME as usize);
    Ok(Case::reported(f64::from(REPEATED), move || {
        let mut good = true;
        let begin = Instant::now();
        for _ in 0..REPEATED {
            taken.clear();
            good &= pool.allocate(SOME, TenantId::default(), &mut taken);
            good &= pool.free_blocks() == blocks - 1 - SOME;
            pool.release(&taken)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        good &= taken.len() == SOME as usize && pool.free_blocks() == blocks - 1;
        Ok(good.then_some(seconds))
    }))
}
