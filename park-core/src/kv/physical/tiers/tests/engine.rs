//! An engine without a model over real memory: what a token's keys and values are follows from everything before it and from the epoch, so
//! a byte that was copied wrongly, too late or from an older model is noticed by whoever attends to it. Requests come, fork, are preempted,
//! swapped, put to sleep and lose their epoch while blocks go to host memory and disk and come back.

use std::collections::HashMap;

use super::*;
use crate::kv::{CacheConfig, Outcome, Request, Scheduler, SchedulerConfig, SequenceId};

const BLOCK_SIZE: usize = 4;
const BLOCKS: u32 = 24;

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

struct Engine {
    scheduler: Scheduler,
    mover: Mover,
    tiers: Tiers,
    store: Arc<Store>,
    /// All tokens of each request that has not ended.
    known: HashMap<SequenceId, Vec<u32>>,
    /// Write-backs under way, and what they pin.
    pending: Vec<(Ticket, Vec<BlockId>)>,
    epoch: u32,
    random: Random,
    counts: Counts,
}

/// That the test saw what it is about.
#[derive(Debug, Default)]
struct Counts {
    loaded: u32,
    from_disk: u32,
    copies: usize,
    swaps: usize,
    abandoned: u32,
}

/// What the token at the end of `tokens` writes, one number for all of its elements.
fn value(epoch: u32, tokens: &[u32]) -> u16 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ u64::from(epoch);
    for token in tokens {
        hash = (hash ^ u64::from(*token)).wrapping_mul(0x100_0000_01b3);
        hash ^= hash >> 29;
    }
    (hash >> 40) as u16
}

impl Engine {
    fn new(seed: u64, partial: bool, order: PageOrder, folder: &TempDir) -> Self {
        let store = store(8 << 20);
        let arena = arena(BLOCKS, order);
        let config = TiersConfig {
            queue: 64,
            write_through: seed.is_multiple_of(2),
        };
        let scheduler = Scheduler::new(SchedulerConfig {
            cache: CacheConfig {
                blocks: BLOCKS,
                block_size: BLOCK_SIZE as u32,
                verify: partial,
                partial,
                ..CacheConfig::default()
            },
            step_tokens: 24,
            running: 5,
            chunk: 10,
            swap_slots: if seed.is_multiple_of(3) { 0 } else { 20 },
            ..SchedulerConfig::default()
        });
        Self {
            scheduler: scheduler.unwrap(),
            mover: Mover::new(arena.clone(), 20).unwrap(),
            tiers: Tiers::new(arena, host(&store, 12), Some(disk(folder)), config).unwrap(),
            store,
            known: HashMap::new(),
            pending: Vec::new(),
            epoch: 0,
            random: Random(seed),
            counts: Counts::default(),
        }
    }

    fn add(&mut self) {
        // A few beginnings that many have in common.
        let family = self.random.below(4) as u32;
        let (shared, own) = (self.random.below(30), 1 + self.random.below(8));
        let mut tokens: Vec<u32> = (0..shared as u32).map(|at| family * 1000 + at).collect();
        tokens.extend((0..own).map(|_| self.random.below(3) as u32));
        let request = Request {
            tokens: &tokens,
            max_new: 1 + self.random.below(20) as u32,
            ..Request::default()
        };
        let id = self.scheduler.add(&request).unwrap();
        self.known.insert(id, tokens);
    }

    /// Reads or writes the numbers of a token, wherever its block lies.
    fn token(&self, id: SequenceId, position: usize, write: Option<u16>) -> u16 {
        let table = self.scheduler.cache().table(id, 0).unwrap();
        let block = place(table[position / BLOCK_SIZE].0);
        let arena = self.tiers.arena();
        let mut bytes = vec![0; 576];
        arena.read_block(block, &mut bytes).unwrap();
        // 18 runs of [token][dim]: three layers, K and V, three heads.
        let mut seen = None;
        for run in bytes.chunks_exact_mut(BLOCK_SIZE * 8) {
            for element in run[position % BLOCK_SIZE * 8..][..8].as_chunks_mut::<2>().0 {
                if let Some(number) = write {
                    *element = number.to_le_bytes();
                }
                let number = u16::from_le_bytes(*element);
                assert_eq!(*seen.get_or_insert(number), number, "a token is of one piece");
            }
        }
        if write.is_some() {
            arena.write_block(block, &bytes).unwrap();
        }
        seen.unwrap()
    }

