//! What holds over all of the module: what bad input comes to, what is counted, and properties that no single file can show.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, ErrorKind};

const NOBODY: TenantId = TenantId(0);

fn small(blocks: u32) -> CacheConfig {
    CacheConfig {
        blocks,
        block_size: 4,
        ..CacheConfig::default()
    }
}

fn cache(blocks: u32) -> Cache {
    Cache::new(small(blocks)).unwrap()
}

fn begin(cache: &mut Cache, tenant: TenantId, tokens: &[u32]) -> SequenceId {
    let id = cache.add(tenant, &Namespace::default(), tokens, &[]).unwrap();
    let hit = cache.lookup(id, u32::MAX).unwrap();
    cache.attach(id, &hit).unwrap();
    compute(cache, id);
    id
}

fn compute(cache: &mut Cache, id: SequenceId) {
    let known = cache.known(id).unwrap();
    assert!(cache.grow(id, known, &mut Changes::default()).unwrap());
    cache.advance(id, known).unwrap();
    cache.settle().unwrap();
    cache.audit().unwrap();
}

fn request(tokens: &[u32], max_new: u32) -> Request<'_> {
    Request {
        tokens,
        max_new,
        ..Request::default()
    }
}

/// Does all that the plan in flight says; each request says 7.
fn answer(scheduler: &mut Scheduler) {
    let samples: Vec<bool> = scheduler.plan().work.iter().map(|work| work.samples).collect();
    let outcomes: Vec<Outcome<'_>> = samples
        .iter()
        .map(|samples| Outcome {
            tokens: if *samples { &[7] } else { &[] },
            finished: false,
        })
        .collect();
    scheduler.commit(&outcomes).unwrap();
    scheduler.audit().unwrap();
}

/// An error of this kind that says what was asked and what was found.
#[track_caller]
fn says<T>(result: Result<T, Error>, kind: ErrorKind, what: &[&str]) {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    for part in what {
        assert!(
            error.message().contains(part),
            "{part:?} is not in {:?}",
            error.message()
        );
    }
}

// --- bad input --------------------------------------------------------------------------------------------------------------------

#[test]
fn a_block_that_is_not_there_not_held_or_not_ones_own_is_refused() {
    let mut pool = Pool::new(&PoolConfig {
        blocks: 4,
        eviction: Eviction::Lru,
        events: false,
    })
    .unwrap();
    let mut taken = Vec::new();
    assert!(pool.allocate(1, NOBODY, &mut taken));
    let invalid = ErrorKind::InvalidArgument;
    // Of another, larger pool.
    says(
        pool.release(&[BlockId(9)]),
        invalid,
        &["block 9", "the pool's 4 blocks"],
    );
    says(
        pool.touch(&[BlockId(u32::MAX)], NOBODY),
        invalid,
        &["block 4294967295", "4 blocks"],
    );
    says(pool.forget(BlockId(4)), invalid, &["block 4", "4 blocks"]);
    says(pool.touch(&taken, TenantId(3)), invalid, &["tenant 3", "there are 1"]);
    says(
        pool.register(BlockId(2), Key::new(1), 0, 0),
        invalid,
        &["block 2", "nobody uses it"],
    );
    says(
        pool.register(BlockId::NULL, Key::new(1), 0, 0),
        invalid,
        &["block 0", "null block"],
    );
    pool.release(&taken).unwrap();
    says(
        pool.release(&taken),
        invalid,
        &["block 1", "once more than it is referenced"],
    );
    // As many as there are not, or never could be.
    for count in [4, u32::MAX] {
        assert!(!pool.allocate(count, NOBODY, &mut taken));
    }
    pool.audit(&[0; 4]).unwrap();
}

#[test]
fn a_cache_that_makes_no_sense_is_refused() {
    let with = |change: &dyn Fn(&mut CacheConfig)| {
        let mut config = small(8);
        change(&mut config);
        Cache::new(config).map(|_| ())
    };
    let invalid = ErrorKind::InvalidArgument;
    says(
        with(&|config| config.blocks = 1),
        invalid,
        &["from 2 blocks", "1 were asked for"],
    );
    says(with(&|config| config.block_size = 0), invalid, &["a block of 0 tokens"]);
    says(
        with(&|config| config.groups = vec![]),
        invalid,
        &["1 to 255 groups", "not 0"],
    );
    says(
        with(&|config| config.groups = vec![Group::Full; 256]),
        invalid,
        &["not 256"],
    );
    says(
        with(&|config| config.groups = vec![Group::Window(3)]),
        invalid,
        &["a window of 3 tokens", "a block of 4"],
    );
    let both = |config: &mut CacheConfig| (config.partial, config.groups) = (true, vec![Group::Window(8)]);
    says(with(&both), invalid, &["one full group only", "Window(8)"]);
}

