//! When the calls ran that this process finished last, for people who look; nothing decides by it. The oldest are forgotten.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::ipc::message::Span;
use crate::sys::clock;

/// How many calls are remembered.
const REMEMBERED: usize = 10_000;

/// See the module's documentation. Any thread.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    /// Each method's name once: a class has few, and a call shall cost no allocation.
    names: Vec<String>,
    /// Which name, and when.
    spans: VecDeque<(usize, Span)>,
}

impl Trace {
    /// A call that began then ends now.
    pub(super) fn add(&self, method: &str, began: u64) {
        let ended = clock::now_us();
        let mut calls = self.0.lock();
        let name = calls.names.iter().position(|name| name == method).unwrap_or_else(|| {
            calls.names.push(method.to_owned());
            calls.names.len() - 1
        });
        if calls.spans.len() == REMEMBERED {
            calls.spans.pop_front();
        }
        calls.spans.push_back((name, Span { began, ended }));
    }

    /// Methods and when they ran, oldest first.
    pub(super) fn calls(&self) -> Vec<(String, Span)> {
        let calls = self.0.lock();
        let named = |(name, span): &(usize, Span)| Some((calls.names.get(*name)?.clone(), *span));
        calls.spans.iter().filter_map(named).collect()
    }
}
