//! Steps of many sequences: a decode of 256, and a scheduler's.

use std::time::Instant;

use park_bench::measure::{Case, Peer, Result};
use park_core::kv::{Cache, CacheConfig, Changes, Outcome, Request, Scheduler, SchedulerConfig, SequenceId, Work};

use crate::{BLOCK, POOL, add, cache, compute, tokens};

const DECODING: u32 = 256;
/// Steps of one sample: every sequence begins a block once.
const STEPS: u32 = BLOCK;
/// Samples after which sequences start again, as the pool is full.
const SAMPLES: u32 = 32;

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    peer.row("decode step of 256", || decode(DECODING, true))?;
    peer.row("decode step of 256, all at a block's end", || decode(DECODING, false))?;
    peer.row("scheduler step, 1,024 running, 10,000 waiting", || {
        scheduler(1_024, 10_000, OUTPUT)
    })?;
    peer.row("scheduler step with turnover, 1,024 running, 10,000 waiting", || {
        scheduler(1_024, 10_000, 128)
    })?;
    Ok(())
}

fn decoding(count: u32, staggered: bool) -> Result<(Cache, Vec<SequenceId>)> {
    let mut cache = cache(POOL)?;
    let mut ids = Vec::new();
    for at in 0..count {
        let prompt = tokens(1 + at, if staggered { 1000 + 7 * at % 64 } else { 1024 });
        let id = add(&mut cache, &prompt)?;
        compute(&mut cache, id, &mut Changes::default())?;
        ids.push(id);
    }
    Ok((cache, ids))
}

/// Each sequence has got a token, which is computed next. Staggered, one of sixteen begins a block in each step, and a sample is sixteen
/// steps; else all do, and a sample is that one step.
fn decode(count: u32, staggered: bool) -> Result<Case<'static>> {
    let (mut cache, mut ids) = decoding(count, staggered)?;
    let mut changes = Changes::default();
    let mut samples = 0;
    let timed = if staggered { STEPS } else { 1 };
    Ok(Case::reported(f64::from(timed), move || {
        samples += 1;
        if samples % SAMPLES == 0 {
            (cache, ids) = decoding(count, staggered)?;
        }
        let free = cache.pool().free_blocks();
        let mut step = |cache: &mut Cache, number: u32| -> Result<()> {
            changes.clear();
            for (id, at) in ids.iter().zip(0..) {
                let known = cache.known(*id)?;
                cache.append(*id, &[number + at])?;
                if !cache.grow(*id, known + 1, &mut changes)? {
                    return Err("no block is left".into());
                }
                cache.advance(*id, known + 1)?;
            }
            Ok(())
        };
        let begin = Instant::now();
        for number in 0..timed {
            step(&mut cache, number)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let taken = free - cache.pool().free_blocks();
        for number in timed..STEPS {
            step(&mut cache, number)?;
        }
        Ok((taken == count).then_some(seconds))
    }))
}

/// Tokens of a prompt, and those that a request generates at most.
const SHORT: u32 = 64;
const OUTPUT: u32 = 2_048;

/// A step of a scheduler whose running requests all decode, and what the engine answers. Each request generates `output` tokens: with
/// few, some end in each step and others take their place; with `OUTPUT` none do, and the scheduler is made anew when they would.
pub(crate) fn scheduler(running: u32, waiting: u32, output: u32) -> Result<Case<'static>> {
    let sampled: Vec<u32> = (0..running).collect();
    let mut scheduler = full(running, waiting, output)?;
    let (mut steps, mut seed) = (0, 1 << 20);
    Ok(Case::reported(1.0, move || {
        while (scheduler.waiting() as u32) < waiting {
            seed += 1;
            submit(&mut scheduler, seed, output)?;
        }
        steps += 1;
        if output == OUTPUT && steps % (OUTPUT - 8) == 0 {
            scheduler = full(running, waiting, output)?;
        }
        let mut outcomes = Vec::with_capacity(running as usize);
        let begin = Instant::now();
        let plan = scheduler.step()?;
        let due = plan.work.len();
        outcomes.extend(plan.work.iter().zip(&sampled).map(|(work, token)| answer(work, token)));
        scheduler.commit(&outcomes)?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok((due == running as usize).then_some(seconds))
    }))
}

fn answer<'a>(work: &Work, token: &'a u32) -> Outcome<'a> {
    Outcome {
        tokens: if work.samples { std::slice::from_ref(token) } else { &[] },
        finished: false,
    }
}

fn submit(scheduler: &mut Scheduler, seed: u32, output: u32) -> Result<()> {
    scheduler.add(&Request {
        tokens: &tokens(seed, SHORT),
        max_new: output,
        ..Request::default()
    })?;
    Ok(())
}

/// A scheduler that runs as many as it may, while others wait.
fn full(running: u32, waiting: u32, output: u32) -> Result<Scheduler> {
    let mut scheduler = Scheduler::new(SchedulerConfig {
        cache: CacheConfig {
            blocks: running * (SHORT + output).div_ceil(BLOCK) + 1,
            block_size: BLOCK,
            ..CacheConfig::default()
        },
        running,
        step_tokens: 8_192.max(running),
        ..SchedulerConfig::default()
    })?;
    for at in 0..running {
        // With few tokens each, they end one after the other from the start.
        let left = if output == OUTPUT {
            output
        } else {
            1 + at * output / running
        };
        submit(&mut scheduler, at, left)?;
    }
    while scheduler.waiting() > 0 {
        let plan = scheduler.step()?;
        let outcomes: Vec<Outcome<'_>> = plan.work.iter().map(|work| answer(work, &1)).collect();
        scheduler.commit(&outcomes)?;
    }
    for at in 0..waiting {
        submit(&mut scheduler, running + at, output)?;
    }
    Ok(scheduler)
}
