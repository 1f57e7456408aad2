//! The nodes of a session, the bundles cut out of them, and finding room in them.
//!
//! A node is a partition of the one machine: amounts and labels. A bundle is a pool of its own whose content was taken from its node's;
//! work in a placement group draws from bundles only, other work from nodes only. Whoever holds something holds a `Spot`: which pool, and
//! which devices of it. What is free never goes below zero by placing; only work that lent its CPUs out and goes on may do that.
//!
//! A removed group's bundles give back what is free at once, and the rest as the processes that use it end: until then a bundle stays
//! here *closed*, and what comes back to it goes on to its node. Nodes keep their place in the list when they are removed.

use std::collections::HashMap;

use crate::id::GroupId;
use crate::ipc::message::Amounts;
use crate::ipc::placement::{Environment, LabelTest, NodeReport, NodeSpec, Patience, Selector, Target, Where};

use super::device::Share;
use super::label::{Labels, NODE, names_nodes, passes};
use super::layout::Room;
use super::policy::{Candidate, pack, spread};
use super::pool::{GPU, Pool, amount_of};

/// What a piece of work needs, and where it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Demand {
    /// The amounts.
    pub amounts: Amounts,
    /// Where, if not anywhere.
    pub place: Option<Box<Where>>,
}

impl Demand {
    /// The placement group that it belongs to.
    pub fn group(&self) -> Option<GroupId> {
        match self.place.as_deref()?.target {
            Target::Bundle { group, .. } => Some(group),
            Target::Pack | Target::Spread => None,
        }
    }

    /// The interpreter that it needs, if that is another one than the session's.
    pub fn environment(&self) -> Option<&Environment> {
        self.place.as_deref()?.environment.as_ref()
    }

    /// Whether the next of its kind belongs onto another node.
    fn spreads(&self) -> bool {
        self.place
            .as_deref()
            .is_some_and(|place| place.target == Target::Spread)
    }

    /// Whether it may go to a worker that has work of its kind already, wherever that is: not if each is to be placed anew.
    pub fn may_follow(&self) -> bool {
        let anew = |place: &Where| {
            place.target == Target::Spread || place.patience == Patience::None || place.selectors.len() > 1
        };
        !self.place.as_deref().is_some_and(anew)
    }
}

/// Names a pool, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolId {
    /// A node's own.
    Node(usize),
    /// A bundle's.
    Bundle(u64),
}

/// Where a piece of work holds what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The pool.
    pub pool: PoolId,
    /// Its devices that the work has.
    pub devices: Vec<Share>,
}

/// What work that has no room now has to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Room, once others are done.
    Feasible,
    /// Room, if a node is added or its group is placed.
    Later,
    /// Nothing: the nodes that it names are gone or too small, or it would not wait.
    Never,
}

#[derive(Debug)]
struct Node {
    name: String,
    labels: Labels,
    alive: bool,
    whole: Amounts,
    pool: Pool,
}

#[derive(Debug)]
struct Bundle {
    node: usize,
    group: GroupId,
    index: u32,
    pool: Pool,
    users: usize,
    closed: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: Vec<Node>,
    bundles: HashMap<u64, Bundle>,
    groups: HashMap<GroupId, Vec<Option<u64>>>,
    next_bundle: u64,
    turn: usize,
    freed: u64,
}

impl Nodes {
    /// Adds a node.
    pub fn add(&mut self, spec: NodeSpec) {
        let mut labels: Labels = spec.labels.into_iter().collect();
        labels.insert(NODE.to_owned(), spec.name.clone());
        self.nodes.push(Node {
            name: spec.name,
            labels,
            alive: true,
            pool: Pool::of_node(&spec.amounts),
            whole: spec.amounts,
        });
        self.freed += 1;
    }

    /// Removes a node; returns its place in the list and the bundles that lay there, which are closed.
    pub fn remove(&mut self, name: &str) -> Option<(usize, Vec<(GroupId, u32)>)> {
        let at = self.nodes.iter().position(|node| node.name == name && node.alive)?;
        self.nodes[at].alive = false;
        let there = self
            .bundles
            .iter()
            .filter(|(_, bundle)| bundle.node == at && !bundle.closed);
        let ids: Vec<u64> = there.map(|(id, _)| *id).collect();
        let lost = ids.iter().filter_map(|id| self.close(*id)).collect();
        self.freed += 1;
        Some((at, lost))
    }

