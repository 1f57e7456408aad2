//! The spiller: the one thread that moves objects to disk and back. It lives in the head process and is started on first need.
//!
//! It sleeps until somebody joins the line for memory (`room.rs`) or wants an object back, and then serves the line in order. For a
//! producer it makes room and rings; the producer allocates by itself. An object that is wanted back stands in the same line, so
//! readers and producers take turns; when it is first, the spiller makes room and reads it.
//!
//! To disk: the bytes are written while the object is SEALED, since they cannot change. Then SEALED -> EVICTING, then a look for pins
//! in every ledger (refs.rs says why that order), then the block is given back, then EVICTING -> SPILLED. If it is pinned, back to
//! SEALED, and the copy on disk is dropped. Back: SPILLED -> RESTORING, a block, the bytes, their checksum, RESTORING -> SEALED.
//! Nobody else makes these transitions, and each is made while the spiller holds a reference: the slot cannot be freed meanwhile. If
//! this process dies, the session ends with it.
//!
//! Where an object lies on disk is known to this thread alone, in private memory. An object that is freed while it is on disk is
//! noticed by its slot's generation.
//!
//! Never spilled: what is pinned, what lives in the slot itself, what holds references (they are counted as long as its bytes say so),
//! handles of actors, errors, messages, and whatever came back and was not looked at yet: two readers whose objects do not fit
//! at once would otherwise take each other's away for ever.
#![allow(unsafe_code, reason = "copies bytes into a block that nobody else may touch")]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::RecordHead;
use super::volume::{Location, Refusal, Volume};
use super::{Lost, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::shm::Allocation;
use crate::shm::board::{Board, Trouble, Wishes};
use crate::store::Store;
use crate::store::evict::Clock;
use crate::store::evict::clock::Look;
use crate::store::slot::{Phase, TOUCHED, WANTED, WATCHED};
use crate::sync::Turn;
use crate::sync::atomic::Ordering;
use crate::sys::clock;
use crate::sys::failpoint::fail_point;

/// How often to look for unpinned objects while somebody waits and nothing can go: dropping a view rings nobody.
const PINS: Duration = Duration::from_millis(10);
/// After a refused write, the disk is left alone for so long.
const REST: Duration = Duration::from_secs(1);
/// A wish that no reader renewed for so long is over. Readers renew it every 100 ms.
const WISH: Duration = Duration::from_millis(500);
/// An object that came back stays for so long, unless somebody looks at it before.
const FRESH: Duration = Duration::from_secs(2);
/// More than was asked for goes at once, so that the next producers need not wait: at most this, and at most an 8th of the arena.
const SLACK: u64 = 64 << 20;

/// An object on disk.
struct Kept {
    generation: u32,
    location: Location,
}

/// An object that somebody wants back.
struct Restore<'a> {
    index: u32,
    generation: u32,
    asked: u64,
    turn: Option<Turn<'a>>,
    renewed: Instant,
}

/// What to do after a round.
enum Next {
    /// Nobody waits.
    Sleep,
    /// Somebody does: look again soon, also if nothing rings.
    Soon,
}

struct Spiller<'a> {
    store: &'a Arc<Store>,
    board: &'a Board,
    volume: Volume,
    lost: Option<&'a Lost>,
    kept: HashMap<u32, Kept>,
    restores: VecDeque<Restore<'a>>,
    fresh: HashMap<u32, (u32, Instant)>,
    clock: Clock,
    wishes: u32,
    freed: u32,
    rests_until: Option<Instant>,
}

/// The thread's body: until the session is closed.
pub(super) fn run(store: &Arc<Store>, plan: &Plan, lost: Option<&Lost>) {
    let board = store.board();
    let mut spiller = Spiller {
        store,
        board,
        volume: Volume::new(plan.parent.clone(), store.session(), plan.limit),
        lost,
        kept: HashMap::new(),
        restores: VecDeque::new(),
        fresh: HashMap::new(),
        clock: Clock::default(),
        wishes: 0,
        freed: 0,
        rests_until: None,
    };
    while store.check_open().is_ok() {
        // Both taken before looking: whoever changes something rings both.
        let (bell, space) = (board.bell.ticket(), store.header().space.ticket());
        match spiller.round() {
            Next::Sleep => board.bell.wait(bell, None),
            Next::Soon => store.header().space.wait(space, Some(PINS)),
        };
    }
}

