//! Any calls in any order, against a model of what lies in every block.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add { family: u32, length: u32, tenant: u16 },
    Run(usize),
    Append(usize, u32),
    Fork(usize),
    Detach(usize),
    Finish(usize),
    Rewind(usize, u32),
    Trim(usize),
    Room(usize, u32),
    Epoch,
    Renew(usize),
    Settle,
    Load { which: usize, more: u32, arrived: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..16_usize;
    prop_oneof![
        3 => (0..3_u32, 1..40_u32, 0..2_u16).prop_map(|(family, length, tenant)| Step::Add { family, length, tenant }),
        6 => which.clone().prop_map(Step::Run),
        4 => (which.clone(), 1..9_u32).prop_map(|(which, count)| Step::Append(which, count)),
        2 => which.clone().prop_map(Step::Fork),
        1 => which.clone().prop_map(Step::Detach),
        2 => which.clone().prop_map(Step::Finish),
        1 => (which.clone(), 0..40_u32).prop_map(|(which, to)| Step::Rewind(which, to)),
        1 => which.clone().prop_map(Step::Trim),
        1 => (which.clone(), 0..20_u32).prop_map(|(which, more)| Step::Room(which, more)),
        1 => Just(Step::Epoch),
        1 => which.clone().prop_map(Step::Renew),
        2 => (which, 1..9_u32, 0..40_usize).prop_map(|(which, more, arrived)| Step::Load { which, more, arrived }),
        2 => Just(Step::Settle),
    ]
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    prop_oneof![
        Just(vec![Group::Full]),
        Just(vec![Group::Window(5)]),
        Just(vec![Group::Full, Group::Window(4)]),
        Just(vec![Group::Full, Group::Full, Group::Window(8), Group::Window(4)]),
    ]
}

fn eviction() -> impl Strategy<Value = Eviction> {
    prop_oneof![Just(Eviction::Lru), Just(Eviction::TinyLfu), Just(Eviction::Retention)]
}

/// The tokens of a sequence and the epoch in which each block of its tables was computed, kept beside the cache.
struct Shadow {
    id: SequenceId,
    tokens: Vec<u32>,
    tenant: TenantId,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is called in whatever order: it adds up; a sequence's computed tokens lie in blocks in which exactly those were computed,
    /// by the model of its epoch; nothing that others can see is written to.
    #[test]
    fn blocks_hold_what_their_sequences_computed(
        groups in groups(),
        eviction in eviction(),
        partial in any::<bool>(),
        verify in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        const BLOCK: u32 = 4;
        const WIDTH: usize = 300;
        let full = groups.iter().filter(|group| **group == Group::Full).count();
        let partial = partial && groups == [Group::Full];
        let mut cache = Cache::new(CacheConfig { blocks: 40, block_size: BLOCK, groups: groups.clone(), eviction, partial, verify, ..CacheConfig::default() }).unwrap();
        let limited = cache.add_tenant(Some(12)).unwrap();
        let mut live: Vec<Shadow> = Vec::new();
        // Of each place of a block: group, epoch, position in its sequence, and a digest of all tokens up to there.
        let mut memory = vec![[None; BLOCK as usize]; 40];
        let mut next_token = 1000;
        // A block table that is kept from step to step, of one group after the other.
        let (mut rows, mut kept) = (vec![-1; 13 * WIDTH], vec![Kept::default(); 13]);
        let digest = |tokens: &[u32]| tokens.iter().fold(17_u64, |sum, token| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*token));

