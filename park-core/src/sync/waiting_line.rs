//! A line of threads, of any processes, that wait for the same thing and get it in the order in which they came.
//!
//! ```text
//! taken    u64  bit i: place i is in the line.             Set and cleared by its owner; cleared by the reaper of a dead owner.
//! tickets  u64  tickets given out so far.                  Added to by who joins.
//! left     u64  how many left.                             Added to by who leaves, with what it came for or without.
//! places   64 x
//!   owner  u32  participant + 1, or 0: nobody's.           0 -> me by CAS; me -> 0 by me, or by the reaper.
//!   ticket u64  the owner's number in the line.            Written by the owner before it sets the bit, as is what follows.
//!   asked  u64  how much it waits for.
//!   until  u64  milliseconds (sys/clock) after which it no longer counts: a stopped process holds nobody up for ever.
//!   passed u64  how much went to others past it.           Added to by those others.
//! ```
//! The first is the place with the lowest ticket, among those whose owner lives and whose time is not over. It alone may try; the
//! others sleep on one doorbell, which rings whenever something came back and whenever somebody leaves the line. No ring is lost: who
//! joins and who leaves both change the one word `taken`, so either the leaver sees the newcomer's bit and rings, or the newcomer, who
//! looks after joining, no longer sees the leaver's.
//!
//! Nothing here protects data: two that both believe to be first (one took its ticket earlier and set its bit later) both try, and the
//! allocator serves one. So there is no lock whose owner could die. A process killed anywhere between the first and the last write
//! leaves a place with its number in `owner`, which its reaper clears.
//!
//! Newcomers may pass the first as long as what they take together is small beside what it waits for: small things go on being made
//! while something large waits, and yet it waits for a bounded amount.

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use super::{Doorbell, Shared};
use crate::id::ParticipantId;
use crate::sys::failpoint::fail_point;

/// So many can stand in the line; others stand beside it and look for a free place now and then.
pub const PLACES: usize = if cfg!(loom) { 3 } else { 64 };
/// Others may take this fraction of what the first waits for past it.
const PASSING: u64 = 16;

#[derive(Debug)]
#[repr(C)]
struct Place {
    owner: AtomicU32,
    _pad: AtomicU32,
    ticket: AtomicU64,
    asked: AtomicU64,
    until: AtomicU64,
    passed: AtomicU64,
}

/// See the module's documentation. Zeroed memory is an empty line.
#[derive(Debug)]
#[repr(C)]
pub struct WaitingLine {
    taken: AtomicU64,
    tickets: AtomicU64,
    left: AtomicU64,
    places: [Place; PLACES],
}

// SAFETY: `repr(C)` over atomics, padded by hand.
unsafe impl Shared for Place {}
// SAFETY: as above.
unsafe impl Shared for WaitingLine {}

/// One that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    place: usize,
    ticket: u64,
    /// In which process.
    pub owner: ParticipantId,
    /// For how much.
    pub asked: u64,
}

/// A place in the line; dropping it leaves the line and tells those behind.
#[derive(Debug)]
#[must_use]
pub struct Turn<'a> {
    line: &'a WaitingLine,
    bell: &'a Doorbell,
    place: usize,
    ticket: u64,
}

