use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::kv::{BlockId, Cache, CacheConfig, Changes, Eviction, SequenceId, TenantId};

const NOBODY: TenantId = TenantId(0);
const BLOCK: u32 = 2;

fn cache(blocks: u32, groups: &[Group], eviction: Eviction) -> Cache {
    Cache::new(CacheConfig {
        blocks,
        block_size: BLOCK,
        groups: groups.to_vec(),
        eviction,
        events: true,
        ..CacheConfig::default()
    })
    .unwrap()
}

fn add(cache: &mut Cache, tokens: &[u32]) -> SequenceId {
    cache.add(NOBODY, &Namespace::default(), tokens, &[]).unwrap()
}

/// Computes all that is known, if there is room.
fn run(cache: &mut Cache, id: SequenceId) -> bool {
    if cache.positions(id).unwrap() == 0 {
        let hit = cache.lookup(id, u32::MAX).unwrap();
        cache.attach(id, &hit).unwrap();
    }
    let known = cache.known(id).unwrap();
    let grown = cache.grow(id, known, &mut Changes::default()).unwrap();
    if grown {
        cache.advance(id, known).unwrap();
    }
    cache.settle().unwrap();
    grown
}

/// A router's idea of a cache: of each key, its group, the key before it and its tokens.
#[derive(Default)]
struct Mirror {
    blocks: HashMap<Key, (u8, Option<Key>, Vec<u32>)>,
}

impl Mirror {
    /// Applies events; each must make sense where it comes.
    fn apply(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Stored {
                    keys,
                    parent,
                    first,
                    tokens,
                    block_size,
                    group,
                    ..
                } => {
                    assert_eq!((block_size, keys.len() * BLOCK as usize), (BLOCK, tokens.len()));
                    assert_eq!(parent.is_none(), first == 0);
                    let before = [parent].into_iter().chain(keys.iter().copied().map(Some));
                    for ((key, before), tokens) in keys.iter().zip(before).zip(tokens.chunks(BLOCK as usize)) {
                        let old = self.blocks.insert(*key, (group, before, tokens.to_vec()));
                        assert_eq!(old, None, "stored twice");
                    }
                }
                Event::Removed { key, group } => {
                    let (of, ..) = self.blocks.remove(&key).expect("what is removed was stored");
                    assert_eq!(of, group);
                }
                Event::Cleared => self.blocks.clear(),
            }
        }
    }

    /// How many tokens of a prompt it takes to be cached, in whole blocks of group 0.
    fn prefix(&self, tokens: &[u32]) -> u32 {
        let after: HashMap<(Option<Key>, &[u32]), Key> = self
            .blocks
            .iter()
            .filter(|(_, (group, ..))| *group == 0)
            .map(|(key, (_, before, tokens))| ((*before, &tokens[..]), *key))
            .collect();
        let mut last = None;
        let mut found = 0;
        for block in tokens.chunks_exact(BLOCK as usize) {
            let Some(key) = after.get(&(last, block)) else { break };
            last = Some(*key);
            found += BLOCK;
        }
        found
    }
}

