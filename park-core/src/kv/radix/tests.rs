//! The tree against a model without structure: a list of prefixes, each with the place where its edge begins, searched from end to end.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

/// A node of the model. `prefix` is everything from the root, raw tokens; the edge begins after `from` units.
#[derive(Clone, Debug)]
struct Known {
    space: u8,
    prefix: Vec<u32>,
    from: usize,
    slots: Vec<i64>,
    used: u64,
    made: u64,
    hits: u32,
    priority: i64,
    held: u32,
}

struct Model {
    page: usize,
    overlap: usize,
    eviction: RadixEviction,
    nodes: Vec<Known>,
    now: u64,
}

impl Model {
    fn units(&self, prefix: &[u32]) -> usize {
        let units = prefix.len().saturating_sub(self.overlap);
        units / self.page * self.page
    }

    fn common(&self, one: &[u32], other: &[u32]) -> usize {
        let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        same.saturating_sub(self.overlap) / self.page * self.page
    }

    fn is_below(&self, node: &Known, above: &Known) -> bool {
        node.space == above.space && node.prefix.len() >= above.prefix.len() && node.prefix.starts_with(&above.prefix)
    }

    fn locks(&self, above: &Known) -> u32 {
        let below = self.nodes.iter().filter(|node| self.is_below(node, above));
        below.map(|node| node.held).sum()
    }

    fn leaves(&self) -> Vec<usize> {
        let is_leaf = |at: &usize| {
            let node = &self.nodes[*at];
            let below = self.nodes.iter().filter(|other| self.is_below(other, node)).count();
            below == 1 && self.locks(node) == 0
        };
        (0..self.nodes.len()).filter(is_leaf).collect()
    }

    fn victim(&self) -> Option<usize> {
        let rank = |node: &Known| match self.eviction {
            RadixEviction::Lru => (0, node.used as i64),
            RadixEviction::Lfu => (i64::from(node.hits), node.used as i64),
            RadixEviction::Fifo => (0, node.made as i64),
            RadixEviction::Mru => (0, -(node.used as i64)),
            RadixEviction::Filo => (0, -(node.made as i64)),
            RadixEviction::Priority => (node.priority, node.used as i64),
            RadixEviction::Slru { protected } => (i64::from(node.hits >= protected), node.used as i64),
        };
        self.leaves().into_iter().min_by_key(|at| rank(&self.nodes[*at]))
    }

    /// Returns how many units are there, and the last node on the way.
    fn walk(&mut self, space: u8, tokens: &[u32], insertion: Option<RadixInsertion>) -> (usize, Option<usize>) {
        let units = self.units(tokens);
        let tokens = &tokens[..if units == 0 { 0 } else { units + self.overlap }];
        self.now += 1;
        let now = self.now;
        let (mut at, mut last) = (0, None);
        loop {
            let next = (0..self.nodes.len()).find(|next| {
                let node = &self.nodes[*next];
                node.space == space && node.from == at && self.common(&node.prefix, tokens) > at
            });
            let Some(mut next) = next else {
                return (at, last);
            };
            self.nodes[next].used = now;
            at = self.common(&self.nodes[next].prefix, tokens);
            let whole = at == self.nodes[next].prefix.len() - self.overlap;
            if !whole {
                self.now += 1;
                let lower = &mut self.nodes[next];
                let mut upper = lower.clone();
                upper.prefix.truncate(at + self.overlap);
                upper.slots = lower.slots.drain(..at - lower.from).collect();
                lower.from = at;
                (upper.used, upper.made, upper.held) = (self.now, self.now, 0);
                self.nodes.push(upper);
                next = self.nodes.len() - 1;
            }
            if let Some(how) = insertion {
                self.nodes[next].priority = self.nodes[next].priority.max(how.priority);
                self.nodes[next].hits += u32::from(at > how.counted);
            }
            last = Some(next);
            if !whole {
                return (at, last);
            }
        }
    }

    fn insert(&mut self, space: u8, tokens: &[u32], slots: &[i64], how: RadixInsertion) -> (usize, Option<usize>) {
        let units = self.units(tokens);
        let (matched, last) = self.walk(space, tokens, Some(how));
        if matched == units {
            return (matched, last);
        }
        self.now += 1;
        self.nodes.push(Known {
            space,
            prefix: tokens[..units + self.overlap].to_vec(),
            from: matched,
            slots: slots[matched..units].to_vec(),
            used: self.now,
            made: self.now,
            hits: u32::from(units > how.counted),
            priority: how.priority,
            held: 0,
        });
        (matched, Some(self.nodes.len() - 1))
    }

    fn slots_to(&self, last: Option<usize>) -> Vec<i64> {
        let Some(last) = last else {
            return Vec::new();
        };
        let mut above: Vec<&Known> = self
            .nodes
            .iter()
            .filter(|node| self.is_below(&self.nodes[last], node))
            .collect();
        above.sort_by_key(|node| node.from);
        above.into_iter().flat_map(|node| node.slots.clone()).collect()
    }

