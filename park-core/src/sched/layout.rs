//! Which node each bundle of a placement group goes to: all of them find room, or none is placed.
//!
//! `StrictSpread` is a matching of bundles to nodes and is found whenever there is one. The others put several bundles on a node, which
//! is bin packing: they try the large bundles first and settle for the first plan that works.

use std::collections::BTreeSet;

use crate::ipc::message::Amounts;
use crate::ipc::placement::{Layout, Selector};

use super::label::{Labels, passes};
use super::pool::{GPU, Pool, amount_of};

/// One bundle to place.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What it reserves.
    pub amounts: &'a Amounts,
    /// Which nodes it may lie on.
    pub selector: Option<&'a Selector>,
}

/// A node, as far as planning is concerned.
#[derive(Clone, Debug)]
pub struct Room<'a> {
    /// Its labels.
    pub labels: &'a Labels,
    /// A copy of what it has.
    pub pool: Pool,
    /// Whether a bundle of the group lies there already.
    pub used: bool,
}

impl<'a> Room<'a> {
    /// A node with these labels and so much free.
    pub fn of(labels: &'a Labels, pool: Pool, used: bool) -> Self {
        Self { labels, pool, used }
    }

    /// Whether there is room for this bundle, and it may lie here.
    pub fn takes(&self, ask: &Ask<'_>) -> bool {
        self.pool.fits(ask.amounts) && ask.selector.is_none_or(|selector| passes(self.labels, selector))
    }

    fn put(&mut self, ask: &Ask<'_>) {
        self.pool.take(ask.amounts);
        self.used = true;
    }

    fn load(&self) -> i64 {
        self.pool.amounts.load()
    }
}

/// The room for each bundle, if all find one. `preferred` is asked first where the bundles stay together.
pub fn plan(layout: Layout, asks: &[Ask<'_>], rooms: &[Room<'_>], preferred: Option<usize>) -> Option<Vec<usize>> {
    // Large ones first: they have the fewest places to go to.
    let mut order: Vec<usize> = (0..asks.len()).collect();
    let size = |at: &usize| {
        let amounts = asks[*at].amounts;
        let all = amounts.iter().map(|(_, amount)| *amount).sum::<u64>();
        (amount_of(amounts, GPU), amount_of(amounts, "CPU"), all)
    };
    order.sort_by_key(|at| std::cmp::Reverse(size(at)));
    match layout {
        Layout::StrictPack => together(asks, rooms, preferred),
        Layout::Pack => together(asks, rooms, preferred).or_else(|| crowded(asks, &order, rooms)),
        Layout::Spread => apart(asks, &order, rooms).or_else(|| crowded(asks, &order, rooms)),
        Layout::StrictSpread => matched(asks, &order, rooms),
    }
}

