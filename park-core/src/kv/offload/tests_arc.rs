//! Adaptive replacement against four plain lists that are searched from end to end.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

/// What is known of a chunk that is there: whether it is being written, and its readers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    name: u8,
    writing: bool,
    readers: u32,
}

#[derive(Default)]
struct Model {
    slots: usize,
    recent: Vec<Known>,
    frequent: Vec<Known>,
    ghosts: [Vec<u8>; 2],
    target: f64,
}

impl Model {
    fn take(&mut self, name: u8) -> Option<(Known, bool)> {
        for (list, frequent) in [(&mut self.recent, false), (&mut self.frequent, true)] {
            if let Some(at) = list.iter().position(|chunk| chunk.name == name) {
                return Some((list.remove(at), frequent));
            }
        }
        None
    }

    fn get(&mut self, name: u8) -> Option<&mut Known> {
        self.recent
            .iter_mut()
            .chain(&mut self.frequent)
            .find(|chunk| chunk.name == name)
    }

    fn used(&mut self, name: u8, again: bool) -> bool {
        let Some((chunk, frequent)) = self.take(name) else {
            return false;
        };
        match frequent || again {
            true => self.frequent.push(chunk),
            false => self.recent.push(chunk),
        }
        true
    }

    fn missed(&mut self, name: u8) {
        let [first, second] = self.ghosts.each_ref().map(|ghosts| ghosts.len() as f64);
        for (list, step) in [(0, second / first), (1, first / second)] {
            if let Some(at) = self.ghosts[list].iter().position(|ghost| *ghost == name) {
                let step = if step > 1.0 { step } else { 1.0 };
                self.target = match list {
                    0 => (self.target + step).min(self.slots as f64),
                    _ => (self.target - step).max(0.0),
                };
                let ghost = self.ghosts[list].remove(at);
                self.ghosts[list].push(ghost);
                return;
            }
        }
    }

    fn evict(&mut self, count: usize, kept: &[u8]) -> Option<Vec<u8>> {
        let free = |list: &[Known]| -> Vec<u8> {
            list.iter()
                .filter(|chunk| !chunk.writing && chunk.readers == 0 && !kept.contains(&chunk.name))
                .map(|chunk| chunk.name)
                .collect()
        };
        let (mut recent, mut frequent) = (free(&self.recent), free(&self.frequent));
        if recent.len() + frequent.len() < count {
            return None;
        }
        let (mut length, mut gone) = (self.recent.len(), Vec::new());
        for _ in 0..count {
            let first = !recent.is_empty() && (length >= self.target as usize || frequent.is_empty());
            length -= usize::from(first);
            gone.push(if first { recent.remove(0) } else { frequent.remove(0) });
        }
        for name in &gone {
            let (_, frequent) = self.take(*name).unwrap();
            self.ghosts[usize::from(frequent)].push(*name);
        }
        if count > 0 {
            for ghosts in &mut self.ghosts {
                ghosts.drain(..ghosts.len().saturating_sub(self.slots));
            }
        }
        Some(gone)
    }
}

