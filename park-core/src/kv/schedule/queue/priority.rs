//! By priority, lower first, then first come.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Queue, Ticket};

#[derive(Default)]
pub(super) struct ByPriority {
    waiting: BTreeMap<(i32, u64, Reverse<u64>), Ticket>,
}

impl Queue for ByPriority {
    fn push(&mut self, ticket: Ticket) {
        self.waiting
            .insert((ticket.priority, ticket.arrival, Reverse(ticket.number)), ticket);
    }

    fn push_front(&mut self, ticket: Ticket) {
        self.push(ticket);
    }

    fn pop(&mut self, cached: &mut dyn FnMut(Ticket) -> Option<u32>) -> Option<Ticket> {
        loop {
            let (_, ticket) = self.waiting.pop_first()?;
            if cached(ticket).is_some() {
                return Some(ticket);
            }
        }
    }

    fn put_back(&mut self, ticket: Ticket) {
        self.push(ticket);
    }
}