        for (turn, step) in steps.into_iter().enumerate() {
            let pick = |which: usize, live: &Vec<Shadow>| (!live.is_empty()).then(|| which % live.len());
            let mut changes = Changes::default();
            match step {
                Step::Add { family, length, tenant } => {
                    let tokens: Vec<u32> = (0..length).map(|at| family * 100 + at).collect();
                    let tenant = if tenant == 0 { NOBODY } else { limited };
                    let id = cache.add(tenant, &Namespace::default(), &tokens, &[]).unwrap();
                    live.push(Shadow { id, tokens, tenant });
                }
                Step::Run(which) => if let Some(at) = pick(which, &live) {
                    let Shadow { id, tokens, tenant } = &live[at];
                    if cache.computed(*id).unwrap() == 0 && cache.table(*id, 0).unwrap().is_empty() {
                        let hit = cache.lookup(*id, u32::MAX).unwrap();
                        prop_assert!(hit.tokens < tokens.len() as u32);
                        if hit.free <= cache.pool().available_to(*tenant) {
                            cache.attach(*id, &hit).unwrap();
                        }
                    }
                    let computed = cache.computed(*id).unwrap();
                    if cache.grow(*id, tokens.len() as u32, &mut changes).unwrap() {
                        for copy in &changes.copies {
                            memory[copy.to.at()] = memory[copy.from.at()];
                        }
                        let epoch = cache.epoch_of(*id).unwrap();
                        for group in 0..groups.len() {
                            let table = cache.table(*id, group as u8).unwrap();
                            for token in computed..tokens.len() as u32 {
                                let block = table[(token / BLOCK) as usize];
                                prop_assert!(!block.is_null(), "a token is written to the null block");
                                prop_assert_eq!(cache.pool().references(block), 1, "a shared block is written to");
                                prop_assert_eq!(cache.pool().key_of(block), None, "a cached block is written to");
                                memory[block.at()][(token % BLOCK) as usize] = Some((group, epoch, digest(&tokens[..=token as usize])));
                            }
                        }
                        cache.advance(*id, tokens.len() as u32).unwrap();
                    }
                },
                Step::Append(which, count) => if let Some(at) = pick(which, &live) {
                    let more: Vec<u32> = (next_token..next_token + count).collect();
                    next_token += count;
                    cache.append(live[at].id, &more).unwrap();
                    live[at].tokens.extend(more);
                },
                Step::Fork(which) => if let Some(at) = pick(which, &live).filter(|_| live.len() < 12) {
                    let id = cache.fork(live[at].id).unwrap();
                    let Shadow { tokens, tenant, .. } = &live[at];
                    live.push(Shadow { id, tokens: tokens.clone(), tenant: *tenant });
                },
                Step::Detach(which) => if let Some(at) = pick(which, &live) {
                    cache.detach(live[at].id).unwrap();
                },
                Step::Finish(which) => if let Some(at) = pick(which, &live) {
                    cache.finish(live.swap_remove(at).id).unwrap();
                },
                Step::Rewind(which, to) => if let Some(at) = pick(which, &live) {
                    let computed = cache.computed(live[at].id).unwrap();
                    // Refused if it goes back into what a fork shares, or before what a window kept.
                    let _ = cache.rewind(live[at].id, to.min(computed));
                },
                Step::Trim(which) => if let Some(at) = pick(which, &live) {
                    cache.trim(live[at].id).unwrap();
                },
                Step::Room(which, more) => if let Some(at) = pick(which, &live) {
                    let known = live[at].tokens.len() as u32;
                    cache.grow(live[at].id, known + more, &mut changes).unwrap();
                    for copy in &changes.copies {
                        memory[copy.to.at()] = memory[copy.from.at()];
                    }
                },
                Step::Epoch => cache.set_epoch(cache.epoch() + 1).unwrap(),
                Step::Renew(which) => if let Some(at) = pick(which, &live) {
                    cache.renew(live[at].id).unwrap();
                },
                Step::Settle => cache.settle().unwrap(),
                Step::Load { which, more, arrived } => if let Some(at) = pick(which, &live)
                    && cache.positions(live[at].id).unwrap() == 0
                {
                    // Contents that somebody else has computed come after what is found here.
                    let Shadow { id, tokens, .. } = &live[at];
                    let here = cache.lookup(*id, u32::MAX).unwrap();
                    let first = here.tokens / BLOCK;
                    let count = more.min(tokens.len() as u32 / BLOCK - first);
                    if count > 0 && let Some(loading) = cache.begin_load(*id, first, count).unwrap() {
                        cache.audit().unwrap();
                        let epoch = cache.epoch_of(*id).unwrap();
                        prop_assert_eq!(loading.blocks().len() as u64, cache.blocks_to_load(*id, first, count).unwrap());
                        for (label, block) in loading.blocks() {
                            let labels = cache.labels(*id, label.group).unwrap();
                            let position = labels.iter().position(|other| other == label).unwrap() as u32;
                            prop_assert!((first..first + count).contains(&position));
                            for token in 0..BLOCK {
                                let end = (position * BLOCK + token) as usize;
                                let content = (usize::from(label.group), epoch, digest(&tokens[..=end]));
                                memory[block.at()][token as usize] = Some(content);
                            }
                        }
                        let all = loading.blocks().len();
                        let arrived = if arrived > 20 { all } else { arrived.min(all) };
                        cache.end_load(&loading, arrived as u32).unwrap();
                        if arrived == all {
                            let hit = cache.lookup(*id, u32::MAX).unwrap().tokens;
                            let wanted = ((first + count) * BLOCK).min((tokens.len() as u32 - 1) / BLOCK * BLOCK);
                            prop_assert!(hit >= wanted, "{} of {}", hit, wanted);
                        }
                    }
                },
            }
            cache.audit().unwrap();
            for Shadow { id, tokens, .. } in &live {
                let (computed, epoch) = (cache.computed(*id).unwrap(), cache.epoch_of(*id).unwrap());
                for (group, kind) in groups.iter().enumerate() {
                    let table = cache.table(*id, group as u8).unwrap();
                    let first = match kind {
                        Group::Full => 0,
                        Group::Window(window) => (computed + 1).saturating_sub(*window),
                    };
                    for token in first..computed {
                        let held = memory[table[(token / BLOCK) as usize].at()][(token % BLOCK) as usize];
                        prop_assert_eq!(held, Some((group, epoch, digest(&tokens[..=token as usize]))), "token {} of {:?}", token, id);
                    }
                }
            }
            let group = (turn / 3 % groups.len()) as u8;
            let begun: Vec<Span> = live
                .iter()
                .filter(|shadow| cache.positions(shadow.id).unwrap() > 0)
                .map(|shadow| Span { sequence: shadow.id, start: 0, count: 1 })
                .take(13)
                .collect();
            let block_table = Some(Rows { width: WIDTH, blocks: &mut rows, kept: &mut kept });
            cache.fill(&begun, &mut Tables { group, block_table, ..Tables::default() }).unwrap();
            for (span, row) in begun.iter().zip(rows.chunks_exact(WIDTH)) {
                let table = table(&cache, span.sequence, group);
                let (blocks, rest) = row.split_at(table.len());
                prop_assert!(blocks.iter().zip(&table).all(|(is, block)| *is == *block as i32), "{:?} is not {:?}", blocks, table);
                prop_assert!(rest.iter().all(|block| *block == 0));
            }
            prop_assert!(cache.pool().held_by(limited) <= 12);
            prop_assert!(full <= 2);
        }
    }
}
