//! Waiting for arguments: one thread, for all calls of this process whose arguments are not sealed yet.
//!
//! The thread is started on the first need. While it has something to wait for it sleeps on the process's doorbell (each missing
//! argument was armed to ring it when sealed); while it has nothing it sleeps on a condition variable, so that an idle pool does
//! not turn every ring of the doorbell into a system call. A newcomer is put under the lock, then both are signalled. The thread
//! takes its doorbell ticket before it takes the newcomers, so a ring for one that it has not seen makes its sleep return at once.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::store::{ObjectRef, Store};

/// The longest sleep between two looks at whether the session is still open.
const TICK: Duration = Duration::from_millis(100);

/// Called once: when all objects are sealed, or with the reason why that will not be waited for any longer. Must not block.
pub(crate) type Then = Box<dyn FnOnce(Result<()>) + Send>;

struct Waiting {
    /// Still unsealed, as far as was looked; the last one is looked at first.
    open: Vec<ObjectRef>,
    then: Then,
}

#[derive(Default)]
struct Inbox {
    arrivals: Vec<Waiting>,
    thread: Option<JoinHandle<()>>,
    closed: bool,
}

/// See the module's documentation.
pub(crate) struct Readiness {
    store: Arc<Store>,
    inbox: Mutex<Inbox>,
    news: Condvar,
}

impl Readiness {
    pub(super) fn new(store: &Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            inbox: Mutex::default(),
            news: Condvar::new(),
        })
    }

    /// Calls `then` once all `objects` are sealed: at once and here if they are, else later and on the waiting thread.
    pub(crate) fn when_ready(self: &Arc<Self>, objects: &[ObjectRef], then: Then) {
        let open: Vec<ObjectRef> = objects.iter().filter(|object| !object.is_sealed()).cloned().collect();
        if open.is_empty() {
            return then(Ok(()));
        }
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            drop(inbox);
            return then(Err(closed()));
        }
        if inbox.thread.is_none() {
            let this = self.clone();
            match std::thread::Builder::new()
                .name("park-native-wait".to_owned())
                .spawn(move || this.run())
            {
                Ok(thread) => inbox.thread = Some(thread),
                Err(error) => {
                    drop(inbox);
                    return then(Err(error.into()));
                }
            }
        }
        inbox.arrivals.push(Waiting { open, then });
        drop(inbox);
        self.signal();
    }

    /// Gives up on everything that is waited for, and ends the thread.
    pub(super) fn close(&self) {
        let thread = {
            let mut inbox = self.inbox.lock();
            inbox.closed = true;
            inbox.thread.take()
        };
        self.signal();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic there was one of a callback, and was reported by the panic hook.
            let _ = thread.join();
        }
    }

    fn signal(&self) {
        self.news.notify_all();
        self.store.participant(self.store.me()).doorbell.ring();
    }

    fn run(&self) {
        let bell = &self.store.participant(self.store.me()).doorbell;
        let mut waiting: Vec<Waiting> = Vec::new();
        loop {
            let ticket = bell.ticket();
            let (arrivals, is_closed) = {
                let mut inbox = self.inbox.lock();
                while waiting.is_empty() && inbox.arrivals.is_empty() && !inbox.closed {
                    self.news.wait(&mut inbox);
                }
                (std::mem::take(&mut inbox.arrivals), inbox.closed)
            };
            let given_up = if is_closed {
                Some(closed())
            } else {
                self.store.check_open().err()
            };
            waiting.extend(arrivals);
            if let Some(error) = given_up {
                waiting.drain(..).for_each(|waiting| (waiting.then)(Err(error.clone())));
            }
            if is_closed {
                return;
            }
            waiting = waiting.into_iter().filter_map(|waiting| self.look(waiting)).collect();
            if !waiting.is_empty() {
                bell.wait(ticket, Some(TICK));
            }
        }
    }

    /// Looks at one entry; an object that it still waits for is armed to ring.
    fn look(&self, mut waiting: Waiting) -> Option<Waiting> {
        while let Some(object) = waiting.open.last() {
            match self.store.watch_as(object.id(), self.store.me()) {
                Ok(false) => return Some(waiting),
                Ok(true) => drop(waiting.open.pop()),
                Err(error) => {
                    (waiting.then)(Err(error));
                    return None;
                }
            }
        }
        (waiting.then)(Ok(()));
        None
    }
}

fn closed() -> Error {
    Error::new(
        ErrorKind::SessionClosed,
        "the session was closed while an argument was awaited",
    )
}
