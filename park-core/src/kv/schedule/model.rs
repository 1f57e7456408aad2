//! An exhaustive check of small schedulers: no order of calls leads to where nothing gets on.
//!
//! From an empty scheduler with a tiny pool every call that its owner can make is made in every order, up to a depth: new requests (each
//! once), steps, answers of every kind, failures, aborts, forks, new weights, sleep. States are told apart by a hash of all that decides
//! what happens next (requests by order of arrival, blocks, keys, reservations, queue, plan in flight), so each is looked at once. In each
//!
//! * [`Scheduler::audit`] holds;
//! * whoever runs has, in blocks and reservations, room for all tokens that it knows;
//! * the scheduler comes to rest by itself: with nothing but steps and answers every request ends, no step on the way does nothing or takes
//!   blocks from the first in order, and at the end no block, reservation, sequence or place in host memory is left.
//!
//! A scheduler cannot be copied, so a state is the way to it, which is gone again from the start. `PARK_MODEL_DEPTH` adds to the depths.
//! The README says which defects it found that were put in on purpose.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

use super::*;

/// One call of the owner. Requests are numbered in order of arrival among those that are left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Add(usize),
    Step,
    /// Every piece of work that samples gives one token, and all drafts if they are accepted.
    Commit {
        accepted: bool,
    },
    /// The same, and the first that samples ends with it.
    CommitEnds,
    Abandon,
    Abort(usize),
    Fork(usize),
    Epoch,
    Sleep,
}

/// A scheduler and what may happen to it.
struct Model {
    config: SchedulerConfig,
    /// (tenant, prompt, tokens to generate, what new weights do to it): tenant 1 may hold `quota` blocks.
    requests: Vec<(u16, Vec<u32>, u32, OnEpoch)>,
    quota: u32,
    forks: usize,
    epochs: u32,
    sleeps: usize,
    depth: usize,
}

fn base(blocks: u32) -> Model {
    Model {
        config: SchedulerConfig {
            cache: CacheConfig {
                blocks,
                block_size: 2,
                ..CacheConfig::default()
            },
            step_tokens: 4,
            running: 3,
            chunk: 2,
            ..SchedulerConfig::default()
        },
        requests: vec![
            (0, vec![1, 1, 1], 2, OnEpoch::Finish),
            (0, vec![1, 1, 2, 2], 2, OnEpoch::Draft),
            (1, vec![1, 1, 1, 3], 1, OnEpoch::Drop),
        ],
        quota: 3,
        forks: 1,
        epochs: 1,
        sleeps: 1,
        depth: 8,
    }
}

/// What a state has seen of what is bounded, beside the scheduler itself.
struct World {
    scheduler: Scheduler,
    added: usize,
    forks: usize,
    sleeps: usize,
}

impl Model {
    fn world(&self, path: &[Act]) -> World {
        let mut world = World {
            scheduler: Scheduler::new(self.config.clone()).unwrap(),
            added: 0,
            forks: 0,
            sleeps: 0,
        };
        world.scheduler.add_tenant(Some(self.quota)).unwrap();
        for act in path {
            self.act(&mut world, *act);
        }
        world
    }