/// As `plan`, on nodes that have one value of the label `domain` in common: that of the bundles which lie already, or any.
pub fn plan_within(
    domain: &str,
    layout: Layout,
    asks: &[Ask<'_>],
    rooms: &[Room<'_>],
    preferred: Option<usize>,
) -> Option<Vec<usize>> {
    let value_of = |at: usize| rooms[at].labels.get(domain);
    let mut values: BTreeSet<&String> = (0..rooms.len()).filter_map(value_of).collect();
    if let Some(settled) = rooms.iter().position(|room| room.used) {
        values.retain(|value| value_of(settled) == Some(*value));
    }
    values.into_iter().find_map(|value| {
        let inside = rooms.iter().enumerate().filter(|(at, _)| value_of(*at) == Some(value));
        let (numbers, inside): (Vec<usize>, Vec<Room<'_>>) = inside.map(|(at, room)| (at, room.clone())).unzip();
        let preferred = preferred.and_then(|wanted| numbers.iter().position(|at| *at == wanted));
        let places = plan(layout, asks, &inside, preferred)?;
        Some(places.into_iter().map(|at| numbers[at]).collect())
    })
}

/// All on one node: the preferred one, or the one least in use.
fn together(asks: &[Ask<'_>], rooms: &[Room<'_>], preferred: Option<usize>) -> Option<Vec<usize>> {
    let holds_all = |at: &usize| {
        let mut room = rooms[*at].clone();
        asks.iter().all(|ask| {
            let takes = room.takes(ask);
            room.put(ask);
            takes
        })
    };
    let rank = |at: &usize| (Some(*at) != preferred, !rooms[*at].used, rooms[*at].load(), *at);
    let chosen = (0..rooms.len()).filter(holds_all).min_by_key(rank)?;
    Some(vec![chosen; asks.len()])
}

/// On few nodes: each takes as many as it can.
fn crowded(asks: &[Ask<'_>], order: &[usize], rooms: &[Room<'_>]) -> Option<Vec<usize>> {
    let mut rooms = rooms.to_vec();
    let mut places = vec![usize::MAX; asks.len()];
    let mut left = order.to_vec();
    while !left.is_empty() {
        let taken_by = |room: &Room<'_>| {
            let mut room = room.clone();
            let mut takes = |at: &usize| {
                let takes = room.takes(&asks[*at]);
                if takes {
                    room.put(&asks[*at]);
                }
                takes
            };
            left.iter().copied().filter(|at| takes(at)).collect::<Vec<_>>()
        };
        let offers = rooms.iter().map(taken_by).enumerate();
        let (chosen, takes) = offers.max_by_key(|(at, takes)| (takes.len(), std::cmp::Reverse(*at)))?;
        if takes.is_empty() {
            return None;
        }
        for at in takes {
            rooms[chosen].put(&asks[at]);
            places[at] = chosen;
            left.retain(|other| *other != at);
        }
    }
    Some(places)
}

/// On many nodes: each goes to one that has none yet, if there is such a one.
fn apart(asks: &[Ask<'_>], order: &[usize], rooms: &[Room<'_>]) -> Option<Vec<usize>> {
    let mut rooms = rooms.to_vec();
    let mut places = vec![usize::MAX; asks.len()];
    for at in order {
        let open = (0..rooms.len()).filter(|room| rooms[*room].takes(&asks[*at]));
        let chosen = open.min_by_key(|room| (rooms[*room].used, rooms[*room].load(), *room))?;
        rooms[chosen].put(&asks[*at]);
        places[*at] = chosen;
    }
    Some(places)
}

/// Each on a node of its own: augmenting paths, so that one that can go elsewhere makes room for one that cannot.
fn matched(asks: &[Ask<'_>], order: &[usize], rooms: &[Room<'_>]) -> Option<Vec<usize>> {
    let mut by_load: Vec<usize> = (0..rooms.len()).filter(|room| !rooms[*room].used).collect();
    by_load.sort_by_key(|room| rooms[*room].load());
    let mut tenant: Vec<Option<usize>> = vec![None; rooms.len()];
    for at in order {
        let mut seen = vec![false; rooms.len()];
        if !move_in(*at, asks, rooms, &by_load, &mut tenant, &mut seen) {
            return None;
        }
    }
    let mut places = vec![usize::MAX; asks.len()];
    for (room, at) in tenant.iter().enumerate() {
        if let Some(at) = at {
            places[*at] = room;
        }
    }
    Some(places)
}

fn move_in(
    at: usize,
    asks: &[Ask<'_>],
    rooms: &[Room<'_>],
    by_load: &[usize],
    tenant: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for &room in by_load {
        if seen[room] || !rooms[room].takes(&asks[at]) {
            continue;
        }
        seen[room] = true;
        if tenant[room].is_none_or(|other| move_in(other, asks, rooms, by_load, tenant, seen)) {
            tenant[room] = Some(at);
            return true;
        }
    }
    false
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sched::resource::UNIT;
    use proptest::prelude::*;

    fn cpus(count: u64) -> Amounts {
        vec![("CPU".to_owned(), count * UNIT)]
    }

    fn place(layout: Layout, bundles: &[u64], nodes: &[u64]) -> Option<Vec<usize>> {
        let none = Labels::new();
        let amounts: Vec<Amounts> = bundles.iter().map(|count| cpus(*count)).collect();
        let ask = |amounts| Ask {
            amounts,
            selector: None,
        };
        let asks: Vec<Ask<'_>> = amounts.iter().map(ask).collect();
        let room = |count: &u64| Room {
            labels: &none,
            pool: Pool::of_node(&cpus(*count)),
            used: false,
        };
        plan(layout, &asks, &nodes.iter().map(room).collect::<Vec<_>>(), None)
    }

    #[test]
    fn each_layout_does_what_it_says() {
        assert_eq!(place(Layout::Pack, &[2, 2], &[4, 4]), Some(vec![0, 0]));
        assert_eq!(place(Layout::Pack, &[2, 2, 2], &[4, 2]), Some(vec![0, 0, 1]));
        assert_eq!(place(Layout::StrictPack, &[2, 2], &[3, 3]), None);
        assert_eq!(place(Layout::StrictPack, &[2, 2], &[3, 4]), Some(vec![1, 1]));
        assert_eq!(place(Layout::Spread, &[2, 2], &[4, 4]), Some(vec![0, 1]));
        assert_eq!(place(Layout::Spread, &[1, 1, 1], &[2, 1]), Some(vec![0, 1, 0]));
        assert_eq!(place(Layout::StrictSpread, &[1, 1], &[4]), None);
        assert_eq!(place(Layout::StrictSpread, &[1, 3], &[4, 1]), Some(vec![1, 0]));
    }

    #[test]
    fn the_preferred_node_is_asked_first() {
        let none = Labels::new();
        let one = cpus(1);
        let room = Room {
            labels: &none,
            pool: Pool::of_node(&cpus(2)),
            used: false,
        };
        let asks = [Ask {
            amounts: &one,
            selector: None,
        }];
        let rooms = [room.clone(), room];
        assert_eq!(plan(Layout::StrictPack, &asks, &rooms, Some(1)), Some(vec![1]));
        assert_eq!(plan(Layout::StrictPack, &asks, &rooms, None), Some(vec![0]));
    }

    #[test]
    fn a_domain_takes_all_bundles_or_none() {
        let labelled = |value: &str| Labels::from([("rack".to_owned(), value.to_owned())]);
        let (a, b, none) = (labelled("a"), labelled("b"), Labels::new());
        let one = cpus(1);
        let asks = [Ask {
            amounts: &one,
            selector: None,
        }; 2];
        let room = |labels, used| Room::of(labels, Pool::of_node(&one), used);
        let place = |rooms: &[Room<'_>]| plan_within("rack", Layout::Pack, &asks, rooms, None);
        assert_eq!(place(&[room(&none, false), room(&none, false)]), None);
        assert_eq!(place(&[room(&a, false), room(&b, false)]), None);
        let rooms = [room(&a, false), room(&none, false), room(&b, false), room(&b, false)];
        assert_eq!(place(&rooms), Some(vec![2, 3]));
        let rooms = [room(&a, true), room(&b, false), room(&b, false)];
        assert_eq!(
            place(&rooms),
            None,
            "a bundle that lies on rack a keeps the others there"
        );
    }

    /// Every way to put bundles on nodes that the layout allows and that over-commits nothing, tried out.
    fn exists(layout: Layout, bundles: &[u64], nodes: &[u64]) -> bool {
        let ways = nodes.len().pow(u32::try_from(bundles.len()).unwrap());
        (0..ways).any(|mut way| {
            let mut left = nodes.to_vec();
            let mut places = Vec::new();
            for size in bundles {
                let node = way % nodes.len();
                way /= nodes.len();
                let Some(rest) = left[node].checked_sub(*size) else {
                    return false;
                };
                left[node] = rest;
                places.push(node);
            }
            places.sort_unstable();
            let distinct = places.windows(2).all(|pair| pair[0] != pair[1]);
            match layout {
                Layout::StrictPack => places.first() == places.last(),
                Layout::StrictSpread => distinct,
                Layout::Pack | Layout::Spread => true,
            }
        })
    }

    proptest! {
        /// No plan over-commits a node or breaks its layout, and the strict layouts find one whenever there is one.
        #[test]
        fn plans_are_sound(
            bundles in prop::collection::vec(1_u64..5, 1..5),
            nodes in prop::collection::vec(0_u64..7, 1..5),
        ) {
            for layout in [Layout::Pack, Layout::Spread, Layout::StrictPack, Layout::StrictSpread] {
                let Some(places) = place(layout, &bundles, &nodes) else {
                    if matches!(layout, Layout::StrictPack | Layout::StrictSpread) {
                        prop_assert!(!exists(layout, &bundles, &nodes));
                    }
                    continue;
                };
                let mut used = vec![0; nodes.len()];
                places.iter().zip(&bundles).for_each(|(node, size)| used[*node] += size);
                prop_assert!(used.iter().zip(&nodes).all(|(used, has)| used <= has));
                let holders = used.iter().filter(|used| **used > 0).count();
                prop_assert!(layout != Layout::StrictPack || holders == 1);
                prop_assert!(layout != Layout::StrictSpread || holders == bundles.len());
            }
        }
    }
}
