//! The replay of a trace with Mooncake's shape: how much of all prompts is found, and how many requests a second the cache serves.
//!
//! The last `RUNNING` requests have their blocks: when one more comes, the oldest ends. A request is looked up, gets blocks for what is not
//! cached, then for its answer. `trace` writes the trace to the file that PARK_KV_TRACE names, for the Python peers.

use std::collections::VecDeque;
use std::time::Instant;

use park_bench::measure::{Case, Peer, Result};
use park_bench::trace::{Arrival, Shape, generate};
use park_core::kv::{Cache, Changes, SequenceId};

use crate::{add, cache, compute};

/// Blocks of the pool: a sixth of what all prompts together need.
pub(crate) const POOL: u32 = 65_536;
const RUNNING: usize = 32;

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    let trace = generate(&Shape::default());
    if let Some(path) = std::env::var_os("PARK_KV_TRACE") {
        let lines: String = trace.iter().map(|arrival| arrival.line() + "\n").collect();
        std::fs::write(path, lines)?;
    }
    // The first few are what a slower peer has time for.
    for (name, few) in [("replay of 300", 300), ("replay of 2,000", trace.len())] {
        let requests: Vec<Tokens> = trace[..few].iter().map(Tokens::of).collect();
        peer.single(&format!("{name}: prompt tokens found"), || {
            Ok(replay(&requests)?.percent())
        })?;
        peer.row(&format!("{name}: requests"), || {
            let right = replay(&requests)?;
            Ok(Case::reported(requests.len() as f64, move || {
                let begin = Instant::now();
                let found = replay(&requests)?;
                let seconds = begin.elapsed().as_secs_f64();
                Ok((found == right).then_some(seconds))
            }))
        })?;
    }
    Ok(())
}

/// A request's tokens, made before the clock runs.
struct Tokens {
    prompt: Vec<u32>,
    answer: Vec<u32>,
}

impl Tokens {
    fn of(arrival: &Arrival) -> Self {
        // Nobody asks for the same answer again: the next turn's contents stand for it.
        let first = arrival.milliseconds as u32;
        Self {
            prompt: arrival.tokens(),
            answer: (0..arrival.output).map(|at| first.wrapping_add(at) >> 1).collect(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Found {
    asked: u64,
    hit: u64,
}

impl Found {
    fn percent(self) -> f64 {
        100.0 * self.hit as f64 / self.asked as f64
    }
}

fn replay(requests: &[Tokens]) -> Result<Found> {
    let mut cache = cache(POOL)?;
    let mut changes = Changes::default();
    let mut running: VecDeque<SequenceId> = VecDeque::new();
    let mut found = Found::default();
    for request in requests {
        if running.len() == RUNNING {
            end(&mut cache, &mut running)?;
        }
        let id = add(&mut cache, &request.prompt)?;
        let hit = cache.lookup(id, u32::MAX)?;
        cache.attach(id, &hit)?;
        found.asked += request.prompt.len() as u64;
        found.hit += u64::from(hit.tokens);
        compute(&mut cache, id, &mut changes)?;
        cache.append(id, &request.answer)?;
        compute(&mut cache, id, &mut changes)?;
        running.push_back(id);
    }
    Ok(found)
}

fn end(cache: &mut Cache, running: &mut VecDeque<SequenceId>) -> Result<()> {
    let oldest = running.pop_front().ok_or("nobody runs")?;
    Ok(cache.finish(oldest)?)
}