    fn evict(&mut self, units: usize) -> Vec<i64> {
        let mut gone = Vec::new();
        while gone.len() < units
            && let Some(victim) = self.victim()
        {
            gone.extend(self.nodes.remove(victim).slots);
        }
        gone
    }

    fn sizes(&self) -> (usize, usize) {
        let mut sizes = (0, 0);
        for node in &self.nodes {
            match self.locks(node) {
                0 => sizes.0 += node.slots.len(),
                _ => sizes.1 += node.slots.len(),
            }
        }
        sizes
    }
}

#[derive(Clone, Debug)]
enum Step {
    Match(u8, Vec<u32>),
    Insert(u8, Vec<u32>, RadixInsertion),
    Lock(u8, Vec<u32>),
    Unlock(usize),
    Evict(usize),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tokens = || prop::collection::vec(0_u32..3, 0..14);
    let how = (0_i64..3, 0_usize..6).prop_map(|(priority, counted)| RadixInsertion { priority, counted });
    let step = prop_oneof![
        3 => (0_u8..3, tokens()).prop_map(|(space, tokens)| Step::Match(space, tokens)),
        4 => (0_u8..3, tokens(), how).prop_map(|(space, tokens, how)| Step::Insert(space, tokens, how)),
        2 => (0_u8..3, tokens()).prop_map(|(space, tokens)| Step::Lock(space, tokens)),
        2 => (0_usize..8).prop_map(Step::Unlock),
        2 => (0_usize..9).prop_map(Step::Evict),
        1 => prop::bool::weighted(0.1).prop_map(|really| if really { Step::Reset } else { Step::Evict(1) }),
    ];
    prop::collection::vec(step, 0..60)
}

fn evictions() -> impl Strategy<Value = RadixEviction> {
    prop_oneof![
        Just(RadixEviction::Lru),
        Just(RadixEviction::Lfu),
        Just(RadixEviction::Fifo),
        Just(RadixEviction::Mru),
        Just(RadixEviction::Filo),
        Just(RadixEviction::Priority),
        (1_u32..4).prop_map(|protected| RadixEviction::Slru { protected }),
    ]
}

proptest! {
    #[test]
    fn it_does_what_a_list_of_prefixes_does(
        page in 1_u32..4,
        bigrams in any::<bool>(),
        eviction in evictions(),
        steps in steps(),
    ) {
        let config = RadixConfig { page, bigrams, eviction, ..RadixConfig::default() };
        let mut tree = RadixTree::new(&config).unwrap();
        let mut model = Model {
            page: page as usize,
            overlap: usize::from(bigrams),
            eviction,
            nodes: Vec::new(),
            now: 0,
        };
        // What is locked: the node, and in the model its namespace and prefix.
        let mut locked: Vec<(RadixNode, u8, Vec<u32>)> = Vec::new();
        let mut slot = 0_i64;
        for step in steps {
            match step {
                Step::Match(space, tokens) => {
                    let found = tree.match_prefix(&[space], &tokens).unwrap();
                    let (units, last) = model.walk(space, &tokens, None);
                    let mut slots = Vec::new();
                    tree.slots_to(found.node, &mut slots).unwrap();
                    prop_assert_eq!(found.units, units);
                    prop_assert_eq!(slots, model.slots_to(last));
                    prop_assert_eq!(found.node == RadixNode::ROOT, last.is_none());
                }
                Step::Insert(space, tokens, how) => {
                    let slots: Vec<i64> = tokens.iter().map(|_| { slot += 1; slot }).collect();
                    let done = tree.insert(&[space], &tokens, &slots, how).unwrap();
                    let (matched, last) = model.insert(space, &tokens, &slots, how);
                    prop_assert_eq!(done.matched, matched);
                    prop_assert_eq!(done.added, matched < model.units(&tokens));
                    let mut kept = Vec::new();
                    tree.slots_to(done.node, &mut kept).unwrap();
                    prop_assert_eq!(kept, model.slots_to(last));
                    if let Some(last) = last {
                        prop_assert_eq!(tree.hits(done.node).unwrap(), model.nodes[last].hits);
                    }
                }
                Step::Lock(space, tokens) => {
                    let found = tree.match_prefix(&[space], &tokens).unwrap();
                    let (_, last) = model.walk(space, &tokens, None);
                    let (_, before) = model.sizes();
                    let newly = tree.lock(found.node).unwrap();
                    if let Some(last) = last {
                        model.nodes[last].held += 1;
                        locked.push((found.node, space, model.nodes[last].prefix.clone()));
                    }
                    prop_assert_eq!(newly, model.sizes().1 - before);
                }
                Step::Unlock(which) => {
                    if !locked.is_empty() {
                        let (node, space, prefix) = locked.swap_remove(which % locked.len());
                        let (before, _) = model.sizes();
                        let freed = tree.unlock(node).unwrap();
                        let known = model.nodes.iter_mut().find(|known| known.space == space && known.prefix == prefix);
                        known.unwrap().held -= 1;
                        prop_assert_eq!(freed, model.sizes().0 - before);
                    }
                }
                Step::Evict(units) => {
                    let (mut gone, mut slots) = (Vec::new(), Vec::new());
                    let evicted = tree.evict(units, &mut gone, &mut slots);
                    prop_assert_eq!(&slots, &model.evict(units));
                    prop_assert_eq!(evicted, slots.len());
                    for node in gone {
                        prop_assert_eq!(tree.path(node).unwrap_err().kind(), ErrorKind::NotFound);
                    }
                }
                Step::Reset => {
                    tree.reset();
                    model.nodes.clear();
                    locked.clear();
                }
            }
            tree.audit().unwrap();
            prop_assert_eq!((tree.evictable(), tree.protected()), model.sizes());
            prop_assert_eq!(tree.len(), model.nodes.len());
            let victim = tree.victim().map(|node| tree.slots(node).unwrap().to_vec());
            prop_assert_eq!(victim, model.victim().map(|at| model.nodes[at].slots.clone()));
        }
    }
}

