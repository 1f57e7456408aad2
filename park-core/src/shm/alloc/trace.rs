//! A long mixed life of an arena, for the one number that tells whether free memory stays usable: the largest block that can be lent
//! over all free bytes. At each sample 70 % of what is free is really lent, in one block, and taken back.
//!
//! Sizes are log-uniform from 100 B to 1/128 of the arena (64 MiB of 8 GiB, say), so that each power of two is as frequent as any
//! other; four in five objects die young, the rest live a hundred times longer; the fill level wanders between 60 and 85 %. A step
//! lends one block or, above the level, takes back the one whose time is up first. Payloads are not written: reserving their pages is
//! what counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::tests::Bench;

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        // xorshift64*: seeded, so that a run can be repeated.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn size(&mut self, largest: f64) -> u64 {
        (100.0 * (largest / 100.0).powf(self.next())) as u64
    }

    fn lifetime(&mut self) -> f64 {
        let mean = if self.next() < 0.8 { 50.0 } else { 5000.0 };
        -mean * (1.0 - self.next()).ln()
    }
}

/// The worst sample, and the mean, of the largest free extent over free bytes.
fn run(arena: u64, steps: u64, seed: u64) -> (f64, f64) {
    let bench = Bench::new(arena);
    let mut random = Random(seed);
    let mut dying: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let (mut level, mut samples) = (0.7, Vec::new());
    for step in 1..=steps {
        if step % 2000 == 0 {
            level = 0.60 + 0.25 * random.next();
        }
        if (bench.used() as f64) < level * arena as f64 {
            // Below 85 % there is always room for 1/128 of the arena: a refusal would be fragmentation.
            let got = bench.allocate(random.size(arena as f64 / 128.0)).unwrap();
            dying.push(Reverse((step + random.lifetime() as u64, got.offset)));
        } else if let Some(Reverse((_, offset))) = dying.pop() {
            bench.release(offset).unwrap();
        }
        if step % (steps / 50) == 0 {
            let (largest, free) = bench.with(|a| a.free_extent()).unwrap();
            samples.push(largest as f64 / free as f64);
            let most = bench.allocate(free / 10 * 7).unwrap();
            bench.release(most.offset).unwrap();
        }
    }
    bench.audit(&[]);
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    (samples.into_iter().fold(1.0, f64::min), mean)
}

#[test]
fn most_of_what_is_free_can_be_lent_in_one_block() {
    let (worst, mean) = run(512 << 20, 50_000, 7919);
    assert!(worst >= 0.7 && mean >= 0.7, "worst {worst}, mean {mean}");
}

#[test]
#[ignore = "an hour's worth of operations, a minute long and with 2 GiB of memory: `make soak` runs it"]
fn an_hours_worth_leaves_most_of_what_is_free_in_one_block() {
    for seed in [1, 2, 3].map(|n: u64| n * 104_729) {
        let (worst, mean) = run(2 << 30, 1_000_000, seed);
        eprintln!("seed {seed}: largest free extent / free bytes: worst {worst:.3}, mean {mean:.3}");
        assert!(worst >= 0.7);
    }
}