#[test]
fn a_call_for_a_sequence_that_cannot_be_is_refused() {
    let mut cache = cache(8);
    let id = begin(&mut cache, NOBODY, &[1; 6]);
    let invalid = ErrorKind::InvalidArgument;
    says(
        cache.add(TenantId(4), &Namespace::default(), &[1], &[]),
        invalid,
        &["tenant 4", "there are 1"],
    );
    says(cache.add(NOBODY, &Namespace::default(), &[], &[]), invalid, &["not 0"]);
    says(cache.lookup(id, 3), invalid, &["6 computed tokens"]);
    says(
        cache.grow(id, 5, &mut Changes::default()),
        invalid,
        &["5 tokens", "6 are computed"],
    );
    says(
        cache.grow(id, u32::MAX, &mut Changes::default()),
        invalid,
        &["4294967295 tokens"],
    );
    says(
        cache.advance(id, 7),
        invalid,
        &["7 tokens", "6 are known", "room for 8"],
    );
    says(cache.advance(id, 5), invalid, &["5 tokens", "6 were before"]);
    says(cache.rewind(id, 7), invalid, &["7 tokens", "6 computed"]);
    says(cache.restart(id, 9, &[1]), invalid, &["first 9 tokens of 6"]);
    says(cache.table(id, 2), invalid, &["no group 2", "there are 1"]);
    says(
        cache.write_block_table(&[id], 0, 1, &mut [0]),
        invalid,
        &["2 blocks", "room for 1"],
    );
    says(
        cache.write_block_table(&[id; 3], 0, usize::MAX, &mut [0]),
        invalid,
        &["3 rows", "room for 1"],
    );
    says(
        cache.write_slot_mapping(&[(id, 6, 3)], 0, &mut [0; 3]),
        invalid,
        &["room for 8 tokens, not for 9"],
    );
    says(
        cache.write_slot_mapping(&[(id, 1, u32::MAX)], 0, &mut []),
        invalid,
        &["not for 4294967296"],
    );
    // More blocks than can be counted in 32 bits, if there were as many.
    let mut wide = Cache::new(CacheConfig {
        blocks: 8,
        block_size: 1,
        groups: vec![Group::Full; 200],
        ..CacheConfig::default()
    })
    .unwrap();
    let long = wide.add(NOBODY, &Namespace::default(), &[1], &[]).unwrap();
    assert!(!wide.grow(long, i32::MAX as u32, &mut Changes::default()).unwrap());
    wide.audit().unwrap();

    cache.set_epoch(3).unwrap();
    for epoch in [2, 3] {
        says(
            cache.set_epoch(epoch),
            invalid,
            &["it is 3", &format!("was to be {epoch}")],
        );
    }
    cache.finish(id).unwrap();
    let gone = ErrorKind::NotFound;
    let name = format!("{id:?}");
    says(cache.fork(id), gone, &[&name, "has ended"]);
    says(cache.finish(id), gone, &[&name]);
    says(
        cache.grow(SequenceId::default(), 1, &mut Changes::default()),
        gone,
        &["of another cache"],
    );
    cache.audit().unwrap();
}