    fn act(&self, world: &mut World, act: Act) {
        let scheduler = &mut world.scheduler;
        let live = in_order(scheduler);
        match act {
            Act::Add(which) => {
                let (tenant, tokens, max_new, on_epoch) = &self.requests[which];
                world.added |= 1 << which;
                let request = Request {
                    tokens,
                    max_new: *max_new,
                    tenant: TenantId(*tenant),
                    priority: -(which as i32),
                    on_epoch: *on_epoch,
                    ..Request::default()
                };
                let refused = scheduler.add(&request).err();
                assert!(
                    refused
                        .as_ref()
                        .is_none_or(|refused| refused.kind() == ErrorKind::Unschedulable)
                );
                if self.config.cache.groups == [Group::Full] {
                    // The last token is sampled and never computed.
                    let computed = tokens.len() as u32 + max_new - 1;
                    let limit = scheduler.cache.pool().limit_of(TenantId(*tenant));
                    let fits = computed.div_ceil(self.config.cache.block_size) <= limit;
                    assert_eq!(
                        refused.is_none(),
                        fits,
                        "{computed} tokens to compute in {limit} blocks"
                    );
                }
            }
            Act::Step => {
                scheduler.step().unwrap();
            }
            Act::Commit { accepted } => commit(scheduler, accepted, false),
            Act::CommitEnds => commit(scheduler, true, true),
            Act::Abandon => scheduler.abandon().unwrap(),
            Act::Abort(which) => scheduler.abort(live[which]).unwrap(),
            Act::Fork(which) => {
                world.forks += 1;
                // One in host memory is refused, and nothing has happened.
                let _ = scheduler.fork(live[which]);
            }
            Act::Epoch => {
                let epoch = scheduler.cache.epoch() + 1;
                scheduler.set_epoch(epoch).unwrap();
            }
            Act::Sleep => {
                world.sleeps += 1;
                scheduler.sleep().unwrap();
                scheduler.resume();
            }
        }
    }

    /// What may be called in a state.
    fn acts(&self, world: &World) -> Vec<Act> {
        let scheduler = &world.scheduler;
        let mut acts: Vec<Act> = (0..self.requests.len())
            .filter(|which| world.added & 1 << which == 0)
            .map(Act::Add)
            .collect();
        if scheduler.in_flight {
            acts.push(Act::Commit { accepted: true });
            let work = &scheduler.plan.work;
            if work.iter().any(|work| work.drafts > 0) {
                acts.push(Act::Commit { accepted: false });
            }
            if work.iter().any(|work| work.samples) {
                acts.push(Act::CommitEnds);
            }
            acts.push(Act::Abandon);
            return acts;
        }
        acts.push(Act::Step);
        let live = scheduler.entries.len();
        acts.extend((0..live).map(Act::Abort));
        if world.forks < self.forks {
            acts.extend((0..live).map(Act::Fork));
        }
        if scheduler.cache.epoch() < self.epochs {
            acts.push(Act::Epoch);
        }
        if world.sleeps < self.sleeps {
            acts.push(Act::Sleep);
        }
        acts
    }

    /// Looks at every state within the depth. Returns how many there are.
    fn check(&self, name: &str) -> usize {
        let more =
            std::env::var("PARK_MODEL_DEPTH").map_or(0, |more| more.parse().expect("PARK_MODEL_DEPTH is a number"));
        let mut seen = HashSet::new();
        let mut edge: Vec<Vec<Act>> = vec![Vec::new()];
        for _ in 0..self.depth + more {
            let mut next = Vec::new();
            for path in &edge {
                for act in self.acts(&self.world(path)) {
                    let path: Vec<Act> = path.iter().copied().chain([act]).collect();
                    let world = self.world(&path);
                    if let Err(wrong) = world.scheduler.audit() {
                        panic!("{name}: {wrong}, after {path:?}");
                    }
                    if let Some(short) = without_room(&world) {
                        panic!("{name}: {short}, after {path:?}");
                    }
                    if seen.insert(fingerprint(world)) {
                        if let Err(wrong) = come_to_rest(self.world(&path).scheduler) {
                            panic!("{name}: {wrong}, after {path:?}");
                        }
                        next.push(path);
                    }
                }
            }
            edge = next;
        }
        seen.len()
    }
}

fn in_order(scheduler: &Scheduler) -> Vec<SequenceId> {
    let mut live: Vec<SequenceId> = scheduler.entries.keys().collect();
    live.sort_by_key(|id| scheduler.entries[*id].arrival);
    live
}

