//! The paged cache in the hands of an owner who gets everything wrong: ids out of range or of another cache, blocks released twice,
//! requests longer than the pool, forks of what has ended, epochs that go back, answers that fit no plan. Each call does what it says or
//! returns an error of a kind that its documentation names; after each, the audit holds; and a scheduler that was treated so still brings
//! what it has to an end.

use std::fmt::Debug;

use park_core::kv::{
    Algorithm, BlockId, Cache, CacheConfig, Changes, Eviction, Group, Key, Media, Namespace, OnEpoch, Outcome, Policy,
    Pool, PoolConfig, Request, Retention, Scheduler, SchedulerConfig, SequenceId, TenantId,
};
use park_core::{ErrorKind, Result};

use super::input::Input;

const CALLS: usize = 400;

pub(crate) fn target(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => pool(&mut input),
        1 => cache(&mut input),
        _ => scheduler(&mut input),
    }
}

/// What a call came to; an error that blames the cache itself is a defect.
fn typed<T: Debug>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let expected = [
                ErrorKind::InvalidArgument,
                ErrorKind::NotFound,
                ErrorKind::StoreFull,
                ErrorKind::TableFull,
                ErrorKind::Unschedulable,
            ];
            assert!(expected.contains(&error.kind()), "{error:?}");
            assert!(!error.message().is_empty());
            None
        }
    }
}

fn eviction(input: &mut Input<'_>) -> Eviction {
    [Eviction::Lru, Eviction::TinyLfu, Eviction::Retention][usize::from(input.byte() % 3)]
}

fn tenant(input: &mut Input<'_>) -> TenantId {
    TenantId(match input.byte() {
        few @ 0..=200 => u16::from(few % 3),
        _ => input.number() as u16,
    })
}

fn retention(input: &mut Input<'_>) -> Retention {
    Retention {
        priority: input.byte(),
        until: input.number(),
    }
}

/// A pool, beside the references that were given out.
fn pool(input: &mut Input<'_>) {
    let blocks = input.number() as u32;
    // Many blocks are only memory.
    let blocks = if blocks > 1 << 30 { blocks } else { blocks % 40 };
    let config = PoolConfig {
        blocks,
        eviction: eviction(input),
        events: input.byte().is_multiple_of(2),
    };
    let Some(mut pool) = Pool::new(&config)
        .map_err(|error| assert_eq!(error.kind(), ErrorKind::InvalidArgument))
        .ok()
    else {
        return;
    };
    let mut refs = vec![0_u32; blocks as usize];
    typed(pool.add_tenant(Some(input.byte().into())));
    let block = |input: &mut Input<'_>| match input.byte() {
        near @ 0..=220 => BlockId(u32::from(near) % (blocks + 1)),
        _ => BlockId(input.number() as u32),
    };
    for _ in 0..CALLS {
        if input.is_empty() {
            return;
        }
        match input.byte() % 9 {
            0 => {
                let (count, tenant) = (input.number() as u32, tenant(input));
                let mut taken = Vec::new();
                if pool.allocate(count, tenant, &mut taken) {
                    assert_eq!(taken.len(), count as usize);
                }
                taken.iter().for_each(|block| refs[block.0 as usize] += 1);
            }
            1 | 2 => {
                let several: Vec<BlockId> = (0..input.byte() % 5).map(|_| block(input)).collect();
                if typed(pool.release(&several)).is_some() {
                    several
                        .iter()
                        .filter(|block| !block.is_null())
                        .for_each(|block| refs[block.0 as usize] -= 1);
                }
            }
            3 => {
                let several: Vec<BlockId> = (0..input.byte() % 5).map(|_| block(input)).collect();
                if typed(pool.touch(&several, tenant(input))).is_some() {
                    several
                        .iter()
                        .filter(|block| !block.is_null())
                        .for_each(|block| refs[block.0 as usize] += 1);
                }
            }
            4 => {
                let (block, key) = (block(input), Key::new(u128::from(input.byte() % 8) << 90));
                if typed(pool.register(block, key, u32::from(input.byte() % 2), input.byte() % 2)).is_some() {
                    assert_eq!(pool.key_of(block), Some(key));
                }
            }
            5 => {
                typed(pool.forget(block(input)));
            }
            6 => {
                typed(pool.retain(&[block(input), block(input)], retention(input)));
            }
            7 => pool.set_time(input.number()),
            _ => {
                let used = refs.iter().any(|refs| *refs > 0);
                assert_eq!(pool.reset(), !used);
                pool.take_events();
            }
        }
        pool.audit(&refs).expect("it adds up");
    }
}