impl WaitingLine {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            taken: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            left: AtomicU64::new(0),
            places: std::array::from_fn(|_| Place {
                owner: AtomicU32::new(0),
                _pad: AtomicU32::new(0),
                ticket: AtomicU64::new(0),
                asked: AtomicU64::new(0),
                until: AtomicU64::new(0),
                passed: AtomicU64::new(0),
            }),
        }
    }

    /// Whether nobody waits: one relaxed load, for the path on which nobody ever does.
    pub fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.taken.load(Ordering::Relaxed).count_ones() as usize
    }

    /// How many left so far. As long as it grows, waiting makes sense.
    pub fn departures(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Whether one that does not stand in the line may try to get `asked` right now.
    pub fn lets_pass(&self, asked: u64) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(first) = self.waiting().min_by_key(|waiting| waiting.ticket) else {
            return true;
        };
        let most = first.asked / PASSING;
        self.places[first.place]
            .passed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |passed| {
                passed.checked_add(asked).filter(|passed| *passed <= most)
            })
            .is_ok()
    }

    /// Joins the end of the line. `None` if it has no place left.
    pub fn join<'a>(&'a self, me: ParticipantId, asked: u64, until: u64, bell: &'a Doorbell) -> Option<Turn<'a>> {
        let mine = u32::from(me.0) + 1;
        let (at, place) = self.places.iter().enumerate().find(|(_, place)| {
            place
                .owner
                .compare_exchange(0, mine, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })?;
        fail_point!("line.join.owned");
        place.asked.store(asked, Ordering::Relaxed);
        place.until.store(until, Ordering::Relaxed);
        place.passed.store(0, Ordering::Relaxed);
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        place.ticket.store(ticket, Ordering::Relaxed);
        self.taken.fetch_or(1 << at, Ordering::AcqRel);
        fail_point!("line.join.joined");
        Some(Turn {
            line: self,
            bell,
            place: at,
            ticket,
        })
    }

    fn waiting(&self) -> impl Iterator<Item = Waiting> + '_ {
        let taken = self.taken.load(Ordering::Acquire);
        let places = self.places.iter().enumerate();
        places
            .filter(move |(at, _)| taken & 1 << at != 0)
            .filter_map(|(at, place)| {
                Some(Waiting {
                    place: at,
                    ticket: place.ticket.load(Ordering::Relaxed),
                    owner: ParticipantId(
                        u16::try_from(place.owner.load(Ordering::Relaxed).checked_sub(1)?).unwrap_or(u16::MAX),
                    ),
                    asked: place.asked.load(Ordering::Relaxed),
                })
            })
    }

    /// Who is to be served next.
    pub fn first(&self, now: u64, is_dead: impl Fn(ParticipantId) -> bool) -> Option<Waiting> {
        self.waiting()
            .filter(|waiting| {
                now <= self.places[waiting.place].until.load(Ordering::Relaxed) && !is_dead(waiting.owner)
            })
            .min_by_key(|waiting| waiting.ticket)
    }

    /// Takes a dead process's threads out of the line. For its reaper, before the participant number is used again.
    pub fn remove(&self, dead: ParticipantId) {
        for (at, place) in self.places.iter().enumerate() {
            if place.owner.load(Ordering::Acquire) == u32::from(dead.0) + 1 {
                self.clear(at);
            }
        }
    }

    /// Whether others are left in the line.
    fn clear(&self, at: usize) -> bool {
        let left = self.taken.fetch_and(!(1 << at), Ordering::AcqRel) & !(1 << at);
        fail_point!("line.leave.taken");
        self.left.fetch_add(1, Ordering::Relaxed);
        self.places[at].owner.store(0, Ordering::Release);
        fail_point!("line.leave.left");
        left != 0
    }
}