impl<'a> Spiller<'a> {
    fn round(&mut self) -> Next {
        self.forget_freed();
        self.take_wishes();
        self.fresh.retain(|_, (_, since)| since.elapsed() < FRESH);
        loop {
            let first = self.store.header().line.first(clock::now_ms(), self.store.is_dead());
            let Some(first) = first else {
                return if self.restores.is_empty() {
                    Next::Sleep
                } else {
                    Next::Soon
                };
            };
            let has_room = self.make_room(first.asked);
            let mine = self
                .restores
                .iter()
                .position(|restore| restore.turn.as_ref().is_some_and(|turn| turn.is(&first)));
            let Some(restore) = mine.filter(|_| has_room).and_then(|at| self.restores.remove(at)) else {
                // Not now, or it is a producer's turn: it was rung as memory came back.
                break;
            };
            if !self.bring_back(restore) {
                break;
            }
        }
        self.drop_stale_wishes();
        Next::Soon
    }

    // --- what others said -----------------------------------------------------------------------------------------------------

    /// Gives disk space of objects back that were freed while they lay there.
    fn forget_freed(&mut self) {
        let freed = self.board.freed();
        if freed != std::mem::replace(&mut self.freed, freed) {
            let (store, volume) = (self.store, &mut self.volume);
            self.kept.retain(|index, kept| {
                let lives = store
                    .slot(*index)
                    .state()
                    .is_ok_and(|state| state.generation == kept.generation && state.phase == Phase::Spilled);
                if !lives {
                    volume.forget(kept.location);
                }
                lives
            });
            // There may be room on disk again.
            self.rests_until = None;
            self.publish();
        }
    }

    fn take_wishes(&mut self) {
        let wished: Vec<u32> = match self.board.new_wishes(&mut self.wishes) {
            Wishes::These(these) => these,
            Wishes::Any => self.kept.keys().copied().collect(),
        };
        for index in wished {
            let Some(kept) = self.kept.get(&index) else { continue };
            let known = self.restores.iter().any(|restore| restore.index == index);
            let slot = self.store.slot(index);
            let wanted = slot.state().is_ok_and(|state| {
                state.generation == kept.generation && state.phase == Phase::Spilled && state.flags & WANTED != 0
            });
            if wanted && !known {
                self.restores.push_back(Restore {
                    index,
                    generation: kept.generation,
                    asked: slot.len.load(Ordering::Relaxed),
                    turn: None,
                    renewed: Instant::now(),
                });
            }
        }
        let (me, header) = (self.store.me(), self.store.header());
        for restore in self.restores.iter_mut().filter(|restore| restore.turn.is_none()) {
            // A wish has no deadline of its own: it stands in line as long as somebody renews it.
            restore.turn = header.line.join(me, restore.asked, u64::MAX, &header.space);
        }
    }

    /// Takes wishes out of the line whose readers gave up or died.
    fn drop_stale_wishes(&mut self) {
        let store = self.store;
        self.restores.retain_mut(|restore| {
            if restore.renewed.elapsed() < WISH {
                return true;
            }
            restore.renewed = Instant::now();
            // Cleared, so that only a reader that still waits sets it again.
            store.slot(restore.index).clear_flags(restore.generation, WANTED) & WANTED != 0
        });
    }

    // --- out ------------------------------------------------------------------------------------------------------------------

    /// Whether there is room for so many bytes, by now.
    fn make_room(&mut self, asked: u64) -> bool {
        while !self.store.has_room(asked) {
            if self.rests_until.is_some_and(|until| Instant::now() < until) || !self.evict(asked) {
                return false;
            }
        }
        true
    }

    /// Moves some objects to disk. False if none can go.
    fn evict(&mut self, asked: u64) -> bool {
        let slack = SLACK.min(self.store.capacity() / 8);
        let (store, fresh) = (self.store, &mut self.fresh);
        let victims = self
            .clock
            .choose(store.slots_used(), asked.max(slack), |index| look(store, fresh, index));
        let mut gone = 0;
        for victim in victims {
            if gone >= slack && self.store.has_room(asked) {
                break;
            }
            match self.move_out(victim.index) {
                Ok(freed) => gone += freed,
                Err(refusal) => {
                    self.board.set_trouble(Some(match refusal {
                        Refusal::Limit { .. } => Trouble::Limit,
                        Refusal::Disk { errno } => Trouble::Refused(errno),
                    }));
                    self.rests_until = Some(Instant::now() + REST);
                    break;
                }
            }
        }
        gone > 0
    }

