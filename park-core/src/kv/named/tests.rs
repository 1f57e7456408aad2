use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::kv::Eviction;

fn pool(blocks: u32) -> NamedPool {
    let config = PoolConfig {
        blocks,
        eviction: Eviction::Lru,
        events: false,
    };
    NamedPool::new(&config, &[7; 32]).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn take(pool: &mut NamedPool, count: u32) -> (Vec<BlockId>, Vec<Name>) {
    let (mut taken, mut lost) = (Vec::new(), Vec::new());
    assert!(pool.allocate(count, &mut taken, &mut lost));
    (taken, lost)
}

#[test]
fn a_name_has_from_1_to_39_bytes() {
    for wrong in [0, 40] {
        assert_eq!(
            Name::new(&vec![1; wrong]).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
    assert_eq!(Name::new(&[1; 39]).unwrap().as_bytes(), [1; 39]);
    assert_ne!(Name::new(b"a").unwrap(), Name::new(b"a\0").unwrap());
}

#[test]
fn a_pool_may_have_only_the_null_block() {
    let mut pool = pool(1);
    assert_eq!(pool.pool().free_blocks(), 0);
    assert!(!pool.allocate(1, &mut Vec::new(), &mut Vec::new()));
    assert!(pool.reset());
    pool.audit(&[0]).unwrap();
}

#[test]
fn the_block_that_had_a_name_first_is_found() {
    let mut pool = pool(5);
    take(&mut pool, 4);
    // Block 1 has it as its second name, block 2 as its first, block 3 as its second again.
    pool.name(BlockId(1), name("short"), Some(16)).unwrap();
    pool.name(BlockId(1), name("shared"), Some(32)).unwrap();
    pool.name(BlockId(2), name("shared"), Some(32)).unwrap();
    pool.name(BlockId(3), name("other"), None).unwrap();
    pool.name(BlockId(3), name("shared"), None).unwrap();
    let shared = (name("shared"), [1, 2, 3].map(BlockId).to_vec());
    assert_eq!(
        pool.holders(),
        [
            (name("short"), vec![BlockId(1)]),
            shared,
            (name("other"), vec![BlockId(3)])
        ]
    );
    assert_eq!(
        (pool.tokens_of(BlockId(1)), pool.tokens_of(BlockId(3))),
        (Some(16), None)
    );
    for (block, names) in [
        (1, vec!["short", "shared"]),
        (2, vec!["shared"]),
        (3, vec!["other", "shared"]),
    ] {
        assert_eq!(pool.find(name("shared")), Some(BlockId(block)));
        let mut lost = Vec::new();
        pool.forget(BlockId(block), &mut lost).unwrap();
        assert_eq!(lost, names.into_iter().map(name).collect::<Vec<_>>());
        pool.audit(&[0, 1, 1, 1, 1]).unwrap();
    }
    assert_eq!((pool.find(name("shared")), pool.holders()), (None, Vec::new()));
}

#[test]
fn what_is_taken_loses_its_names_in_order() {
    let mut pool = pool(4);
    let (taken, lost) = take(&mut pool, 3);
    assert!(lost.is_empty());
    pool.name(BlockId(3), name("c"), None).unwrap();
    pool.name(BlockId(1), name("a"), None).unwrap();
    pool.name(BlockId(1), name("b"), None).unwrap();
    assert!(!pool.name(BlockId(1), name("b"), None).unwrap());
    pool.release(&[taken[2], taken[1], taken[0]]).unwrap();
    let (taken, lost) = take(&mut pool, 3);
    assert_eq!(
        (taken, lost),
        ([2, 3, 1].map(BlockId).to_vec(), ["c", "a", "b"].map(name).to_vec())
    );
    pool.audit(&[0, 1, 1, 1]).unwrap();
}

#[test]
fn what_is_released_last_is_taken_last() {
    let mut pool = pool(6);
    take(&mut pool, 4);
    pool.name(BlockId(2), name("b"), None).unwrap();
    pool.release_last(&[3, 2, 1].map(BlockId)).unwrap();
    assert_eq!(pool.pool().free_order(), [5, 3, 2, 1].map(BlockId));
    let refused = pool.release_last(&[4, 3].map(BlockId)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    pool.audit(&[0, 0, 0, 0, 1, 0]).unwrap();
}

#[test]
fn the_order_of_free_blocks_can_be_walked_in_every_policy() {
    for eviction in [Eviction::Lru, Eviction::TinyLfu, Eviction::Retention] {
        let config = PoolConfig {
            blocks: 9,
            eviction,
            events: false,
        };
        let mut pool = NamedPool::new(&config, &[0; 32]).unwrap();
        let (taken, _) = take(&mut pool, 6);
        for block in &taken[..3] {
            pool.name(*block, name(&block.0.to_string()), None).unwrap();
        }
        pool.release(&taken).unwrap();
        let mut walked = Vec::new();
        let mut next = pool.pool().free_after(None);
        while let Some(block) = next {
            walked.push(block);
            next = pool.pool().free_after(Some(block));
        }
        assert_eq!(walked, pool.pool().free_order(), "{eviction:?}");
        assert_eq!(walked.len(), 8);
        pool.touch(&walked[..1]).unwrap();
        assert_eq!(
            pool.pool().free_after(Some(walked[0])),
            None,
            "a block in use has no place in the order"
        );
    }
}

#[test]
fn names_of_blocks_that_nobody_uses_are_refused() {
    let mut pool = pool(3);
    for block in [0, 1, 3] {
        assert!(pool.name(BlockId(block), name("x"), None).is_err(), "block {block}");
    }
    assert!(pool.forget(BlockId(3), &mut Vec::new()).is_err());
    pool.audit(&[0; 3]).unwrap();
}

/// The same as lists: each block's references and names, and the queue of free ones.
struct Model {
    refs: Vec<u32>,
    names: Vec<Vec<Name>>,
    queue: VecDeque<u32>,
    /// All names in the order in which they were given.
    given: Vec<(Name, u32)>,
}

impl Model {
    fn strip(&mut self, block: u32, lost: &mut Vec<Name>) {
        lost.append(&mut self.names[block as usize]);
        self.given.retain(|(_, other)| *other != block);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u32),
    Touch(u32),
    Release(u32, bool),
    Name(u32, u8),
    Forget(u32),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u32).prop_map(Step::Allocate),
        2 => (1..8_u32).prop_map(Step::Touch),
        4 => (1..8_u32, any::<bool>()).prop_map(|(block, last)| Step::Release(block, last)),
        6 => (1..8_u32, 0..4_u8).prop_map(|(block, which)| Step::Name(block, which)),
        1 => (1..8_u32).prop_map(Step::Forget),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_a_simple_model(steps in proptest::collection::vec(step(), 0..80)) {
        let mut pool = pool(8);
        let mut model = Model { refs: vec![0; 8], names: vec![Vec::new(); 8], queue: (1..8).collect(), given: Vec::new() };
        for step in steps {
            let (mut lost, mut expected) = (Vec::new(), Vec::new());
            match step {
                Step::Allocate(count) => {
                    let mut taken = Vec::new();
                    let fits = count as usize <= model.queue.len();
                    prop_assert_eq!(pool.allocate(count, &mut taken, &mut lost), fits);
                    if fits {
                        let blocks: Vec<u32> = model.queue.drain(..count as usize).collect();
                        for block in &blocks {
                            model.refs[*block as usize] = 1;
                            model.strip(*block, &mut expected);
                        }
                        prop_assert_eq!(taken, blocks.into_iter().map(BlockId).collect::<Vec<_>>());
                    }
                }
                Step::Touch(block) => {
                    pool.touch(&[BlockId(block)]).unwrap();
                    model.refs[block as usize] += 1;
                    model.queue.retain(|other| *other != block);
                }
                Step::Release(block, last) => {
                    let used = model.refs[block as usize] > 0;
                    let released = if last { pool.release_last(&[BlockId(block)]) } else { pool.release(&[BlockId(block)]) };
                    prop_assert_eq!(released.is_ok(), used);
                    if used {
                        model.refs[block as usize] -= 1;
                        if model.refs[block as usize] == 0 {
                            if last || !model.names[block as usize].is_empty() {
                                model.queue.push_back(block);
                            } else {
                                model.queue.push_front(block);
                            }
                        }
                    }
                }
                Step::Name(block, which) => {
                    let name = Name::new(&[which]).unwrap();
                    let known = model.names[block as usize].contains(&name);
                    let named = model.refs[block as usize] > 0 || !model.names[block as usize].is_empty();
                    let result = pool.name(BlockId(block), name, None);
                    prop_assert_eq!(result.ok(), named.then_some(!known));
                    if named && !known {
                        model.names[block as usize].push(name);
                        model.given.push((name, block));
                    }
                }
                Step::Forget(block) => {
                    pool.forget(BlockId(block), &mut lost).unwrap();
                    model.strip(block, &mut expected);
                }
                Step::Reset => {
                    let free = model.queue.len() == 7;
                    prop_assert_eq!(pool.reset(), free);
                    if free {
                        model.names.iter_mut().for_each(Vec::clear);
                        model.given.clear();
                    }
                }
            }
            prop_assert_eq!(lost, expected);
            pool.audit(&model.refs).unwrap();
            prop_assert_eq!(pool.pool().free_order(), model.queue.iter().copied().map(BlockId).collect::<Vec<_>>());
            for which in 0..4 {
                let name = Name::new(&[which]).unwrap();
                let having = model.given.iter().filter(|(other, _)| *other == name);
                let having: Vec<BlockId> = having.map(|(_, block)| BlockId(*block)).collect();
                prop_assert_eq!(pool.find(name), having.first().copied());
                let held = pool.holders().into_iter().find(|(other, _)| *other == name);
                prop_assert_eq!(held.map_or(Vec::new(), |(_, blocks)| blocks), having);
            }
        }
    }
}
