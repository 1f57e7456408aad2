//! The order in which an actor starts its calls: first come first served in each line, lines independent of each other.
//!
//! A call whose arguments are not sealed yet waits at the head of its line; other lines go on. Who shares a line is the user's choice:
//! the calls of one caller to one concurrency group, where order is a promise; otherwise each call has a line of its own.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Calls that may not start yet, by line.
#[derive(Debug)]
pub struct CallOrder<Line, Call> {
    lines: HashMap<Line, VecDeque<Call>>,
}

impl<Line, Call> Default for CallOrder<Line, Call> {
    fn default() -> Self {
        Self { lines: HashMap::new() }
    }
}

impl<Line: Clone + Eq + Hash, Call> CallOrder<Line, Call> {
    /// A call arrived. Returned at once if nothing of its line waits and `ready` says it can run; otherwise it waits.
    pub fn arrive(&mut self, line: Line, call: Call, ready: impl FnOnce(&Call) -> bool) -> Option<Call> {
        if !self.lines.contains_key(&line) && ready(&call) {
            return Some(call);
        }
        self.lines.entry(line).or_default().push_back(call);
        None
    }

    /// The next waiting call that can run, if any.
    pub fn next(&mut self, ready: impl Fn(&Call) -> bool) -> Option<Call> {
        let line = self
            .lines
            .iter()
            .find(|(_, calls)| calls.front().is_some_and(&ready))
            .map(|(line, _)| line.clone())?;
        let calls = self.lines.get_mut(&line)?;
        let call = calls.pop_front();
        if calls.is_empty() {
            self.lines.remove(&line);
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

    const A: char = 'a';
    const B: char = 'b';

    #[test]
    fn a_call_that_waits_holds_back_its_own_line_only() {
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
