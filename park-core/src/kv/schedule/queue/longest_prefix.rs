//! The longest cached prefix first, then first come.
//!
//! How far a prefix is cached changes with every admission and eviction, and looking it up for all who wait would make a step as slow as
//! the queue is long. So the order is by what was last seen, and the one in front is looked up again: if less is left of it than the
//! next one had, it goes back by what it has now. After [`LOOKS`] such looks the best of those seen is taken as it is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Queue, Ticket};

const LOOKS: usize = 8;

#[derive(Default)]
pub(super) struct LongestPrefix {
    waiting: BTreeMap<(Reverse<u32>, u64, u64), Ticket>,
}

fn place(ticket: &Ticket) -> (Reverse<u32>, u64, u64) {
    (Reverse(ticket.cached), ticket.arrival, ticket.number)
}

impl Queue for LongestPrefix {
    fn push(&mut self, ticket: Ticket) {
        self.waiting.insert(place(&ticket), ticket);
    }

    fn push_front(&mut self, ticket: Ticket) {
        self.push(ticket);
    }

    fn pop(&mut self, cached: &mut dyn FnMut(Ticket) -> Option<u32>) -> Option<Ticket> {
        let mut looks = 0;
        loop {
            let (_, mut ticket) = self.waiting.pop_first()?;
            let Some(now) = cached(ticket) else { continue };
            ticket.cached = now;
            looks += 1;
            let next = self.waiting.first_key_value().map(|(place, _)| *place);
            if looks >= LOOKS || next.is_none_or(|next| place(&ticket) <= next) {
                return Some(ticket);
            }
            self.push(ticket);
        }
    }

    fn put_back(&mut self, ticket: Ticket) {
        self.push(ticket);
    }
}
