//! A trace with the shape of Mooncake's (FAST '25, the conversation and tool traces): few long system prompts that many sessions begin
//! with, sessions of several turns that repeat all that was said before, bursts, and much that never comes again.
//!
//! Requests are written as Mooncake's are: their prompt is a list of content ids, one for each [`CONTENT`] tokens, and two requests have a
//! common prefix where their lists have. The same seed makes the same trace; [`Shape`] has every parameter.

use std::fmt::Write;

/// Tokens of one content id; the last of a prompt may stand for fewer.
pub const CONTENT: u32 = 512;

/// What a trace is like. The default has means near those that Mooncake published: prompts of 8,000 to 12,000 tokens, answers of some
/// 200 to 300, half of all prompt tokens seen before.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Of the generator.
    pub seed: u64,
    /// Requests in all.
    pub requests: usize,
    /// System prompts, of which the nth is used in proportion to `1 / n^skew`.
    pub system_prompts: usize,
    /// See `system_prompts`.
    pub skew: f64,
    /// Median tokens of a system prompt, and the deviation of its logarithm.
    pub system: (f64, f64),
    /// The same of what a user says in a turn.
    pub turn: (f64, f64),
    /// The same of an answer.
    pub answer: (f64, f64),
    /// The share of sessions that go on after a turn.
    pub goes_on: f64,
    /// Mean milliseconds between new sessions; in a burst, a tenth of it.
    pub gap: f64,
    /// The share of time in bursts.
    pub bursts: f64,
    /// Mean milliseconds between an answer and the next turn.
    pub thinks: f64,
    /// Tokens that a prompt has at most; sessions end there.
    pub longest: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            seed: 25,
            requests: 2_000,
            system_prompts: 40,
            skew: 1.1,
            system: (3_000.0, 0.7),
            turn: (2_200.0, 1.1),
            answer: (220.0, 0.7),
            goes_on: 0.62,
            gap: 900.0,
            bursts: 0.2,
            thinks: 30_000.0,
            longest: 126_000,
        }
    }
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When it comes.
    pub milliseconds: u64,
    /// Tokens of its prompt.
    pub input: u32,
    /// Tokens of its answer.
    pub output: u32,
    /// What its prompt consists of.
    pub contents: Vec<u32>,
}

impl Arrival {
    /// The tokens of its prompt.
    pub fn tokens(&self) -> Vec<u32> {
        let all = self
            .contents
            .iter()
            .flat_map(|id| (0..CONTENT).map(|at| token(*id, at)));
        all.take(self.input as usize).collect()
    }

    /// As a line of a trace file, in Mooncake's format.
    pub fn line(&self) -> String {
        let mut ids = String::new();
        for id in &self.contents {
            let comma = if ids.is_empty() { "" } else { ", " };
            let _ = write!(ids, "{comma}{id}");
        }
        format!(
            "{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [{ids}]}}",
            self.milliseconds, self.input, self.output
        )
    }
}

/// The nth token of a content: a number below 2^17.
pub fn token(content: u32, at: u32) -> u32 {
    (content.wrapping_mul(CONTENT).wrapping_add(at)).wrapping_mul(0x9e37_79b1) >> 15
}

/// The requests of a trace, in the order in which they come.
pub fn generate(shape: &Shape) -> Vec<Arrival> {
    let mut random = Random(shape.seed);
    let mut next = 0;
    let mut fresh = |count: u32| -> Vec<u32> {
        next += count;
        (next - count..next).collect()
    };
    let systems: Vec<Vec<u32>> = (0..shape.system_prompts)
        .map(|_| fresh(random.log_normal(shape.system).div_ceil(CONTENT)))
        .collect();
    let weights: Vec<f64> = (1..=systems.len())
        .map(|rank| (rank as f64).powf(-shape.skew))
        .collect();
    let all: f64 = weights.iter().sum();

    let mut arrivals = Vec::new();
    let mut session_begins = 0.0;
    while arrivals.len() < 2 * shape.requests {
        let burst = if random.unit() < shape.bursts { 0.1 } else { 1.0 };
        session_begins += random.exponential(shape.gap * burst);
        let mut left = random.unit() * all;
        let chosen = weights.iter().position(|weight| {
            left -= weight;
            left <= 0.0
        });
        let mut context = systems[chosen.unwrap_or(0)].clone();
        let mut now = session_begins;
        loop {
            // Whole contents that later turns repeat, and a last one that is longer by then, so another.
            let said = random.log_normal(shape.turn);
            let mut contents = context.clone();
            contents.extend(fresh(said.div_ceil(CONTENT)));
            let input = (context.len() as u32) * CONTENT + said;
            if input > shape.longest {
                break;
            }
            let output = random.log_normal(shape.answer);
            context.clone_from(&contents);
            if !said.is_multiple_of(CONTENT) {
                context.pop();
            }
            let rest = said % CONTENT + output;
            context.extend(fresh(rest / CONTENT));
            arrivals.push(Arrival {
                milliseconds: now as u64,
                input,
                output,
                contents,
            });
            if random.unit() >= shape.goes_on {
                break;
            }
            now += random.exponential(shape.thinks);
        }
    }
    arrivals.sort_by_key(|arrival| arrival.milliseconds);
    arrivals.truncate(shape.requests);
    arrivals
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// At least one.
    fn log_normal(&mut self, (median, deviation): (f64, f64)) -> u32 {
        // Twelve uniform numbers make a normal one, near enough.
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (median * (deviation * normal).exp()).max(1.0) as u32
    }
}
