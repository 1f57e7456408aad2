//! The cache under a trace with Mooncake's shape, held against an ideal: a list of prefixes in the order of their last use, without blocks,
//! references, hashes or limits of any number, from which the first goes when there is one too many.
//!
//! What the cache finds may differ from that a little, as blocks in use cannot go and two sequences may have computed the same one.

use std::collections::{BTreeMap, HashMap, VecDeque};

use park_bench::trace::{Arrival, CONTENT, Shape, generate};
use park_core::kv::{Cache, CacheConfig, Changes, Eviction, Namespace, SequenceId, TenantId};

const BLOCK: usize = 16;

/// Prefixes of whole blocks, each told by the one before it and the tokens of its last block.
#[derive(Default)]
struct Ideal {
    names: HashMap<(usize, Vec<u32>), usize>,
    /// When a prefix was used last, and which prefix was used when: those that are there.
    used: HashMap<usize, u64>,
    order: BTreeMap<u64, usize>,
    clock: u64,
}

impl Ideal {
    fn path(&mut self, tokens: &[u32]) -> Vec<usize> {
        let mut before = 0;
        tokens
            .chunks_exact(BLOCK)
            .map(|block| {
                let next = self.names.len() + 1;
                before = *self.names.entry((before, block.to_vec())).or_insert(next);
                before
            })
            .collect()
    }

    /// How many of the first prefixes of a path are there.
    fn found(&self, path: &[usize]) -> usize {
        path.iter().take_while(|prefix| self.used.contains_key(prefix)).count()
    }

    /// All prefixes of a path are used now, the longest first, so that it is the first to go.
    fn touch(&mut self, path: &[usize], most: usize) {
        for prefix in path.iter().rev() {
            self.clock += 1;
            if let Some(before) = self.used.insert(*prefix, self.clock) {
                self.order.remove(&before);
            }
            self.order.insert(self.clock, *prefix);
        }
        while self.order.len() > most
            && let Some((_, prefix)) = self.order.pop_first()
        {
            self.used.remove(&prefix);
        }
    }
}

fn whole(arrival: &Arrival) -> Vec<u32> {
    let mut tokens = arrival.tokens();
    tokens.extend((0..arrival.output).map(|at| arrival.milliseconds as u32 ^ at << 8));
    tokens
}

/// Tokens found of all prompts, by the cache and ideally, when `running` requests have their blocks at a time.
fn replay(trace: &[Arrival], blocks: u32, running: usize) -> (u64, u64, u64) {
    let mut cache = Cache::new(CacheConfig {
        blocks: blocks + 1,
        eviction: Eviction::Lru,
        ..CacheConfig::default()
    })
    .expect("a cache");
    let mut ideal = Ideal::default();
    let mut live: VecDeque<(SequenceId, Vec<usize>)> = VecDeque::new();
    let (mut asked, mut found, mut ideally) = (0, 0, 0);
    for arrival in trace {
        if live.len() == running
            && let Some((id, path)) = live.pop_front()
        {
            cache.finish(id).expect("it runs");
            ideal.touch(&path, blocks as usize);
        }
        let (prompt, all) = (arrival.tokens(), whole(arrival));
        let id = cache
            .add(TenantId::default(), &Namespace::default(), &prompt, &[])
            .expect("a prompt");
        let hit = cache.lookup(id, u32::MAX).expect("it is new");
        cache.attach(id, &hit).expect("just found");
        cache.append(id, &all[prompt.len()..]).expect("an answer");
        let known = cache.known(id).expect("it runs");
        assert!(cache.grow(id, known, &mut Changes::default()).expect("it runs"));
        cache.advance(id, known).expect("there is room");

        asked += prompt.len() as u64;
        found += u64::from(hit.tokens);
        let path = ideal.path(&all);
        // The prompt's last token has to be computed.
        ideally += (ideal.found(&path[..(prompt.len() - 1) / BLOCK]) * BLOCK) as u64;
        ideal.touch(&path, blocks as usize);
        live.push_back((id, path));
    }
    cache.audit().expect("it adds up");
    (asked, found, ideally)
}

#[test]
fn it_finds_what_an_ideal_lru_finds() {
    let trace = generate(&Shape {
        requests: 600,
        ..Shape::default()
    });
    let mut shares = Vec::new();
    for (blocks, running) in [(12_000, 1), (24_000, 1), (48_000, 1), (48_000, 24)] {
        let (asked, found, ideally) = replay(&trace, blocks, running);
        let (share, ideal) = (found as f64 / asked as f64, ideally as f64 / asked as f64);
        assert!(
            (share - ideal).abs() <= 0.01 * ideal,
            "{blocks} blocks, {running} running: {share:.4} of {asked} tokens were found, ideally {ideal:.4}"
        );
        shares.push(share);
    }
    // The trace is one in which the pool's size counts, and in which not everything is found.
    assert!(
        shares[0] < shares[1] && shares[1] < shares[2] && shares[2] < 0.9,
        "{shares:?}"
    );
}

#[test]
fn a_trace_has_the_shape_that_it_is_said_to_have() {
    let trace = generate(&Shape::default());
    let mean = |value: fn(&Arrival) -> u32| {
        trace.iter().map(|arrival| f64::from(value(arrival))).sum::<f64>() / trace.len() as f64
    };
    let (input, output) = (mean(|arrival| arrival.input), mean(|arrival| arrival.output));
    assert!((8_000.0..13_000.0).contains(&input), "prompts of {input} tokens");
    assert!((180.0..350.0).contains(&output), "answers of {output} tokens");
    assert!(trace.is_sorted_by_key(|arrival| arrival.milliseconds));
    // What an infinite cache would find, by whole contents.
    let mut seen: HashMap<(usize, u32), usize> = HashMap::new();
    let (mut asked, mut found) = (0, 0);
    for arrival in &trace {
        asked += u64::from(arrival.input);
        let mut before = 0;
        for content in &arrival.contents {
            let next = seen.len() + 1;
            let place = *seen.entry((before, *content)).or_insert(next);
            if place < next {
                found += u64::from(CONTENT);
            }
            before = place;
        }
    }
    let share = found as f64 / asked as f64;
    assert!(
        (0.4..0.7).contains(&share),
        "{share} of all prompt tokens were seen before"
    );
    assert_eq!(generate(&Shape::default()), trace, "the same seed makes the same trace");
}
