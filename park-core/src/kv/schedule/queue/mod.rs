//! Who is admitted next. One policy a file.
//!
//! A queue holds tickets: a request that is aborted leaves its ticket behind, and who takes a ticket looks whether it is still good. All
//! operations take constant or logarithmic time, so a step does not slow down with the number of those who wait.

mod fair;
mod fcfs;
mod longest_prefix;
mod priority;

use crate::kv::SequenceId;
use crate::kv::pool::TenantId;

/// In which order requests are admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// First come, first served.
    #[default]
    Fcfs,
    /// By priority, then first come.
    Priority,
    /// Whose prefix is cached farthest, then first come: keeps a prefix in use while it is there. Under a load that never ends a request
    /// without a prefix can wait for long.
    LongestPrefix,
    /// Tenants in turns, each for about this many tokens: deficit round robin (Shreedhar and Varghese, 1995).
    Fair {
        /// Tokens of a turn, at least one.
        quantum: u32,
    },
}

/// A place in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    pub(super) id: SequenceId,
    /// Matches [`Entry::ticket`](super::request::Entry::ticket) as long as it is good.
    pub(super) number: u64,
    pub(super) tenant: TenantId,
    pub(super) priority: i32,
    pub(super) arrival: u64,
    /// Tokens to compute.
    pub(super) cost: u32,
    /// Tokens that are cached, when somebody last looked.
    pub(super) cached: u32,
}

/// Requests that wait. `cached` tells how far the prefix of a good ticket is cached now; none for a ticket that is no good.
pub(super) trait Queue: Send {
    /// A new request.
    fn push(&mut self, ticket: Ticket);

    /// A request that had been admitted and lost its blocks: it comes before those that came after it.
    fn push_front(&mut self, ticket: Ticket);

    /// Takes out the next ticket.
    fn pop(&mut self, cached: &mut dyn FnMut(Ticket) -> Option<u32>) -> Option<Ticket>;

    /// Puts back a ticket that was just taken and could not be admitted: it is the next again.
    fn put_back(&mut self, ticket: Ticket);
}

pub(super) fn queue(policy: Policy) -> Box<dyn Queue> {
    match policy {
        Policy::Fcfs => Box::new(fcfs::Fcfs::default()),
        Policy::Priority => Box::new(priority::ByPriority::default()),
        Policy::LongestPrefix => Box::new(longest_prefix::LongestPrefix::default()),
        Policy::Fair { quantum } => Box::new(fair::Fair::new(quantum)),
    }
}

#[cfg(test)]
mod tests;