    /// Moves one object to disk. Returns what that freed: nothing if somebody was faster.
    fn move_out(&mut self, index: u32) -> Result<u64, Refusal> {
        let slot = self.store.slot(index);
        let Ok(state) = slot.state() else { return Ok(0) };
        let id = self.store.id_of(index, state.generation);
        if state.phase != Phase::Sealed || self.store.hold(id).is_err() {
            return Ok(0);
        }
        let moved = self.move_out_held(id);
        self.store.drop_hold(id);
        moved
    }

    fn move_out_held(&mut self, id: ObjectId) -> Result<u64, Refusal> {
        let slot = self.store.slot(id.index);
        let len = slot.len.load(Ordering::Relaxed);
        let Ok(stored) = self.store.payload(slot, 0, len) else {
            return Ok(0);
        };
        let head = RecordHead {
            id,
            meta: slot.meta.load(Ordering::Relaxed),
            len,
            nested: 0,
            sum: 0,
        };
        let location = self.volume.append(head, stored)?;
        self.rests_until = None;
        self.board.set_trouble(None);
        fail_point!("spill.written");
        if slot.shift(id.generation, Phase::Sealed, Phase::Evicting, 0).is_none() {
            self.volume.forget(location);
            return Ok(0);
        }
        fail_point!("spill.evicting");
        if self.store.is_pinned(id.index) {
            self.store.come_back(id, Phase::Evicting, WATCHED | WANTED);
            self.volume.forget(location);
            return Ok(0);
        }
        let freed = slot.block_bytes();
        self.store.release_memory(slot);
        fail_point!("spill.released");
        let generation = id.generation;
        self.kept.insert(id.index, Kept { generation, location });
        let flags = slot.shift(generation, Phase::Evicting, Phase::Spilled, 0);
        fail_point!("spill.spilled");
        if flags.is_some_and(|flags| flags & WANTED != 0) {
            self.board.wish(id.index);
        }
        self.board.out.fetch_add(1, Ordering::Relaxed);
        self.publish();
        Ok(freed)
    }

    fn publish(&self) {
        self.board.bytes.store(self.volume.bytes(), Ordering::Relaxed);
    }

    // --- back -----------------------------------------------------------------------------------------------------------------

    /// Reads an object back, in its turn. False if there is no room for it after all.
    fn bring_back(&mut self, restore: Restore<'a>) -> bool {
        let id = self.store.id_of(restore.index, restore.generation);
        let slot = self.store.slot(id.index);
        let kept = self.kept.get(&id.index).filter(|kept| kept.generation == id.generation);
        let Some(location) = kept.map(|kept| kept.location) else {
            return true;
        };
        // Freed meanwhile: `forget_freed` will hear of it.
        if self.store.hold(id).is_err() {
            return true;
        }
        if slot.shift(id.generation, Phase::Spilled, Phase::Restoring, 0).is_none() {
            self.store.drop_hold(id);
            return true;
        }
        fail_point!("restore.begun");
        let Ok(lent) = self.store.place(slot, restore.asked) else {
            // Somebody passed it in the line, which is bounded, or the system refused memory: it stays first.
            slot.shift(id.generation, Phase::Restoring, Phase::Spilled, 0);
            self.store.drop_hold(id);
            self.restores.push_front(restore);
            return false;
        };
        fail_point!("restore.placed");
        drop(restore);
        self.kept.remove(&id.index);
        let path = self.volume.path_of(location);
        let read = self.read_into(id, location, lent);
        self.volume.forget(location);
        // There is room on disk again.
        self.rests_until = None;
        self.publish();
        match read {
            Ok(()) => {
                fail_point!("restore.copied");
                self.fresh.insert(id.index, (id.generation, Instant::now()));
                self.board.back.fetch_add(1, Ordering::Relaxed);
                self.store.come_back(id, Phase::Restoring, WATCHED | WANTED | TOUCHED);
                fail_point!("restore.sealed");
                self.store.drop_hold(id);
            }
            Err(error) => {
                self.store.release_memory(slot);
                let text = format!(
                    "object {id} was spilled to {} and cannot be read back: {error}",
                    path.display()
                );
                let error = Error::new(ErrorKind::ObjectLost, text);
                match self.lost {
                    // Who hears of it takes the hold over, and ends the object's RESTORING.
                    Some(lost) => lost(id, error),
                    None => self.store.give_up_lost(id, &error),
                }
            }
        }
        true
    }