/// What the index of a cache has for new prompts.
fn index(cache: &Cache) -> HashSet<Key> {
    let pool = cache.pool();
    (1..pool.blocks())
        .map(BlockId)
        .filter(|block| pool.is_cached_in(*block, cache.epoch()))
        .filter_map(|block| pool.key_of(block))
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, u32),
    Run(usize),
    Append(usize, u32),
    Fork(usize),
    Finish(usize),
    Rewind(usize, u32),
    Renew(usize),
    Epoch,
    Reset,
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..8_usize;
    prop_oneof![
        4 => (0..3_u32, 1..12_u32).prop_map(|(family, length)| Step::Add(family, length)),
        8 => which.clone().prop_map(Step::Run),
        4 => (which.clone(), 1..5_u32).prop_map(|(which, count)| Step::Append(which, count)),
        2 => which.clone().prop_map(Step::Fork),
        3 => which.clone().prop_map(Step::Finish),
        2 => (which.clone(), 0..8_u32).prop_map(|(which, to)| Step::Rewind(which, to)),
        1 => which.prop_map(Step::Renew),
        1 => Just(Step::Epoch),
        1 => Just(Step::Reset),
        4 => Just(Step::Take),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens: whoever applies the events has the keys of the index, and predicts the hit of any prompt.
    #[test]
    fn who_applies_all_events_knows_what_can_be_found(
        groups in prop_oneof![
            Just(vec![Group::Full]), Just(vec![Group::Window(3)]), Just(vec![Group::Full, Group::Window(2)]), Just(vec![Group::Full; 2]),
        ],
        eviction in prop_oneof![Just(Eviction::Lru), Just(Eviction::TinyLfu), Just(Eviction::Retention)],
        blocks in 6..24_u32,
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut cache = cache(blocks, &groups, eviction);
        let (mut live, mut mirror) = (Vec::new(), Mirror::default());
        for step in steps {
            let pick = |which: usize| (!live.is_empty()).then(|| live[which % live.len()]);
            match step {
                Step::Add(family, length) => {
                    let tokens: Vec<u32> = (0..length).map(|at| family * 100 + at / 3).collect();
                    live.push(add(&mut cache, &tokens));
                }
                Step::Run(which) => if let Some(id) = pick(which) { run(&mut cache, id); }
                Step::Append(which, count) => if let Some(id) = pick(which) { cache.append(id, &vec![7; count as usize]).unwrap(); }
                Step::Fork(which) => if let Some(id) = pick(which) { live.push(cache.fork(id).unwrap()); }
                Step::Finish(which) => if let Some(id) = pick(which) {
                    cache.finish(id).unwrap();
                    live.retain(|other| *other != id);
                }
                Step::Rewind(which, to) => if let Some(id) = pick(which) {
                    let _ = cache.rewind(id, to.min(cache.computed(id).unwrap()));
                }
                Step::Renew(which) => if let Some(id) = pick(which) { cache.renew(id).unwrap(); }
                Step::Epoch => cache.set_epoch(cache.epoch() + 1).unwrap(),
                Step::Reset => { cache.reset(); }
                Step::Take => mirror.apply(cache.take_events()),
            }
        }
        mirror.apply(cache.take_events());
        prop_assert_eq!(cache.pool().lost_events(), 0);
        prop_assert_eq!(mirror.blocks.keys().copied().collect::<HashSet<_>>(), index(&cache));
        if groups == [Group::Full] {
            for family in 0..3 {
                let tokens: Vec<u32> = (0..13).map(|at| family * 100 + at / 3).collect();
                let probe = add(&mut cache, &tokens);
                prop_assert_eq!(cache.lookup(probe, u32::MAX).unwrap().tokens, mirror.prefix(&tokens[..12]));
                cache.finish(probe).unwrap();
            }
        }
    }
}

#[test]
fn nothing_is_recorded_unless_asked_for() {
    let mut cache = Cache::new(CacheConfig {
        blocks: 4,
        block_size: BLOCK,
        ..CacheConfig::default()
    })
    .unwrap();
    let id = add(&mut cache, &[1, 2, 3, 4]);
    assert!(run(&mut cache, id));
    cache.set_epoch(1).unwrap();
    cache.finish(id).unwrap();
    assert!(cache.reset());
    assert_eq!(cache.take_events(), []);
}

#[test]
fn what_two_computed_is_stored_once_and_removed_with_the_last() {
    let mut cache = cache(8, &[Group::Full], Eviction::Lru);
    // Neither finds the other's block: it is the last of its prompt.
    let ids = [add(&mut cache, &[1, 2]), add(&mut cache, &[1, 2])];
    for id in ids {
        assert!(run(&mut cache, id));
    }
    let events = cache.take_events();
    assert!(matches!(&events[..], [Event::Stored { keys, parent: None, first: 0, .. }] if keys.len() == 1));
    cache.rewind(ids[0], 0).unwrap();
    assert_eq!(cache.take_events(), []);
    cache.rewind(ids[1], 0).unwrap();
    assert!(matches!(cache.take_events()[..], [Event::Removed { group: 0, .. }]));
}