fn names(list: &[std::sync::Arc<[u8]>]) -> Vec<u8> {
    list.iter().map(|name| name[0]).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Store(Vec<u8>, Vec<u8>),
    Finish(u8, bool),
    Pin(u8),
    Unpin(u8),
    Used(u8, bool),
    Missed(u8),
    Evict(usize, Vec<u8>),
    Forget(u8),
    Target(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0_u8..12;
    let several = || prop::collection::vec(0_u8..12, 0..4);
    let step = prop_oneof![
        6 => (several(), several()).prop_map(|(names, kept)| Step::Store(names, kept)),
        8 => (name(), prop::bool::weighted(0.9)).prop_map(|(name, succeeded)| Step::Finish(name, succeeded)),
        2 => name().prop_map(Step::Pin),
        3 => name().prop_map(Step::Unpin),
        5 => (name(), any::<bool>()).prop_map(|(name, again)| Step::Used(name, again)),
        5 => name().prop_map(Step::Missed),
        1 => (0_usize..4, several()).prop_map(|(count, kept)| Step::Evict(count, kept)),
        1 => name().prop_map(Step::Forget),
        1 => (0_u8..6).prop_map(Step::Target),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #[test]
    fn it_does_what_four_lists_do(slots in 1_u32..8, steps in steps()) {
        let mut table = OffloadTable::new(slots, OffloadPolicy::Arc);
        let mut model = Model { slots: slots as usize, ..Model::default() };
        for step in steps {
            match step {
                Step::Store(mut names, kept) => {
                    names.sort_unstable();
                    names.dedup();
                    names.retain(|name| model.get(*name).is_none());
                    let ranks: Vec<OffloadRank> = names.iter().map(|_| (table.tick(), 0)).collect();
                    let keys: Vec<&[u8]> = names.iter().map(std::slice::from_ref).collect();
                    let keep: Vec<&[u8]> = kept.iter().map(std::slice::from_ref).collect();
                    let stored = table.store(&keys, &ranks, &keep).unwrap();
                    let lacking = (model.recent.len() + model.frequent.len() + names.len()).saturating_sub(slots as usize);
                    let evicted = model.evict(lacking, &kept);
                    prop_assert_eq!(stored.map(|stored| self::names(&stored.evicted)), evicted.clone());
                    if evicted.is_some() {
                        for name in names {
                            model.recent.push(Known { name, writing: true, readers: 0 });
                            model.ghosts.iter_mut().for_each(|ghosts| ghosts.retain(|ghost| *ghost != name));
                        }
                    }
                }
                Step::Finish(name, succeeded) => {
                    table.finish(&[&[name]], succeeded, &mut Vec::new());
                    if let Some(chunk) = model.get(name).filter(|chunk| chunk.writing) {
                        chunk.writing = false;
                        if !succeeded {
                            model.take(name);
                        }
                    }
                }
                Step::Pin(name) => {
                    let pinned = table.pin(&[&[name]], &mut Vec::new()).is_ok();
                    let chunk = model.get(name).filter(|chunk| !chunk.writing);
                    prop_assert_eq!(pinned, chunk.is_some());
                    if let Some(chunk) = chunk { chunk.readers += 1 }
                }
                Step::Unpin(name) => {
                    let unpinned = table.unpin(&[&[name]]).is_ok();
                    let chunk = model.get(name).filter(|chunk| chunk.readers > 0);
                    prop_assert_eq!(unpinned, chunk.is_some());
                    if let Some(chunk) = chunk { chunk.readers -= 1 }
                }
                Step::Used(name, again) => prop_assert_eq!(table.wanted(&[name], again), model.used(name, again)),
                Step::Missed(name) => {
                    table.missed(&[name]);
                    if model.get(name).is_none() { model.missed(name) }
                }
                Step::Evict(count, kept) => {
                    let keep: Vec<&[u8]> = kept.iter().map(std::slice::from_ref).collect();
                    let gone = table.evict(count, &keep).map(|gone| gone.iter().map(|(name, _)| name[0]).collect::<Vec<u8>>());
                    prop_assert_eq!(gone, model.evict(count, &kept));
                }
                Step::Forget(name) => {
                    let there = model.get(name).is_some_and(|chunk| !chunk.writing && chunk.readers == 0);
                    prop_assert_eq!(table.forget(&[name]), there);
                    if there { model.take(name); }
                }
                Step::Target(target) => {
                    let target = f64::from(target).min(f64::from(slots));
                    table.set_arc_target(target).unwrap();
                    model.target = target;
                }
            }
            table.audit().unwrap();
            let lists = table.arc_lists().unwrap();
            let listed = |list: &[Known]| list.iter().map(|chunk| chunk.name).collect::<Vec<u8>>();
            prop_assert_eq!(names(&lists.recent), listed(&model.recent));
            prop_assert_eq!(names(&lists.frequent), listed(&model.frequent));
            prop_assert_eq!(names(&lists.recent_ghosts), &model.ghosts[0][..]);
            prop_assert_eq!(names(&lists.frequent_ghosts), &model.ghosts[1][..]);
            prop_assert!((lists.target - model.target).abs() < 1e-9, "{} and {}", lists.target, model.target);
        }
    }
}

#[test]
fn a_target_that_cannot_be_is_refused() {
    let mut table = OffloadTable::new(4, OffloadPolicy::Arc);
    for target in [-1.0, 4.5, f64::NAN] {
        assert_eq!(
            table.set_arc_target(target).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
    let mut lru = OffloadTable::new(4, OffloadPolicy::Lru);
    assert!(lru.arc_lists().is_none());
    let refused = lru.set_arc_target(1.0).unwrap_err().to_string();
    assert!(refused.contains("Lru"), "{refused}");
}
