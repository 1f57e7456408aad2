//! Tenants in turns: deficit round robin over tokens (Shreedhar and Varghese, 1995). A tenant whose turn comes may admit requests for
//! `quantum` tokens and what it has left over from its last turn; first come, first served within a tenant. A tenant without requests
//! saves nothing.

use std::collections::{HashMap, VecDeque};

use super::{Queue, Ticket};
use crate::kv::pool::TenantId;

#[derive(Default)]
struct Line {
    waiting: VecDeque<Ticket>,
    /// Tokens that it may still admit in this turn.
    credit: u64,
}

pub(super) struct Fair {
    quantum: u64,
    lines: HashMap<TenantId, Line>,
    /// Tenants that have a line, the one whose turn it is in front.
    turns: VecDeque<TenantId>,
}

impl Fair {
    pub(super) fn new(quantum: u32) -> Self {
        Self {
            quantum: u64::from(quantum),
            lines: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    fn line(&mut self, tenant: TenantId) -> &mut Line {
        let (turns, quantum) = (&mut self.turns, self.quantum);
        self.lines.entry(tenant).or_insert_with(|| {
            // Its first turn begins at once if it is the only one.
            let credit = if turns.is_empty() { quantum } else { 0 };
            turns.push_back(tenant);
            Line {
                waiting: VecDeque::new(),
                credit,
            }
        })
    }
}

impl Queue for Fair {
    fn push(&mut self, ticket: Ticket) {
        self.line(ticket.tenant).waiting.push_back(ticket);
    }

    fn push_front(&mut self, ticket: Ticket) {
        self.line(ticket.tenant).waiting.push_front(ticket);
    }

    fn pop(&mut self, cached: &mut dyn FnMut(Ticket) -> Option<u32>) -> Option<Ticket> {
        loop {
            let tenant = *self.turns.front()?;
            let line = self.lines.get_mut(&tenant)?;
            let Some(ticket) = line.waiting.front().copied() else {
                self.lines.remove(&tenant);
                self.turns.pop_front();
                self.begin_turn();
                continue;
            };
            if cached(ticket).is_none() {
                line.waiting.pop_front();
                continue;
            }
            if u64::from(ticket.cost) <= line.credit {
                line.credit -= u64::from(ticket.cost);
                line.waiting.pop_front();
                return Some(ticket);
            }
            self.turns.rotate_left(1);
            self.begin_turn();
        }
    }

    fn put_back(&mut self, ticket: Ticket) {
        let cost = u64::from(ticket.cost);
        let new = !self.lines.contains_key(&ticket.tenant);
        let line = self.line(ticket.tenant);
        line.waiting.push_front(ticket);
        line.credit = if new { cost } else { line.credit + cost };
    }
}

impl Fair {
    fn begin_turn(&mut self) {
        if let Some(line) = self.turns.front().and_then(|tenant| self.lines.get_mut(tenant)) {
            line.credit += self.quantum;
        }
    }
}
