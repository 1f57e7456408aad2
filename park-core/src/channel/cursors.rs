//! The words that writer and readers agree through, apart from where they lie: README.md is the protocol, loom checks it here.
//!
//! Nothing in here waits, and nothing in here knows how long a message is. Positions count messages from 0 and never wrap (2^63 of
//! them). What is read is checked, since any process of the session can write here.

use crate::error::{Result, bail};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Bell, Shared};
use crate::sys::failpoint::fail_point;

/// Most readers of one channel at a time.
pub const MAX_READERS: usize = if cfg!(loom) { 2 } else { 64 };

/// In `head`: nothing will be published any more.
const CLOSED: u64 = 1 << 63;
/// A seat, or the writer's end, that nobody has.
pub(super) const FREE: u64 = 0;
/// A seat kept for a reader that is expected.
pub(super) const RESERVED: u64 = 1;

/// One reader's words.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Seat {
    pub(super) who: AtomicU64,
    pub(super) tail: AtomicU64,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct BellLine(Bell);

/// See the module's documentation.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Cursors {
    head: AtomicU64,
    writer: AtomicU64,
    pub(super) seats_used: AtomicU64,
    messages: BellLine,
    space: BellLine,
    pub(super) seats: [Seat; MAX_READERS],
}

#[allow(unsafe_code, reason = "marks a type that lives in shared memory")]
// SAFETY: `repr(C)` over atomics; what lies between them to fill cache lines is never read or written.
unsafe impl Shared for Cursors {}

/// What a reader finds at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Message,
    Nothing,
    Closed,
}

/// What holds the writer back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    /// The oldest message that somebody may still read; the position asked about if there is nobody.
    pub(super) oldest: u64,
    /// Seats that are taken or kept.
    pub(super) readers: usize,
}

impl Cursors {
    // --- the writer's end -----------------------------------------------------------------------------------------------------

    /// Takes the writer's end if nobody who lives has it. Returns the position of the next message.
    pub(super) fn claim(&self, me: u64, is_gone: impl Fn(u64) -> bool) -> Result<u64> {
        let mut seen = self.writer.load(Ordering::Acquire);
        loop {
            if self.head.load(Ordering::Acquire) & CLOSED != 0 {
                bail!(ChannelClosed, "the channel was closed by its writer");
            }
            if seen != FREE && !is_gone(seen) {
                bail!(
                    AlreadyExists,
                    "the channel already has a writer, process {}",
                    super::identity::pid_of(seen)
                );
            }
            match self
                .writer
                .compare_exchange(seen, me, Ordering::AcqRel, Ordering::Acquire)
            {
                // What the one who is gone published before is ours to go on from: its claim was a release sequence of this word.
                Ok(_) => return Ok(self.head.load(Ordering::Acquire) & !CLOSED),
                Err(now) => seen = now,
            }
        }
    }

    /// Who has the writer's end.
    pub(super) fn writer(&self) -> u64 {
        self.writer.load(Ordering::Acquire)
    }

    /// What the writer, about to write message `position`, must not overwrite.
    pub(super) fn floor(&self, position: u64) -> Result<Floor> {
        // Against the fence of `join`: a reader that this look misses reads a head that is not below our last store to it.
        fence(Ordering::SeqCst);
        let used = self.seats_used.load(Ordering::Relaxed);
        let Some(seats) = usize::try_from(used).ok().and_then(|used| self.seats.get(..used)) else {
            bail!(Corrupt, "a channel with {MAX_READERS} seats says that {used} were used");
        };
        let mut floor = Floor {
            oldest: position,
            readers: 0,
        };
        for seat in seats {
            if seat.who.load(Ordering::Acquire) == FREE {
                continue;
            }
            let tail = seat.tail.load(Ordering::Acquire);
            if tail > position {
                bail!(Corrupt, "a reader of a channel gave back {tail} messages of {position}");
            }
            floor.oldest = floor.oldest.min(tail);
            floor.readers += 1;
        }
        Ok(floor)
    }

