use std::collections::HashMap;

use super::*;
use crate::kv::{BlockId, Eviction};

mod properties;

const NOBODY: TenantId = TenantId(0);

/// A model and its memory, without the arithmetic: a token's keys and values are a digest of all tokens up to it and of the weights, and
/// the next token follows from the last digest. It reads what it needs out of its blocks, so whatever the scheduler gets wrong comes out
/// as another token.
struct Engine {
    block_size: u32,
    groups: Vec<Group>,
    blocks: Vec<Vec<Option<u64>>>,
    host: Vec<Vec<Option<u64>>>,
    /// The tokens of each request, as an engine keeps them.
    tokens: HashMap<SequenceId, Vec<u32>>,
}

fn digest(tokens: &[u32], group: usize, epoch: u32) -> u64 {
    tokens.iter().fold(u64::from(epoch) << 8 | group as u64, |sum, token| {
        (sum ^ u64::from(*token)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
    })
}

fn next_token(tokens: &[u32], epoch: u32) -> u32 {
    (digest(tokens, 0, epoch) >> 33) as u32 % 50
}

impl Engine {
    fn new(config: &SchedulerConfig) -> Self {
        let block_size = config.cache.block_size;
        Self {
            block_size,
            groups: config.cache.groups.clone(),
            blocks: vec![vec![None; block_size as usize]; config.cache.blocks as usize],
            host: vec![vec![None; block_size as usize]; config.swap_slots as usize],
            tokens: HashMap::new(),
        }
    }

    /// Does what the plan in flight says; returns the tokens of each piece of work. `guess` says whether drafts are right.
    fn run(&mut self, scheduler: &Scheduler, guess: bool) -> Vec<Vec<u32>> {
        let plan = scheduler.plan();
        for swap in &plan.swap_out {
            self.host[swap.slot as usize] = self.blocks[swap.block.at()].clone();
        }
        for copy in &plan.changes.copies {
            self.blocks[copy.to.at()] = self.blocks[copy.from.at()].clone();
        }
        for swap in &plan.swap_in {
            self.blocks[swap.block.at()] = self.host[swap.slot as usize].clone();
        }
        let mut drafted = Vec::new();
        // All of a step's keys and values are written before they are read.
        for work in &plan.work {
            let epoch = scheduler.cache().epoch_of(work.sequence).unwrap();
            let mut tokens = self.tokens[&work.sequence].clone();
            assert!((work.start + work.count) as usize <= tokens.len());
            assert_eq!(work.samples, (work.start + work.count) as usize == tokens.len());
            let (first, count) = work.proposed;
            let proposed = &plan.proposed[first as usize..(first + count) as usize];
            for draft in 0..work.drafts as usize {
                let right = next_token(&tokens, epoch);
                tokens.push(match proposed.get(draft) {
                    Some(old) => *old,
                    None => {
                        if guess {
                            right
                        } else {
                            right + 1
                        }
                    }
                });
            }
            for token in work.start..work.start + work.count + work.drafts {
                for group in 0..self.groups.len() {
                    let place = self.place(scheduler, work.sequence, group, token);
                    assert!(!place.is_null());
                    self.blocks[place.at()][(token % self.block_size) as usize] =
                        Some(digest(&tokens[..=token as usize], group, epoch));
                }
            }
            drafted.push(tokens);
        }
        let mut outcomes = Vec::new();
        for (work, drafted) in plan.work.iter().zip(drafted) {
            let epoch = scheduler.cache().epoch_of(work.sequence).unwrap();
            let known = self.tokens[&work.sequence].len();
            let end = work.start + work.count;
            for (group, kind) in self.groups.iter().enumerate() {
                let first = match kind {
                    Group::Full => 0,
                    Group::Window(window) => end.saturating_sub(*window),
                };
                for token in first..end {
                    let place = self.place(scheduler, work.sequence, group, token);
                    assert_eq!(
                        self.blocks[place.at()][(token % self.block_size) as usize],
                        Some(digest(&drafted[..=token as usize], group, epoch)),
                        "token {token} of {:?} in {place:?}, group {group}",
                        work.sequence
                    );
                }
            }
            let mut sampled = Vec::new();
            if work.samples {
                // Accepted drafts, and one token more.
                for at in known..=drafted.len() {
                    let right = next_token(&drafted[..at], epoch);
                    sampled.push(right);
                    if drafted.get(at) != Some(&right) {
                        break;
                    }
                }
            }
            outcomes.push(sampled);
        }
        outcomes
    }

    fn place(&self, scheduler: &Scheduler, id: SequenceId, group: usize, token: u32) -> BlockId {
        scheduler.cache().table(id, group as u8).unwrap()[(token / self.block_size) as usize]
    }
}

fn answer(scheduler: &mut Scheduler, outcomes: &[Vec<u32>]) {
    let outcomes: Vec<Outcome<'_>> = outcomes
        .iter()
        .map(|tokens| Outcome {
            tokens,
            finished: false,
        })
        .collect();
    scheduler.commit(&outcomes).unwrap();
}

/// One step of both. Returns the tokens that came, by request.
fn turn(scheduler: &mut Scheduler, engine: &mut Engine, guess: bool) -> Vec<(SequenceId, Vec<u32>)> {
    scheduler.step().unwrap();
    for dropped in &scheduler.plan().dropped {
        engine.tokens.remove(dropped);
    }
    for work in &scheduler.plan().work {
        let known = scheduler.cache().known(work.sequence).unwrap() as usize;
        engine.tokens.get_mut(&work.sequence).unwrap().truncate(known);
    }
    let outcomes = engine.run(scheduler, guess);
    let work = scheduler.plan().work.clone();
    assert!(
        scheduler.plan().tokens() + work.iter().map(|work| work.drafts).sum::<u32>() <= scheduler.config.step_tokens
    );
    answer(scheduler, &outcomes);
    scheduler.audit().unwrap();
    let mut came = Vec::new();
    for (work, tokens) in work.iter().zip(outcomes) {
        engine.tokens.get_mut(&work.sequence).unwrap().extend(&tokens);
        came.push((work.sequence, tokens));
    }
    came
}

fn config(blocks: u32) -> SchedulerConfig {
    SchedulerConfig {
        cache: CacheConfig {
            blocks,
            block_size: 4,
            ..CacheConfig::default()
        },
        step_tokens: 32,
        running: 8,
        chunk: 16,
        ..SchedulerConfig::default()
    }
}

fn add(scheduler: &mut Scheduler, engine: &mut Engine, request: &Request<'_>) -> SequenceId {
    let id = scheduler.add(request).unwrap();
    engine.tokens.insert(id, request.tokens.to_vec());
    id
}

fn prompt(tokens: &[u32], max_new: u32) -> Request<'_> {
    Request {
        tokens,
        max_new,
        ..Request::default()
    }
}

