use proptest::prelude::*;

use super::*;

const NOBODY: TenantId = TenantId(0);

impl Cache {
    /// All that decides what the cache does next, for checks of models: sequences in the order given, segments in that in which they are
    /// come upon.
    pub(in crate::kv) fn hash_state(&self, order: &[SequenceId], hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let mut segments = Vec::new();
        assert_eq!(order.len(), self.sequences.len());
        (self.epoch, &self.in_flight).hash(hash);
        for id in order {
            let sequence = &self.sequences[*id];
            (sequence.tenant, sequence.epoch, sequence.root).hash(hash);
            (sequence.base_blocks, &sequence.keys, &sequence.tail, &sequence.own).hash(hash);
            (sequence.known, sequence.computed).hash(hash);
            for window in &sequence.windows {
                (window.behind, &window.live).hash(hash);
            }
            let mut next = sequence.base;
            while let Some(id) = next {
                let known = segments.iter().position(|other| *other == id);
                known.hash(hash);
                if known.is_some() {
                    break;
                }
                segments.push(id);
                let (_, segment) = self.segments.iter().find(|(other, _)| *other == id).unwrap();
                (segment.references, &segment.keys, &segment.blocks).hash(hash);
                next = segment.parent;
            }
        }
        self.pool.hash_state(hash);
    }
}

fn cache(blocks: u32, block_size: u32, groups: &[Group]) -> Cache {
    Cache::new(CacheConfig {
        blocks,
        block_size,
        groups: groups.to_vec(),
        ..CacheConfig::default()
    })
    .unwrap()
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).collect()
}

fn add(cache: &mut Cache, tokens: &[u32]) -> SequenceId {
    cache.add(NOBODY, &Namespace::default(), tokens, &[]).unwrap()
}

/// Looks up, attaches, and computes all that is known. Returns the tokens that were hit.
fn run(cache: &mut Cache, id: SequenceId) -> u32 {
    let hit = cache.lookup(id, u32::MAX).unwrap();
    cache.attach(id, &hit).unwrap();
    let known = cache.known(id).unwrap();
    assert!(cache.grow(id, known, &mut Changes::default()).unwrap());
    cache.advance(id, known).unwrap();
    cache.settle().unwrap();
    cache.audit().unwrap();
    hit.tokens
}

fn begin(cache: &mut Cache, tokens: &[u32]) -> (SequenceId, u32) {
    let id = add(cache, tokens);
    let hit = run(cache, id);
    (id, hit)
}

fn table(cache: &Cache, id: SequenceId, group: u8) -> Vec<u32> {
    cache.table(id, group).unwrap().iter().map(|block| block.0).collect()
}

#[test]
fn a_prompt_finds_what_another_computed() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (one, hit) = begin(&mut cache, &tokens(10));
    assert_eq!((hit, table(&cache, one, 0)), (0, vec![1, 2, 3]));
    let (other, hit) = begin(&mut cache, &tokens(10));
    assert_eq!((hit, table(&cache, other, 0)), (8, vec![1, 2, 4]));
    // The last token is always computed, so of two whole blocks one is found.
    assert_eq!(begin(&mut cache, &tokens(8)).1, 4);
    cache.finish(one).unwrap();
    cache.finish(other).unwrap();
    cache.audit().unwrap();
    assert_eq!(begin(&mut cache, &tokens(11)).1, 8);
    let stats = cache.tenant_stats(NOBODY);
    assert_eq!((stats.asked, stats.hit), (39, 20));
}

#[test]
fn what_was_generated_is_found_as_well() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(6));
    for token in 6..12 {
        cache.append(id, &[token]).unwrap();
        assert!(cache.grow(id, token + 1, &mut Changes::default()).unwrap());
        cache.advance(id, token + 1).unwrap();
        cache.audit().unwrap();
    }
    assert_eq!(begin(&mut cache, &tokens(13)).1, 12);
}

#[test]
fn namespaces_share_nothing() {
    let mut cache = cache(32, 4, &[Group::Full]);
    begin(&mut cache, &tokens(9));
    for namespace in [
        Namespace {
            tenant: b"other",
            ..Namespace::default()
        },
        Namespace {
            salt: b"other",
            ..Namespace::default()
        },
        Namespace {
            adapter: b"other",
            ..Namespace::default()
        },
    ] {
        let id = cache.add(NOBODY, &namespace, &tokens(9), &[]).unwrap();
        assert_eq!(run(&mut cache, id), 0);
        cache.finish(id).unwrap();
    }
}

