//! The table against a list of chunks that is searched from end to end.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

#[derive(Clone, Debug, PartialEq)]
struct Known {
    name: u8,
    slot: u32,
    writing: bool,
    readers: u32,
    rank: OffloadRank,
}

#[derive(Clone, Debug)]
enum Step {
    Store(Vec<u8>, Vec<u8>),
    Finish(Vec<u8>, bool),
    Pin(Vec<u8>),
    Unpin(Vec<u8>),
    Rank(u8, i64),
    Evict(usize, Vec<u8>),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = || prop::collection::vec(0_u8..8, 0..4);
    let step = prop_oneof![
        4 => (names(), names()).prop_map(|(names, kept)| Step::Store(names, kept)),
        4 => (names(), prop::bool::weighted(0.8)).prop_map(|(names, succeeded)| Step::Finish(names, succeeded)),
        3 => names().prop_map(Step::Pin),
        3 => names().prop_map(Step::Unpin),
        2 => (0_u8..8, -3_i64..3).prop_map(|(name, place)| Step::Rank(name, place)),
        1 => (0_usize..4, names()).prop_map(|(count, kept)| Step::Evict(count, kept)),
        1 => prop::bool::weighted(0.1).prop_map(|really| if really { Step::Clear } else { Step::Evict(0, Vec::new()) }),
    ];
    prop::collection::vec(step, 0..60)
}

/// The names of the first that may go and are not kept.
fn victims(known: &[Known], count: usize, kept: &[u8]) -> Option<Vec<u8>> {
    let mut free: Vec<&Known> = known
        .iter()
        .filter(|chunk| !chunk.writing && chunk.readers == 0 && !kept.contains(&chunk.name))
        .collect();
    free.sort_by_key(|chunk| (chunk.rank, chunk.name));
    (free.len() >= count).then(|| free[..count].iter().map(|chunk| chunk.name).collect())
}

proptest! {
    #[test]
    fn it_does_what_a_list_of_chunks_does(slots in 1_u32..6, steps in steps()) {
        let mut table = OffloadTable::new(slots, OffloadPolicy::Lru);
        let mut known: Vec<Known> = Vec::new();
        for step in steps {
            match step {
                Step::Store(names, kept) => {
                    let at = table.tick();
                    let ranks: Vec<OffloadRank> = (0..names.len()).map(|place| (at, -(place as i64))).collect();
                    let keys: Vec<&[u8]> = names.iter().map(std::slice::from_ref).collect();
                    let keep: Vec<&[u8]> = kept.iter().map(std::slice::from_ref).collect();
                    let stored = table.store(&keys, &ranks, &keep);
                    let twice = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
                    if twice || known.iter().any(|chunk| names.contains(&chunk.name)) {
                        prop_assert_eq!(stored.unwrap_err().kind(), ErrorKind::AlreadyExists);
                    } else {
                        let lacking = (known.len() + names.len()).saturating_sub(slots as usize);
                        let expected = victims(&known, lacking, &kept);
                        let stored = stored.unwrap();
                        let evicted = stored.as_ref().map(|stored| stored.evicted.iter().map(|name| name[0]).collect::<Vec<u8>>());
                        prop_assert_eq!(evicted, expected);
                        if let Some(stored) = stored {
                            known.retain(|chunk| !stored.evicted.iter().any(|name| name[0] == chunk.name));
                            for ((name, slot), rank) in names.iter().zip(stored.slots).zip(ranks) {
                                prop_assert!(known.iter().all(|chunk| chunk.slot != slot) && slot < slots);
                                known.push(Known { name: *name, slot, writing: true, readers: 0, rank });
                            }
                        }
                    }
                }
                Step::Finish(names, succeeded) => {
                    let keys: Vec<&[u8]> = names.iter().map(std::slice::from_ref).collect();
                    let (mut done, mut expected) = (Vec::new(), Vec::new());
                    table.finish(&keys, succeeded, &mut done);
                    for (at, name) in names.iter().enumerate() {
                        if let Some(index) = known.iter().position(|chunk| chunk.name == *name && chunk.writing) {
                            expected.push(at);
                            known[index].writing = false;
                            if !succeeded {
                                known.remove(index);
                            }
                        }
                    }
                    prop_assert_eq!(done, expected);
                }
                Step::Pin(names) => {
                    let keys: Vec<&[u8]> = names.iter().map(std::slice::from_ref).collect();
                    let mut slots = Vec::new();
                    let pinned = table.pin(&keys, &mut slots);
                    let ready = |name: &u8| known.iter().any(|chunk| chunk.name == *name && !chunk.writing);
                    prop_assert_eq!(pinned.is_ok(), names.iter().all(ready));
                    if pinned.is_ok() {
                        for (name, slot) in names.iter().zip(slots) {
                            let chunk = known.iter_mut().find(|chunk| chunk.name == *name).unwrap();
                            chunk.readers += 1;
                            prop_assert_eq!(chunk.slot, slot);
                        }
                    }
                }
                Step::Unpin(names) => {
                    let keys: Vec<&[u8]> = names.iter().map(std::slice::from_ref).collect();
                    let mut after = known.clone();
                    let mut possible = true;
                    for name in &names {
                        match after.iter_mut().find(|chunk| chunk.name == *name && chunk.readers > 0) {
                            Some(chunk) => chunk.readers -= 1,
                            None => possible = false,
                        }
                    }
                    prop_assert_eq!(table.unpin(&keys).is_ok(), possible);
                    if possible {
                        known = after;
                    }
                }
                Step::Rank(name, place) => {
                    let rank = (table.tick() % 5, place);
                    let chunk = known.iter_mut().find(|chunk| chunk.name == name);
                    prop_assert_eq!(table.rank(&[name], rank), chunk.is_some());
                    if let Some(chunk) = chunk {
                        chunk.rank = rank;
                    }
                }
                Step::Evict(count, kept) => {
                    let keep: Vec<&[u8]> = kept.iter().map(std::slice::from_ref).collect();
                    let evicted = table.evict(count, &keep).map(|gone| gone.iter().map(|(name, _)| name[0]).collect::<Vec<u8>>());
                    prop_assert_eq!(&evicted, &victims(&known, count, &kept));
                    known.retain(|chunk| !evicted.as_ref().is_some_and(|gone| gone.contains(&chunk.name)));
                }
                Step::Clear => {
                    table.clear();
                    known.clear();
                }
            }
            table.audit().unwrap();
            prop_assert_eq!(table.free() as usize, slots as usize - known.len());
            for chunk in &known {
                let state = match chunk.writing {
                    true => OffloadState::Writing,
                    false => OffloadState::Ready { readers: chunk.readers },
                };
                prop_assert_eq!(table.find(&[chunk.name]), Some((state, chunk.slot)));
                prop_assert_eq!(table.rank_of(&[chunk.name]), Some(chunk.rank));
            }
        }
    }
}
