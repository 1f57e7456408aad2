//! The peer kvbm-logical of the KV bench (`make bench-kv`): the rows of `benches/peers/kv_rows.py` that it has a shape for, with its LRU
//! backend and the frequency tracker of its own benches.
//!
//! It has blocks and no sequences, so "free" drops a prompt's handles; what it calls a match takes a reference to each block, as park's
//! `attach` does, so the drop of the matched handles is left out of the timed part. How to measure is park's own peer's, included as a file.

#[path = "../../../src/measure.rs"]
mod measure;

use std::time::Instant;

use dynamo_tokens::{TokenBlock, TokenBlockSequence};
use kvbm_logical::blocks::ImmutableBlock;
use kvbm_logical::manager::FrequencyTrackingCapacity;
use kvbm_logical::{BlockManager, BlockRegistry, KvbmSequenceHashProvider, SequenceHash};
use measure::{Case, Peer, Result};

const BLOCK: u32 = 16;
const POOL: usize = 32_768;
const PROMPT: u32 = 131_072;
const BLOCKS: usize = (PROMPT / BLOCK) as usize;
const NODES: u32 = 64;
const NODE: u32 = 512;
const SOME: usize = 1_000;
const SALT: u64 = 1337;
const HELD: usize = 1 << 20;

#[derive(Clone)]
struct Nothing;

type Manager = BlockManager<Nothing>;
type Block = ImmutableBlock<Nothing>;

fn main() -> Result<()> {
    let mut peer = Peer::from_arguments("kvbm", version()?)?;
    peer.single("memory per block", memory)?;
    peer.row("hash 131,072 tokens, xxh3", hash)?;
    peer.row("allocate and register 8,192 blocks", || allocate(false))?;
    peer.row("allocate and register 8,192 blocks, evicting", || allocate(true))?;
    peer.row("match 8,192 blocks in use", || matched(true))?;
    peer.row("match 8,192 blocks, cached", || matched(false))?;
    peer.row("match 32,768 tokens over 64 nodes", || nodes(false))?;
    peer.row("hash and match 32,768 tokens over 64 nodes", || nodes(true))?;
    peer.row("free 8,192 blocks", || free(false))?;
    peer.row("free 8,192 blocks, shared", || free(true))?;
    peer.row("get and free 1,000 blocks", get_and_free)?;
    peer.write()
}

/// The version that this was built with, from the lock file.
fn version() -> Result<&'static str> {
    include_str!("../Cargo.lock")
        .split("name = \"kvbm-logical\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .ok_or_else(|| "the lock file names no kvbm-logical".into())
}

fn tokens(seed: u32, count: u32) -> Vec<u32> {
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

fn manager(blocks: usize) -> Result<Manager> {
    let registry = BlockRegistry::builder()
        .frequency_tracker(FrequencyTrackingCapacity::default().create_tracker())
        .build();
    Ok(Manager::builder()
        .block_count(blocks)
        .block_size(BLOCK as usize)
        .registry(registry)
        .with_lru_backend()
        .build()?)
}

fn cut(tokens: &[u32]) -> Vec<TokenBlock> {
    TokenBlockSequence::from_slice(tokens, BLOCK, Some(SALT)).into_parts().0
}

fn names(blocks: &[TokenBlock]) -> Vec<SequenceHash> {
    blocks
        .iter()
        .map(KvbmSequenceHashProvider::kvbm_sequence_hash)
        .collect()
}

/// Blocks for a prompt, and their hashes into the registry.
fn compute(manager: &Manager, blocks: &[TokenBlock]) -> Result<Vec<Block>> {
    let taken = manager.allocate_blocks(blocks.len()).ok_or("no blocks are left")?;
    let mut complete = Vec::with_capacity(blocks.len());
    for (block, tokens) in taken.into_iter().zip(blocks) {
        complete.push(block.complete(tokens).map_err(|_| "a block does not fit its tokens")?);
    }
    Ok(manager.register_blocks(complete))
}

fn hash() -> Result<Case<'static>> {
    let prompt = tokens(1, PROMPT);
    let first = names(&cut(&prompt));
    Ok(Case::timed(
        1.0,
        move || Ok(cut(&prompt)),
        move |blocks| Ok(names(blocks) == first),
    ))
}

