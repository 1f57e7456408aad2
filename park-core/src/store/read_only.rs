//! A process that was given the arena for reading only (store/README.md, "Read-only members").
//!
//! It finds, awaits, reads and releases objects, and makes none. What it cannot do is the last step of a release: giving memory back
//! writes a block header in the arena. If its reference was the last one, it leaves the slot FREEING *by the head* and tells the head,
//! which finishes. Nobody else makes a slot FREEING by that participant (the head's own process frees as the driver), so whoever
//! finds one knows what it is; the head also looks for them when it recovers a process that died before it could tell.

use std::sync::Arc;

use super::Store;
use super::slot::{Phase, State};
use crate::error::{Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::sys::failpoint::fail_point;

/// Called with the id of an object whose memory the head must give back.
pub(crate) type HandOver = Box<dyn Fn(ObjectId) + Send + Sync>;

impl Store {
    /// Whether this process may only look.
    pub fn is_read_only(&self) -> bool {
        self.arena.is_read_only()
    }

    /// Refuses whatever would make or change an object.
    pub fn check_writable(&self) -> Result<()> {
        if self.is_read_only() {
            bail!(
                PermissionDenied,
                "this process attached to the park session read-only: it can read objects, not make them"
            );
        }
        Ok(())
    }

    /// How the head is told what to free for this process. Only the first caller is heard.
    pub(crate) fn on_hand_over(&self, tell: HandOver) {
        let _ = self.hand_over.set(tell);
    }

    /// Who frees what this process's last reference kept.
    pub(super) fn freer(&self, me: ParticipantId) -> ParticipantId {
        if self.is_read_only() { ParticipantId::HEAD } else { me }
    }

    /// The slot is FREEING by the head: tells it.
    pub(super) fn tell_head(&self, index: u32, generation: u32) {
        fail_point!("object.free.left_to_head");
        if let Some(tell) = self.hand_over.get() {
            tell(ObjectId {
                session: self.session(),
                index,
                generation,
            });
        }
    }

    /// The head's side: finishes what a read-only process began. Does nothing if it is finished already, or never began.
    pub(crate) fn finish_freeing(self: &Arc<Self>, id: ObjectId) {
        let Ok(slot) = self.checked_slot(id) else { return };
        let Ok(seen) = slot.state() else { return };
        if seen.generation != id.generation || seen.phase != Phase::Freeing || seen.owner != ParticipantId::HEAD {
            return;
        }
        let mine = State {
            owner: self.me(),
            ..seen
        };
        if slot.advance(seen, mine) {
            let mut stack = Vec::new();
            self.empty(id.index, mine, &mut stack);
            self.recycle(id.index, id.generation, self.me());
            for (index, generation) in stack {
                self.reclaim(index, generation, self.me());
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::config::Config;
    use crate::error::ErrorKind;
    use crate::shm::participant;
    use crate::store::{Spec, never};
    use crate::sync::atomic::Ordering;
    use crate::sys::memfd;

    /// A store, and a membership of it that may only look.
    fn pair() -> (Arc<Store>, Arc<Store>) {
        let config = Config::default().capacity(1 << 20).max_objects(4096);
        let store = Arc::new(Store::open(&config, 7).unwrap());
        let looker = ParticipantId(2);
        store
            .participant(looker)
            .state
            .store(participant::LIVE, Ordering::Release);
        store.header().participants_used.fetch_max(3, Ordering::AcqRel);
        let [control, arena] = store.fds();
        let (control, arena) = (control.try_clone_to_owned().unwrap(), memfd::read_only(arena).unwrap());
        assert!(!memfd::is_writable(arena.as_fd()).unwrap());
        let looker = Arc::new(Store::join(control, arena, looker, None, None).unwrap());
        (store, looker)
    }

    /// An object of the looker's alone, which holds another one, both with memory in the arena.
    fn last_reference(store: &Arc<Store>, looker: &Arc<Store>) -> crate::store::ObjectRef {
        let inner = store.put(&[1; 1000]).unwrap();
        let spec = Spec {
            nested: &[inner.id()],
            ..Spec::raw(2000)
        };
        let outer = store.create(spec, &mut never).unwrap().seal().unwrap();
        looker.resolve(outer.id()).unwrap()
    }

    #[test]
    fn it_reads_and_makes_nothing() {
        let (store, looker) = pair();
        let reference = store.put(&[7; 1000]).unwrap();
        let promised = store.promise(store.me()).unwrap();
        let seen = looker.resolve(reference.id()).unwrap();
        assert_eq!(looker.get(&seen, None).unwrap().bytes(), [7; 1000]);
        assert!(looker.contains(reference.id()) && looker.is_read_only() && !store.is_read_only());
        let denied = [
            looker.put(b"x").map(drop),
            looker.create(Spec::raw(1000), &mut never).map(drop),
            looker.promise(looker.me()).map(drop),
            looker.trim().map(drop),
            looker.fulfil(promised.id(), Spec::raw(1), &mut never).map(drop),
            looker.fail(promised.id(), &crate::error::Error::new(ErrorKind::TaskFailed, "x")),
        ];
        for result in denied {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        // It waits as everybody does.
        let seen = looker.resolve(promised.id()).unwrap();
        let waiter = std::thread::spawn(move || seen.store().clone().get(&seen, None).unwrap().bytes().to_vec());
        let mut object = store.fulfil(promised.id(), Spec::raw(4), &mut never).unwrap().unwrap();
        object.write(0, b"made").unwrap();
        object.seal().unwrap();
        assert_eq!(waiter.join().unwrap(), b"made");
    }

    #[test]
    fn the_head_frees_what_its_last_reference_kept() {
        let (store, looker) = pair();
        let told = store.clone();
        looker.on_hand_over(Box::new(move |id| told.finish_freeing(id)));
        let reference = last_reference(&store, &looker);
        let id = reference.id();
        assert_eq!(store.stats().objects, 2);
        drop(reference);
        assert_eq!((store.stats().objects, store.stats().used), (0, 0));
        assert_eq!(store.resolve(id).unwrap_err().kind(), ErrorKind::NotFound);
        // Twice, or about what is not being freed: nothing happens.
        let alive = store.put(&[1; 1000]).unwrap();
        store.finish_freeing(id);
        store.finish_freeing(alive.id());
        assert_eq!(store.get(&alive, None).unwrap().bytes(), [1; 1000]);
    }

    #[test]
    fn killed_before_it_could_tell_it_leaves_nothing() {
        let (store, looker) = pair();
        // Nobody listens: as if it were killed after its CAS.
        drop(last_reference(&store, &looker));
        assert_ne!(store.stats().used, 0);
        let dead = looker.me();
        store
            .participant(dead)
            .state
            .store(participant::DEAD, Ordering::Release);
        std::mem::forget(looker);
        assert!(store.recover(dead).is_empty());
        assert_eq!((store.stats().objects, store.stats().used), (0, 0));
    }
}
