//! Loom models of the cursors, with slots that loom watches: hand-over, a full ring, the end, two readers, joining in mid-stream.
#![allow(unsafe_code, reason = "touches slots as the cursors allow; loom checks that they do")]

use super::cursors::{Cursors, Next};
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
