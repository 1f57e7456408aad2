//! First come, first served.

use std::collections::VecDeque;

use super::{Queue, Ticket};

#[derive(Default)]
pub(super) struct Fcfs {
    waiting: VecDeque<Ticket>,
}

impl Queue for Fcfs {
    fn push(&mut self, ticket: Ticket) {
        self.waiting.push_back(ticket);
    }

    fn push_front(&mut self, ticket: Ticket) {
        // Victims are taken from the last on, so the one that came first ends up in front.
        self.waiting.push_front(ticket);
    }

    fn pop(&mut self, cached: &mut dyn FnMut(Ticket) -> Option<u32>) -> Option<Ticket> {
        loop {
            let ticket = self.waiting.pop_front()?;
            if cached(ticket).is_some() {
                return Some(ticket);
            }
        }
    }

    fn put_back(&mut self, ticket: Ticket) {
        self.waiting.push_front(ticket);
    }
}