fn cache_config(input: &mut Input<'_>) -> CacheConfig {
    let group = |input: &mut Input<'_>| match input.byte() % 3 {
        0 | 1 => Group::Full,
        _ => Group::Window(input.number() as u32 % 40),
    };
    let groups: Vec<Group> = match input.byte() % 8 {
        0 => (0..input.byte() % 5).map(|_| group(input)).collect(),
        1 => vec![Group::Full, Group::Window(5)],
        _ => vec![Group::Full],
    };
    let flags = input.byte();
    CacheConfig {
        blocks: u32::from(input.byte() % 40),
        block_size: match input.byte() {
            few @ 0..=250 => u32::from(few % 6),
            _ => u32::MAX,
        },
        groups,
        caching: flags & 3 > 0,
        eviction: eviction(input),
        algorithm: [Algorithm::Xxh3, Algorithm::Sha256, Algorithm::Blake3][usize::from(flags >> 6) % 3],
        secret: [0; 32],
        verify: flags & 4 > 0,
        partial: flags & 24 == 24,
        events: flags & 32 > 0,
    }
}

fn tokens(input: &mut Input<'_>) -> Vec<u32> {
    let (family, length) = (u32::from(input.byte() % 3), input.byte());
    // Families share beginnings, so that something is found.
    let fork = u32::from(input.byte() % 16);
    (0..u32::from(length % 48))
        .map(|at| if at < fork { at } else { family * 100 + at })
        .collect()
}

fn media(input: &mut Input<'_>) -> Vec<Media> {
    let count = input.byte().saturating_sub(250);
    (0..count)
        .map(|_| Media {
            start: input.number() as usize,
            length: input.number() as usize,
            digest: [input.byte(); 32],
        })
        .collect()
}

/// One of the ids that were ever given out, or one that never was.
fn pick(input: &mut Input<'_>, ids: &[SequenceId]) -> SequenceId {
    let which = usize::from(input.byte());
    if ids.is_empty() || which == 255 {
        return SequenceId::default();
    }
    // Mostly a late one: the early ones have ended.
    ids[ids.len() - 1 - which % ids.len().min(6)]
}

