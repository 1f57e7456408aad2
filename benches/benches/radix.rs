//! The radix tree: what a match, an insertion, a split and an eviction cost. Every answer is checked.
//!
//! Beside them, what the machine does at best: comparing as many tokens in one run of memory.
#![allow(missing_docs, reason = "criterion's macros generate public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up should stop")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use park_core::kv::{RadixConfig, RadixInsertion, RadixTree};

const PAGE: u32 = 16;
const LONG: usize = 8_192 * PAGE as usize;
const DEEP: usize = 32_768;
const NODES: usize = 64;

fn tokens(count: usize, seed: u32) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 15
    };
    (0..count).map(next).collect()
}

fn tree() -> RadixTree {
    RadixTree::new(&RadixConfig {
        page: PAGE,
        secret: [7; 32],
        ..RadixConfig::default()
    })
    .unwrap()
}

fn insert(tree: &mut RadixTree, tokens: &[u32]) -> usize {
    let slots: Vec<i64> = (0..tokens.len() as i64).collect();
    tree.insert(b"", tokens, &slots, RadixInsertion::default())
        .unwrap()
        .matched
}

/// One prompt, and others that leave it after each 64th part: it lies in 64 nodes.
fn deep() -> (RadixTree, Vec<u32>) {
    let (mut tree, prompt) = (tree(), tokens(DEEP, 1));
    insert(&mut tree, &prompt);
    for part in 1..NODES {
        let mut other = prompt[..part * DEEP / NODES].to_vec();
        other.extend(tokens(PAGE as usize, 100 + part as u32));
        insert(&mut tree, &other);
    }
    assert_eq!(tree.len(), 2 * NODES - 1);
    (tree, prompt)
}

fn matches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("radix");
    let (mut one, long) = (tree(), tokens(LONG, 2));
    insert(&mut one, &long);
    let again = long.clone();
    group.bench_function("compare 131,072 tokens", |bench| {
        bench.iter(|| assert!(black_box(&long) == black_box(&again)));
    });
    group.bench_function("match 8,192 pages in one node", |bench| {
        bench.iter(|| assert_eq!(one.match_prefix(b"", black_box(&long)).unwrap().units, LONG));
    });
    let (mut many, prompt) = deep();
    group.bench_function("match 32,768 tokens in 64 nodes", |bench| {
        bench.iter(|| assert_eq!(many.match_prefix(b"", black_box(&prompt)).unwrap().units, DEEP));
    });
    let mut slots = Vec::with_capacity(DEEP);
    group.bench_function("match 32,768 tokens in 64 nodes, and their slots", |bench| {
        bench.iter(|| {
            let found = many.match_prefix(b"", black_box(&prompt)).unwrap();
            slots.clear();
            many.slots_to(found.node, &mut slots).unwrap();
            assert_eq!(slots.len(), DEEP);
        });
    });
    let node = many.match_prefix(b"", &prompt).unwrap().node;
    group.bench_function("lock and unlock 64 nodes", |bench| {
        bench.iter(|| assert_eq!(many.lock(node).unwrap(), many.unlock(node).unwrap()));
    });
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("radix");
    let long = tokens(LONG, 2);
    group.bench_function("insert 8,192 pages into one node", |bench| {
        let slots: Vec<i64> = (0..LONG as i64).collect();
        bench.iter_batched_ref(
            tree,
            |tree| tree.insert(b"", &long, &slots, RadixInsertion::default()).unwrap(),
            BatchSize::PerIteration,
        );
    });
    let full = || {
        let mut tree = tree();
        insert(&mut tree, &long);
        tree
    };
    for (name, at) in [
        ("near its start", PAGE as usize),
        ("in the middle", LONG / 2),
        ("near its end", LONG - PAGE as usize),
    ] {
        group.bench_function(format!("split a node of 8,192 pages {name}"), |bench| {
            bench.iter_batched_ref(
                full,
                |tree| assert!(tree.match_prefix(b"", &long[..at]).unwrap().split.is_some()),
                BatchSize::PerIteration,
            );
        });
    }
    let leaves: Vec<Vec<u32>> = (0..10_000).map(|seed| tokens(2 * PAGE as usize, seed)).collect();
    let bushy = || {
        let mut tree = tree();
        for leaf in &leaves {
            insert(&mut tree, leaf);
        }
        tree
    };
    group.bench_function("evict 10,000 leaves of 2 pages", |bench| {
        let all = 10_000 * 2 * PAGE as usize;
        let (mut gone, mut slots) = (Vec::with_capacity(10_000), Vec::with_capacity(all));
        bench.iter_batched_ref(
            bushy,
            |tree| {
                gone.clear();
                slots.clear();
                assert_eq!(tree.evict(all, &mut gone, &mut slots), all);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, matches, changes);
criterion_main!(benches);