fn commit(scheduler: &mut Scheduler, accepted: bool, ends: bool) {
    let work = scheduler.plan.work.clone();
    let first = work.iter().position(|work| work.samples).filter(|_| ends);
    let tokens: Vec<Vec<u32>> = work
        .iter()
        .map(|work| {
            let drafts = if accepted { work.drafts as usize } else { 0 };
            vec![9; if work.samples { 1 + drafts } else { 0 }]
        })
        .collect();
    let outcomes: Vec<Outcome<'_>> = (0..)
        .zip(&tokens)
        .map(|(at, tokens)| Outcome {
            tokens,
            finished: first == Some(at),
        })
        .collect();
    scheduler.commit(&outcomes).unwrap();
}

/// A request that runs and has no room for what it knows. Forks get what there is, and a window moves on with what is computed.
fn without_room(world: &World) -> Option<String> {
    let scheduler = &world.scheduler;
    if world.forks > 0 || scheduler.config.cache.groups != [Group::Full] {
        return None;
    }
    scheduler.running.iter().find_map(|id| {
        let known = scheduler.cache.known(*id).unwrap();
        let (held, reserved) = (
            scheduler.cache.blocks_held(*id).unwrap(),
            scheduler.entries[*id].reserved,
        );
        // The last token, once it was sampled, is past what was reserved.
        let wanted =
            (known - u32::from(known > scheduler.entries[*id].prompt)).div_ceil(scheduler.config.cache.block_size);
        (held + reserved < wanted)
            .then(|| format!("{id:?} knows {known} tokens, in {held} blocks and {reserved} reserved ones"))
    })
}

/// Steps and answers until nothing is left.
fn come_to_rest(mut scheduler: Scheduler) -> std::result::Result<(), String> {
    if scheduler.in_flight {
        commit(&mut scheduler, true, false);
    }
    let mut steps = 0;
    while !scheduler.entries.is_empty() {
        let first = scheduler.running.first().copied();
        scheduler.step().map_err(|error| error.to_string())?;
        let lost = scheduler.plan.preempted.iter().map(|lost| match lost {
            Preempted::Recompute(id) | Preempted::Swap(id) => *id,
        });
        if let Some(first) = lost.into_iter().find(|id| Some(*id) == first) {
            return Err(format!("{first:?} is the first in order, and lost its blocks"));
        }
        if scheduler.plan.work.is_empty() && scheduler.plan.dropped.is_empty() {
            return Err(format!(
                "{} requests, and a step that does nothing",
                scheduler.entries.len()
            ));
        }
        commit(&mut scheduler, steps % 2 == 0, false);
        scheduler.audit().map_err(|error| error.to_string())?;
        steps += 1;
        if steps > 200 {
            return Err("it does not come to rest".into());
        }
    }
    let left = (
        scheduler.cache.pool().free_blocks(),
        scheduler.reserved.all(),
        scheduler.cache.sequences(),
        scheduler.slots.len() as u32,
    );
    let config = &scheduler.config;
    if left != (config.cache.blocks - 1, 0, 0, config.swap_slots) {
        return Err(format!("(free, reserved, sequences, places) are {left:?} at rest"));
    }
    Ok(())
}

