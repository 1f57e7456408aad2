//! What the table asks of a policy: it tells it who comes, goes, and may go, and hears who goes next.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::arc::Arcs;
use super::lru::Lru;
use super::table::OffloadRank;

/// A name as the table keeps it.
pub(super) type Name = Arc<[u8]>;
/// A chunk's place in an order.
pub(super) type Seat = (OffloadRank, Name);

/// In which order chunks give their slots up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OffloadPolicy {
    /// Least rank first: least recently wanted.
    #[default]
    Lru,
    /// Adaptive replacement: of those that were wanted once and those that were wanted again, the kind that has more than its share.
    Arc,
}

impl OffloadPolicy {
    /// An empty order for so many slots.
    pub(super) fn order(self, slots: u32) -> Box<dyn Order> {
        match self {
            Self::Lru => Box::<Lru>::default(),
            Self::Arc => Box::new(Arcs::new(slots)),
        }
    }
}

/// See the module. A seat names a chunk by its rank of the moment; `idle` is whether the chunk may go.
pub(super) trait Order: Send {
    /// A chunk that is being written is there now.
    fn enters(&mut self, _seat: &Seat) {}
    /// It is gone, and nothing is to be learned from that.
    fn leaves(&mut self, seat: &Seat, idle: bool);
    /// It was given up for others.
    fn evicted(&mut self, seat: &Seat) {
        self.leaves(seat, true);
    }
    /// From now on it may go.
    fn idle(&mut self, seat: Seat);
    /// From now on it may not go.
    fn busy(&mut self, seat: &Seat);
    /// It has another rank; `again`: because it was wanted once more.
    fn moves(&mut self, from: &Seat, to: OffloadRank, idle: bool, again: bool);
    /// Somebody wanted a chunk that is not there.
    fn missed(&mut self, _name: &[u8]) {}
    /// The first that may go and are not kept; `None` if they are not so many.
    fn victims(&self, count: usize, kept: &HashSet<&[u8]>) -> Option<Vec<Seat>>;
    /// How many may go.
    fn evictable(&self) -> usize;
    /// All that may go.
    fn all_idle(&self) -> BTreeSet<Seat>;
    /// The lists of [`OffloadPolicy::Arc`].
    fn arcs(&self) -> Option<&Arcs> {
        None
    }
    /// From now on the first of these lists is to be so long. False if there are none.
    fn set_target(&mut self, _target: f64) -> bool {
        false
    }
}