    /// Into the block that was just lent, whatever the slot says by now: others can write there.
    fn read_into(&mut self, id: ObjectId, location: Location, lent: Allocation) -> Result<()> {
        let slot = self.store.slot(id.index);
        let (address, room) = (self.store.arena.write_address(lent.offset, lent.len)?, lent.len);
        let mut fits = true;
        let head = self.volume.read(id, location, |at, piece| {
            fits &= at + piece.len() as u64 <= room;
            if fits {
                // SAFETY: inside the block of `room` bytes at `address` (checked just above), which was lent to this slot while it is
                // RESTORING: no other process reads or writes it; the piece is private memory.
                unsafe {
                    let target = address.wrapping_add(usize::try_from(at).unwrap_or(usize::MAX));
                    std::ptr::copy_nonoverlapping(piece.as_ptr(), target, piece.len());
                }
            }
        })?;
        let same = (head.len, head.meta) == (slot.len.load(Ordering::Relaxed), slot.meta.load(Ordering::Relaxed));
        if fits && same {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            "its slot does not describe what was written",
        ))
    }
}

/// What the clock's hand sees of a slot.
fn look(store: &Store, fresh: &mut HashMap<u32, (u32, Instant)>, index: u32) -> Look {
    let slot = store.slot(index);
    let Ok(state) = slot.state() else { return Look::Skip };
    if state.phase != Phase::Sealed || !store.may_be_spilled(slot) {
        return Look::Skip;
    }
    if state.flags & TOUCHED != 0 {
        slot.clear_flags(state.generation, TOUCHED);
        fresh.remove(&index);
        return Look::Warm;
    }
    let unread = fresh
        .get(&index)
        .is_some_and(|(generation, since)| *generation == state.generation && since.elapsed() < FRESH);
    if unread || store.is_pinned(index) {
        return Look::Skip;
    }
    Look::Cold(slot.block_bytes())
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::id::ParticipantId;
    use crate::store::slot::{Slot, State, Want};
    use crate::sync::Doorbell;
    use crate::sync::atomic::{AtomicU64, fence};
    use loom::sync::Arc;
    use loom::thread;

    /// A slot, the reader's ledger word, its doorbell, and the block: 1 while the bytes are there.
    struct Shared(Slot, AtomicU64, Doorbell, AtomicU64);

    fn sealed() -> Arc<Shared> {
        let slot = Slot::new();
        slot.assign(State {
            generation: 1,
            owner: ParticipantId(1),
            flags: 0,
            phase: Phase::Sealed,
        });
        Arc::new(Shared(slot, AtomicU64::new(0), Doorbell::new(), AtomicU64::new(1)))
    }

    /// As `move_out_held`, `Store::come_back` and `bring_back` do it.
    fn evict_and_restore(Shared(slot, pins, bell, block): &Shared) {
        let wake = |flags: u8| {
            if flags & WATCHED != 0 && slot.take_watchers() != 0 {
                bell.ring();
            }
        };
        assert!(slot.shift(1, Phase::Sealed, Phase::Evicting, 0).is_some());
        fence(Ordering::SeqCst);
        if pins.load(Ordering::SeqCst) > 0 {
            wake(slot.shift(1, Phase::Evicting, Phase::Sealed, WATCHED | WANTED).unwrap());
            return;
        }
        block.store(0, Ordering::Relaxed);
        slot.shift(1, Phase::Evicting, Phase::Spilled, 0).unwrap();
        slot.shift(1, Phase::Spilled, Phase::Restoring, 0).unwrap();
        block.store(1, Ordering::Relaxed);
        wake(
            slot.shift(1, Phase::Restoring, Phase::Sealed, WATCHED | WANTED)
                .unwrap(),
        );
    }

    /// A reader that found the object in memory keeps it there; one that did not is rung when it is back.
    ///
    /// The four accesses that decide it are SeqCst, which loom reads as acquire and release; it knows SeqCst fences only, so here one
    /// stands between the two accesses of each side.
    #[test]
    fn loom_pin_or_evict() {
        loom::model(|| {
            let shared = sealed();
            let spiller = {
                let shared = shared.clone();
                thread::spawn(move || evict_and_restore(&shared))
            };
            let Shared(slot, pins, bell, block) = &*shared;
            loop {
                pins.fetch_add(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if slot.is_resident(1) {
                    assert_eq!(block.load(Ordering::Relaxed), 1, "the bytes went while somebody looked");
                    pins.fetch_sub(1, Ordering::Release);
                    break;
                }
                pins.fetch_sub(1, Ordering::Release);
                let ticket = bell.ticket();
                if slot.want(1, ParticipantId(2)).unwrap() != Want::Here {
                    bell.wait(ticket, None);
                }
            }
            spiller.join().unwrap();
        });
    }
}