fn cache(input: &mut Input<'_>) {
    let config = cache_config(input);
    let Some(mut cache) = Cache::new(config)
        .map_err(|error| assert_eq!(error.kind(), ErrorKind::InvalidArgument))
        .ok()
    else {
        return;
    };
    typed(cache.add_tenant(Some(input.byte().into())));
    let mut ids: Vec<SequenceId> = Vec::new();
    let (mut changes, mut hits) = (Changes::default(), Vec::new());
    for _ in 0..CALLS {
        if input.is_empty() {
            return;
        }
        changes.clear();
        let id = pick(input, &ids);
        match input.byte() % 22 {
            0 | 1 => {
                let salt = [input.byte() % 2];
                let namespace = Namespace {
                    salt: &salt,
                    ..Namespace::default()
                };
                ids.extend(typed(cache.add(
                    tenant(input),
                    &namespace,
                    &tokens(input),
                    &media(input),
                )));
            }
            2 | 3 => {
                hits.extend(typed(cache.lookup(id, input.number() as u32)));
            }
            // Of this sequence or another, fresh or long stale.
            4 | 5 => {
                if let Some(hit) = hits.pop() {
                    typed(cache.attach(id, &hit));
                }
            }
            6..=8 => {
                let tokens = match input.byte() {
                    0..=200 => cache.known(id).unwrap_or(0),
                    _ => input.number() as u32,
                };
                let grown = typed(cache.grow(id, tokens, &mut changes));
                if grown == Some(true) && !input.byte().is_multiple_of(8) {
                    typed(cache.advance(id, tokens.min(cache.known(id).unwrap_or(0))));
                }
            }
            9 => {
                typed(cache.advance(id, input.number() as u32));
            }
            10 => {
                let few: Vec<u32> = (0..input.byte() % 8).map(u32::from).collect();
                typed(cache.append(id, &few));
            }
            11 if ids.len() < 64 => ids.extend(typed(cache.fork(id))),
            12 => {
                typed(cache.finish(id));
            }
            13 => {
                typed(cache.detach(id));
            }
            14 => {
                typed(cache.rewind(id, input.number() as u32));
            }
            15 => {
                typed(cache.trim(id));
                typed(cache.leave_behind(id));
            }
            16 => {
                let epoch = match input.byte() {
                    0..=200 => cache.epoch().saturating_add(1),
                    _ => input.number() as u32,
                };
                let forward = epoch > cache.epoch();
                assert_eq!(typed(cache.set_epoch(epoch)).is_some(), forward);
            }
            17 => {
                typed(cache.renew(id));
            }
            18 => {
                let tail: Vec<u32> = (0..input.byte() % 6).map(u32::from).collect();
                typed(cache.restart(id, input.number() as u32, &tail));
            }
            19 => {
                typed(cache.retain(id, retention(input)));
                cache.set_time(input.number());
            }
            20 => tables(input, &cache, &ids),
            _ => {
                typed(cache.settle());
                cache.reset();
                cache.take_events();
            }
        }
        cache.audit().expect("it adds up");
        let metrics = cache.metrics();
        assert!(metrics.free <= metrics.blocks && (0.0..=1.0).contains(&metrics.hit_rate()));
    }
}

/// Tables into buffers that fit or not.
fn tables(input: &mut Input<'_>, cache: &Cache, ids: &[SequenceId]) {
    let (one, two) = (pick(input, ids), pick(input, ids));
    let group = input.byte() % 3;
    let width = match input.byte() {
        few @ 0..=200 => usize::from(few % 32),
        _ => input.number() as usize,
    };
    let mut rows = vec![0; usize::from(input.byte() % 64)];
    typed(cache.write_block_table(&[one, two], group, width, &mut rows));
    rows.resize(width.min(32) * 2, 0);
    typed(cache.write_block_table(&[one, two], group, width, &mut rows));
    let mut slots = [0; 40];
    let (start, count) = (input.number() as u32, input.number() as u32);
    typed(cache.write_slot_mapping(&[(one, 0, 3), (two, start, count)], group, &mut slots));
    let (mut indptr, mut indices, mut last) = ([0; 3], [0; 20], [0; 2]);
    let tokens = input.number() as u32;
    typed(cache.write_page_table(&[(one, 2), (two, tokens)], group, &mut indptr, &mut indices, &mut last));
    typed(cache.write_page_table(&[(one, 2)], group, &mut indptr, &mut indices, &mut last));
    typed(cache.table(one, group));
}