/// What a model of these weights says after a prompt.
fn reference(tokens: &[u32], max_new: u32, epoch: u32) -> Vec<u32> {
    let mut tokens = tokens.to_vec();
    for _ in 0..max_new {
        tokens.push(next_token(&tokens, epoch));
    }
    tokens
}

/// Runs until nothing is left; fails if a step does nothing.
fn finish(scheduler: &mut Scheduler, engine: &mut Engine) {
    while scheduler.waiting() + scheduler.running().len() > 0 {
        let came = turn(scheduler, engine, true);
        let plan = scheduler.plan();
        assert!(
            !came.is_empty() || !plan.dropped.is_empty(),
            "a step did nothing: {plan:?}"
        );
    }
}

#[test]
fn a_tenant_that_is_unknown_is_not_one_without_room() {
    let mut scheduler = Scheduler::new(SchedulerConfig::default()).unwrap();
    let request = Request {
        tokens: &[1],
        max_new: 1,
        tenant: TenantId(9),
        ..Request::default()
    };
    let refused = scheduler.add(&request).unwrap_err();
    assert_eq!(refused.kind(), crate::error::ErrorKind::InvalidArgument, "{refused}");
}

#[test]
fn a_prompt_goes_in_chunks_and_a_decode_goes_first() {
    let config = config(64);
    let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
    let short = add(&mut scheduler, &mut engine, &prompt(&[1, 2, 3], 4));
    turn(&mut scheduler, &mut engine, true);
    let tokens: Vec<u32> = (0..40).collect();
    let long = add(&mut scheduler, &mut engine, &prompt(&tokens, 2));
    turn(&mut scheduler, &mut engine, true);
    let work = |scheduler: &Scheduler| -> Vec<(SequenceId, u32, u32, bool)> {
        let work = scheduler.plan().work.iter();
        work.map(|work| (work.sequence, work.start, work.count, work.samples))
            .collect()
    };
    assert_eq!(work(&scheduler), [(short, 3, 1, true), (long, 0, 16, false)]);
    turn(&mut scheduler, &mut engine, true);
    assert_eq!(work(&scheduler), [(short, 4, 1, true), (long, 16, 16, false)]);
    finish(&mut scheduler, &mut engine);
    assert_eq!(engine.tokens[&long], reference(&tokens, 2, 0));
    assert_eq!(scheduler.stats().finished, 2);
}

