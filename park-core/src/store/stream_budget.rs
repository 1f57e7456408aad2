//! How many items of all streams of an actor may wait for their consumers together.
//!
//! A stream's own limit bounds what it is ahead of its consumer (`stream.rs`); a budget bounds the sum over the streams that one
//! process makes, those that have ended included: what counts is an item that nobody has taken yet. It is private memory of the
//! producing process. What the consumers do is told by the tickets, as it is to each stream:
//!
//! | an item's ticket | the item |
//! |---|---|
//! | is open, and held by its link too | waits for its consumer, and counts |
//! | is sealed | was taken |
//! | is open, and held by the producer alone | went with its link: the consumer lost interest, or died |
//!
//! A stream *reserves* before the generator runs on, for as many items as it yields at a time, and is admitted while fewer than
//! `limit` count: so a group may go past the limit, and never waits for a room that there will not be. What was reserved and not used is
//! given back when the stream ends.

use std::sync::Arc;

use super::{ObjectRef, Spec, never};
use crate::sync::Mutex;

/// See the module.
#[derive(Debug)]
pub struct StreamBudget {
    limit: usize,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    /// Of items that were not seen taken.
    tickets: Vec<Arc<ObjectRef>>,
    /// For items that are being made.
    reserved: usize,
}

impl Spent {
    fn count(&mut self) -> usize {
        self.tickets.retain(|ticket| {
            if ticket.is_sealed() {
                return false;
            }
            let store = ticket.store();
            let (ours, _) = store.held_by(store.me(), ticket.id().index);
            let kept_by_link = store.count(ticket.id().index).get() > ours;
            if !kept_by_link && let Ok(Some(kept)) = store.fulfil(ticket.id(), Spec::raw(0), &mut never) {
                // For whoever waits for it here, who looks again by itself if it cannot be sealed.
                drop(kept.seal());
            }
            kept_by_link
        });
        self.tickets.len().saturating_add(self.reserved)
    }
}

impl StreamBudget {
    /// A budget of so many items, at least one.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            spent: Mutex::default(),
        }
    }

    /// Reserves for `items` more, if that may be now.
    pub(super) fn admit(&self, items: usize) -> bool {
        let mut spent = self.spent.lock();
        let admitted = spent.count() < self.limit;
        if admitted {
            spent.reserved = spent.reserved.saturating_add(items);
        }
        admitted
    }

    /// An item exists now; `reserved` if that was reserved for.
    pub(super) fn use_for(&self, ticket: &Arc<ObjectRef>, reserved: bool) {
        let mut spent = self.spent.lock();
        spent.reserved = spent.reserved.saturating_sub(usize::from(reserved));
        spent.tickets.push(ticket.clone());
    }

    /// Gives back what was reserved for items that will not be made.
    pub(super) fn give_back(&self, items: usize) {
        let mut spent = self.spent.lock();
        spent.reserved = spent.reserved.saturating_sub(items);
    }

    /// The tickets of what waits now: when one is sealed, there is more room.
    pub(super) fn waits_for(&self) -> Vec<Arc<ObjectRef>> {
        let mut spent = self.spent.lock();
        spent.count();
        spent.tickets.clone()
    }
}