#[test]
fn a_prefix_that_is_not_there_any_more_is_not_attached() {
    for (partial, groups) in [
        (false, vec![Group::Full]),
        (true, vec![Group::Full]),
        (false, vec![Group::Window(8)]),
    ] {
        let mut cache = Cache::new(CacheConfig {
            partial,
            groups,
            ..small(4)
        })
        .unwrap();
        let first = begin(&mut cache, NOBODY, &[1; 9]);
        cache.finish(first).unwrap();
        let second = cache.add(NOBODY, &Namespace::default(), &[1; 9], &[]).unwrap();
        let hit = cache.lookup(second, u32::MAX).unwrap();
        assert_eq!(hit.tokens, 8);
        // Of another prompt it is no prefix, nor in another epoch.
        let other = cache.add(NOBODY, &Namespace::default(), &[3; 9], &[]).unwrap();
        let short = cache.add(NOBODY, &Namespace::default(), &[1; 8], &[]).unwrap();
        for id in [other, short] {
            says(
                cache.attach(id, &hit),
                ErrorKind::InvalidArgument,
                &["of 8 tokens", "none of"],
            );
        }
        // Its blocks are given to another, and can be found again, by other tokens.
        let third = begin(&mut cache, NOBODY, &[2; 12]);
        cache.finish(third).unwrap();
        says(
            cache.attach(second, &hit),
            ErrorKind::InvalidArgument,
            &["of 8 tokens", "not there any more"],
        );
        assert_eq!((cache.computed(second).unwrap(), cache.pool().free_blocks()), (0, 3));
        cache.audit().unwrap();
    }
}

#[test]
fn a_part_of_a_block_that_is_not_there_any_more_is_not_attached() {
    let mut cache = Cache::new(CacheConfig {
        partial: true,
        ..small(4)
    })
    .unwrap();
    let first = begin(&mut cache, NOBODY, &[1; 9]);
    cache.finish(first).unwrap();
    let second = cache
        .add(NOBODY, &Namespace::default(), &[1, 1, 1, 1, 1, 1, 5], &[])
        .unwrap();
    let hit = cache.lookup(second, u32::MAX).unwrap();
    assert_eq!((hit.tokens, hit.ends_within_block()), (6, true));
    let other = cache
        .add(NOBODY, &Namespace::default(), &[1, 1, 1, 1, 5, 6, 7], &[])
        .unwrap();
    says(
        cache.attach(other, &hit),
        ErrorKind::InvalidArgument,
        &["of 6 tokens", "none of"],
    );
    let third = begin(&mut cache, NOBODY, &[1, 1, 1, 1, 5, 5, 5, 5]);
    cache.finish(third).unwrap();
    let fourth = begin(&mut cache, NOBODY, &[2; 12]);
    cache.finish(fourth).unwrap();
    says(
        cache.attach(second, &hit),
        ErrorKind::InvalidArgument,
        &["of 6 tokens", "not there any more"],
    );
    cache.audit().unwrap();
}

#[test]
fn a_scheduler_refuses_what_would_wedge_it_and_answers_that_do_not_fit() {
    let with = |change: &dyn Fn(&mut SchedulerConfig)| {
        let mut config = SchedulerConfig {
            cache: small(5),
            ..SchedulerConfig::default()
        };
        change(&mut config);
        Scheduler::new(config)
    };
    let invalid = ErrorKind::InvalidArgument;
    says(with(&|config| config.step_tokens = 0), invalid, &["0 tokens a step"]);
    says(with(&|config| config.running = 0), invalid, &["0 running requests"]);
    says(with(&|config| config.chunk = 0), invalid, &["0 tokens a chunk"]);
    says(
        with(&|config| config.policy = Policy::Fair { quantum: 0 }),
        invalid,
        &["turns of 0 tokens"],
    );

    let mut scheduler = with(&|_| {}).unwrap();
    let limited = scheduler.add_tenant(Some(1)).unwrap();
    let never = ErrorKind::Unschedulable;
    says(
        scheduler.add(&request(&[1; 10], 8)),
        never,
        &["10 tokens and 8 more", "5 blocks", "may hold 4"],
    );
    let tenant = Request {
        tenant: limited,
        ..request(&[1; 4], 2)
    };
    says(scheduler.add(&tenant), never, &["2 blocks", "tenant 1 may hold 1"]);
    says(
        scheduler.add(&request(&[1], u32::MAX)),
        invalid,
        &["4294967295 were asked for"],
    );
    says(scheduler.add(&request(&[1], 0)), invalid, &["0 were asked for"]);
    says(scheduler.commit(&[]), invalid, &["no plan is in flight"]);
    says(scheduler.abandon(), invalid, &["no plan is in flight"]);

    let id = scheduler.add(&request(&[1, 2], 3)).unwrap();
    scheduler.step().unwrap();
    says(scheduler.step().map(|_| ()), invalid, &["plan 1 is in flight"]);
    says(scheduler.fork(id), invalid, &["plan 1 is in flight"]);
    says(scheduler.abort(id), invalid, &["plan 1 is in flight"]);
    says(scheduler.set_epoch(1), invalid, &["plan 1 is in flight"]);
    says(scheduler.sleep(), invalid, &["plan 1 is in flight"]);
    says(scheduler.commit(&[]), invalid, &["1 pieces of work", "0 outcomes"]);
    let outcome = |tokens| Outcome {
        tokens,
        finished: false,
    };
    says(
        scheduler.commit(&[outcome(&[])]),
        invalid,
        &["from 1 to 1 tokens", "0 came"],
    );
    says(
        scheduler.commit(&[outcome(&[1, 2])]),
        invalid,
        &["from 1 to 1 tokens", "2 came"],
    );
    answer(&mut scheduler);
    scheduler.abort(id).unwrap();
    let gone = ErrorKind::NotFound;
    says(scheduler.fork(id), gone, &[&format!("{id:?}"), "has ended"]);
    says(scheduler.abort(id), gone, &["has ended"]);
    scheduler.audit().unwrap();
}

