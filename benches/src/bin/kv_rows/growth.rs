//! How costs grow: one row a point, named by what grows and how far.

use park_bench::measure::{Case, Peer, Result};
use park_core::kv::{CacheConfig, Outcome, Request, Scheduler, SchedulerConfig};

use crate::{BLOCK, blocks, steps, tokens};

const WAITING: [u32; 5] = [100, 1_000, 10_000, 30_000, 100_000];
const CHANGED: [u32; 6] = [256, 1_024, 4_096, 16_384, 65_536, 262_144];
const SIZES: [u32; 5] = [1 << 14, 1 << 16, 1 << 18, 1 << 19, 1 << 20];

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    for waiting in WAITING {
        peer.row(&format!("growth: step of 256, waiting {waiting}"), || {
            steps::scheduler(256, waiting, 128)
        })?;
    }
    for tokens in CHANGED {
        peer.row(&format!("growth: prefill step, tokens {tokens}"), || prefill(tokens))?;
    }
    for blocks in SIZES {
        peer.row(&format!("growth: allocate and register 8,192, blocks {blocks}"), || {
            blocks::allocate(blocks, false)
        })?;
        peer.row(&format!("growth: match 8,192, blocks {blocks}"), || {
            blocks::spread(blocks)
        })?;
        peer.row(&format!("growth: get and free 1,000, blocks {blocks}"), || {
            blocks::get_and_free(blocks)
        })?;
    }
    Ok(())
}

/// A step that computes a prompt of so many tokens whole, among 64 requests that decode; the prompt then ends.
fn prefill(changed: u32) -> Result<Case<'static>> {
    const DECODING: u32 = 64;
    const OUTPUT: u32 = 1 << 15;
    let mut scheduler = Scheduler::new(SchedulerConfig {
        cache: CacheConfig {
            blocks: changed / BLOCK + DECODING * (OUTPUT / BLOCK + 2) + 8,
            block_size: BLOCK,
            caching: true,
            ..CacheConfig::default()
        },
        step_tokens: changed + DECODING,
        chunk: changed + DECODING,
        ..SchedulerConfig::default()
    })?;
    for seed in 0..DECODING {
        scheduler.add(&Request {
            tokens: &tokens(seed, 1),
            max_new: OUTPUT - 32,
            ..Request::default()
        })?;
    }
    let first = vec![
        Outcome {
            tokens: &[1],
            finished: false
        };
        DECODING as usize
    ];
    scheduler.step()?;
    scheduler.commit(&first)?;
    let mut seed = 1000;
    Ok(Case::reported(1.0, move || {
        seed += 1;
        let prompt = tokens(seed, changed);
        let id = scheduler.add(&Request {
            tokens: &prompt,
            max_new: 1,
            ..Request::default()
        })?;
        let begin = std::time::Instant::now();
        let plan = scheduler.step()?;
        let (computed, work) = (plan.tokens(), plan.work.len());
        let last = plan.work.last().map(|work| work.sequence);
        let outcomes = vec![
            Outcome {
                tokens: &[1],
                finished: false
            };
            work
        ];
        scheduler.commit(&outcomes)?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok((last == Some(id) && computed == changed + DECODING).then_some(seconds))
    }))
}