fn tree(page: u32) -> RadixTree {
    RadixTree::new(&RadixConfig {
        page,
        ..RadixConfig::default()
    })
    .unwrap()
}

#[test]
fn a_match_divides_the_node_that_it_ends_in_and_the_lower_part_keeps_its_id() {
    let mut tree = tree(1);
    let added = tree
        .insert(b"", &[1, 2, 3, 4], &[10, 11, 12, 13], RadixInsertion::default())
        .unwrap();
    let found = tree.match_prefix(b"", &[1, 2, 9]).unwrap();
    let split = found.split.unwrap();
    assert_eq!((found.units, split.units), (2, 2));
    assert_eq!((split.upper, split.lower), (found.node, added.node));
    assert_eq!(tree.slots(added.node).unwrap(), [12, 13]);
    assert_eq!(tree.parent(added.node).unwrap(), found.node);
    assert_eq!(tree.children(RadixNode::ROOT).unwrap(), [found.node]);
    tree.audit().unwrap();
}

#[test]
fn an_id_of_a_node_that_has_gone_is_no_other_nodes() {
    let mut tree = tree(1);
    let old = tree.insert(b"", &[1], &[1], RadixInsertion::default()).unwrap().node;
    let (mut gone, mut slots) = (Vec::new(), Vec::new());
    assert_eq!(tree.evict(1, &mut gone, &mut slots), 1);
    let new = tree.insert(b"", &[2], &[2], RadixInsertion::default()).unwrap().node;
    assert_eq!((gone, slots), (vec![old], vec![1]));
    assert_ne!(old, new);
    assert_eq!(tree.lock(old).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(RadixNode::from_raw(new.raw()), new);
    tree.reset();
    assert_eq!(tree.lock(new).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_lock_is_taken_back_once_and_only_where_it_was_taken() {
    let mut tree = tree(1);
    tree.insert(b"", &[1, 2], &[1, 2], RadixInsertion::default()).unwrap();
    let lower = tree
        .insert(b"", &[1, 3], &[1, 3], RadixInsertion::default())
        .unwrap()
        .node;
    let upper = tree.parent(lower).unwrap();
    assert_eq!(tree.lock(lower).unwrap(), 2);
    assert_eq!(tree.unlock(upper).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(tree.unlock(lower).unwrap(), 2);
    assert_eq!(tree.unlock(lower).unwrap_err().kind(), ErrorKind::InvalidArgument);
    tree.audit().unwrap();
}

#[test]
fn wrong_slots_change_nothing() {
    let mut kept = tree(2);
    let error = kept
        .insert(b"", &[1, 2, 3], &[1], RadixInsertion::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(kept.is_empty());
    let config = RadixConfig {
        slots: false,
        ..RadixConfig::default()
    };
    let mut without = RadixTree::new(&config).unwrap();
    let error = without.insert(b"", &[1], &[1], RadixInsertion::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(without.is_empty());
    assert!(RadixTree::new(&RadixConfig { page: 0, ..config }).is_err());
}

/// Past the first capacity of the index, with splits while it grows.
#[test]
fn it_grows() {
    let mut tree = tree(1);
    for first in 0..200 {
        for second in 0..5 {
            let tokens = [first, 7, second];
            tree.insert(b"", &tokens, &[0; 3], RadixInsertion::default()).unwrap();
        }
    }
    assert_eq!(tree.len(), 200 * 6);
    tree.audit().unwrap();
    for first in 0..200 {
        for second in 0..5 {
            assert_eq!(tree.match_prefix(b"", &[first, 7, second, 1]).unwrap().units, 3);
        }
    }
}
