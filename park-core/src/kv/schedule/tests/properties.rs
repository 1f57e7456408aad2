//! Random requests, forks, failures, weight updates and configurations, against the engine that reads its blocks.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Turn,
    Add {
        family: u32,
        length: u32,
        max_new: u32,
        priority: i32,
        tenant: u16,
        on_epoch: u8,
    },
    Fork(usize),
    Abort(usize),
    Fail,
    Epoch,
    Sleep,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        10 => Just(Act::Turn),
        5 => (0..3_u32, 1..30_u32, 1..20_u32, 0..3_i32, 0..3_u16, 0..3_u8).prop_map(|(family, length, max_new, priority, tenant, on_epoch)| Act::Add { family, length, max_new, priority, tenant, on_epoch }),
        2 => (0..9_usize).prop_map(Act::Fork),
        1 => (0..9_usize).prop_map(Act::Abort),
        1 => Just(Act::Fail),
        1 => Just(Act::Epoch),
        1 => Just(Act::Sleep),
    ]
}

prop_compose! {
    fn any_config()(
        blocks in 10..30_u32,
        groups in prop_oneof![
            3 => Just(vec![Group::Full]),
            1 => Just(vec![Group::Window(6)]),
            1 => Just(vec![Group::Full, Group::Window(5)]),
            1 => Just(vec![Group::Full, Group::Window(9), Group::Window(4)]),
            1 => Just(vec![Group::Full, Group::Full]),
        ],
        eviction in prop_oneof![Just(Eviction::Lru), Just(Eviction::TinyLfu), Just(Eviction::Retention)],
        partial in any::<bool>(),
        step_tokens in 1..40_u32,
        chunk in 1..20_u32,
        running in 1..7_u32,
        policy in prop_oneof![Just(Policy::Fcfs), Just(Policy::Priority), Just(Policy::LongestPrefix), (1..40_u32).prop_map(|quantum| Policy::Fair { quantum })],
        swap_slots in prop_oneof![Just(0), 1..40_u32],
        reserve_output in prop_oneof![Just(0), Just(5), Just(u32::MAX)],
        drafts in 0..3_u32,
    ) -> SchedulerConfig {
        SchedulerConfig {
            cache: CacheConfig { blocks, block_size: 4, partial: partial && groups == [Group::Full], groups, eviction, ..CacheConfig::default() },
            step_tokens, running, chunk, policy, swap_slots, reserve_output, drafts,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Whatever is asked in whatever order, under whatever configuration: every step gets something done, every request that is not
    /// ended ends, and says exactly what the model says to its prompt alone.
    #[test]
    fn every_request_gets_its_answer(config in any_config(), acts in proptest::collection::vec(act(), 0..60)) {
        let (mut scheduler, mut engine) = (Scheduler::new(config.clone()).unwrap(), Engine::new(&config));
        let quota = scheduler.add_tenant(Some(8)).unwrap();
        let other = scheduler.add_tenant(None).unwrap();
        let mut epoch = 0;
        // Prompt and output of each request; whether its answer is that of one model.
        let mut asked: HashMap<SequenceId, (Vec<u32>, u32, u32, bool)> = HashMap::new();
        for act in acts {
            let live: Vec<SequenceId> = scheduler.entries.keys().collect();
            let pick = |which: usize| (!live.is_empty()).then(|| live[which % live.len()]);
            match act {
                Act::Turn => { turn(&mut scheduler, &mut engine, true); }
                Act::Add { family, length, max_new, priority, tenant, on_epoch } => {
                    let tokens: Vec<u32> = (0..length).map(|at| family * 7 + at % 11).collect();
                    let tenant = [NOBODY, quota, other][tenant as usize];
                    let on_epoch = [OnEpoch::Finish, OnEpoch::Drop, OnEpoch::Draft][on_epoch as usize];
                    let request = Request { priority, tenant, on_epoch, ..prompt(&tokens, max_new) };
                    match scheduler.add(&request) {
                        Ok(id) => {
                            engine.tokens.insert(id, tokens.clone());
                            asked.insert(id, (tokens, max_new, epoch, true));
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused.kind(), ErrorKind::Unschedulable);
                            let limit = scheduler.cache().pool().limit_of(tenant);
                            let computed = length + max_new - 1;
                            prop_assert!(computed.div_ceil(4) * config.cache.groups.len() as u32 > limit, "it fits: {}", refused);
                        }
                    }
                }
                Act::Fork(which) => if let Some(id) = pick(which)
                    && let Ok(fork) = scheduler.fork(id)
                {
                    engine.tokens.insert(fork, engine.tokens[&id].clone());
                    asked.insert(fork, asked[&id].clone());
                }
                Act::Abort(which) => if let Some(id) = pick(which) {
                    scheduler.abort(id).unwrap();
                    asked.remove(&id);
                }
                Act::Fail => {
                    scheduler.step().unwrap();
                    let dropped = scheduler.plan().dropped.clone();
                    // It had begun; what it did to its memory before it failed nobody knows.
                    if !dropped.is_empty() || !scheduler.plan().work.is_empty() {
                        engine.run_badly(&scheduler);
                    }
                    scheduler.abandon().unwrap();
                    dropped.iter().for_each(|id| { asked.remove(id); });
                }
                Act::Epoch => {
                    epoch += 1;
                    scheduler.set_epoch(epoch).unwrap();
                    for (id, entry) in &scheduler.entries {
                        // One model's answer comes of requests that start again or have not begun.
                        let whole = entry.on_epoch == OnEpoch::Draft || !entry.begun;
                        let about = asked.get_mut(&id).unwrap();
                        about.2 = epoch;
                        about.3 = whole && (about.3 || entry.on_epoch == OnEpoch::Draft);
                    }
                }
                Act::Sleep => {
                    scheduler.sleep().unwrap();
                    prop_assert_eq!(scheduler.cache().pool().cached_blocks(), 0);
                    scheduler.resume();
                }
            }
            for id in &scheduler.plan().dropped {
                asked.remove(id);
            }
            scheduler.audit().unwrap();
        }
        let mut steps = 0;
        while scheduler.waiting() + scheduler.running().len() > 0 {
            let came = turn(&mut scheduler, &mut engine, steps % 3 != 0);
            for id in &scheduler.plan().dropped {
                asked.remove(id);
            }
            prop_assert!(!came.is_empty() || !scheduler.plan().dropped.is_empty(), "a step did nothing: {:?}", scheduler.plan());
            steps += 1;
            prop_assert!(steps < 20_000, "it does not end");
        }
        for (id, (tokens, max_new, epoch, whole)) in &asked {
            let said = &engine.tokens[id];
            prop_assert_eq!(said.len(), tokens.len() + *max_new as usize);
            if *whole {
                prop_assert_eq!(said, &reference(tokens, *max_new, *epoch));
            }
        }
        scheduler.audit().unwrap();
        prop_assert_eq!(scheduler.cache().pool().free_blocks(), config.cache.blocks - 1);
        prop_assert_eq!(scheduler.cache().sequences(), 0);
    }
}

impl Engine {
    /// Writes nonsense where the plan in flight may write.
    fn run_badly(&mut self, scheduler: &Scheduler) {
        let plan = scheduler.plan();
        for swap in &plan.swap_out {
            self.host[swap.slot as usize].fill(None);
        }
        for copy in &plan.changes.copies {
            self.blocks[copy.to.at()].fill(None);
        }
        for swap in &plan.swap_in {
            self.blocks[swap.block.at()].fill(None);
        }
        for work in &plan.work {
            for token in work.start..work.start + work.count + work.drafts {
                for group in 0..self.groups.len() {
                    let place = self.place(scheduler, work.sequence, group, token);
                    self.blocks[place.at()][(token % self.block_size) as usize] = None;
                }
            }
        }
    }
}
