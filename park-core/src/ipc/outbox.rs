//! Calls that cannot be delivered yet: the receiver's ring is full, or the actor is not bound to a process yet.
//!
//! `.remote()` must not block its caller (two actors that call each other with full rings would wait for ever), so what does not
//! fit waits here, in order per actor, and a thread that is started on first need delivers it. While a call waits here, this
//! process is the producer of its results: if it dies, the reaper raises them. If the work that made it is cancelled with its children,
//! it is cancelled here, where nobody else can see it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::id::ObjectId;

/// What becomes of records.
pub(crate) trait Courier: Send + Sync {
    /// Tries to deliver one to its actor. True when it is delivered or failed for good.
    fn deliver(&self, actor: ObjectId, record: &[u8]) -> bool;
    /// Whether work, known by its first result, was cancelled with what it asked for.
    fn is_cancelled(&self, parent: ObjectId) -> bool;
    /// Raises the results of a call that is not to be delivered.
    fn cancel(&self, record: &[u8]);
}

/// A call that waits.
struct Waits {
    actor: ObjectId,
    /// The work that made it, if that may still be cancelled with it.
    parent: Option<ObjectId>,
    record: Vec<u8>,
}

#[derive(Default)]
struct Waiting {
    /// Oldest first, all actors together: per-actor order is the order of this list.
    records: VecDeque<Waits>,
    running: bool,
    pause: Duration,
}

/// Pauses between two passes over what is stuck.
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(5);
/// How long the thread stays without work.
const IDLE: Duration = Duration::from_millis(100);

/// See the module's documentation.
pub struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    courier: Box<dyn Courier>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("waiting", &self.waiting.lock().records.len())
            .finish_non_exhaustive()
    }
}

impl Outbox {
    pub(crate) fn new(courier: Box<dyn Courier>) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            courier,
        })
    }

    /// Whether calls to this actor already wait: a later one must then wait too.
    pub(crate) fn holds_calls_to(&self, actor: ObjectId) -> bool {
        let waiting = self.waiting.lock();
        !waiting.records.is_empty() && waiting.records.iter().any(|call| call.actor == actor)
    }

    /// Takes a record over. What work calls for after its cancellation, to clean up, is not what was cancelled with it.
    pub(crate) fn push(self: &Arc<Self>, actor: ObjectId, parent: Option<ObjectId>, record: Vec<u8>) {
        let parent = parent.filter(|parent| !self.courier.is_cancelled(*parent));
        let mut waiting = self.waiting.lock();
        waiting.records.push_back(Waits { actor, parent, record });
        if !waiting.running {
            waiting.running = true;
            let outbox = Arc::downgrade(self);
            let started = std::thread::Builder::new()
                .name("park-outbox".into())
                .spawn(move || Self::run(&outbox));
            // Without a thread the next push tries again; nothing is lost meanwhile.
            waiting.running = started.is_ok();
        }
        self.changed.notify_one();
    }

    /// The calls of the work with this first result that wait here.
    pub(crate) fn calls_of(&self, parent: ObjectId) -> Vec<Vec<u8>> {
        let waiting = self.waiting.lock();
        let own = waiting.records.iter().filter(|call| call.parent == Some(parent));
        own.map(|call| call.record.clone()).collect()
    }

    /// The work with this first result, which was cancelled with its children, is over: nobody can look that up for much longer.
    pub(crate) fn cancel_children(&self, parent: ObjectId) {
        let mut waiting = self.waiting.lock();
        waiting.records.retain(|call| {
            let stays = call.parent != Some(parent);
            if !stays {
                self.courier.cancel(&call.record);
            }
            stays
        });
    }

    fn run(outbox: &Weak<Self>) {
        while let Some(outbox) = outbox.upgrade() {
            if !outbox.round() {
                return;
            }
        }
    }

    /// One pass over everything that waits. False when nothing is left and the thread may end.
    fn round(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let mut stuck: Vec<ObjectId> = Vec::new();
        for _ in 0..waiting.records.len() {
            let Some(call) = waiting.records.pop_front() else {
                break;
            };
            if call.parent.is_some_and(|parent| self.courier.is_cancelled(parent)) {
                self.courier.cancel(&call.record);
                continue;
            }
            // Delivery happens under the lock: a newer call must not overtake through the direct path in between.
            let is_stuck = stuck.contains(&call.actor);
            if is_stuck || !self.courier.deliver(call.actor, &call.record) {
                if !is_stuck {
                    stuck.push(call.actor);
                }
                waiting.records.push_back(call);
            }
        }
        // What is stuck waits for another process, which cannot notify: look again, less often the longer nothing moves.
        let pause = if waiting.records.is_empty() {
            IDLE
        } else {
            waiting.pause
        };
        waiting.pause = if stuck.is_empty() {
            SHORTEST
        } else {
            (waiting.pause * 2).clamp(SHORTEST, LONGEST)
        };
        self.changed.wait_for(&mut waiting, pause);
        waiting.running = !waiting.records.is_empty();
        waiting.running
    }
}