    /// Counts the times when room may have come into being.
    pub fn freed(&self) -> u64 {
        self.freed
    }

    // --- work -----------------------------------------------------------------------------------------------------------------

    /// Finds room and takes it.
    pub fn place(&mut self, demand: &Demand) -> Option<Spot> {
        let pool = self.find(demand)?;
        if let PoolId::Bundle(id) = pool {
            self.bundles.get_mut(&id)?.users += 1;
        }
        if let (PoolId::Node(node), true) = (pool, demand.spreads()) {
            self.turn = node + 1;
        }
        let devices = self.pool_mut(pool)?.take(&demand.amounts);
        Some(Spot { pool, devices })
    }

    /// Whether there is room now.
    pub fn fits(&self, demand: &Demand) -> bool {
        self.find(demand).is_some()
    }

    /// Gives back a spot with what is held there.
    pub fn leave(&mut self, spot: &Spot, amounts: &Amounts) {
        if let Some(pool) = self.pool_mut(spot.pool) {
            pool.give(amounts, &spot.devices);
        }
        self.freed += 1;
        let PoolId::Bundle(id) = spot.pool else { return };
        if let Some(bundle) = self.bundles.get_mut(&id) {
            bundle.users -= 1;
            if bundle.closed && bundle.users == 0 {
                self.bundles.remove(&id);
            }
        }
    }

    /// Gives back some of what is held in a pool, for a while or for good.
    pub fn give(&mut self, pool: PoolId, amounts: &Amounts) {
        if let Some(pool) = self.pool_mut(pool) {
            pool.amounts.give(amounts);
        }
        self.freed += 1;
    }

    /// Takes amounts in a pool, whether or not they are free.
    pub fn take(&mut self, pool: PoolId, amounts: &Amounts) {
        if let Some(pool) = self.pool_mut(pool) {
            pool.amounts.take(amounts);
        }
    }

    /// What work that does not fit has to expect.
    pub fn outlook(&self, demand: &Demand) -> Outlook {
        let Some(place) = demand.place.as_deref() else {
            let any = self
                .living()
                .any(|(_, node)| node.pool.amounts.feasible(&demand.amounts));
            return if any { Outlook::Feasible } else { Outlook::Later };
        };
        if place.patience == Patience::None {
            return Outlook::Never;
        }
        if let Target::Bundle { group, index } = place.target {
            let any = self
                .pools_of(group, index)
                .any(|(_, pool)| pool.amounts.feasible(&demand.amounts));
            return if any { Outlook::Feasible } else { Outlook::Later };
        }
        let feasible = |selector: &Selector| {
            self.passing(selector)
                .any(|(_, node)| node.pool.amounts.feasible(&demand.amounts))
        };
        if alternatives(place).iter().any(feasible) {
            Outlook::Feasible
        } else if !place.selectors.is_empty() && place.selectors.iter().all(names_nodes) {
            Outlook::Never
        } else {
            Outlook::Later
        }
    }

    fn find(&self, demand: &Demand) -> Option<PoolId> {
        let amounts = &demand.amounts;
        let Some(place) = demand.place.as_deref() else {
            if let [only] = self.nodes.as_slice() {
                return (only.alive && only.pool.fits(amounts)).then_some(PoolId::Node(0));
            }
            return self.choose(&Vec::new(), amounts, false);
        };
        if let Target::Bundle { group, index } = place.target {
            // The tightest one, and one without GPUs if none is needed, so that the others can take what only they can take.
            let open = self.pools_of(group, index).filter(|(_, pool)| pool.fits(amounts));
            let spare = amount_of(amounts, GPU) == 0;
            let rank = |(id, pool): &(u64, &Pool)| (spare && !pool.devices.is_empty(), pool.amounts.free("CPU"), *id);
            return open.min_by_key(rank).map(|(id, _)| PoolId::Bundle(id));
        }
        for selector in alternatives(place) {
            let found = self.choose(selector, amounts, place.target == Target::Spread);
            let waits = place.patience == Patience::FirstFeasible
                && self
                    .passing(selector)
                    .any(|(_, node)| node.pool.amounts.feasible(amounts));
            if found.is_some() || waits {
                return found;
            }
        }
        None
    }

