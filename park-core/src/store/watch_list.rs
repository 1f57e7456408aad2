//! Objects that a process waits for without a thread for each: one thread waits for all of them, on the process's one doorbell.
//!
//! Anybody adds; one thread calls `next`. An entry carries whatever says what is to be done once its object is sealed. The order of
//! steps is that of any wait (`wait`), twice over: the waiter takes its ticket before it looks through the list under its lock; whoever
//! adds arms the object's slot, and then asks under that lock whether it was sealed meanwhile. So an entry in the list was not sealed
//! when it came in, and its seal rings the doorbell after that: either the waiter's look comes later and finds it, or the ring comes
//! after the ticket of the look that missed it.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::wait::TICK;
use super::{ObjectRef, Store};
use crate::error::Result;

/// See the module's documentation.
pub struct WatchList<Token> {
    store: Arc<Store>,
    entries: Mutex<Entries<Token>>,
    /// The list is not empty any more, or closed.
    changed: Condvar,
}

struct Entries<Token> {
    waiting: Vec<(ObjectRef, Token)>,
    closed: bool,
}

impl<Token> std::fmt::Debug for WatchList<Token> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchList")
            .field("waiting", &self.entries.lock().waiting.len())
            .finish_non_exhaustive()
    }
}

impl<Token> WatchList<Token> {
    /// A list for objects of this store.
    pub fn new(store: &Arc<Store>) -> Self {
        Self {
            store: store.clone(),
            entries: Mutex::new(Entries {
                waiting: Vec::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// The store that the objects live in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Waits for one more object. The token comes back if nothing is to be waited for: the object is sealed, or the list closed.
    pub fn add(&self, object: ObjectRef, token: Token) -> Result<Option<Token>> {
        if object.is_sealed() || self.store.watch_as(object.id(), self.store.me())? {
            return Ok(Some(token));
        }
        let mut entries = self.entries.lock();
        if entries.closed || object.is_sealed() {
            return Ok(Some(token));
        }
        let first = entries.waiting.is_empty();
        entries.waiting.push((object, token));
        if first {
            self.changed.notify_one();
        }
        Ok(None)
    }

    /// Blocks until objects of the list are sealed, and takes them out of it. Once the session has ended, all that are left, sealed or
    /// not; then nothing.
    pub fn next(&self) -> Vec<(ObjectRef, Token)> {
        let bell = &self.store.participant(self.store.me()).doorbell;
        loop {
            let ticket = bell.ticket();
            let mut entries = self.entries.lock();
            if entries.closed || self.store.check_head().is_err() {
                return std::mem::take(&mut entries.waiting);
            }
            if entries.waiting.is_empty() {
                self.changed.wait(&mut entries);
                continue;
            }
            // What vanished although it was referenced was scribbled over; whoever reads it will be told so.
            let is_over = |object: &ObjectRef| object.is_sealed() || !self.store.may_be_sealed(object.id());
            let (over, open) = std::mem::take(&mut entries.waiting)
                .into_iter()
                .partition(|(object, _)| is_over(object));
            entries.waiting = open;
            if !over.is_empty() {
                return over;
            }
            drop(entries);
            bell.wait(ticket, Some(TICK));
        }
    }

    /// Ends the wait: `next` returns what is left, and from then on nothing.
    pub fn close(&self) {
        self.entries.lock().closed = true;
        self.changed.notify_all();
        self.store.participant(self.store.me()).doorbell.ring();
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use crate::config::Config;

    fn store() -> Arc<Store> {
        Arc::new(Store::open(&Config::default().capacity(1 << 20), 3).unwrap())
    }

    #[test]
    fn one_thread_waits_for_many_objects() {
        let store = store();
        let list = WatchList::new(&store);
        let promised: Vec<_> = (0..50).map(|_| store.promise(store.me()).unwrap()).collect();
        for (at, object) in promised.iter().enumerate() {
            assert_eq!(list.add(object.clone(), at).unwrap(), None);
        }
        let sealed = store.put(b"there").unwrap();
        assert_eq!(list.add(sealed, 99).unwrap(), Some(99));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut seen = Vec::new();
                while seen.len() < promised.len() {
                    seen.extend(list.next().into_iter().map(|(_, token)| token));
                }
                seen.sort_unstable();
                seen
            });
            for object in promised.iter().rev() {
                let error = crate::error::Error::new(crate::error::ErrorKind::TaskFailed, "made");
                store.fail(object.id(), &error).unwrap();
                store.drop_hold(object.id());
            }
            assert_eq!(waiter.join().unwrap(), (0..50).collect::<Vec<_>>());
        });
    }

    #[test]
    fn closing_returns_what_is_left() {
        let store = store();
        let list = WatchList::new(&store);
        let object = store.promise(store.me()).unwrap();
        list.add(object.clone(), ()).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| list.next().len());
            list.close();
            assert_eq!(waiter.join().unwrap(), 1);
        });
        assert!(list.next().is_empty());
        store.drop_hold(object.id());
    }
}