// --- what is counted --------------------------------------------------------------------------------------------------------------

#[test]
fn a_cache_counts_hits_by_tenant_and_how_long_blocks_stay() {
    let mut cache = cache(4);
    let other = cache.add_tenant(Some(2)).unwrap();
    cache.set_time(100);
    let one = begin(&mut cache, NOBODY, &[1; 8]);
    cache.finish(one).unwrap();
    cache.set_time(130);
    let two = begin(&mut cache, NOBODY, &[1; 8]);
    let metrics = cache.metrics();
    assert_eq!((metrics.blocks, metrics.free, metrics.sequences), (3, 1, 1));
    assert!((metrics.usage() - 2.0 / 3.0).abs() < 1e-9);
    let of = |metrics: &CacheMetrics, tenant: TenantId| metrics.tenants[tenant.0 as usize];
    let mine = of(&metrics, NOBODY);
    assert_eq!((mine.asked, mine.hit, mine.held, mine.limit), (16, 4, 2, 3));
    assert_eq!((mine.hit_rate(), metrics.hit_rate()), (0.25, 0.25));
    assert_eq!(of(&metrics, other).hit_rate(), 0.0);
    cache.finish(two).unwrap();
    assert_eq!(metrics.residency.count(), 0);
    // Three blocks are needed, so the one that is sampled goes, with what it has held since 100.
    let three = begin(&mut cache, NOBODY, &[2; 12]);
    let metrics = cache.metrics();
    assert_eq!((metrics.residency.count(), metrics.residency.sum()), (1, 30));
    assert!(metrics.pool.evicted >= 2);
    cache.finish(three).unwrap();
    begin(&mut cache, other, &[1; 8]);
    let metrics = cache.metrics();
    assert_eq!((of(&metrics, other).held, of(&metrics, other).asked), (2, 8));
}

#[test]
fn a_scheduler_counts_how_long_requests_wait_and_who_lost_blocks() {
    let mut scheduler = Scheduler::new(SchedulerConfig {
        cache: small(6),
        running: 1,
        swap_slots: 2,
        ..SchedulerConfig::default()
    })
    .unwrap();
    scheduler.set_time(1000);
    scheduler.add(&request(&[1; 4], 2)).unwrap();
    scheduler.set_time(1010);
    scheduler.add(&request(&[2; 4], 1)).unwrap();
    let mut now = 1010;
    while scheduler.waiting() + scheduler.running().len() > 0 {
        now += 10;
        scheduler.set_time(now);
        scheduler.step().unwrap();
        answer(&mut scheduler);
    }
    // The first waits for one step of 20, the second for two steps more.
    let metrics = scheduler.metrics();
    assert_eq!((metrics.queue_time.count(), metrics.queue_time.sum()), (2, 20 + 30));
    assert_eq!((metrics.queue_steps.sum(), metrics.counts.waited), (4, 4));
    assert_eq!((metrics.counts.finished, metrics.counts.steps), (2, 3));
    assert_eq!((metrics.running, metrics.waiting, metrics.reserved), (0, 0, 0));

    let mut crowded = Scheduler::new(SchedulerConfig {
        cache: small(6),
        swap_slots: 2,
        ..SchedulerConfig::default()
    })
    .unwrap();
    for family in 0..3 {
        crowded.add(&request(&[family; 4], 12)).unwrap();
    }
    let mut used = 0;
    while crowded.waiting() + crowded.running().len() > 0 {
        crowded.step().unwrap();
        answer(&mut crowded);
        let metrics = crowded.metrics();
        assert!(metrics.host_used <= metrics.host_places && metrics.reserved <= metrics.cache.free);
        used = used.max(metrics.host_used);
    }
    let counts = crowded.metrics().counts;
    assert!(counts.swapped > 0 && counts.recomputed > 0 && used == 2, "{counts:?}");
    assert_eq!(crowded.metrics().queue_steps.count(), counts.admitted);
}

