use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

const NOBODY: TenantId = TenantId(0);

impl Pool {
    /// All that decides what the pool does next, for checks of models; of policies, only the order of blocks.
    pub(in crate::kv) fn hash_state(&self, hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (&self.uses, &self.keys, self.free_order()).hash(hash);
        for at in 0..self.uses.len() {
            if self.keys[at] != Key::NONE {
                (
                    self.epochs[at],
                    self.groups[at],
                    self.index.find_all(self.keys[at], &self.keys),
                )
                    .hash(hash);
            }
            if self.uses[at] & COUNT > 0 {
                self.owners[at].hash(hash);
            }
        }
    }
}

fn pool(blocks: u32) -> Pool {
    Pool::new(&PoolConfig {
        blocks,
        eviction: Eviction::Lru,
        events: true,
    })
    .unwrap()
}

fn ids(numbers: &[u32]) -> Vec<BlockId> {
    numbers.iter().copied().map(BlockId).collect()
}

fn take(pool: &mut Pool, count: u32) -> Vec<BlockId> {
    let mut taken = Vec::new();
    assert!(pool.allocate(count, NOBODY, &mut taken));
    taken
}

#[test]
fn blocks_are_taken_in_vllms_order() {
    let mut pool = pool(8);
    let taken = take(&mut pool, 5);
    assert_eq!(taken, ids(&[1, 2, 3, 4, 5]));
    pool.register(BlockId(1), Key::new(10), 0, 0).unwrap();
    pool.register(BlockId(3), Key::new(30), 0, 0).unwrap();
    // The tail of a sequence first: what has no key goes to the front, what has one to the end.
    pool.release(&ids(&[5, 4, 3, 2, 1])).unwrap();
    assert_eq!(pool.free_order(), ids(&[5, 4, 2, 6, 7, 3, 1]));
    assert_eq!(take(&mut pool, 6), ids(&[5, 4, 2, 6, 7, 3]));
    assert_eq!(
        pool.find(Key::new(30), 0),
        None,
        "its block is in use for something else"
    );
    assert_eq!(pool.find(Key::new(10), 0), Some(BlockId(1)));
    assert_eq!(
        pool.take_events(),
        [Event::Removed {
            key: Key::new(30),
            group: 0
        }]
    );
}

#[test]
fn a_found_block_is_not_given_away() {
    let mut pool = pool(4);
    take(&mut pool, 3);
    pool.register(BlockId(2), Key::new(2), 0, 0).unwrap();
    pool.release(&ids(&[3, 2, 1])).unwrap();
    pool.touch(&ids(&[2, 2]), NOBODY).unwrap();
    assert_eq!((pool.references(BlockId(2)), pool.free_blocks()), (2, 2));
    assert!(!pool.allocate(3, NOBODY, &mut Vec::new()));
    assert_eq!(take(&mut pool, 2), ids(&[3, 1]));
    pool.audit(&[0, 1, 2, 1]).unwrap();
}

#[test]
fn wrong_ids_change_nothing() {
    let mut pool = pool(4);
    take(&mut pool, 2);
    for wrong in [ids(&[1, 4]), ids(&[1, 3]), ids(&[1, 1]), ids(&[2, u32::MAX])] {
        let refused = pool.release(&wrong).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{wrong:?}: {refused}");
        pool.audit(&[0, 1, 1, 0]).unwrap();
    }
    assert!(pool.touch(&ids(&[1, 9]), NOBODY).is_err());
    assert!(pool.register(BlockId::NULL, Key::new(1), 0, 0).is_err());
    assert!(pool.register(BlockId(3), Key::new(1), 0, 0).is_err(), "nobody uses it");
    assert!(pool.forget(BlockId(4)).is_err());
    assert!(pool.retain(&ids(&[4]), Retention::default()).is_err());
    pool.release(&[BlockId::NULL]).unwrap();
    pool.touch(&[BlockId::NULL], NOBODY).unwrap();
    pool.audit(&[0, 1, 1, 0]).unwrap();
}