    /// Message `position` is written: makes it visible. Returns the position of the next.
    pub(super) fn publish(&self, position: u64) -> u64 {
        self.head.store(position + 1, Ordering::Release);
        fail_point!("channel.write.published");
        self.messages.0.ring();
        position + 1
    }

    /// No message `position` will come.
    pub(super) fn close(&self, position: u64) {
        self.head.store(position | CLOSED, Ordering::Release);
        fail_point!("channel.write.closed");
        self.messages.0.ring();
    }

    /// Takes the seats of readers that are gone from them.
    pub(super) fn evict(&self, is_gone: impl Fn(u64) -> bool) {
        for seat in &self.seats {
            let who = seat.who.load(Ordering::Acquire);
            if who > RESERVED && is_gone(who) {
                // Fails if somebody else took the seat over: then there is nothing to do.
                let _ = seat
                    .who
                    .compare_exchange(who, FREE, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// Rung when a reader gave a slot back.
    pub(super) fn space(&self) -> &Bell {
        &self.space.0
    }

    // --- a reader's end -------------------------------------------------------------------------------------------------------

    /// Takes a seat: one that was kept for a reader, else a free one, else that of a reader that is gone. Returns the seat and the
    /// position of the first message that this reader sees; `None` if all seats are taken.
    pub(super) fn join(&self, me: u64, is_gone: impl Fn(u64) -> bool) -> Option<(usize, u64)> {
        let kept = |who| who == RESERVED;
        let free = |who| who == FREE;
        let left = |who| who > RESERVED && is_gone(who);
        if let Some(index) = self.take_seat(me, kept) {
            fail_point!("channel.read.seated");
            return Some((index, 0));
        }
        let index = self.take_seat(me, free).or_else(|| self.take_seat(me, left))?;
        fail_point!("channel.read.seated");
        // Against the fence of `floor`. The tail in the seat is an earlier reader's, and so not above the head.
        fence(Ordering::SeqCst);
        let next = self.head.load(Ordering::Acquire) & !CLOSED;
        self.release(index, next);
        Some((index, next))
    }

    fn take_seat(&self, me: u64, wanted: impl Fn(u64) -> bool) -> Option<usize> {
        self.seats.iter().enumerate().find_map(|(index, seat)| {
            let who = seat.who.load(Ordering::Acquire);
            if !wanted(who) {
                return None;
            }
            // Before the seat is taken: a writer that misses this number missed the seat too, as the fences have it.
            self.seats_used.fetch_max(index as u64 + 1, Ordering::Relaxed);
            seat.who
                .compare_exchange(who, me, Ordering::AcqRel, Ordering::Relaxed)
                .ok()
                .map(|_| index)
        })
    }

    /// What there is at `next`.
    pub(super) fn next(&self, next: u64, slots: u64) -> Result<Next> {
        let head = self.head.load(Ordering::Acquire);
        let ahead = (head & !CLOSED).wrapping_sub(next);
        if ahead > slots {
            bail!(
                Corrupt,
                "a channel of {slots} slots has {} messages where a reader was at {next}",
                head & !CLOSED
            );
        }
        Ok(match ahead {
            0 if head & CLOSED != 0 => Next::Closed,
            0 => Next::Nothing,
            _ => Next::Message,
        })
    }

    /// The reader in this seat is done with all messages below `tail`.
    pub(super) fn release(&self, seat: usize, tail: u64) {
        self.seats[seat].tail.store(tail, Ordering::Release);
        fail_point!("channel.read.released");
        self.space.0.ring();
    }

    /// Gives the seat back.
    pub(super) fn leave(&self, seat: usize, me: u64) {
        // Fails only if shared memory was scribbled over; then the seat is somebody else's business.
        let _ = self.seats[seat]
            .who
            .compare_exchange(me, FREE, Ordering::Release, Ordering::Relaxed);
        fail_point!("channel.read.left");
        self.space.0.ring();
    }

    /// Rung when there is a message, or the channel was closed.
    pub(super) fn messages(&self) -> &Bell {
        &self.messages.0
    }
}

#[cfg(any(test, loom))]
impl Cursors {
    /// What `Channel::create` writes.
    pub(super) fn new(readers: usize) -> Self {
        Self {
            head: AtomicU64::new(0),
            writer: AtomicU64::new(FREE),
            seats_used: AtomicU64::new(readers as u64),
            messages: BellLine(Bell::new()),
            space: BellLine(Bell::new()),
            seats: std::array::from_fn(|index| Seat {
                who: AtomicU64::new(if index < readers { RESERVED } else { FREE }),
                tail: AtomicU64::new(0),
            }),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const ALIVE: fn(u64) -> bool = |_| false;

    #[test]
    fn expected_readers_start_at_the_first_message_and_later_ones_at_the_next() {
        let cursors = Cursors::new(1);
        assert_eq!(cursors.publish(0), 1);
        assert_eq!(cursors.join(7, ALIVE), Some((0, 0)));
        assert_eq!(cursors.join(7, ALIVE), Some((1, 1)));
        assert_eq!(cursors.floor(1).unwrap(), Floor { oldest: 0, readers: 2 });
        cursors.release(0, 1);
        cursors.leave(1, 7);
        assert_eq!(cursors.floor(1).unwrap(), Floor { oldest: 1, readers: 1 });
    }

    #[test]
    fn the_seats_run_out_and_those_of_the_dead_are_taken_over() {
        let cursors = Cursors::new(0);
        for index in 0..MAX_READERS {
            assert_eq!(cursors.join(index as u64 + 10, ALIVE), Some((index, 0)));
        }
        assert_eq!(cursors.join(5, ALIVE), None);
        assert_eq!(cursors.join(5, |who| who == 12), Some((2, 0)));
        cursors.evict(|who| who != 5);
        assert_eq!(cursors.floor(0).unwrap().readers, 1);
    }

    #[test]
    fn one_writer_at_a_time_and_none_after_the_end() {
        let cursors = Cursors::new(0);
        assert_eq!(cursors.claim(7, ALIVE).unwrap(), 0);
        assert_eq!(cursors.claim(8, ALIVE).unwrap_err().kind(), ErrorKind::AlreadyExists);
        cursors.publish(0);
        assert_eq!(cursors.claim(8, |who| who == 7).unwrap(), 1);
        cursors.close(1);
        assert_eq!(cursors.claim(9, |_| true).unwrap_err().kind(), ErrorKind::ChannelClosed);
        assert_eq!(cursors.next(0, 4).unwrap(), Next::Message);
        assert_eq!(cursors.next(1, 4).unwrap(), Next::Closed);
    }
}

/// Slots that loom watches beside the cursors: hand-over, a full ring, the end, two readers, joining in mid-stream.
#[cfg(all(test, loom))]
#[allow(unsafe_code, reason = "touches slots as the cursors allow; loom checks that they do")]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    const WRITER: u64 = 9;

    /// Cursors and slots; loom reports any access to a slot that the cursors do not order.
    struct Ring {
        cursors: Cursors,
        slots: Vec<UnsafeCell<u64>>,
    }
    // SAFETY: who may touch a slot is what these models are about; loom itself checks it.
    unsafe impl Sync for Ring {}
    // SAFETY: as above.
    unsafe impl Send for Ring {}

    impl Ring {
        fn new(slots: usize, readers: usize) -> Arc<Self> {
            Arc::new(Self {
                cursors: Cursors::new(readers),
                slots: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
            })
        }

        fn slot(&self, position: u64) -> &UnsafeCell<u64> {
            &self.slots[usize::try_from(position).unwrap() % self.slots.len()]
        }

        /// Writes messages 0.. whose value is their number + 1, keeping the floor as the writer does, and closes.
        fn write(&self, count: u64) {
            let mut position = self.cursors.claim(WRITER, |_| false).unwrap();
            let mut floor = 0;
            while position < count {
                let full = |floor| position - floor >= self.slots.len() as u64;
                let look = || self.cursors.floor(position).unwrap().oldest;
                while full(floor) {
                    floor = look();
                    if full(floor) {
                        let ticket = self.cursors.space().arm();
                        floor = look();
                        if full(floor) {
                            self.cursors.space().sleep(ticket, None);
                        }
                    }
                }
                // SAFETY: loom checks that nobody else is at this slot.
                self.slot(position).with_mut(|slot| unsafe { *slot = position + 1 });
                position = self.cursors.publish(position);
            }
            self.cursors.close(position);
        }

        /// Reads until the end; returns how many messages there were. Each must be the one that is due.
        fn read(&self, me: u64) -> u64 {
            let (seat, mut next) = self.cursors.join(me, |_| false).unwrap();
            let (first, slots) = (next, self.slots.len() as u64);
            loop {
                match self.cursors.next(next, slots).unwrap() {
                    Next::Closed => break,
                    Next::Message => {
                        // SAFETY: loom checks that the writer is not at this slot.
                        let value = self.slot(next).with(|slot| unsafe { *slot });
                        assert_eq!(value, next + 1);
                        next += 1;
                        self.cursors.release(seat, next);
                    }
                    Next::Nothing => {
                        let ticket = self.cursors.messages().arm();
                        if self.cursors.next(next, slots).unwrap() == Next::Nothing {
                            self.cursors.messages().sleep(ticket, None);
                        }
                    }
                }
            }
            self.cursors.leave(seat, me);
            next - first
        }
    }

    #[test]
    fn loom_channel_hands_over_with_wrap_full_ring_and_close() {
        loom::model(|| {
            let ring = Ring::new(1, 1);
            let reader = {
                let ring = ring.clone();
                thread::spawn(move || ring.read(2))
            };
            ring.write(2);
            assert_eq!(reader.join().unwrap(), 2);
        });
    }

    #[test]
    fn loom_channel_two_slots_wrap() {
        loom::model(|| {
            let ring = Ring::new(2, 1);
            let reader = {
                let ring = ring.clone();
                thread::spawn(move || ring.read(2))
            };
            ring.write(3);
            assert_eq!(reader.join().unwrap(), 3);
        });
    }

    #[test]
    fn loom_channel_waits_for_the_slower_of_two_readers() {
        // Three threads: with one preemption less than the other models it takes a second instead of minutes.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(1);
        model.check(|| {
            let ring = Ring::new(1, 2);
            let readers: Vec<_> = (2..4)
                .map(|me| {
                    let ring = ring.clone();
                    thread::spawn(move || ring.read(me))
                })
                .collect();
            ring.write(2);
            for reader in readers {
                assert_eq!(reader.join().unwrap(), 2);
            }
        });
    }

    /// A reader that nobody expected joins while the writer overwrites: it sees some last part of the messages, each whole.
    #[test]
    fn loom_channel_joins_in_mid_stream() {
        loom::model(|| {
            let ring = Ring::new(1, 0);
            let reader = {
                let ring = ring.clone();
                thread::spawn(move || ring.read(2))
            };
            ring.write(2);
            assert!(reader.join().unwrap() <= 2);
        });
    }

    /// A seat is left and taken again while the writer looks: the old tail may hold it back, and never lets it pass.
    #[test]
    fn loom_channel_takes_a_seat_over() {
        loom::model(|| {
            let ring = Ring::new(1, 1);
            let reader = {
                let ring = ring.clone();
                thread::spawn(move || {
                    let (seat, _) = ring.cursors.join(2, |_| false).unwrap();
                    ring.cursors.leave(seat, 2);
                    ring.read(3)
                })
            };
            ring.write(2);
            assert!(reader.join().unwrap() <= 2);
        });
    }
}