// --- properties -------------------------------------------------------------------------------------------------------------------

/// What a block's key may depend on, in words that can be compared.
type Meaning = (Vec<u8>, Vec<u32>, Vec<(usize, usize, u8)>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Two blocks have one key exactly if they stand for the same tokens and media of one namespace, however the tokens came: at once,
    /// one by one, or after a fork.
    #[test]
    fn a_key_stands_for_all_that_its_block_depends_on(
        prompts in proptest::collection::vec((
            0..2_u8, proptest::collection::vec(0..2_u32, 1..14), proptest::collection::vec(0..2_u32, 0..6),
            proptest::option::of((0..14_usize, 1..6_usize, 0..2_u8)), any::<bool>(),
        ), 1..12),
        algorithm in prop_oneof![Just(Algorithm::Xxh3), Just(Algorithm::Sha256), Just(Algorithm::Blake3)],
    ) {
        let mut cache = Cache::new(CacheConfig { blocks: 400, block_size: 2, algorithm, ..CacheConfig::default() }).unwrap();
        let mut meanings: HashMap<Key, Meaning> = HashMap::new();
        let mut keys: HashMap<Meaning, Key> = HashMap::new();
        for (salt, tokens, more, image, fork) in prompts {
            let salt = [salt];
            let namespace = Namespace { salt: &salt, ..Namespace::default() };
            // Media are of the prompt.
            let image = image.filter(|(start, ..)| *start < tokens.len());
            let media: Vec<Media> = image.iter().map(|(start, length, content)| Media {
                start: *start, length: (*length).min(tokens.len() - start), digest: [*content; 32],
            }).collect();
            let mut id = cache.add(NOBODY, &namespace, &tokens, &media).unwrap();
            compute(&mut cache, id);
            for token in &more {
                if fork {
                    id = cache.fork(id).unwrap();
                }
                cache.append(id, &[*token]).unwrap();
                compute(&mut cache, id);
            }
            let all: Vec<u32> = tokens.iter().chain(&more).copied().collect();
            for (position, block) in cache.table(id, 0).unwrap().into_iter().enumerate().take(all.len() / 2) {
                let end = 2 * (position + 1);
                let seen = media.iter().filter(|item| item.start < end).map(|item| (item.start, item.length, item.digest[0]));
                let meaning: Meaning = (salt.to_vec(), all[..end].to_vec(), seen.collect());
                let key = cache.pool().key_of(block).unwrap();
                prop_assert_eq!(meanings.entry(key).or_insert_with(|| meaning.clone()), &meaning, "one key for two");
                prop_assert_eq!(*keys.entry(meaning).or_insert(key), key, "two keys for one");
            }
        }
    }

    /// Whatever is retained, for however long: no policy keeps a free block from being taken, and each is taken once.
    #[test]
    fn no_retention_wedges_a_pool(
        eviction in prop_oneof![Just(Eviction::Lru), Just(Eviction::TinyLfu), Just(Eviction::Retention)],
        blocks in 2..80_u32,
        kept in proptest::collection::vec((any::<u8>(), 0..100_u64, any::<bool>(), any::<bool>()), 0..120),
        counts in proptest::collection::vec(1..9_u32, 1..40),
    ) {
        let mut pool = Pool::new(&PoolConfig { blocks, eviction, events: false }).unwrap();
        let mut taken = Vec::new();
        prop_assert!(pool.allocate(blocks - 1, NOBODY, &mut taken));
        for (block, (priority, until, keyed, forgotten)) in taken.iter().zip(&kept) {
            if *keyed {
                pool.register(*block, Key::new(u128::from(block.0) << 70), 0, 0).unwrap();
            }
            pool.retain(&[*block], Retention { priority: *priority, until: *until }).unwrap();
            if *forgotten {
                pool.forget(*block).unwrap();
            }
        }
        pool.release(&taken).unwrap();
        pool.set_time(50);
        let mut again = Vec::new();
        for count in counts {
            let had = again.len();
            let fits = count <= blocks - 1 - had as u32;
            prop_assert_eq!(pool.allocate(count, NOBODY, &mut again), fits);
            prop_assert_eq!(again.len(), had + if fits { count as usize } else { 0 });
        }
        let distinct: std::collections::HashSet<_> = again.iter().collect();
        prop_assert_eq!(distinct.len(), again.len());
        prop_assert!(!again.contains(&BlockId::NULL));
    }

    /// A fork takes no block and copies none, its tables are those of its origin, and both can end in any order.
    #[test]
    fn a_fork_costs_no_block(length in 1..40_u32, forks in 1..6_usize, which in proptest::collection::vec(0..8_usize, 8)) {
        let mut cache = cache(64);
        let mut ids = vec![begin(&mut cache, NOBODY, &(0..length).collect::<Vec<_>>())];
        let free = cache.pool().free_blocks();
        for at in 0..forks {
            let of = ids[which[at] % ids.len()];
            let fork = cache.fork(of).unwrap();
            prop_assert_eq!(cache.table(fork, 0).unwrap(), cache.table(of, 0).unwrap());
            prop_assert_eq!((cache.known(fork).unwrap(), cache.computed(fork).unwrap()), (length, length));
            ids.push(fork);
        }
        prop_assert_eq!(cache.pool().free_blocks(), free);
        cache.audit().unwrap();
        while !ids.is_empty() {
            let id = ids.remove(which[ids.len()] % ids.len());
            cache.finish(id).unwrap();
            cache.audit().unwrap();
        }
        prop_assert_eq!(cache.pool().free_blocks(), 63);
    }

    /// Where policies have nothing to tell requests apart by, they all do what first come, first served does, to the last block: with
    /// one priority, one tenant, or nothing cached.
    #[test]
    fn policies_agree_where_there_is_nothing_to_choose_by(
        blocks in 8..30_u32,
        caching in any::<bool>(),
        quantum in 1..40_u32,
        swap_slots in prop_oneof![Just(0), 1..12_u32],
        reserve_output in prop_oneof![Just(0), Just(4), Just(u32::MAX)],
        running in 1..6_u32,
        asked in proptest::collection::vec((0..6_usize, 0..3_u32, 1..14_u32, 1..10_u32), 1..14),
    ) {
        let mut policies = vec![Policy::Fcfs, Policy::Priority, Policy::Fair { quantum }];
        if !caching {
            policies.push(Policy::LongestPrefix);
        }
        let run = |policy: Policy| {
            let mut scheduler = Scheduler::new(SchedulerConfig {
                cache: CacheConfig { caching, ..small(blocks) },
                step_tokens: 16, chunk: 8, running, swap_slots, reserve_output, policy, ..SchedulerConfig::default()
            }).unwrap();
            let mut coming = asked.iter();
            let mut next = coming.next();
            let (mut wait, mut plans) = (0, Vec::new());
            while next.is_some() || scheduler.waiting() + scheduler.running().len() > 0 {
                while let Some((gap, family, length, max_new)) = next.filter(|(gap, ..)| *gap <= wait) {
                    let tokens: Vec<u32> = (0..*length).map(|at| family * 50 + at).collect();
                    // Refused by all or by none.
                    let refused = scheduler.add(&request(&tokens, *max_new)).is_err();
                    plans.push(format!("{refused} after {gap}"));
                    (wait, next) = (0, coming.next());
                }
                wait += 1;
                plans.push(format!("{:?}", scheduler.step().unwrap()));
                answer(&mut scheduler);
            }
            (plans, scheduler.stats())
        };
        let expected = run(Policy::Fcfs);
        for policy in &policies[1..] {
            prop_assert_eq!(&run(*policy), &expected, "{:?}", policy);
        }
    }
}
