//! Least recently wanted: one order, by rank.

use std::collections::{BTreeSet, HashSet};

use super::order::{Order, Seat};
use super::table::OffloadRank;

/// See the module. Holds those that may go.
#[derive(Default)]
pub(super) struct Lru {
    idle: BTreeSet<Seat>,
}

impl Order for Lru {
    fn leaves(&mut self, seat: &Seat, _idle: bool) {
        self.idle.remove(seat);
    }

    fn idle(&mut self, seat: Seat) {
        self.idle.insert(seat);
    }

    fn busy(&mut self, seat: &Seat) {
        self.idle.remove(seat);
    }

    fn moves(&mut self, from: &Seat, to: OffloadRank, idle: bool, _again: bool) {
        if idle {
            self.idle.remove(from);
            self.idle.insert((to, from.1.clone()));
        }
    }

    fn victims(&self, count: usize, kept: &HashSet<&[u8]>) -> Option<Vec<Seat>> {
        let free = self.idle.iter().filter(|(_, name)| !kept.contains(&**name));
        let victims: Vec<Seat> = free.take(count).cloned().collect();
        (victims.len() == count).then_some(victims)
    }

    fn evictable(&self) -> usize {
        self.idle.len()
    }

    fn all_idle(&self) -> BTreeSet<Seat> {
        self.idle.clone()
    }
}