    fn step(&mut self) {
        let plan = self.scheduler.step().unwrap().clone();
        self.counts.copies += plan.changes.copies.len();
        self.counts.swaps += plan.swap_in.len();
        self.mover.run(&plan).unwrap();
        for work in &plan.work {
            let tokens = self.known[&work.sequence].clone();
            let epoch = self.scheduler.cache().epoch_of(work.sequence).unwrap();
            for at in work.start..work.start + work.count {
                let number = value(epoch, &tokens[..=at as usize]);
                self.token(work.sequence, at as usize, Some(number));
            }
        }
        // All is written before anything is read.
        for work in &plan.work {
            let tokens = self.known[&work.sequence].clone();
            let epoch = self.scheduler.cache().epoch_of(work.sequence).unwrap();
            for at in 0..(work.start + work.count) as usize {
                let seen = self.token(work.sequence, at, None);
                assert_eq!(seen, value(epoch, &tokens[..=at]), "token {at} of {:?}", work.sequence);
            }
        }
        if !plan.work.is_empty() && self.random.one_in(12) {
            self.counts.abandoned += 1;
            self.scheduler.abandon().unwrap();
            return;
        }
        let sampled: Vec<Vec<u32>> = plan
            .work
            .iter()
            .map(|work| match work.samples {
                true => vec![self.random.below(3) as u32],
                false => Vec::new(),
            })
            .collect();
        let outcomes: Vec<Outcome<'_>> = sampled
            .iter()
            .map(|tokens| Outcome {
                tokens,
                finished: false,
            })
            .collect();
        self.scheduler.commit(&outcomes).unwrap();
        for (work, tokens) in plan.work.iter().zip(&sampled) {
            if let Some(known) = self.known.get_mut(&work.sequence) {
                known.extend(tokens);
            }
        }
        let cache = self.scheduler.cache();
        self.known.retain(|id, _| cache.known(*id).is_ok());
    }

    /// Some running request's blocks go down.
    fn write_back(&mut self) {
        let running = self.scheduler.running();
        if running.is_empty() {
            return;
        }
        let id = running[self.random.below(running.len() as u64) as usize];
        let stored = self.scheduler.stored(id, 0).unwrap();
        let pinned: Vec<BlockId> = stored.iter().map(|(_, block)| *block).collect();
        self.scheduler.pin(&pinned).unwrap();
        let ticket = self.tiers.write_back(&stored).unwrap();
        self.pending.push((ticket, pinned));
    }

    fn settle(&mut self) {
        for (ticket, pinned) in std::mem::take(&mut self.pending) {
            ticket.wait(PATIENCE).unwrap();
            self.scheduler.unpin(&pinned).unwrap();
        }
    }

    /// What lower tiers have of those who wait comes up.
    fn load(&mut self) {
        let cache = self.scheduler.cache();
        let waiting = self
            .known
            .keys()
            .copied()
            .filter(|id| cache.positions(*id).is_ok_and(|count| count == 0));
        let mut waiting: Vec<SequenceId> = waiting.collect();
        waiting.sort();
        for id in waiting {
            let cache = self.scheduler.cache();
            let labels = cache.labels(id, 0).unwrap();
            let epoch = cache.epoch_of(id).unwrap();
            let here = cache.lookup(id, u32::MAX).unwrap().tokens as usize / BLOCK_SIZE;
            let keys: Vec<Key> = labels[here..].iter().map(|label| label.key).collect();
            let lead = self.tiers.lookup(&keys, epoch);
            if lead.blocks == 0 {
                continue;
            }
            self.counts.from_disk += lead.on_disk;
            let Some(loading) = self.scheduler.begin_load(id, here as u32, lead.blocks).unwrap() else {
                continue;
            };
            self.scheduler.audit().unwrap();
            let arrived = self.tiers.load(loading.blocks()).unwrap().wait(PATIENCE).unwrap();
            self.counts.loaded += arrived;
            self.scheduler.end_load(&loading, arrived).unwrap();
        }
    }

    fn sleep(&mut self) {
        self.settle();
        if self.random.one_in(2) {
            self.scheduler.sleep().unwrap();
            self.tiers.sleep(Sleep::Drop).unwrap();
        } else {
            // Sequences stay where they are, and so does what they computed.
            self.scheduler.pause();
            let all: Vec<BlockId> = (0..BLOCKS).map(BlockId).collect();
            self.tiers.sleep(Sleep::Keep(&self.store, &all)).unwrap();
        }
        self.tiers.wake().unwrap();
        self.scheduler.resume();
    }

    fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            match self.random.below(10) {
                0..3 if self.known.len() < 12 => self.add(),
                3 | 4 => self.write_back(),
                5 => self.load(),
                6 => self.settle(),
                7 if self.random.one_in(10) => {
                    self.epoch += 1;
                    self.settle();
                    self.scheduler.set_epoch(self.epoch).unwrap();
                    self.tiers.retire(self.epoch);
                }
                8 if self.random.one_in(8) => self.sleep(),
                _ => {}
            }
            self.step();
            self.scheduler.audit().unwrap();
        }
        self.settle();
        self.scheduler.audit().unwrap();
        self.tiers.host().audit().unwrap();
    }
}

#[test]
fn what_attention_reads_is_what_was_computed_wherever_it_has_been() {
    let mut sum = Counts::default();
    for seed in 1..=16 {
        let folder = TempDir::new().unwrap();
        let order = match seed % 4 < 2 {
            true => PageOrder::LayerFirst,
            false => PageOrder::BlockFirst,
        };
        let mut engine = Engine::new(seed, seed % 2 == 1, order, &folder);
        engine.run(300);
        let counts = engine.counts;
        sum.loaded += counts.loaded;
        sum.from_disk += counts.from_disk;
        sum.copies += counts.copies;
        sum.swaps += counts.swaps;
        sum.abandoned += counts.abandoned;
    }
    let seen = [
        sum.loaded > 0,
        sum.from_disk > 0,
        sum.copies > 0,
        sum.swaps > 0,
        sum.abandoned > 0,
    ];
    assert_eq!(seen, [true; 5], "the test did not see what it is about: {sum:?}");
}

#[test]
fn the_cache_counts_what_transfers_hold() {
    let mut scheduler = Scheduler::new(SchedulerConfig {
        cache: CacheConfig {
            blocks: 9,
            block_size: 4,
            ..CacheConfig::default()
        },
        ..SchedulerConfig::default()
    })
    .unwrap();
    let tokens: Vec<u32> = (0..21).collect();
    let request = Request {
        tokens: &tokens,
        max_new: 2,
        ..Request::default()
    };
    let id = scheduler.add(&request).unwrap();
    let kind = |error: crate::error::Error| error.kind();
    assert_eq!(
        kind(scheduler.begin_load(id, 0, 6).unwrap_err()),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind(scheduler.begin_load(id, 0, 0).unwrap_err()),
        ErrorKind::InvalidArgument
    );
    let loading = scheduler.begin_load(id, 0, 5).unwrap().unwrap();
    assert!(scheduler.begin_load(id, 0, 4).unwrap().is_none(), "3 are free");
    assert_eq!(scheduler.cache().pinned(), 5);
    assert_eq!(kind(scheduler.sleep().unwrap_err()), ErrorKind::InvalidArgument);
    scheduler.audit().unwrap();
    assert_eq!(
        kind(scheduler.end_load(&loading, 6).unwrap_err()),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        scheduler.cache().lookup(id, u32::MAX).unwrap().tokens,
        0,
        "not before they have arrived"
    );
    scheduler.end_load(&loading, 3).unwrap();
    assert_eq!(scheduler.cache().lookup(id, u32::MAX).unwrap().tokens, 12);
    assert_eq!(
        kind(scheduler.end_load(&loading, 3).unwrap_err()),
        ErrorKind::InvalidArgument,
        "ended before"
    );
    scheduler.audit().unwrap();
    scheduler.step().unwrap();
    assert_eq!(
        kind(scheduler.stored(id, 0).unwrap_err()),
        ErrorKind::InvalidArgument,
        "not computed yet"
    );
    let block = scheduler.cache().table(id, 0).unwrap()[4];
    scheduler
        .commit(&[Outcome {
            tokens: &[1],
            finished: false,
        }])
        .unwrap();
    let stored = scheduler.stored(id, 3).unwrap();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[1], (scheduler.cache().labels(id, 0).unwrap()[4], block));
    scheduler.pin(&[block, block]).unwrap();
    scheduler.abort(id).unwrap();
    assert_eq!(scheduler.cache().pool().references(block), 2);
    assert_eq!(
        kind(scheduler.unpin(&[block, block, block]).unwrap_err()),
        ErrorKind::InvalidArgument
    );
    scheduler.audit().unwrap();
    scheduler.unpin(&[block, block]).unwrap();
    assert_eq!(scheduler.cache().pool().references(block), 0);
    assert_eq!(scheduler.cache().pinned(), 0);
    scheduler.audit().unwrap();
    scheduler.sleep().unwrap();
}