#[test]
fn a_pool_has_a_block_besides_the_null_block() {
    for blocks in [0, 1, MOST + 1] {
        let refused = Pool::new(&PoolConfig {
            blocks,
            eviction: Eviction::Lru,
            events: false,
        });
        assert_eq!(refused.err().unwrap().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn a_tenant_holds_no_more_than_its_quota() {
    let mut pool = pool(10);
    let tenant = pool.add_tenant(Some(3)).unwrap();
    let mut taken = Vec::new();
    assert!(!pool.allocate(4, tenant, &mut taken));
    assert!(pool.allocate(3, tenant, &mut taken));
    assert_eq!((pool.available_to(tenant), pool.available_to(NOBODY)), (0, 6));
    // A block counts for whoever took it first.
    pool.touch(&taken, NOBODY).unwrap();
    pool.release(&taken).unwrap();
    assert_eq!((pool.held_by(tenant), pool.held_by(NOBODY)), (3, 0));
    pool.release(&taken).unwrap();
    assert_eq!(pool.held_by(tenant), 0);
    assert_eq!(pool.available_to(TenantId(7)), 0);
    assert!(!pool.allocate(1, TenantId(7), &mut taken));
    assert!(pool.touch(&taken, TenantId(7)).is_err());
}

#[test]
fn a_reset_forgets_all_but_waits_for_users() {
    for eviction in [Eviction::Lru, Eviction::TinyLfu, Eviction::Retention] {
        let mut pool = Pool::new(&PoolConfig {
            blocks: 5,
            eviction,
            events: true,
        })
        .unwrap();
        let taken = take(&mut pool, 2);
        for block in &taken {
            pool.register(*block, Key::new(u128::from(block.0)), 0, 0).unwrap();
        }
        assert!(!pool.reset());
        pool.release(&taken).unwrap();
        assert!(pool.reset());
        assert_eq!((pool.cached_blocks(), pool.take_events()), (0, vec![Event::Cleared]));
        pool.audit(&[0; 5]).unwrap();
        assert_eq!(take(&mut pool, 4).len(), 4);
    }
}

#[test]
fn an_epoch_hides_what_was_computed_in_another() {
    let mut pool = pool(4);
    take(&mut pool, 2);
    pool.register(BlockId(1), Key::new(5), 0, 0).unwrap();
    assert_eq!(pool.find(Key::new(5), 1), None);
    assert_eq!(pool.find(Key::new(5), 0), Some(BlockId(1)));
}

#[test]
fn a_block_takes_at_most_64_bytes() {
    for eviction in [Eviction::Lru, Eviction::TinyLfu, Eviction::Retention] {
        let pool = Pool::new(&PoolConfig {
            blocks: 1 << 16,
            eviction,
            events: false,
        })
        .unwrap();
        assert!(pool.bytes_per_block() <= 64, "{eviction:?}: {}", pool.bytes_per_block());
    }
}

/// The same pool as lists and maps, in the words of vLLM's documentation.
struct Model {
    refs: Vec<u32>,
    keys: Vec<Option<Key>>,
    queue: VecDeque<u32>,
    found: HashMap<Key, Vec<u32>>,
}

impl Model {
    fn forget(&mut self, block: u32) {
        if let Some(key) = self.keys[block as usize].take() {
            self.found.get_mut(&key).unwrap().retain(|other| *other != block);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u32),
    Touch(u32),
    Release(Vec<u32>),
    Register(u32, u128),
    Forget(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..5_u32).prop_map(Step::Allocate),
        (0..12_u32).prop_map(Step::Touch),
        proptest::collection::vec(0..14_u32, 0..5).prop_map(Step::Release),
        (0..12_u32, 0..5_u128).prop_map(|(block, key)| Step::Register(block, key)),
        (0..12_u32).prop_map(Step::Forget),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_a_simple_model(steps in proptest::collection::vec(step(), 0..80)) {
        let mut pool = pool(12);
        let mut model = Model { refs: vec![0; 12], keys: vec![None; 12], queue: (1..12).collect(), found: HashMap::new() };
        for step in steps {
            match step {
                Step::Allocate(count) => {
                    let mut taken = Vec::new();
                    let fits = count as usize <= model.queue.len();
                    prop_assert_eq!(pool.allocate(count, NOBODY, &mut taken), fits);
                    if fits {
                        let expected: Vec<u32> = model.queue.drain(..count as usize).collect();
                        for block in &expected {
                            model.refs[*block as usize] = 1;
                            model.forget(*block);
                        }
                        prop_assert_eq!(taken, ids(&expected));
                    }
                }
                Step::Touch(block) => {
                    pool.touch(&[BlockId(block)], NOBODY).unwrap();
                    if block != 0 {
                        model.refs[block as usize] += 1;
                        model.queue.retain(|other| *other != block);
                    }
                }
                Step::Release(blocks) => {
                    let mut left = model.refs.clone();
                    let valid = blocks.iter().all(|block| {
                        *block == 0 || left.get_mut(*block as usize).is_some_and(|refs| {
                            let some = *refs > 0;
                            *refs = refs.saturating_sub(1);
                            some
                        })
                    });
                    prop_assert_eq!(pool.release(&ids(&blocks)).is_ok(), valid);
                    if valid {
                        let mut front = Vec::new();
                        for block in blocks.into_iter().filter(|block| *block != 0) {
                            model.refs[block as usize] -= 1;
                            if model.refs[block as usize] == 0 {
                                match model.keys[block as usize] {
                                    None => front.push(block),
                                    Some(_) => model.queue.push_back(block),
                                }
                            }
                        }
                        front.iter().rev().for_each(|block| model.queue.push_front(*block));
                    }
                }
                Step::Register(block, key) => {
                    let key = Key::new(1 + key);
                    let valid = block != 0 && model.refs[block as usize] > 0;
                    prop_assert_eq!(pool.register(BlockId(block), key, 0, 0).is_ok(), valid);
                    if valid && model.keys[block as usize] != Some(key) {
                        model.forget(block);
                        model.keys[block as usize] = Some(key);
                        model.found.entry(key).or_default().push(block);
                    }
                }
                Step::Forget(block) => {
                    pool.forget(BlockId(block)).unwrap();
                    model.forget(block);
                }
            }
            pool.audit(&model.refs).unwrap();
            prop_assert_eq!(pool.free_order(), ids(&model.queue.iter().copied().collect::<Vec<_>>()));
            for key in 1..=5 {
                let first = model.found.get(&Key::new(key)).and_then(|blocks| blocks.first());
                prop_assert_eq!(pool.find(Key::new(key), 0), first.copied().map(BlockId));
            }
        }
    }
}
