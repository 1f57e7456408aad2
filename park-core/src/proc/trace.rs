//! When the calls ran that this process finished last, for people who look; nothing decides by it. The oldest are forgotten.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::id::ObjectId;
use crate::ipc::message::Span;
use crate::sys::clock;

/// One call that was finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Its first result.
    pub id: Option<ObjectId>,
    /// When it ran.
    pub span: Span,
    /// Attempts that raised before.
    pub attempt: u32,
    /// It raised, or was cancelled.
    pub failed: bool,
}

/// How many calls are remembered.
const REMEMBERED: usize = 10_000;

/// See the module's documentation. Any thread.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    /// Each method once: a class has few, and a call shall cost no allocation.
    methods: Vec<String>,
    /// Which method, the name that somebody chose for the call, and what is known of it.
    ended: VecDeque<(usize, Option<Box<str>>, Traced)>,
}

impl Trace {
    /// A call of this method ends now, whose `span` has no end yet. `name` is empty if nobody chose one.
    pub(super) fn add(&self, method: &str, name: &str, mut call: Traced) {
        call.span.ended = clock::now_us();
        let mut calls = self.0.lock();
        let known = calls.methods.iter().position(|known| known == method);
        let known = known.unwrap_or_else(|| {
            calls.methods.push(method.to_owned());
            calls.methods.len() - 1
        });
        if calls.ended.len() == REMEMBERED {
            calls.ended.pop_front();
        }
        let name = (!name.is_empty()).then(|| name.into());
        calls.ended.push_back((known, name, call));
    }

    /// Methods, chosen names, and what is known of the calls, oldest first.
    pub(super) fn calls(&self) -> Vec<(String, Option<String>, Traced)> {
        let calls = self.0.lock();
        let told = |(method, name, call): &(usize, Option<Box<str>>, Traced)| {
            let name = name.as_deref().map(str::to_owned);
            Some((calls.methods.get(*method)?.clone(), name, *call))
        };
        calls.ended.iter().filter_map(told).collect()
    }
}