#[test]
fn a_fork_copies_the_last_block_only_and_only_when_it_writes() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (parent, _) = begin(&mut cache, &tokens(10));
    let child = cache.fork(parent).unwrap();
    cache.audit().unwrap();
    assert_eq!(table(&cache, child, 0), [1, 2, 3]);
    let mut changes = Changes::default();
    cache.append(child, &[90]).unwrap();
    assert!(cache.grow(child, 11, &mut changes).unwrap());
    assert_eq!(
        changes.copies,
        [Copy {
            sequence: child,
            from: BlockId(3),
            to: BlockId(4)
        }]
    );
    cache.audit().unwrap();
    cache.settle().unwrap();
    // The parent is alone with its block now and writes in place.
    changes.clear();
    cache.append(parent, &[91]).unwrap();
    assert!(cache.grow(parent, 11, &mut changes).unwrap());
    assert!(changes.copies.is_empty());
    assert_eq!(
        (table(&cache, parent, 0), table(&cache, child, 0)),
        (vec![1, 2, 3], vec![1, 2, 4])
    );
    cache.finish(parent).unwrap();
    cache.audit().unwrap();
    assert_eq!(table(&cache, child, 0), [1, 2, 4]);
    cache.finish(child).unwrap();
    cache.audit().unwrap();
    assert_eq!(cache.pool().free_blocks(), 31);
}

#[test]
fn forks_of_forks_are_a_tree() {
    let mut cache = cache(64, 2, &[Group::Full]);
    let (root, _) = begin(&mut cache, &tokens(5));
    let mut leaves = vec![root];
    for depth in 0..4_u32 {
        for leaf in leaves.clone() {
            leaves.push(cache.fork(leaf).unwrap());
        }
        for (at, leaf) in leaves.iter().enumerate() {
            let known = cache.known(*leaf).unwrap();
            cache.append(*leaf, &[100 + depth * 16 + at as u32]).unwrap();
            assert!(cache.grow(*leaf, known + 1, &mut Changes::default()).unwrap());
            cache.advance(*leaf, known + 1).unwrap();
        }
        cache.settle().unwrap();
        cache.audit().unwrap();
    }
    assert_eq!(leaves.len(), 16);
    for leaf in &leaves {
        assert_eq!(table(&cache, *leaf, 0)[..2], [1, 2]);
        assert_eq!(table(&cache, *leaf, 0).len(), 5);
    }
    for leaf in leaves {
        cache.finish(leaf).unwrap();
        cache.audit().unwrap();
    }
    assert_eq!(cache.pool().free_blocks(), 63);
}

#[test]
fn a_fork_of_a_finished_sequence_is_refused() {
    let mut cache = cache(8, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(3));
    cache.finish(id).unwrap();
    for refused in [
        cache.fork(id).err(),
        cache.finish(id).err(),
        cache.append(id, &[1]).err(),
        cache.known(id).err(),
    ] {
        assert_eq!(refused.unwrap().kind(), ErrorKind::NotFound);
    }
    cache.audit().unwrap();
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let bad = |change: &dyn Fn(&mut CacheConfig)| {
        let mut config = CacheConfig::default();
        change(&mut config);
        Cache::new(config).err().unwrap().kind()
    };
    assert_eq!(bad(&|config| config.block_size = 0), ErrorKind::InvalidArgument);
    assert_eq!(bad(&|config| config.groups.clear()), ErrorKind::InvalidArgument);
    assert_eq!(
        bad(&|config| config.groups = vec![Group::Window(15)]),
        ErrorKind::InvalidArgument
    );
    assert_eq!(bad(&|config| config.blocks = 1), ErrorKind::InvalidArgument);
    assert_eq!(
        bad(&|config| (config.partial, config.groups) = (true, vec![Group::Full; 2])),
        ErrorKind::InvalidArgument
    );

    let mut cache = cache(8, 4, &[Group::Full]);
    assert!(cache.add(NOBODY, &Namespace::default(), &[], &[]).is_err());
    assert!(cache.add(TenantId(1), &Namespace::default(), &[1], &[]).is_err());
    let (id, _) = begin(&mut cache, &tokens(6));
    assert!(cache.lookup(id, 9).is_err(), "it has blocks");
    assert!(
        cache.grow(id, 5, &mut Changes::default()).is_err(),
        "fewer than computed"
    );
    assert!(cache.advance(id, 7).is_err(), "more than known");
    assert!(cache.rewind(id, 7).is_err());
    assert!(cache.set_epoch(0).is_err());
    assert!(cache.table(id, 1).is_err());
    assert!(
        !cache.grow(id, 100, &mut Changes::default()).unwrap(),
        "longer than the pool"
    );
    cache.audit().unwrap();
    assert!(cache.write_block_table(&[id], 0, 1, &mut [0]).is_err());
    assert!(cache.write_slot_mapping(&[(id, 7, 2)], 0, &mut [0; 2]).is_err());
    assert!(
        cache
            .write_page_table(&[(id, 0)], 0, &mut [0; 2], &mut [0; 2], &mut [0])
            .is_err()
    );
}

