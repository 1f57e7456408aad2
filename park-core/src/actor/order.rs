//! The order in which an actor runs its calls: first come first served for each caller, callers independent of each other.
//!
//! A call whose arguments are not sealed yet waits at the head of its caller's line; calls of other callers go on.

use std::collections::{HashMap, VecDeque};

use crate::id::ParticipantId;

/// Calls that may not run yet, by caller.
#[derive(Debug)]
pub struct CallOrder<Call> {
    lines: HashMap<ParticipantId, VecDeque<Call>>,
}

impl<Call> Default for CallOrder<Call> {
    fn default() -> Self {
        Self { lines: HashMap::new() }
    }
}

impl<Call> CallOrder<Call> {
    /// A call arrived. Returned at once if nothing of its caller waits and `ready` says it can run; otherwise it waits.
    pub fn arrive(&mut self, caller: ParticipantId, call: Call, ready: impl FnOnce(&Call) -> bool) -> Option<Call> {
        if !self.lines.contains_key(&caller) && ready(&call) {
            return Some(call);
        }
        self.lines.entry(caller).or_default().push_back(call);
        None
    }

    /// The next waiting call that can run, if any.
    pub fn next(&mut self, ready: impl Fn(&Call) -> bool) -> Option<Call> {
        let caller = self
            .lines
            .iter()
            .find(|(_, line)| line.front().is_some_and(&ready))
            .map(|(caller, _)| *caller)?;
        let line = self.lines.get_mut(&caller)?;
        let call = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&caller);
        }
        call
    }

    /// The first call of each line: what must become ready for anything to go on.
    pub fn fronts(&self) -> impl Iterator<Item = &Call> {
        self.lines.values().filter_map(VecDeque::front)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ParticipantId = ParticipantId(2);
    const B: ParticipantId = ParticipantId(3);

    #[test]
    fn a_call_that_waits_holds_back_its_own_caller_only() {
        let mut order = CallOrder::default();
        assert_eq!(order.arrive(A, "a1 waits", |_| false), None);
        assert_eq!(order.arrive(A, "a2", |_| true), None, "a2 must not overtake a1");
        assert_eq!(order.arrive(B, "b1", |_| true), Some("b1"));
        assert_eq!(order.next(|call| !call.contains("waits")), None);
        assert_eq!(order.fronts().collect::<Vec<_>>(), [&"a1 waits"]);
        assert_eq!(
            (order.next(|_| true), order.next(|_| true), order.next(|_| true)),
            (Some("a1 waits"), Some("a2"), None)
        );
        assert!(order.is_empty());
    }
}