impl Turn<'_> {
    /// Whether nobody who counts came before.
    pub fn is_first(&self, now: u64, is_dead: impl Fn(ParticipantId) -> bool) -> bool {
        self.line
            .first(now, is_dead)
            // One whose own time is over asks a last time before it leaves.
            .is_none_or(|first| first.ticket >= self.ticket)
    }

    /// Counts longer than it said when it joined.
    pub fn stay(&self, until: u64) {
        self.line.places[self.place].until.store(until, Ordering::Relaxed);
    }

    /// Whether this is the place of `waiting`.
    pub fn is(&self, waiting: &Waiting) -> bool {
        (self.place, self.ticket) == (waiting.place, waiting.ticket)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.line.clear(self.place) {
            self.bell.ring();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NOBODY: fn(ParticipantId) -> bool = |_| false;

    #[test]
    fn first_come_first_served() {
        let (line, bell) = (WaitingLine::new(), Doorbell::new());
        let join = |me, asked| line.join(ParticipantId(me), asked, 100, &bell).unwrap();
        assert!(line.is_empty() && line.lets_pass(u64::MAX));
        let (a, b) = (join(1, 1600), join(2, 1));
        assert!(a.is_first(0, NOBODY) && !b.is_first(0, NOBODY));
        assert_eq!(line.first(0, NOBODY).unwrap().asked, 1600);
        let rung = bell.ticket();
        drop(a);
        assert!(bell.rung_since(rung) && b.is_first(0, NOBODY));
        assert_eq!(line.departures(), 1);
        drop(b);
        assert!(line.is_empty());
    }

    #[test]
    fn a_little_may_pass_and_no_more() {
        let (line, bell) = (WaitingLine::new(), Doorbell::new());
        let _large = line.join(ParticipantId(1), 1600, 100, &bell).unwrap();
        assert!(line.lets_pass(60) && line.lets_pass(40));
        assert!(!line.lets_pass(1));
    }

    #[test]
    fn the_dead_and_the_late_hold_nobody_up() {
        let (line, bell) = (WaitingLine::new(), Doorbell::new());
        let join = |me, until| line.join(ParticipantId(me), 10, until, &bell).unwrap();
        std::mem::forget(join(1, 1000));
        let stopped = join(2, 50);
        let live = join(3, 1000);
        let dead = |id: ParticipantId| id.0 == 1;
        assert!(!live.is_first(20, NOBODY) && !live.is_first(20, dead));
        assert!(live.is_first(51, dead));
        line.remove(ParticipantId(1));
        assert!(live.is_first(51, NOBODY));
        assert!(stopped.is_first(51, NOBODY), "it may look once more");
        stopped.stay(1000);
        assert!(!live.is_first(51, NOBODY));
    }

    #[test]
    fn the_line_has_an_end() {
        let (line, bell) = (WaitingLine::new(), Doorbell::new());
        let all: Vec<_> = (0..PLACES)
            .map(|_| line.join(ParticipantId(1), 1, 9, &bell).unwrap())
            .collect();
        assert!(line.join(ParticipantId(2), 1, 9, &bell).is_none());
        drop(all);
        assert!(line.join(ParticipantId(2), 1, 9, &bell).is_some());
    }

    #[test]
    fn garbage_is_nobody() {
        let line = WaitingLine::new();
        line.taken.store(u64::MAX, Ordering::Relaxed);
        for place in &line.places {
            place.owner.store(u32::MAX, Ordering::Relaxed);
        }
        let real = |id: ParticipantId| id.0 >= 1024;
        assert_eq!(line.first(0, real), None);
        assert!(!line.lets_pass(1));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    struct Shared(WaitingLine, Doorbell, AtomicU32);

    /// Takes the one thing there is, in turn, and gives it back.
    fn take_and_return(shared: &Shared, me: u16) {
        let Shared(line, bell, things) = shared;
        let turn = line.join(ParticipantId(me), 1, 1, bell).unwrap();
        loop {
            let ticket = bell.ticket();
            let taken = turn.is_first(0, |_| false)
                && things
                    .compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
            if taken {
                break;
            }
            // Were a ring lost, the model would report a deadlock.
            bell.wait(ticket, None);
        }
        drop(turn);
        things.store(1, Ordering::Release);
        bell.ring();
    }

    #[test]
    fn loom_waiting_line_serves_everyone() {
        loom::model(|| {
            let shared = Arc::new(Shared(WaitingLine::new(), Doorbell::new(), AtomicU32::new(1)));
            let other = {
                let shared = shared.clone();
                thread::spawn(move || take_and_return(&shared, 1))
            };
            take_and_return(&shared, 2);
            other.join().unwrap();
            assert!(shared.0.is_empty());
            assert_eq!(shared.0.departures(), 2);
        });
    }

    /// The one that stands in line is reached although it sleeps while another leaves without having been served.
    #[test]
    fn loom_waiting_line_hears_of_who_gives_up() {
        loom::model(|| {
            let shared = Arc::new(Shared(WaitingLine::new(), Doorbell::new(), AtomicU32::new(1)));
            let early = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let turn = shared.0.join(ParticipantId(1), 1, 1, &shared.1);
                    drop(turn);
                })
            };
            take_and_return(&shared, 2);
            early.join().unwrap();
            assert!(shared.0.is_empty());
        });
    }
}