#[test]
fn a_new_epoch_finds_nothing_of_the_old() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (old, _) = begin(&mut cache, &tokens(9));
    cache.set_epoch(1).unwrap();
    let (new, hit) = begin(&mut cache, &tokens(9));
    assert_eq!(hit, 0);
    assert_eq!((cache.epoch_of(old).unwrap(), cache.epoch_of(new).unwrap()), (0, 1));
    cache.finish(new).unwrap();
    cache.finish(old).unwrap();
    // What the old model computed is taken before what the new one did.
    assert_eq!(cache.pool().free_order().last(), Some(&BlockId(4)));
    assert_eq!(begin(&mut cache, &tokens(9)).1, 8);
    assert_eq!(cache.set_epoch(1).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_renewed_sequence_computes_its_tokens_again() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(9));
    let fork = cache.fork(id).unwrap();
    cache.set_epoch(5).unwrap();
    cache.renew(id).unwrap();
    cache.audit().unwrap();
    assert_eq!((cache.computed(id).unwrap(), cache.known(id).unwrap()), (0, 9));
    assert_eq!(run(&mut cache, id), 0);
    assert_eq!(begin(&mut cache, &tokens(9)).1, 8);
    cache.finish(fork).unwrap();
    cache.audit().unwrap();
}

#[test]
fn a_detached_sequence_finds_its_own_blocks() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(9));
    let fork = cache.fork(id).unwrap();
    cache.append(fork, &[50, 51, 52, 53]).unwrap();
    run_on(&mut cache, fork);
    cache.detach(fork).unwrap();
    cache.audit().unwrap();
    assert_eq!(run(&mut cache, fork), 12);
}

fn run_on(cache: &mut Cache, id: SequenceId) {
    let known = cache.known(id).unwrap();
    assert!(cache.grow(id, known, &mut Changes::default()).unwrap());
    cache.advance(id, known).unwrap();
    cache.settle().unwrap();
    cache.audit().unwrap();
}

#[test]
fn a_window_gives_back_what_it_left_behind() {
    let mut cache = cache(32, 2, &[Group::Window(4)]);
    let (id, _) = begin(&mut cache, &tokens(6));
    assert_eq!(table(&cache, id, 0), [1, 2, 3]);
    for token in 6..12 {
        cache.append(id, &[token]).unwrap();
        run_on(&mut cache, id);
    }
    // Eleven were computed when room for the last was made: the window of token 11 begins at 8.
    assert_eq!(table(&cache, id, 0).iter().take_while(|block| **block == 0).count(), 4);
    cache.finish(id).unwrap();
    // The tail window is enough for a hit.
    assert_eq!(begin(&mut cache, &tokens(13)).1, 12);
}