#[test]
fn what_can_never_fit_is_refused_with_its_numbers() {
    let mut scheduler = Scheduler::new(config(5)).unwrap();
    let tokens = [0; 10];
    assert!(
        scheduler.add(&prompt(&tokens, 7)).is_ok(),
        "4 blocks of 4, and a last token that is sampled and never computed"
    );
    let refused = scheduler.add(&prompt(&tokens, 8)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unschedulable);
    assert!(
        refused.message().contains("needs 5 blocks") && refused.message().contains("may hold 4"),
        "{refused}"
    );
    let tenant = scheduler.add_tenant(Some(2)).unwrap();
    assert!(
        scheduler
            .add(&Request {
                tenant,
                ..prompt(&tokens, 1)
            })
            .is_err()
    );
    scheduler.audit().unwrap();
}

#[test]
fn what_fits_to_the_last_token_runs_in_what_it_fits() {
    for (drafts, reserve_output, tokens, max_new) in [
        (0, 0, 10, 7),
        (2, 0, 10, 7),
        (2, u32::MAX, 1, 16),
        (0, 5, 16, 1),
        (1, 0, 15, 2),
    ] {
        let config = SchedulerConfig {
            drafts,
            reserve_output,
            ..config(5)
        };
        let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
        let tokens: Vec<u32> = (0..tokens).collect();
        // Two of them: neither could finish beside the other.
        let ids = [(); 2].map(|()| add(&mut scheduler, &mut engine, &prompt(&tokens, max_new)));
        assert!(scheduler.add(&prompt(&tokens, max_new + 1)).is_err());
        finish(&mut scheduler, &mut engine);
        for id in ids {
            assert_eq!(engine.tokens[&id], reference(&tokens, max_new, 0));
        }
        assert_eq!(scheduler.stats().finished, 2);
    }
}