fn allocate(evicting: bool) -> Result<Case<'static>> {
    let manager = manager(POOL)?;
    let mut seed = 1;
    if evicting {
        for _ in 0..POOL / BLOCKS {
            seed += 1;
            drop(compute(&manager, &cut(&tokens(seed, PROMPT)))?);
        }
    }
    Ok(Case::reported(1.0, move || {
        seed += u32::from(evicting);
        let blocks = cut(&tokens(seed, PROMPT));
        let begin = Instant::now();
        let held = compute(&manager, &blocks)?;
        let seconds = begin.elapsed().as_secs_f64();
        let good = held.len() == BLOCKS;
        drop(held);
        if !evicting {
            manager.reset_inactive_pool()?;
        }
        Ok(good.then_some(seconds))
    }))
}

fn matched(in_use: bool) -> Result<Case<'static>> {
    let manager = manager(POOL)?;
    let blocks = cut(&tokens(1, PROMPT));
    let wanted = names(&blocks);
    let held = compute(&manager, &blocks)?;
    let held = in_use.then_some(held);
    Ok(Case::reported(1.0, move || {
        let begin = Instant::now();
        let found = manager.match_blocks(&wanted);
        let seconds = begin.elapsed().as_secs_f64();
        let kept = held.as_ref().map_or(BLOCKS, Vec::len);
        Ok((found.len() == kept).then_some(seconds))
    }))
}

fn nodes(hash: bool) -> Result<Case<'static>> {
    let manager = manager(POOL)?;
    let path = tokens(1, NODES * NODE);
    for node in 1..=NODES {
        let mut prompt = path[..(node * NODE) as usize].to_vec();
        prompt.extend(tokens(1000 + node, 64));
        let blocks = cut(&prompt);
        let found = manager.match_blocks(&names(&blocks));
        drop(compute(&manager, &blocks[found.len()..])?);
    }
    let wanted = names(&cut(&path));
    Ok(Case::reported(1.0, move || {
        let begin = Instant::now();
        let found = match hash {
            true => manager.match_blocks(&names(&cut(&path))),
            false => manager.match_blocks(&wanted),
        };
        let seconds = begin.elapsed().as_secs_f64();
        Ok((found.len() == (NODES * NODE / BLOCK) as usize).then_some(seconds))
    }))
}

fn free(shared: bool) -> Result<Case<'static>> {
    let manager = manager(POOL)?;
    let blocks = cut(&tokens(1, PROMPT));
    let wanted = names(&blocks);
    let first = if shared {
        compute(&manager, &blocks)?
    } else {
        Vec::new()
    };
    Ok(Case::reported(1.0, move || {
        let held = match shared {
            true => manager.match_blocks(&wanted),
            false => compute(&manager, &blocks)?,
        };
        let (count, before) = (held.len(), manager.available_blocks());
        let begin = Instant::now();
        drop(held);
        let seconds = begin.elapsed().as_secs_f64();
        let freed = manager.available_blocks() - before;
        if !shared {
            manager.reset_inactive_pool()?;
        }
        let right = if first.is_empty() { BLOCKS } else { 0 };
        Ok((count == BLOCKS && freed == right).then_some(seconds))
    }))
}

fn get_and_free() -> Result<Case<'static>> {
    let manager = manager(POOL)?;
    Ok(Case::reported(1.0, move || {
        let begin = Instant::now();
        let held = manager.allocate_blocks(SOME).ok_or("no blocks are left")?;
        let left = manager.available_blocks();
        drop(held);
        let seconds = begin.elapsed().as_secs_f64();
        Ok((left == POOL - SOME && manager.available_blocks() == POOL).then_some(seconds))
    }))
}

/// Bytes for each block of a pool of 2^20, all of them cached: the growth of the process's resident memory.
fn memory() -> Result<f64> {
    let warm = manager(POOL)?;
    drop(compute(&warm, &cut(&tokens(1, PROMPT)))?);
    let before = resident()?;
    let manager = manager(HELD)?;
    for seed in 0..(HELD / BLOCKS) as u32 {
        drop(compute(&manager, &cut(&tokens(seed, PROMPT)))?);
    }
    let grown = resident()? - before;
    let found = manager.match_blocks(&names(&cut(&tokens(0, PROMPT))));
    if found.len() != BLOCKS {
        return Err(format!("{} blocks of the first prompt are found", found.len()).into());
    }
    Ok(grown as f64 / HELD as f64)
}

fn resident() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("statm has no second number")?;
    Ok(pages.parse::<usize>()? * 4096)
}
