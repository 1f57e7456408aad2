//! An engine without a model: 10,000 chat requests over the paged KV cache, in the way of a serving engine.
//!
//! Users share a few system prompts and come back with longer conversations, so much of every prompt is cached. The "model" samples
//! token 7 for everything. Prints the hit rate and what the steps cost.
//!
//! ```text
//! cargo run --release -p park-core --example kv_engine
//! ```

#![allow(clippy::print_stdout, reason = "an example that prints what it found")]

use std::time::{Duration, Instant};

use park_core::Result;
use park_core::kv::{CacheConfig, Outcome, Request, Scheduler, SchedulerConfig, TenantId};

const REQUESTS: u32 = 10_000;
const USERS: u32 = 500;
const SYSTEM_PROMPTS: u32 = 8;

/// What a user says in a turn of a conversation: the system prompt, what was said before, and something new.
fn prompt(user: u32, turn: u32) -> Vec<u32> {
    let system = (0..600).map(|at| (user % SYSTEM_PROMPTS) * 1000 + at);
    let said = (0..(turn + 1) * 80).map(|at| 100_000 + user * 10_000 + at);
    system.chain(said).collect()
}

fn main() -> Result<()> {
    let mut scheduler = Scheduler::new(SchedulerConfig {
        cache: CacheConfig {
            blocks: 32_768,
            ..CacheConfig::default()
        },
        step_tokens: 8192,
        running: 256,
        chunk: 2048,
        ..SchedulerConfig::default()
    })?;
    let mut steps: Vec<Duration> = Vec::new();
    let mut sent = 0;
    while scheduler.stats().finished < u64::from(REQUESTS) {
        // Some new requests in every step, as long as not too many wait.
        while sent < REQUESTS && scheduler.waiting() < 1000 {
            scheduler.add(&Request {
                tokens: &prompt(sent % USERS, sent / USERS),
                max_new: 32 + sent % 64,
                ..Request::default()
            })?;
            sent += 1;
        }
        let begun = Instant::now();
        let work = scheduler.step()?.work.clone();
        let planned = begun.elapsed();
        let outcomes: Vec<Outcome<'_>> = work
            .iter()
            .map(|work| Outcome {
                tokens: if work.samples { &[7] } else { &[] },
                finished: false,
            })
            .collect();
        let begun = Instant::now();
        scheduler.commit(&outcomes)?;
        steps.push(planned + begun.elapsed());
    }
    scheduler.audit()?;
    let stats = scheduler.stats();
    let tenant = scheduler.cache().tenant_stats(TenantId::default());
    steps.sort_unstable();
    println!(
        "{} requests in {} steps, {} tokens computed",
        stats.finished, stats.steps, stats.computed
    );
    println!(
        "hit rate: {:.1} % of {} prompt tokens",
        100.0 * tenant.hit as f64 / tenant.asked as f64,
        tenant.asked
    );
    println!("preempted: {}", stats.recomputed);
    println!(
        "a step of up to 256 requests, planned and committed: median {:?}, 99 of 100 within {:?}",
        steps[steps.len() / 2],
        steps[steps.len() * 99 / 100]
    );
    Ok(())
}
