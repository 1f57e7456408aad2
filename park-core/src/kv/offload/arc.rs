//! Adaptive replacement (Megiddo and Modha, 2003): chunks that were wanted once, chunks that were wanted again, and of both the names that
//! were given up lately (*ghosts*). A ghost that is wanted says that its list was kept too short, and moves the *target*, the length that
//! the first list is to have.
//!
//! ```text
//!      enters            wanted again
//!   ──────────► recent ──────────────► frequent
//!                 │                        │        recent as long as the target, or longer: the first of recent goes,
//!         given up ▼               given up ▼        else the first of frequent, else the first of recent
//!              ghosts 0                 ghosts 1
//!                 └── wanted: target up    └── wanted: target down
//! ```
//! A chunk that is being written counts as wanted once, whatever is wanted of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::order::{Name, Order, Seat};
use super::table::OffloadRank;

/// Names that were given up, in the order in which they were, or were wanted since.
#[derive(Default)]
struct Ghosts {
    when: HashMap<Name, u64>,
    order: BTreeMap<u64, Name>,
    now: u64,
}

impl Ghosts {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn has(&self, name: &[u8]) -> bool {
        self.when.contains_key(name)
    }

    /// Puts a name at the end.
    fn push(&mut self, name: Name) {
        self.remove(&name);
        self.now += 1;
        self.order.insert(self.now, name.clone());
        self.when.insert(name, self.now);
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(when) = self.when.remove(name) {
            self.order.remove(&when);
        }
    }

    fn trim(&mut self, most: usize) {
        while self.order.len() > most {
            if let Some((_, name)) = self.order.pop_first() {
                self.when.remove(&name);
            }
        }
    }
}

/// See the module.
pub(super) struct Arcs {
    slots: usize,
    /// How long the first list is to be; fractions add up.
    pub(super) target: f64,
    /// All chunks that were wanted again.
    again: HashSet<Name>,
    /// How many were wanted once.
    once: usize,
    /// Those that may go: wanted once, wanted again.
    idle: [BTreeSet<Seat>; 2],
    ghosts: [Ghosts; 2],
}

impl Arcs {
    /// Empty lists, and a target of 0.
    pub(super) fn new(slots: u32) -> Self {
        Self {
            slots: slots as usize,
            target: 0.0,
            again: HashSet::new(),
            once: 0,
            idle: Default::default(),
            ghosts: Default::default(),
        }
    }

    /// Whether a chunk was wanted again.
    pub(super) fn is_frequent(&self, name: &[u8]) -> bool {
        self.again.contains(name)
    }

    /// The ghosts of either list, the oldest first.
    pub(super) fn ghosts(&self, frequent: bool) -> Vec<Name> {
        self.ghosts[usize::from(frequent)].order.values().cloned().collect()
    }

    /// How many chunks were wanted once, and again.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.once, self.again.len())
    }

    fn list(&self, name: &[u8]) -> usize {
        usize::from(self.is_frequent(name))
    }
}

impl Order for Arcs {
    fn enters(&mut self, seat: &Seat) {
        self.once += 1;
        for ghosts in &mut self.ghosts {
            ghosts.remove(&seat.1);
        }
    }

    fn leaves(&mut self, seat: &Seat, idle: bool) {
        let list = self.list(&seat.1);
        if idle {
            self.idle[list].remove(seat);
        }
        if !self.again.remove(&seat.1) {
            self.once -= 1;
        }
    }

    fn evicted(&mut self, seat: &Seat) {
        let list = self.list(&seat.1);
        self.leaves(seat, true);
        self.ghosts[list].push(seat.1.clone());
        for ghosts in &mut self.ghosts {
            ghosts.trim(self.slots);
        }
    }

    fn idle(&mut self, seat: Seat) {
        self.idle[self.list(&seat.1)].insert(seat);
    }

    fn busy(&mut self, seat: &Seat) {
        self.idle[self.list(&seat.1)].remove(seat);
    }

    fn moves(&mut self, from: &Seat, to: OffloadRank, idle: bool, again: bool) {
        let name = &from.1;
        if idle {
            self.idle[self.list(name)].remove(from);
        }
        if again && self.again.insert(name.clone()) {
            self.once -= 1;
        }
        if idle {
            self.idle[self.list(name)].insert((to, name.clone()));
        }
    }

    fn missed(&mut self, name: &[u8]) {
        let Some(list) = self.ghosts.iter().position(|ghosts| ghosts.has(name)) else {
            return;
        };
        let [this, other] = [self.ghosts[list].len(), self.ghosts[1 - list].len()];
        let step = (other as f64 / this as f64).max(1.0);
        self.target = match list {
            0 => (self.target + step).min(self.slots as f64),
            _ => (self.target - step).max(0.0),
        };
        self.ghosts[list].push(name.into());
    }

    fn victims(&self, count: usize, kept: &HashSet<&[u8]>) -> Option<Vec<Seat>> {
        let [mut recent, mut frequent] =
            [0, 1].map(|list| self.idle[list].iter().filter(|(_, name)| !kept.contains(&**name)));
        let (mut once, target) = (self.once, self.target as usize);
        let mut victims = Vec::with_capacity(count.min(self.evictable()));
        while victims.len() < count {
            let first = if once >= target { recent.next() } else { None };
            if let Some(seat) = first {
                once -= 1;
                victims.push(seat.clone());
            } else if let Some(seat) = frequent.next() {
                victims.push(seat.clone());
            } else {
                victims.push(recent.next()?.clone());
                once -= 1;
            }
        }
        Some(victims)
    }

    fn evictable(&self) -> usize {
        self.idle.iter().map(BTreeSet::len).sum()
    }

    fn all_idle(&self) -> BTreeSet<Seat> {
        self.idle.iter().flatten().cloned().collect()
    }

    fn arcs(&self) -> Option<&Arcs> {
        Some(self)
    }

    fn set_target(&mut self, target: f64) -> bool {
        self.target = target;
        true
    }
}