#[test]
fn nobody_goes_back_to_what_a_window_left_behind() {
    let mut cache = cache(32, 2, &[Group::Full, Group::Window(4)]);
    let (id, _) = begin(&mut cache, &tokens(10));
    cache.append(id, &[7]).unwrap();
    run_on(&mut cache, id);
    // With ten computed, token 10 attends to 7 and later: the blocks of 0 to 5 are gone.
    assert_eq!(table(&cache, id, 1)[..4], [0, 0, 0, 9]);
    for computed in [0, 4, 8] {
        let refused = cache.rewind(id, computed).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(
            refused
                .message()
                .contains("a window of 4 has given back those before 6"),
            "{refused}"
        );
    }
    assert_eq!(cache.computed(id).unwrap(), 11);
    cache.rewind(id, 9).unwrap();
    cache.audit().unwrap();
    run_on(&mut cache, id);
}

#[test]
fn a_hybrid_hit_is_what_all_groups_have() {
    let mut cache = cache(64, 2, &[Group::Full, Group::Window(4)]);
    let (id, _) = begin(&mut cache, &tokens(12));
    assert_eq!(table(&cache, id, 0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(table(&cache, id, 1), [7, 8, 9, 10, 11, 12]);
    cache.finish(id).unwrap();
    // Without the window's block before position 5, the longest prefix that all have ends before it.
    cache.pool.forget(BlockId(11)).unwrap();
    let (other, hit) = begin(&mut cache, &tokens(13));
    assert_eq!(hit, 8);
    assert_eq!(table(&cache, other, 0)[..4], [1, 2, 3, 4]);
    assert_eq!(table(&cache, other, 1)[..4], [0, 0, 9, 10]);
}

#[test]
fn a_part_of_a_block_is_copied() {
    let mut cache = Cache::new(CacheConfig {
        block_size: 4,
        partial: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let (one, _) = begin(&mut cache, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let other = add(&mut cache, &[1, 2, 3, 4, 5, 6, 70, 80, 90]);
    let hit = cache.lookup(other, u32::MAX).unwrap();
    assert_eq!((hit.tokens, hit.ends_within_block()), (6, true));
    cache.attach(other, &hit).unwrap();
    cache.audit().unwrap();
    let mut changes = Changes::default();
    assert!(cache.grow(other, 9, &mut changes).unwrap());
    assert_eq!(changes.copies.len(), 1);
    assert_eq!(changes.copies[0].from, BlockId(2));
    cache.advance(other, 9).unwrap();
    cache.settle().unwrap();
    cache.audit().unwrap();
    cache.finish(one).unwrap();
    cache.finish(other).unwrap();
    // Alone with the block it found, it still may not write to it.
    let third = add(&mut cache, &[1, 2, 3, 4, 5, 60]);
    let hit = cache.lookup(third, u32::MAX).unwrap();
    assert_eq!(hit.tokens, 5);
    cache.attach(third, &hit).unwrap();
    changes.clear();
    assert!(cache.grow(third, 6, &mut changes).unwrap());
    assert_eq!(changes.copies.len(), 1);
    cache.settle().unwrap();
    cache.audit().unwrap();
    // Another epoch sees none of it.
    cache.set_epoch(1).unwrap();
    let fourth = add(&mut cache, &[1, 2, 3, 4, 5, 60]);
    assert_eq!(cache.lookup(fourth, u32::MAX).unwrap().tokens, 0);
}

#[test]
fn a_verified_hit_holds_the_same_tokens() {
    let mut cache = Cache::new(CacheConfig {
        block_size: 2,
        verify: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let (id, _) = begin(&mut cache, &tokens(5));
    assert_eq!(begin(&mut cache, &tokens(5)).1, 4);
    // As if another content had the same key.
    let second = cache.table(id, 0).unwrap()[1];
    cache.contents.as_mut().unwrap().put(second, Key::NONE, &[7, 7], true);
    assert_eq!(begin(&mut cache, &tokens(5)).1, 2);
}

#[test]
fn work_that_failed_cannot_be_found() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(4));
    cache.append(id, &tokens(9)).unwrap();
    run_on(&mut cache, id);
    cache.rewind(id, 5).unwrap();
    cache.audit().unwrap();
    let mut same = tokens(4);
    same.extend(tokens(9));
    assert_eq!(begin(&mut cache, &same).1, 4);
}

#[test]
fn drafts_that_were_not_accepted_give_back_their_room() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(4));
    assert!(cache.grow(id, 20, &mut Changes::default()).unwrap());
    cache.trim(id).unwrap();
    cache.audit().unwrap();
    assert_eq!(table(&cache, id, 0).len(), 1);
}

#[test]
fn tables_come_in_three_forms() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (one, _) = begin(&mut cache, &tokens(10));
    let two = cache.fork(one).unwrap();
    cache.append(two, &[7, 7, 7]).unwrap();
    run_on(&mut cache, two);
    assert_eq!(table(&cache, two, 0), [1, 2, 4, 5]);
    let mut rows = [9; 10];
    cache.write_block_table(&[one, two], 0, 5, &mut rows).unwrap();
    assert_eq!(rows, [1, 2, 3, 0, 0, 1, 2, 4, 5, 0]);
    let mut slots = [0; 5];
    assert_eq!(
        cache
            .write_slot_mapping(&[(one, 7, 2), (two, 10, 3)], 0, &mut slots)
            .unwrap(),
        5
    );
    assert_eq!(slots, [11, 12, 18, 19, 20]);
    let (mut indptr, mut indices, mut last) = ([0; 3], [0; 8], [0; 2]);
    assert_eq!(
        cache
            .write_page_table(&[(one, 10), (two, 12)], 0, &mut indptr, &mut indices, &mut last)
            .unwrap(),
        6
    );
    assert_eq!(
        (indptr, &indices[..6], last),
        ([0, 3, 6], &[1, 2, 3, 1, 2, 4][..], [2, 4])
    );
}

#[test]
fn events_tell_what_can_be_found() {
    let mut cache = Cache::new(CacheConfig {
        blocks: 4,
        block_size: 2,
        events: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let (id, _) = begin(&mut cache, &tokens(5));
    let events = cache.take_events();
    let [
        Event::Stored {
            keys,
            parent: None,
            tokens: stored,
            block_size: 2,
            group: 0,
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((keys.len(), &stored[..]), (2, &[0, 1, 2, 3][..]));
    let keys = keys.clone();
    cache.append(id, &[5]).unwrap();
    run_on(&mut cache, id);
    let events = cache.take_events();
    assert!(
        matches!(&events[..], [Event::Stored { parent: Some(parent), .. }] if *parent == keys[1]),
        "{events:?}"
    );
    cache.finish(id).unwrap();
    begin(&mut cache, &[9, 9]);
    assert!(matches!(
        &cache.take_events()[..],
        [Event::Removed { .. }, Event::Stored { .. }]
    ));
}

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
        1 => which.prop_map(Step::Renew),
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
        let full = groups.iter().filter(|group| **group == Group::Full).count();
        let partial = partial && groups == [Group::Full];
        let mut cache = Cache::new(CacheConfig { blocks: 40, block_size: BLOCK, groups: groups.clone(), eviction, partial, verify, ..CacheConfig::default() }).unwrap();
        let limited = cache.add_tenant(Some(12)).unwrap();
        let mut live: Vec<Shadow> = Vec::new();
        // Of each place of a block: group, epoch, position in its sequence, and a digest of all tokens up to there.
        let mut memory = vec![[None; BLOCK as usize]; 40];
        let mut next_token = 1000;
        let digest = |tokens: &[u32]| tokens.iter().fold(17_u64, |sum, token| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*token));

        for step in steps {
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
            prop_assert!(cache.pool().held_by(limited) <= 12);
            prop_assert!(full <= 2);
        }
    }
}

fn image(start: usize, length: usize, content: u8) -> Media {
    Media {
        start,
        length,
        digest: [content; 32],
    }
}

#[test]
fn an_image_in_the_last_block_of_a_prompt_tells_apart_what_follows_it() {
    let mut cache = cache(32, 4, &[Group::Full]);
    // Six tokens, the last two of which are an image: the output fills its block.
    let mut ids = Vec::new();
    for content in [1, 2] {
        let media = [image(4, 2, content)];
        let id = cache.add(NOBODY, &Namespace::default(), &[7; 6], &media).unwrap();
        run(&mut cache, id);
        cache.append(id, &[8, 8, 8]).unwrap();
        run_on(&mut cache, id);
        ids.push(id);
    }
    let [one, other] = ids[..] else { unreachable!() };
    let key = |id| cache.pool().key_of(cache.table(id, 0).unwrap()[1]);
    assert_ne!(key(one), key(other), "one would be given the other's image");
    // And it is the key of the same prompt that comes with its output.
    let tokens = [7, 7, 7, 7, 7, 7, 8, 8, 8];
    let id = cache
        .add(NOBODY, &Namespace::default(), &tokens, &[image(4, 2, 1)])
        .unwrap();
    assert_eq!(run(&mut cache, id), 8);
    let id = cache.add(NOBODY, &Namespace::default(), &tokens, &[]).unwrap();
    assert_eq!(run(&mut cache, id), 4);
}

#[test]
fn a_part_of_a_block_with_an_image_is_not_used() {
    let mut cache = Cache::new(CacheConfig {
        block_size: 4,
        partial: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let plain = Namespace::default();
    let cached = cache
        .add(NOBODY, &plain, &[1, 7, 7, 7, 5, 5, 5, 5, 5], &[image(1, 3, 1)])
        .unwrap();
    run(&mut cache, cached);
    // The same tokens, of another image, and of none.
    for media in [&[image(1, 3, 2)][..], &[]] {
        let id = cache.add(NOBODY, &plain, &[1, 7, 7, 7, 6], media).unwrap();
        assert_eq!(cache.lookup(id, u32::MAX).unwrap().tokens, 0, "{media:?}");
        cache.finish(id).unwrap();
    }
    // After the image, of the same content, a part is used; and before one.
    let id = cache
        .add(NOBODY, &plain, &[1, 7, 7, 7, 5, 5, 9], &[image(1, 3, 1)])
        .unwrap();
    assert_eq!(cache.lookup(id, u32::MAX).unwrap().tokens, 6);
    let id = cache
        .add(
            NOBODY,
            &plain,
            &[1, 7, 7, 7, 5, 5, 5],
            &[image(1, 3, 1), image(5, 1, 1)],
        )
        .unwrap();
    assert_eq!(cache.lookup(id, u32::MAX).unwrap().tokens, 5);
}

#[test]
fn a_hit_that_is_not_what_it_was_is_refused() {
    for partial in [false, true] {
        let mut cache = Cache::new(CacheConfig {
            blocks: 4,
            block_size: 4,
            partial,
            ..CacheConfig::default()
        })
        .unwrap();
        let (first, _) = begin(&mut cache, &tokens(8));
        cache.finish(first).unwrap();
        let again = add(&mut cache, &tokens(9));
        let hit = cache.lookup(again, u32::MAX).unwrap();
        assert_eq!(hit.tokens, 8);
        // Its blocks are given up, and hold another's tokens: they have keys again.
        let (other, _) = begin(&mut cache, &[50; 12]);
        cache.finish(other).unwrap();
        let stranger = add(&mut cache, &[50; 12]);
        let theirs = cache.lookup(stranger, u32::MAX).unwrap();
        assert!(theirs.tokens >= 8);
        for wrong in [&hit, &theirs] {
            let refused = cache.attach(again, wrong).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
        }
        assert_eq!(
            (cache.computed(again).unwrap(), cache.blocks_held(again).unwrap()),
            (0, 0)
        );
        cache.audit().unwrap();
        cache.attach(stranger, &theirs).unwrap();
    }
}

#[test]
fn a_hit_whose_blocks_fell_free_since_counts_against_the_quota() {
    let mut cache = cache(8, 4, &[Group::Full]);
    let poor = cache.add_tenant(Some(1)).unwrap();
    let namespace = Namespace::default();
    let first = cache.add(poor, &namespace, &tokens(4), &[]).unwrap();
    run(&mut cache, first);
    let fork = cache.add(NOBODY, &namespace, &tokens(5), &[]).unwrap();
    let hit = cache.lookup(fork, u32::MAX).unwrap();
    cache.attach(fork, &hit).unwrap();
    cache.finish(first).unwrap();
    let second = cache.add(poor, &namespace, &tokens(5), &[]).unwrap();
    let hit = cache.lookup(second, u32::MAX).unwrap();
    assert_eq!((hit.tokens, hit.free), (4, 0), "somebody uses its block");
    cache.finish(fork).unwrap();
    let own = cache.add(poor, &namespace, &[70; 4], &[]).unwrap();
    run(&mut cache, own);
    let refused = cache.attach(second, &hit).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreFull, "{refused}");
    cache.audit().unwrap();
}