fn scheduler(input: &mut Input<'_>) {
    let cache = cache_config(input);
    let flags = input.byte();
    let config = SchedulerConfig {
        cache,
        step_tokens: u32::from(input.byte() % 40),
        running: u32::from(input.byte() % 6),
        chunk: u32::from(input.byte() % 20),
        policy: [
            Policy::Fcfs,
            Policy::Priority,
            Policy::LongestPrefix,
            Policy::Fair {
                quantum: input.number() as u32,
            },
        ][usize::from(flags % 4)],
        swap_slots: u32::from(input.byte() % 20) * u32::from(flags >> 2 & 1),
        reserve_output: [0, 0, 3, u32::MAX][usize::from(flags >> 3 & 3)],
        drafts: u32::from(flags >> 5 & 3),
    };
    let made = Scheduler::new(config).map_err(|error| assert_eq!(error.kind(), ErrorKind::InvalidArgument));
    let Some(mut scheduler) = made.ok() else { return };
    typed(scheduler.add_tenant(Some(input.byte().into())));
    let mut ids: Vec<SequenceId> = Vec::new();
    for _ in 0..CALLS {
        if input.is_empty() {
            break;
        }
        let id = pick(input, &ids);
        match input.byte() % 16 {
            0..=2 if ids.len() < 64 => {
                let request = Request {
                    tokens: &tokens(input),
                    media: &media(input),
                    max_new: match input.byte() {
                        few @ 0..=240 => u32::from(few % 12),
                        _ => input.number() as u32,
                    },
                    tenant: tenant(input),
                    salt: &[],
                    adapter: &[],
                    priority: input.number() as i32,
                    on_epoch: [OnEpoch::Finish, OnEpoch::Drop, OnEpoch::Draft][usize::from(input.byte() % 3)],
                };
                ids.extend(typed(scheduler.add(&request)));
            }
            3..=5 => {
                typed(scheduler.step().map(|plan| plan.number));
            }
            6..=8 => answer(&mut scheduler, input.byte(), false),
            // What fits nothing.
            9 => {
                let tokens = [7; 9];
                let few = usize::from(input.byte() % 9);
                let outcome = Outcome {
                    tokens: &tokens[..few],
                    finished: input.byte().is_multiple_of(2),
                };
                typed(scheduler.commit(&vec![outcome; usize::from(input.byte() % 4)]));
            }
            10 => {
                typed(scheduler.abandon());
            }
            11 if ids.len() < 64 => ids.extend(typed(scheduler.fork(id))),
            12 => {
                typed(scheduler.abort(id));
            }
            13 => {
                let epoch = match input.byte() {
                    0..=200 => scheduler.cache().epoch().saturating_add(1),
                    _ => input.number() as u32,
                };
                typed(scheduler.set_epoch(epoch));
            }
            14 => match input.byte() % 4 {
                0 => {
                    typed(scheduler.sleep());
                }
                1 => scheduler.pause(),
                _ => scheduler.resume(),
            },
            _ => {
                scheduler.set_time(input.number());
                scheduler.reset();
                scheduler.take_events();
            }
        }
        scheduler.audit().expect("it adds up");
    }
    come_to_rest(&mut scheduler);
}

/// Answers the plan in flight as an engine does; `dice` says which drafts are accepted, and who ends early.
fn answer(scheduler: &mut Scheduler, dice: u8, ends: bool) {
    let work = scheduler.plan().work.clone();
    let tokens = [9; 64];
    let outcomes: Vec<Outcome<'_>> = (0_u32..)
        .zip(&work)
        .map(|(at, work)| Outcome {
            tokens: match work.samples {
                true => &tokens[..1 + work.drafts.min(u32::from(dice) + at) as usize % 64],
                false => &[],
            },
            finished: ends || u32::from(dice) == 200 + at,
        })
        .collect();
    typed(scheduler.commit(&outcomes));
}

/// Whatever was done to it: with steps and answers alone, all that waits and runs comes to its end.
fn come_to_rest(scheduler: &mut Scheduler) {
    scheduler.resume();
    answer(scheduler, 1, false);
    let mut steps = 0;
    while scheduler.waiting() + scheduler.running().len() > 0 {
        let plan = scheduler.step().expect("no plan is in flight");
        let nothing = plan.work.is_empty() && plan.dropped.is_empty();
        assert!(
            !nothing,
            "{} wait, {} run, and a step does nothing",
            scheduler.waiting(),
            scheduler.running().len()
        );
        // It would go on for long if each said all that it may.
        steps += 1;
        answer(scheduler, 1, steps > 200);
        scheduler.audit().expect("it adds up");
        assert!(steps < 20_000, "it does not come to rest");
    }
    let metrics = scheduler.metrics();
    assert_eq!(
        (metrics.cache.free, metrics.reserved, metrics.host_used),
        (metrics.cache.blocks, 0, 0)
    );
}
