//! Locks that a dead process held: taken over and given back while its entry still says that it is dead.
//!
//! Whoever waits for such a lock takes it over by itself. But if nobody does until the entry serves another process, the word names a
//! process that lives and knows nothing of it, and would be waited for in vain. So the reaper passes through every lock.

use super::Store;
use crate::id::ParticipantId;

impl Store {
    /// Takes and gives back every lock of the session, so that none names a dead process afterwards. Rebuilds what they guard.
    pub(super) fn pass_through_locks(&self) {
        // A lock that cannot be had is held by somebody alive: not what this is for.
        let _ = self.allocator(self.me()).release(|| None);
        self.free_slots(&[]);
        for index in 0..self.participants_used() {
            let ring = ParticipantId(index);
            let abandon = |head| self.abandon_sends(ring, head);
            let _ = self.ring(ring).settle(self.me(), self.is_dead(), abandon);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::shm::participant;
    use crate::sync::atomic::Ordering;

    #[test]
    fn a_lock_of_the_dead_does_not_wait_for_their_successor() {
        let store = Arc::new(Store::open(&Config::default().capacity(1 << 20).max_objects(64), 7).unwrap());
        let dead = ParticipantId(2);
        let entry = store.participant(dead);
        entry.state.store(participant::LIVE, Ordering::Release);
        store.header().participants_used.fetch_max(3, Ordering::AcqRel);
        std::mem::forget(store.header().free_lock.lock(dead, store.is_dead()).unwrap());
        // Inside the allocator: it never comes back from writing down whose the bytes are.
        let (inside, entered) = std::sync::mpsc::channel();
        let theirs = store.clone();
        std::thread::spawn(move || {
            let _ = theirs.allocator(dead).allocate(100, |_| {
                inside.send(()).unwrap();
                loop {
                    std::thread::park();
                }
            });
        });
        entered.recv().unwrap();
        entry.state.store(participant::DEAD, Ordering::Release);
        assert!(store.recover(dead).is_empty());
        // The entry serves somebody else now, who is alive.
        entry.state.store(participant::LIVE, Ordering::Release);
        let held = store.put(&[1; 1000]).unwrap();
        assert_eq!(store.get(&held, None).unwrap().bytes(), [1; 1000]);
    }
}
