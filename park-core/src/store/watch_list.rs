//! Objects that a process waits for without a thread for each: one thread waits for all of them, on the process's one doorbell.
//!
//! Anybody adds; one thread calls `next`. An entry carries whatever says what is to be done once its object is sealed. The order of
//! steps is that of any wait (`wait`), twice over: the waiter takes its ticket before it looks through the list under its lock; whoever
//! adds arms the object's slot, and then asks under that lock whether it was sealed meanwhile. So an entry in the list was not sealed
//! when it came in, and its seal rings the doorbell after that: either the waiter's look comes later and finds it, or the ring comes
//! after the ticket of the look that missed it.
//!
//! The steps are those of [`Line`], which knows no store: a loom model runs them against slots and a doorbell.

use std::sync::Arc;
use std::time::Duration;

#[cfg(not(loom))]
use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};

use super::wait::TICK;
use super::{ObjectRef, Store};
use crate::error::Result;
use crate::sync::Doorbell;

/// See the module's documentation.
pub struct WatchList<Token> {
    store: Arc<Store>,
    line: Line<(ObjectRef, Token)>,
}

impl<Token> std::fmt::Debug for WatchList<Token> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchList")
            .field("waiting", &self.line.len())
            .finish_non_exhaustive()
    }
}

impl<Token> WatchList<Token> {
    /// A list for objects of this store.
    pub fn new(store: &Arc<Store>) -> Self {
        Self {
            store: store.clone(),
            line: Line::new(),
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
        let back = self.line.add((object, token), |(object, _)| object.is_sealed());
        Ok(back.map(|(_, token)| token))
    }

    /// Blocks until objects of the list are sealed, and takes them out of it. Once the session has ended, all that are left, sealed or
    /// not; then nothing.
    pub fn next(&self) -> Vec<(ObjectRef, Token)> {
        // What vanished although it was referenced was scribbled over; whoever reads it will be told so.
        let is_over = |(object, _): &(ObjectRef, Token)| object.is_sealed() || !self.store.may_be_sealed(object.id());
        let ended = || self.store.check_head().is_err();
        self.line.next(self.bell(), Some(TICK), is_over, ended)
    }

    /// Ends the wait: `next` returns what is left, and from then on nothing.
    pub fn close(&self) {
        self.line.close(self.bell());
    }

    fn bell(&self) -> &Doorbell {
        &self.store.participant(self.store.me()).doorbell
    }
}

/// Entries whose watched slots are armed, and the one thread that waits for them.
struct Line<Entry> {
    entries: Mutex<Entries<Entry>>,
    /// The line is not empty any more, or closed.
    changed: Condvar,
}

struct Entries<Entry> {
    waiting: Vec<Entry>,
    closed: bool,
}

impl<Entry> Line<Entry> {
    fn new() -> Self {
        Self {
            entries: Mutex::new(Entries {
                waiting: Vec::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn len(&self) -> usize {
        lock(&self.entries).waiting.len()
    }

    /// An entry whose slot is armed. It comes back if it `is_over` by now, or the line is closed.
    fn add(&self, entry: Entry, is_over: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let mut entries = lock(&self.entries);
        if entries.closed || is_over(&entry) {
            return Some(entry);
        }
        let first = entries.waiting.is_empty();
        entries.waiting.push(entry);
        if first {
            self.changed.notify_one();
        }
        None
    }

    /// Takes out what is over, and sleeps while nothing is, for at most `tick` at a time. All that is left if it `ended` or was closed.
    fn next(
        &self,
        bell: &Doorbell,
        tick: Option<Duration>,
        is_over: impl Fn(&Entry) -> bool,
        ended: impl Fn() -> bool,
    ) -> Vec<Entry> {
        loop {
            let ticket = bell.ticket();
            let mut entries = lock(&self.entries);
            if entries.closed || ended() {
                return std::mem::take(&mut entries.waiting);
            }
            if entries.waiting.is_empty() {
                wait(&self.changed, entries);
                continue;
            }
            let (over, open) = std::mem::take(&mut entries.waiting).into_iter().partition(&is_over);
            entries.waiting = open;
            if !over.is_empty() {
                return over;
            }
            drop(entries);
            bell.wait(ticket, tick);
        }
    }

    fn close(&self, bell: &Doorbell) {
        lock(&self.entries).closed = true;
        self.changed.notify_all();
        bell.ring();
    }
}

#[cfg(not(loom))]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(not(loom))]
fn wait<T>(changed: &Condvar, mut guard: MutexGuard<'_, T>) {
    changed.wait(&mut guard);
}

#[cfg(loom)]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds the lock")
}

#[cfg(loom)]
fn wait<T>(changed: &Condvar, guard: MutexGuard<'_, T>) {
    drop(changed.wait(guard).expect("no thread panics while it holds the lock"));
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;
    use crate::id::ParticipantId;
    use crate::store::slot::{PROMISED, Phase, Slot, State, Watch};

    const ME: ParticipantId = ParticipantId(5);
    const MAKER: ParticipantId = ParticipantId(2);

    /// Promised objects, the doorbell of the process that waits for them, and its line.
    struct World {
        slots: [Slot; 2],
        bell: Doorbell,
        line: Line<usize>,
    }

    impl World {
        fn new() -> loom::sync::Arc<Self> {
            let world = Self {
                slots: [Slot::new(), Slot::new()],
                bell: Doorbell::new(),
                line: Line::new(),
            };
            for slot in &world.slots {
                slot.assign(State {
                    generation: 1,
                    owner: MAKER,
                    flags: PROMISED,
                    phase: Phase::Pending,
                });
            }
            loom::sync::Arc::new(world)
        }

        /// As `WatchList::add`. False if there is nothing to wait for.
        fn add(&self, which: usize) -> bool {
            let armed = self.slots[which].watch(1, ME).unwrap() == Watch::Armed;
            armed && self.line.add(which, |which| self.slots[*which].is_sealed(1)).is_none()
        }

        /// As whoever makes an object: seals it, and rings if somebody waits.
        fn seal(&self, which: usize) {
            let slot = &self.slots[which];
            assert!(slot.begin_promised(1, MAKER).unwrap());
            if slot.seal(1, MAKER).unwrap() && slot.take_watchers() & 1 << ME.0 != 0 {
                self.bell.ring();
            }
        }

        /// As `WatchList::next`, but nothing wakes the waiter that has to: a ring that is lost shows up as a deadlock.
        fn next(&self) -> Vec<usize> {
            self.line
                .next(&self.bell, None, |which| self.slots[*which].is_sealed(1), || false)
        }
    }

    /// An object is sealed at any moment of being added: it comes back to whoever adds it, or the waiter is given it.
    #[test]
    fn loom_watch_list_misses_no_seal() {
        loom::model(|| {
            let world = World::new();
            let sealer = {
                let world = world.clone();
                thread::spawn(move || world.seal(0))
            };
            let adder = {
                let world = world.clone();
                thread::spawn(move || {
                    let added = world.add(0);
                    if !added {
                        world.line.close(&world.bell);
                    }
                    added
                })
            };
            let came = world.next();
            assert_eq!(came, if adder.join().unwrap() { vec![0] } else { vec![] });
            sealer.join().unwrap();
        });
    }

    /// The waiter sleeps for one object, on the doorbell, while another is added and sealed: it is given both, each once.
    #[test]
    fn loom_watch_list_takes_one_more_while_it_sleeps() {
        loom::model(|| {
            let world = World::new();
            assert!(world.add(0));
            let other = {
                let world = world.clone();
                thread::spawn(move || {
                    let added = world.add(1);
                    world.seal(1);
                    world.seal(0);
                    added
                })
            };
            let mut came = Vec::new();
            while came.len() < 2 {
                came.extend(world.next());
            }
            came.sort_unstable();
            assert_eq!(came, [0, 1]);
            assert!(other.join().unwrap());
        });
    }

    /// The waiter sleeps for one object that is not made; another is sealed, by a third thread, at any moment of being added: it comes
    /// back to whoever adds it, or the waiter is given it, with no other ring to wake it.
    #[test]
    fn loom_watch_list_hears_of_one_that_is_sealed_while_it_is_added() {
        loom::model(|| {
            let world = World::new();
            assert!(world.add(0));
            let sealer = {
                let world = world.clone();
                thread::spawn(move || world.seal(1))
            };
            let adder = {
                let world = world.clone();
                thread::spawn(move || {
                    let added = world.add(1);
                    if !added {
                        world.seal(0);
                    }
                    added
                })
            };
            let came = world.next();
            assert_eq!(came, if adder.join().unwrap() { [1] } else { [0] });
            sealer.join().unwrap();
        });
    }

    /// Whoever closes the line reaches its waiter, wherever it sleeps, and what was in it comes out.
    #[test]
    fn loom_watch_list_is_closed_over_a_sleeper() {
        loom::model(|| {
            let world = World::new();
            let closer = {
                let world = world.clone();
                thread::spawn(move || {
                    let added = world.add(0);
                    world.line.close(&world.bell);
                    assert!(!world.add(1), "it is closed");
                    added
                })
            };
            let came = world.next();
            assert!(closer.join().unwrap());
            assert_eq!(came, [0]);
            assert!(world.next().is_empty());
        });
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