#[test]
fn bad_input_is_refused() {
    for change in [
        |config: &mut SchedulerConfig| config.step_tokens = 0,
        |config: &mut SchedulerConfig| config.running = 0,
        |config: &mut SchedulerConfig| config.chunk = 0,
        |config: &mut SchedulerConfig| config.policy = Policy::Fair { quantum: 0 },
        |config: &mut SchedulerConfig| (config.swap_slots, config.cache.groups) = (1, vec![Group::Window(3)]),
    ] {
        let mut config = config(8);
        change(&mut config);
        assert_eq!(Scheduler::new(config).err().unwrap().kind(), ErrorKind::InvalidArgument);
    }
    let mut scheduler = Scheduler::new(config(8)).unwrap();
    assert!(scheduler.add(&prompt(&[1], 0)).is_err());
    assert!(scheduler.add(&prompt(&[], 1)).is_err());
    assert!(scheduler.add(&prompt(&[1], u32::MAX)).is_err());
    assert!(scheduler.commit(&[]).is_err(), "no plan is in flight");
    assert!(scheduler.abandon().is_err());
    let id = scheduler.add(&prompt(&[1, 2], 3)).unwrap();
    scheduler.step().unwrap();
    assert!(scheduler.step().is_err(), "a plan is in flight");
    assert!(scheduler.fork(id).is_err());
    assert!(scheduler.abort(id).is_err());
    assert!(scheduler.set_epoch(1).is_err());
    for outcomes in [&[][..], &[&[][..]], &[&[1, 2][..]]] {
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|tokens| Outcome {
                tokens,
                finished: false,
            })
            .collect();
        assert!(scheduler.commit(&outcomes).is_err(), "{outcomes:?}");
    }
    scheduler
        .commit(&[Outcome {
            tokens: &[],
            finished: true,
        }])
        .unwrap();
    for gone in [scheduler.fork(id).err(), scheduler.abort(id).err()] {
        assert_eq!(gone.unwrap().kind(), ErrorKind::NotFound);
    }
    scheduler.audit().unwrap();
}

#[test]
fn samples_of_one_prompt_share_it() {
    let config = config(64);
    let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
    let tokens: Vec<u32> = (0..14).collect();
    let first = add(&mut scheduler, &mut engine, &prompt(&tokens, 8));
    turn(&mut scheduler, &mut engine, true);
    let used = 63 - scheduler.cache().pool().free_blocks();
    let fork = scheduler.fork(first).unwrap();
    engine.tokens.insert(fork, engine.tokens[&first].clone());
    assert_eq!(63 - scheduler.cache().pool().free_blocks(), used);
    // Other requests with the same prompt, in one step, find what is computed in that step.
    let same = add(&mut scheduler, &mut engine, &prompt(&tokens, 8));
    turn(&mut scheduler, &mut engine, true);
    assert_eq!(
        scheduler
            .plan()
            .work
            .iter()
            .find(|work| work.sequence == same)
            .unwrap()
            .start,
        12
    );
    finish(&mut scheduler, &mut engine);
    for id in [first, fork, same] {
        assert_eq!(engine.tokens[&id], reference(&tokens, 8, 0));
    }
}

#[test]
fn a_tenant_that_is_short_preempts_its_own() {
    let config = SchedulerConfig {
        running: 64,
        ..config(64)
    };
    let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
    let tenant = scheduler.add_tenant(Some(6)).unwrap();
    let mine: Vec<_> = (0..3)
        .map(|at| {
            add(
                &mut scheduler,
                &mut engine,
                &Request {
                    tenant,
                    ..prompt(&[at, 1, 2], 12)
                },
            )
        })
        .collect();
    let other = add(&mut scheduler, &mut engine, &prompt(&[9, 9, 9], 12));
    while scheduler.running().contains(&other) || scheduler.stats().steps == 0 {
        turn(&mut scheduler, &mut engine, true);
        assert!(!scheduler.plan().preempted.contains(&Preempted::Recompute(other)));
    }
    assert!(scheduler.stats().recomputed > 0);
    finish(&mut scheduler, &mut engine);
    for (at, id) in mine.into_iter().enumerate() {
        assert_eq!(engine.tokens[&id], reference(&[at as u32, 1, 2], 12, 0));
    }
}

#[test]
fn with_all_of_its_output_reserved_nobody_is_preempted() {
    let config = SchedulerConfig {
        reserve_output: u32::MAX,
        ..config(12)
    };
    let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
    for at in 0..6 {
        add(&mut scheduler, &mut engine, &prompt(&[at, 1, 2], 14));
    }
    finish(&mut scheduler, &mut engine);
    let stats = scheduler.stats();
    assert_eq!((stats.finished, stats.recomputed, stats.admitted), (6, 0, 6));
    assert!(stats.waited > 0);
}