/// A hash of all that decides what happens next. Takes the queue apart to see its order.
fn fingerprint(world: World) -> u128 {
    let mut scheduler = world.scheduler;
    let live = in_order(&scheduler);
    let names: HashMap<SequenceId, usize> = live.iter().copied().zip(0..).collect();
    // Two hashes of 64 bits: by accident two of a million states are one with a probability of 2^-89.
    let mut hashes = [0_u8, 1].map(|seed| {
        let mut hash = DefaultHasher::new();
        seed.hash(&mut hash);
        hash
    });
    let mut queue = Vec::new();
    let entries = &scheduler.entries;
    while let Some(ticket) = scheduler.queue.pop(&mut |ticket| {
        let good = entries
            .get(ticket.id)
            .is_some_and(|entry| entry.ticket == ticket.number && entry.state == State::Waiting);
        good.then_some(ticket.cached)
    }) {
        queue.push((names[&ticket.id], ticket.cached));
    }
    for hash in &mut hashes {
        (world.added, world.forks, world.sleeps, &queue).hash(hash);
        (
            scheduler.in_flight,
            scheduler.epoch,
            &scheduler.slots,
            &scheduler.emptied,
        )
            .hash(hash);
        for id in &live {
            let entry = &scheduler.entries[*id];
            (entry.tenant, entry.priority, entry.prompt, entry.most, entry.reserved).hash(hash);
            (entry.work, entry.begun, entry.swapped_tokens).hash(hash);
            (&entry.prompt_tail, &entry.generated, &entry.proposed).hash(hash);
            format!("{:?} {:?} {:?}", entry.on_epoch, entry.state, entry.swapped).hash(hash);
        }
        for id in &scheduler.running {
            names[id].hash(hash);
        }
        if scheduler.in_flight {
            let plan = &scheduler.plan;
            for work in &plan.work {
                (names[&work.sequence], work.start, work.count, work.drafts).hash(hash);
                (work.proposed, work.samples).hash(hash);
            }
            plan.changes.copies.len().hash(hash);
            for copy in &plan.changes.copies {
                (names.get(&copy.sequence), copy.from, copy.to).hash(hash);
            }
            for id in &plan.admitted {
                names.get(id).hash(hash);
            }
            for preempted in &plan.preempted {
                match preempted {
                    Preempted::Recompute(id) => (0, names.get(id)).hash(hash),
                    Preempted::Swap(id) => (1, names.get(id)).hash(hash),
                }
            }
        }
        scheduler.cache.hash_state(&live, hash);
    }
    let [low, high] = hashes.map(|hash| u128::from(hash.finish()));
    high << 64 | low
}

macro_rules! models {
    ($($name:ident: $model:expr;)+) => {
        $( #[test] fn $name() {
            let model: Model = $model;
            let states = model.check(stringify!($name));
            println!("{}: {states} states", stringify!($name));
            assert!(states > 500, "{states} states are too few to say anything");
        } )+
    };
}

models! {
    every_schedule_comes_to_rest: base(6);
    every_schedule_of_the_smallest_pool_comes_to_rest: {
        let mut model = base(4);
        // The door is all that stands between the pool and a request of one block more than it has.
        model.requests[2] = (0, vec![5; 5], 3, OnEpoch::Finish);
        model
    };
    every_schedule_of_what_fits_to_the_last_token_comes_to_rest: {
        let mut model = base(4);
        model.requests[0] = (0, vec![1; 5], 2, OnEpoch::Finish);
        model.requests[1] = (0, vec![1, 1, 1, 2], 3, OnEpoch::Draft);
        model.config.drafts = 1;
        model
    };
    every_schedule_with_swapping_comes_to_rest: {
        let mut model = base(5);
        model.config.swap_slots = 3;
        model
    };
    every_schedule_with_drafts_comes_to_rest: {
        let mut model = base(6);
        model.config.drafts = 1;
        model.config.reserve_output = 1;
        model
    };
    every_schedule_with_all_reserved_comes_to_rest: {
        let mut model = base(6);
        model.config.reserve_output = u32::MAX;
        model.config.policy = Policy::Fair { quantum: 3 };
        model
    };
    every_schedule_by_priority_comes_to_rest: {
        let mut model = base(5);
        model.config.policy = Policy::Priority;
        model.config.swap_slots = 2;
        model
    };
    every_schedule_by_prefix_comes_to_rest: {
        let mut model = base(5);
        model.config.policy = Policy::LongestPrefix;
        model
    };
    every_schedule_with_a_window_comes_to_rest: {
        let mut model = base(9);
        model.config.cache.groups = vec![Group::Full, Group::Window(2)];
        model.quota = 8;
        model
    };
    every_schedule_with_a_window_and_swapping_comes_to_rest: {
        let mut model = base(8);
        model.config.cache.groups = vec![Group::Full, Group::Window(2)];
        model.config.swap_slots = 5;
        model.quota = 8;
        model
    };
    every_schedule_of_a_step_of_one_token_comes_to_rest: {
        let mut model = base(5);
        model.config.step_tokens = 1;
        model.config.running = 2;
        model
    };
}