#[test]
fn a_new_epoch_clears_and_what_the_old_one_does_is_no_news() {
    let mut cache = cache(8, &[Group::Full], Eviction::Lru);
    let old = add(&mut cache, &[1, 2, 3]);
    assert!(run(&mut cache, old));
    cache.set_epoch(1).unwrap();
    assert_eq!(
        cache.take_events(),
        [Event::Cleared],
        "what was stored before makes no difference"
    );
    cache.append(old, &[4, 5]).unwrap();
    assert!(run(&mut cache, old));
    cache.finish(old).unwrap();
    assert_eq!(cache.take_events(), []);
    let new = add(&mut cache, &[1, 2, 3]);
    assert!(run(&mut cache, new));
    assert_eq!(cache.take_events().len(), 1);
}

#[test]
fn who_does_not_take_events_finds_that_some_were_dropped() {
    let mut cache = cache(4, &[Group::Full], Eviction::Lru);
    for token in 0..40 {
        let id = add(&mut cache, &[token; 6]);
        assert!(run(&mut cache, id));
        cache.finish(id).unwrap();
    }
    assert!(cache.pool().lost_events() > 0);
    let events = cache.take_events();
    assert_eq!(events.first(), Some(&Event::Cleared));
    let named = |event: &Event| match event {
        Event::Stored { keys, .. } => keys.len(),
        Event::Removed { .. } => 1,
        Event::Cleared => 0,
    };
    assert!(events.iter().map(named).sum::<usize>() <= 4 * 4);
    // Whoever takes what is left names nothing that is not there.
    let mut mirror = HashSet::new();
    for event in events {
        match event {
            Event::Stored { keys, .. } => mirror.extend(keys),
            Event::Removed { key, .. } => {
                mirror.remove(&key);
            }
            Event::Cleared => mirror.clear(),
        }
    }
    assert!(mirror.is_subset(&index(&cache)));
}

fn stored() -> Event {
    let mut digest = [0; 32];
    digest[0] = 0xab;
    Event::Stored {
        keys: vec![Key::new(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10), Key::new(5)],
        parent: None,
        first: 0,
        tokens: vec![1, 200, 70_000, 4],
        block_size: 2,
        group: 0,
        kind: Group::Full,
        origin: Arc::new(Origin {
            tenant: vec![9],
            salt: b"salt".to_vec(),
            adapter: b"lora".to_vec(),
            media: vec![Media {
                start: 1,
                length: 2,
                digest,
            }],
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What vLLM 0.33's classes and msgspec 0.23 make of the same three events: keys as numbers by replica 0, and as bytes by one that does
/// not say which it is. msgspec gives the map of a struct with many fields the head of a long map, also where few of them are written.
#[test]
fn the_bytes_are_those_of_vllm() {
    let events = [
        Event::Cleared,
        stored(),
        Event::Removed {
            key: Key::new(5),
            group: 1,
        },
    ];
    let numbers = Wire::default();
    let bytes = Wire {
        rank: None,
        hashes: Hashes::Bytes,
        ..numbers
    };
    let [short, long] = ["8b", "de000b"].map(|head| format!("{head}a474797065ab{}", hex(b"BlockStored")));
    for (wire, golden) in [numbers, bytes].iter().zip(include_str!("vllm.hex").lines()) {
        assert_eq!(hex(&wire.encode(1.5, &events)), golden.replace(&long, &short));
    }
}

#[test]
fn what_is_no_text_is_written_in_hexadecimal() {
    let mut event = stored();
    if let Event::Stored { origin, .. } = &mut event {
        *origin = Arc::new(Origin {
            adapter: vec![0xff, 0x00],
            ..Origin::default()
        });
    }
    let bytes = Wire::default().encode(0.0, &[event]);
    let (name, text) = (b"\xa9lora_name".to_vec(), b"\xa4ff00".to_vec());
    let expected = [name, text].concat();
    assert!(bytes.windows(expected.len()).any(|part| part == expected));
}