#[test]
fn new_weights_end_continue_or_judge_what_runs() {
    let config = config(64);
    let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
    let tokens = [1, 2, 3, 4, 5];
    let [finishes, drops, drafts] = [OnEpoch::Finish, OnEpoch::Drop, OnEpoch::Draft].map(|on_epoch| {
        add(
            &mut scheduler,
            &mut engine,
            &Request {
                on_epoch,
                ..prompt(&tokens, 10)
            },
        )
    });
    for _ in 0..4 {
        turn(&mut scheduler, &mut engine, true);
    }
    let before = engine.tokens[&drafts].clone();
    scheduler.set_epoch(1).unwrap();
    let fresh = add(&mut scheduler, &mut engine, &prompt(&tokens, 10));
    turn(&mut scheduler, &mut engine, true);
    assert_eq!(scheduler.plan().dropped, [drops]);
    let judged = *scheduler
        .plan()
        .work
        .iter()
        .find(|work| work.sequence == drafts)
        .unwrap();
    assert_eq!((judged.start, judged.count, judged.proposed.1), (0, 5, 4));
    let (first, count) = judged.proposed;
    assert_eq!(
        &scheduler.plan().proposed[first as usize..(first + count) as usize],
        &before[5..9]
    );
    finish(&mut scheduler, &mut engine);
    assert_eq!(engine.tokens[&finishes], reference(&tokens, 10, 0));
    assert_eq!(engine.tokens[&drafts], reference(&tokens, 10, 1));
    assert_eq!(engine.tokens[&fresh], reference(&tokens, 10, 1));
}

#[test]
fn what_windows_left_behind_is_not_swapped() {
    let config = SchedulerConfig {
        swap_slots: 16,
        chunk: 4,
        cache: CacheConfig {
            groups: vec![Group::Full, Group::Window(5)],
            caching: false,
            ..config(20).cache
        },
        ..config(20)
    };
    let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
    let tokens: Vec<u32> = (0..18).collect();
    let first = add(&mut scheduler, &mut engine, &prompt(&tokens, 20));
    let second = add(&mut scheduler, &mut engine, &prompt(&tokens[1..], 20));
    while scheduler.stats().swapped == 0 {
        assert!(!turn(&mut scheduler, &mut engine, true).is_empty());
    }
    let out = scheduler.plan().swap_out.clone();
    let computed = scheduler.entries[second].swapped_tokens;
    assert_eq!(scheduler.plan().preempted, [Preempted::Swap(second)]);
    // All blocks of the full group, and those of the window before the next token: two at most, or three that it lies across.
    let full = computed.div_ceil(4) as usize;
    assert!(
        (full + 1..=full + 2).contains(&out.len()),
        "{out:?} of {computed} tokens"
    );
    while scheduler.plan().swap_in.is_empty() {
        assert!(!turn(&mut scheduler, &mut engine, true).is_empty());
    }
    assert_eq!(scheduler.plan().swap_in.len(), out.len(), "nothing was found meanwhile");
    finish(&mut scheduler, &mut engine);
    assert_eq!(engine.tokens[&first], reference(&tokens, 20, 0));
    assert_eq!(engine.tokens[&second], reference(&tokens[1..], 20, 0));
    assert_eq!(scheduler.stats().recomputed, 0);
}

#[test]
fn sleep_gives_back_every_block() {
    let config = SchedulerConfig {
        swap_slots: 8,
        ..config(12)
    };
    let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
    let ids: Vec<_> = (0..4)
        .map(|at| add(&mut scheduler, &mut engine, &prompt(&[at, 1, 2], 20)))
        .collect();
    while scheduler.stats().swapped == 0 {
        turn(&mut scheduler, &mut engine, true);
    }
    scheduler.sleep().unwrap();
    scheduler.audit().unwrap();
    assert_eq!(
        (
            scheduler.cache().pool().free_blocks(),
            scheduler.cache().pool().cached_blocks()
        ),
        (11, 0)
    );
    assert!(turn(&mut scheduler, &mut engine, true).is_empty());
    scheduler.resume();
    finish(&mut scheduler, &mut engine);
    for (at, id) in ids.into_iter().enumerate() {
        assert_eq!(engine.tokens[&id], reference(&[at as u32, 1, 2], 20, 0));
    }
}
