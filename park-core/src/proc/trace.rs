//! When the calls ran that this process finished last, for people who look; nothing decides by it. The oldest are forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::id::ObjectId;
use crate::ipc::message::Span;
use crate::store::{ObjectRef, Store};
use crate::sys::clock;

/// How much of an error's text is remembered: its end, where a traceback says what it is about.
const TEXT: usize = 2000;

/// How work failed, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name of the error's kind.
    pub kind: String,
    /// The end of its text.
    pub text: String,
}

impl Failure {
    /// That of the work whose first result this is; None if it did not fail, or the error is not at hand.
    pub fn of(store: &Arc<Store>, first: ObjectId) -> Option<Self> {
        if !store.has_failed(first) {
            return None;
        }
        let result = store.resolve(first).ok().filter(ObjectRef::is_resident)?;
        let error = result.open().err()?;
        let text = error.message();
        let cut = text.ceil_char_boundary(text.len().saturating_sub(TEXT));
        Some(Self {
            kind: error.kind().name().to_owned(),
            text: text[cut..].to_owned(),
        })
    }
}

/// One call that was finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Its first result.
    pub id: Option<ObjectId>,
    /// When it ran.
    pub span: Span,
    /// Attempts that raised before.
    pub attempt: u32,
    /// It raised, or was cancelled.
    pub failed: bool,
    /// What it raised.
    pub failure: Option<Box<Failure>>,
    /// First result of the task or call that made it.
    pub parent: Option<ObjectId>,
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
            Some((calls.methods.get(*method)?.clone(), name, call.clone()))
        };
        calls.ended.iter().filter_map(told).collect()
    }
}