    fn choose(&self, selector: &Selector, amounts: &Amounts, spreads: bool) -> Option<PoolId> {
        let open = self.passing(selector).filter(|(_, node)| node.pool.fits(amounts));
        let candidates = open.map(|(at, node)| Candidate {
            node: at,
            load: node.pool.amounts.load(),
            gpus: !node.pool.devices.is_empty(),
        });
        let chosen = if spreads {
            spread(candidates, self.turn)
        } else {
            pack(candidates, amount_of(amounts, GPU) > 0)
        };
        chosen.map(PoolId::Node)
    }

    fn living(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.alive)
    }

    fn passing<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = (usize, &'a Node)> {
        self.living().filter(|(_, node)| passes(&node.labels, selector))
    }

    fn pools_of(&self, group: GroupId, index: Option<u32>) -> impl Iterator<Item = (u64, &Pool)> {
        let all = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
        let named = match index {
            None => all,
            Some(index) => all.get(index as usize).map_or(&[][..], std::slice::from_ref),
        };
        named
            .iter()
            .flatten()
            .filter_map(|id| Some((*id, &self.bundles.get(id)?.pool)))
    }

    /// What a pool's content comes from and goes to: for a closed bundle, its node.
    fn pool_mut(&mut self, id: PoolId) -> Option<&mut Pool> {
        let node = match id {
            PoolId::Node(at) => at,
            PoolId::Bundle(id) => match self.bundles.get(&id)? {
                bundle if bundle.closed => bundle.node,
                _ => return self.bundles.get_mut(&id).map(|bundle| &mut bundle.pool),
            },
        };
        self.nodes.get_mut(node).map(|node| &mut node.pool)
    }

    // --- bundles --------------------------------------------------------------------------------------------------------------

    /// Copies of the living nodes to plan with, and where in the list they are. Those with bundles of `group` are marked.
    pub fn rooms(&self, group: GroupId) -> (Vec<usize>, Vec<Room<'_>>) {
        let own = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
        let held: Vec<usize> = own
            .iter()
            .flatten()
            .filter_map(|id| Some(self.bundles.get(id)?.node))
            .collect();
        self.living()
            .map(|(at, node)| (at, Room::of(&node.labels, node.pool.clone(), held.contains(&at))))
            .unzip()
    }

    /// As `rooms`, with everything free that the nodes have.
    pub fn empty_rooms(&self) -> Vec<Room<'_>> {
        self.living()
            .map(|(_, node)| Room::of(&node.labels, Pool::of_node(&node.whole), false))
            .collect()
    }

    /// Which of the living nodes has this name.
    pub fn room_of(&self, name: &str) -> Option<usize> {
        self.living().position(|(_, node)| node.name == name)
    }

    /// Cuts a bundle out of a node that has room for it.
    pub fn reserve(&mut self, group: GroupId, index: u32, count: usize, node: usize, amounts: &Amounts) {
        let Some(from) = self.nodes.get_mut(node) else { return };
        let devices = from.pool.take(amounts);
        let id = self.next_bundle;
        self.next_bundle += 1;
        self.bundles.insert(
            id,
            Bundle {
                node,
                group,
                index,
                pool: Pool::of_bundle(amounts, &devices),
                users: 0,
                closed: false,
            },
        );
        let own = self.groups.entry(group).or_insert_with(|| vec![None; count]);
        if let Some(place) = own.get_mut(index as usize) {
            *place = Some(id);
        }
    }

    /// Closes every bundle of a group.
    pub fn dissolve(&mut self, group: GroupId) {
        for id in self.groups.remove(&group).unwrap_or_default().into_iter().flatten() {
            self.close(id);
        }
        self.freed += 1;
    }

    fn close(&mut self, id: u64) -> Option<(GroupId, u32)> {
        let bundle = self.bundles.get_mut(&id)?;
        bundle.closed = true;
        let (which, node, unused) = ((bundle.group, bundle.index), bundle.node, bundle.users == 0);
        let pool = std::mem::take(&mut bundle.pool);
        if unused {
            self.bundles.remove(&id);
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.pool.absorb(&pool);
        }
        if let Some(place) = self
            .groups
            .get_mut(&which.0)
            .and_then(|own| own.get_mut(which.1 as usize))
        {
            *place = None;
        }
        Some(which)
    }

    // --- looking --------------------------------------------------------------------------------------------------------------

    /// The node that a pool is of.
    pub fn node_of(&self, pool: PoolId) -> usize {
        match pool {
            PoolId::Node(at) => at,
            PoolId::Bundle(id) => self.bundles.get(&id).map_or(0, |bundle| bundle.node),
        }
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("", |node| &node.name)
    }

    /// The group that a pool was cut out for, also after it was closed.
    pub fn group_of(&self, pool: PoolId) -> Option<GroupId> {
        match pool {
            PoolId::Node(_) => None,
            PoolId::Bundle(id) => self.bundles.get(&id).map(|bundle| bundle.group),
        }
    }

    /// The node of each bundle of a group; none for those that are not placed.
    pub fn places(&self, group: GroupId) -> Option<Vec<Option<usize>>> {
        let node = |id: &Option<u64>| id.and_then(|id| self.bundles.get(&id)).map(|bundle| bundle.node);
        self.groups.get(&group).map(|own| own.iter().map(node).collect())
    }

    /// Whole units of a resource that the living nodes have together.
    pub fn whole(&self, name: &str) -> usize {
        match self.nodes.as_slice() {
            [only] => only.pool.amounts.whole(name),
            _ => self.living().map(|(_, node)| node.pool.amounts.whole(name)).sum(),
        }
    }

    /// Total and free amounts of the living nodes together, in whole units, without what bundles reserve.
    pub fn table(&self) -> Vec<(String, f64, f64)> {
        let mut sums = std::collections::BTreeMap::<String, (f64, f64)>::new();
        for (name, total, free) in self.living().flat_map(|(_, node)| node.pool.amounts.table()) {
            let sum = sums.entry(name).or_default();
            *sum = (sum.0 + total, sum.1 + free);
        }
        sums.into_iter()
            .map(|(name, (total, free))| (name, total, free))
            .collect()
    }

    /// Every node, removed ones too. Work that is `starting` (where, with what, and what of it it will keep) shows with what it will keep.
    pub fn report(&self, starting: &[(PoolId, &Amounts, &Amounts)]) -> Vec<NodeReport> {
        let balance = |id: PoolId, pool: &Pool| {
            let mut rows = pool.amounts.balance();
            for (_, now, later) in starting.iter().filter(|(at, ..)| *at == id) {
                for (name, _, free) in &mut rows {
                    let change = i128::from(amount_of(now, name)) - i128::from(amount_of(later, name));
                    *free = free.saturating_add(i64::try_from(change).unwrap_or_default());
                }
            }
            rows
        };
        let of = |(at, node): (usize, &Node)| {
            let open = self
                .bundles
                .iter()
                .filter(|(_, bundle)| bundle.node == at && !bundle.closed);
            let mut bundles: Vec<_> = open
                .map(|(id, bundle)| (bundle.group, bundle.index, balance(PoolId::Bundle(*id), &bundle.pool)))
                .collect();
            bundles.sort_unstable_by_key(|(group, index, _)| (*group, *index));
            NodeReport {
                name: node.name.clone(),
                labels: node
                    .labels
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
                alive: node.alive,
                balance: balance(PoolId::Node(at), &node.pool),
                amounts: node.whole.clone(),
                bundles,
            }
        };
        self.nodes.iter().enumerate().map(of).collect()
    }
}

/// The selectors to try, best first.
fn alternatives(place: &Where) -> &[Selector] {
    const ANY: &[Selector] = &[Vec::new()];
    if place.selectors.is_empty() {
        ANY
    } else {
        &place.selectors
    }
}

/// A selector that only the node with this name passes.
pub fn only(name: &str) -> Selector {
    vec![(NODE.to_owned(), LabelTest::In(vec![name.to_owned()]))]
}

#[cfg(all(test, not(loom)))]
#[path = "node/tests.rs"]
mod tests;
