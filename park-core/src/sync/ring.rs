//! A ring of records in shared memory: many producers, one consumer, and a record stays in the ring until its work is done.
//!
//! ```text
//! lock    u32  RobustMutex among producers
//! closed  u32  1: pushes are refused. Written under `lock`.
//! head    u64  words ever written.  Written by a producer under `lock` (Release), read by the consumer (Acquire).
//! tail    u64  words given back.    Written by the consumer (Release), read by producers (Acquire).
//! space   Doorbell, rung when `tail` moves
//! words   [u64; capacity]; position p lives at p % capacity
//! ```
//! A record is a header word `LIVE|DONE|PAD|KEPT in the top byte, length in bytes below` and its payload in words; it never wraps (a
//! PAD record fills the end). A producer writes payload and header *before* it moves `head`, all under the lock: killed at any
//! instruction, it leaves either no record or a whole one, so no hole can exist and a recovered lock needs no repair.
//!
//! The consumer keeps its read position to itself. It copies a record out, does the work, and only then marks the header DONE
//! (Release) and moves `tail` over the leading DONE records. If the consumer is killed, whatever lies between `tail` and `head`
//! and is not DONE was never finished: the head reads it with `unfinished` and retries it or raises it. Nothing is lost.
//!
//! Work may go on for ever while later work comes and ends, and `tail` would stay before it. So the consumer may *carry* records that
//! it has read and not finished: it pushes a KEPT copy, whose first payload word is the position of the original, and then marks the
//! original DONE. A reader passes over KEPT records, for they were read before. If the consumer is killed between the two steps both
//! are there, and `unfinished` returns one: a KEPT record counts unless its original does. Positions are never used twice, so a
//! position below `tail` is one that is gone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use super::{Doorbell, RobustGuard, RobustMutex, Shared};
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::sys::failpoint::fail_point;

const LIVE: u64 = 1 << 56;
const DONE: u64 = 2 << 56;
const PAD: u64 = 3 << 56;
const KEPT: u64 = 4 << 56;
const KIND: u64 = 0xff << 56;

/// The shared cursors of a ring.
#[derive(Debug)]
#[repr(C)]
pub struct RingCursors {
    lock: RobustMutex,
    closed: AtomicU32,
    head: AtomicU64,
    tail: AtomicU64,
    space: Doorbell,
}

// SAFETY: `repr(C)` over `Shared` fields without padding (4 + 4 + 8 + 8 + 8 bytes).
unsafe impl Shared for RingCursors {}

/// A ring seen by one process: cursors and words.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    cursors: &'a RingCursors,
    words: &'a [AtomicU64],
}

/// Why a push did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room now.
    Full,
    /// The consumer is gone.
    Closed,
    /// The record can never fit.
    TooLong,
}

/// Where a record lies; given back through [`RingReader::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// Words written before the record.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

fn words_for(bytes: usize) -> u64 {
    1 + bytes.div_ceil(8) as u64
}

impl<'a> Ring<'a> {
    /// A view of the ring over its cursors and words.
    pub fn new(cursors: &'a RingCursors, words: &'a [AtomicU64]) -> Self {
        Self { cursors, words }
    }

    fn capacity(&self) -> u64 {
        self.words.len() as u64
    }

    fn word(&self, position: u64) -> &'a AtomicU64 {
        // The remainder is below `words.len()`, which is a `usize`.
        #[allow(clippy::cast_possible_truncation, reason = "bounded by words.len()")]
        &self.words[(position % self.capacity()) as usize]
    }

    /// The longest record that is accepted, in bytes: a quarter of the ring, so that padding can never starve it.
    pub fn max_record(&self) -> usize {
        (self.words.len() / 4).saturating_sub(1) * 8
    }

    /// Appends one record, or says why not. Never blocks on the consumer.
    pub fn push(
        &self,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        record: &[u8],
    ) -> Result<(), PushError> {
        self.push_with(me, is_dead, record, |_| {}, |_| {})
    }

    /// As `push`. `written` is told where the record lies before it is published; `recovered` is told where the head stands if the
    /// lock was taken over from a dead process. Both run under the lock.
    pub(crate) fn push_with(
        &self,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        record: &[u8],
        written: impl FnOnce(u64),
        recovered: impl FnOnce(u64),
    ) -> Result<(), PushError> {
        self.append(LIVE, me, is_dead, record, written, recovered)
    }

    fn append(
        &self,
        kind: u64,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        record: &[u8],
        written: impl FnOnce(u64),
        recovered: impl FnOnce(u64),
    ) -> Result<(), PushError> {
        if record.len() > self.max_record() {
            return Err(PushError::TooLong);
        }
        let Ok(_guard) = self.lock_settled(me, is_dead, recovered) else {
            return Err(PushError::Closed);
        };
        fail_point!("ring.push.locked");
        if self.cursors.closed.load(Ordering::Relaxed) != 0 {
            return Err(PushError::Closed);
        }
        let need = words_for(record.len());
        let head = self.cursors.head.load(Ordering::Relaxed);
        let tail = self.cursors.tail.load(Ordering::Acquire);
        let to_end = self.capacity() - head % self.capacity();
        let pad = if need > to_end { to_end } else { 0 };
        if head.wrapping_sub(tail).saturating_add(pad + need) > self.capacity() {
            return Err(PushError::Full);
        }
        if pad > 0 {
            self.word(head).store(PAD | ((pad - 1) * 8), Ordering::Relaxed);
        }
        let start = head.wrapping_add(pad);
        let mut chunks = record.chunks_exact(8);
        let mut at = start.wrapping_add(1);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.word(at).store(u64::from_le_bytes(word), Ordering::Relaxed);
            at = at.wrapping_add(1);
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(at).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.word(start).store(kind | record.len() as u64, Ordering::Relaxed);
        written(start);
        fail_point!("ring.push.written");
        // Publishes header and payload together.
        self.cursors.head.store(start.wrapping_add(need), Ordering::Release);
        Ok(())
    }

    /// Takes the lock once, so that nobody is in the middle of a push and no dead process is its owner; returns where the head
    /// stands. `recovered` as for `push_with`.
    pub(crate) fn settle(
        &self,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        recovered: impl FnOnce(u64),
    ) -> Result<u64> {
        let _guard = self.lock_settled(me, is_dead, recovered)?;
        Ok(self.cursors.head.load(Ordering::Relaxed))
    }

    /// A recovered lock needs no repair, `head` only moves over whole records; but what its owner was about is said to `recovered`.
    fn lock_settled(
        &self,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        recovered: impl FnOnce(u64),
    ) -> Result<RobustGuard<'_>> {
        let guard = self.cursors.lock.lock(me, is_dead)?;
        if guard.recovered() {
            recovered(self.cursors.head.load(Ordering::Relaxed));
        }
        Ok(guard)
    }

    /// Whether a dead consumer had marked the record at `place` as done.
    pub(crate) fn is_finished(&self, place: u64) -> bool {
        place < self.cursors.tail.load(Ordering::Acquire) || self.word(place).load(Ordering::Acquire) & KIND == DONE
    }

    /// Waits until the consumer gave back room, at most `timeout`. For producers that got `Full`.
    pub fn wait_for_space(&self, need: usize, timeout: Duration) {
        let ticket = self.cursors.space.ticket();
        let used = self
            .cursors
            .head
            .load(Ordering::Relaxed)
            .wrapping_sub(self.cursors.tail.load(Ordering::Acquire));
        if used.saturating_add(2 * words_for(need)) > self.capacity() {
            self.cursors.space.wait(ticket, Some(timeout));
        }
    }

    /// Whether there is nothing that `reader` has not seen.
    pub fn is_empty_for(&self, reader: &RingReader) -> bool {
        self.cursors.head.load(Ordering::Acquire) == reader.next
    }

    /// Refuses further pushes. Everything pushed before is visible afterwards.
    /// `recovered` as for `push_with`.
    pub(crate) fn close(
        &self,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        recovered: impl FnOnce(u64),
    ) {
        // Where the lock cannot be had no producer gets it either: nothing is being pushed.
        let _guard = self.lock_settled(me, is_dead, recovered);
        self.cursors.closed.store(1, Ordering::Relaxed);
        fail_point!("ring.close.closed");
        self.cursors.space.ring();
    }

    /// Empties the ring and accepts pushes again. Only for a ring whose consumer is gone and whose records were taken.
    /// `recovered` as for `push_with`.
    pub(crate) fn reopen(
        &self,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        recovered: impl FnOnce(u64),
    ) {
        // As in `close`.
        let _guard = self.lock_settled(me, is_dead, recovered);
        let head = self.cursors.head.load(Ordering::Relaxed);
        self.cursors.tail.store(head, Ordering::Release);
        fail_point!("ring.reopen.emptied");
        self.cursors.closed.store(0, Ordering::Relaxed);
        self.cursors.space.reset();
    }

    /// Words between the oldest record that is not finished and the newest.
    fn used(&self) -> u64 {
        let tail = self.cursors.tail.load(Ordering::Acquire);
        self.cursors.head.load(Ordering::Acquire).wrapping_sub(tail)
    }

    /// Whether so much is under way that a record had better be short.
    pub(crate) fn is_crowded(&self) -> bool {
        self.used() > self.capacity() / CROWDED
    }

    /// The records that a dead consumer did not finish, oldest first. The ring must be closed.
    pub fn unfinished(&self) -> Result<Vec<Vec<u8>>> {
        let mut at = self.cursors.tail.load(Ordering::Acquire);
        let mut records = Vec::new();
        let mut seen = HashSet::new();
        loop {
            // Again and again, for whoever looks at the ring of a living consumer: a copy is published before its original is done.
            let head = self.cursors.head.load(Ordering::Acquire);
            if at == head {
                return Ok(records);
            }
            while at != head {
                let (kind, len) = self.header(at, head)?;
                match kind {
                    LIVE => {
                        seen.insert(at);
                        records.push(self.copy(at, len));
                    }
                    KEPT => {
                        let (original, record) = self.kept(at, len)?;
                        if !seen.contains(&original) {
                            seen.insert(at);
                            records.push(record);
                        }
                    }
                    _ => {}
                }
                at = at.wrapping_add(words_for(len));
            }
        }
    }

    /// Where the original of a KEPT record was, and the record.
    fn kept(&self, at: u64, len: usize) -> Result<(u64, Vec<u8>)> {
        let bytes = self.copy(at, len);
        match bytes.split_first_chunk::<8>() {
            Some((original, record)) => Ok((u64::from_le_bytes(*original), record.to_vec())),
            None => bail!(
                Corrupt,
                "ring record at {at} is a copy of {len} bytes, too short to say of what"
            ),
        }
    }

    fn header(&self, at: u64, head: u64) -> Result<(u64, usize)> {
        let header = self.word(at).load(Ordering::Acquire);
        let (kind, len) = (header & KIND, header & !KIND);
        let left = head.wrapping_sub(at);
        // Checked because the words are writable by every process of the session.
        if left > self.capacity()
            || !matches!(kind, LIVE | DONE | PAD | KEPT)
            || len / 8 >= left
            || len > self.capacity() * 8
        {
            bail!(
                Corrupt,
                "ring record at {at} has header {header:#x}, with {left} words before the head"
            );
        }
        #[allow(clippy::cast_possible_truncation, reason = "bounded by the ring's size just above")]
        Ok((kind, len as usize))
    }

    fn copy(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
        for word in 0..len.div_ceil(8) as u64 {
            bytes.extend_from_slice(
                &self
                    .word(at.wrapping_add(1 + word))
                    .load(Ordering::Relaxed)
                    .to_le_bytes(),
            );
        }
        bytes.truncate(len);
        bytes
    }
}

/// Records are carried when more than one part in so many of the ring lies between the oldest that is not finished and the newest...
const LONG: u64 = 2;
/// ...if those that are not finished take at most one part in so many: else carrying them gains little.
const FEW: u64 = 4;
/// One part in so many is in use: records had better be short.
const CROWDED: u64 = 8;

/// The consumer's private side: what it has read, and what of that is not finished yet.
#[derive(Debug)]
pub struct RingReader {
    next: u64,
    /// Words of records that were read and are not finished.
    open: u64,
    /// Where carried records are now, by where they were read, and back.
    carried: HashMap<u64, u64>,
    origins: HashMap<u64, u64>,
    /// Records whose end is being written down, by where they are now: they stay where they are.
    ending: Vec<u64>,
}

impl RingReader {
    /// A reader that starts at the oldest record.
    pub fn new(ring: Ring<'_>) -> Self {
        Self {
            next: ring.cursors.tail.load(Ordering::Acquire),
            open: 0,
            carried: HashMap::new(),
            origins: HashMap::new(),
            ending: Vec::new(),
        }
    }

    /// Copies the next record out, if there is one. It stays in the ring until `finish`.
    pub fn next(&mut self, ring: Ring<'_>) -> Result<Option<(Position, Vec<u8>)>> {
        let head = ring.cursors.head.load(Ordering::Acquire);
        while self.next != head {
            let at = self.next;
            let (kind, len) = ring.header(at, head)?;
            self.next = at.wrapping_add(words_for(len));
            if kind == LIVE {
                self.open += words_for(len);
                return Ok(Some((Position(at), ring.copy(at, len))));
            }
        }
        Ok(None)
    }

    /// The record that was read at `position` is about to be finished: where it is now, and stays.
    pub(crate) fn settle(&mut self, position: Position) -> Position {
        let now = self.carried.get(&position.0).copied().unwrap_or(position.0);
        self.ending.push(now);
        Position(now)
    }

    /// Marks a record's work as done and gives back the room of all leading finished records. `position` is where it is now.
    pub fn finish(&mut self, ring: Ring<'_>, position: Position) -> Result<()> {
        let header = ring.word(position.0).load(Ordering::Relaxed);
        ring.word(position.0).store(DONE | header & !KIND, Ordering::Release);
        fail_point!("ring.finish.marked");
        self.ending.retain(|ending| *ending != position.0);
        if let Some(origin) = self.origins.remove(&position.0) {
            self.carried.remove(&origin);
        }
        let words = usize::try_from(header & !KIND).map_or(0, words_for);
        self.open = self.open.saturating_sub(words);
        self.give_back(ring)
    }

    /// Whether the oldest work holds up much of the ring, and `carry` would help.
    pub(crate) fn is_held_up(&self, ring: Ring<'_>) -> bool {
        ring.used() > ring.capacity() / LONG && self.open <= ring.capacity() / FEW
    }

    /// Makes room if the oldest work holds much of it up: see the module's documentation. `recovered` as for `push_with`.
    pub(crate) fn carry(
        &mut self,
        ring: Ring<'_>,
        me: ParticipantId,
        is_dead: impl Fn(ParticipantId) -> bool,
        recovered: impl Fn(u64),
    ) -> Result<()> {
        let upto = self.next;
        while self.is_held_up(ring) {
            let at = ring.cursors.tail.load(Ordering::Relaxed);
            if at == upto || self.ending.contains(&at) {
                break;
            }
            let (kind, len) = ring.header(at, upto)?;
            let record = match kind {
                LIVE => ring.copy(at, len),
                KEPT => ring.kept(at, len)?.1,
                // Its end was written down and its room not given back yet.
                _ => break,
            };
            let mut copy = at.to_le_bytes().to_vec();
            copy.extend_from_slice(&record);
            let mut place = 0;
            if ring
                .append(KEPT, me, &is_dead, &copy, |start| place = start, &recovered)
                .is_err()
            {
                // No room for the copy, or the head has closed the ring.
                break;
            }
            fail_point!("ring.carry.copied");
            ring.word(at).store(DONE | len as u64, Ordering::Release);
            fail_point!("ring.carry.marked");
            let origin = self.origins.remove(&at).unwrap_or(at);
            self.origins.insert(place, origin);
            self.carried.insert(origin, place);
            self.open += words_for(copy.len());
            self.open = self.open.saturating_sub(words_for(len));
            self.give_back(ring)?;
        }
        Ok(())
    }

    fn give_back(&self, ring: Ring<'_>) -> Result<()> {
        let mut tail = ring.cursors.tail.load(Ordering::Relaxed);
        let before = tail;
        while tail != self.next {
            let (kind, len) = ring.header(tail, self.next)?;
            if matches!(kind, LIVE | KEPT) {
                break;
            }
            tail = tail.wrapping_add(words_for(len));
        }
        if tail != before {
            ring.cursors.tail.store(tail, Ordering::Release);
            fail_point!("ring.finish.moved");
            ring.cursors.space.ring();
        }
        Ok(())
    }
}

#[cfg(any(test, loom))]
impl RingCursors {
    pub(crate) fn new() -> Self {
        Self {
            lock: RobustMutex::new(),
            closed: AtomicU32::new(0),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            space: Doorbell::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_ring_two_producers_one_consumer() {
        loom::model(|| {
            let shared = Arc::new((
                RingCursors::new(),
                (0..16).map(|_| AtomicU64::new(0)).collect::<Vec<_>>(),
                Doorbell::new(),
            ));
            let producers: Vec<_> = (1u8..3)
                .map(|me| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let ring = Ring::new(&shared.0, &shared.1);
                        ring.push(ParticipantId(me.into()), |_| false, &[me; 8]).unwrap();
                        shared.2.ring();
                    })
                })
                .collect();
            let ring = Ring::new(&shared.0, &shared.1);
            let mut reader = RingReader::new(ring);
            let mut seen = 0;
            while seen < 2 {
                let ticket = shared.2.ticket();
                match reader.next(ring).unwrap() {
                    Some((position, record)) => {
                        assert!(record == [1; 8] || record == [2; 8]);
                        reader.finish(ring, position).unwrap();
                        seen += 1;
                    }
                    None => {
                        shared.2.wait(ticket, None);
                    }
                }
            }
            for producer in producers {
                producer.join().unwrap();
            }
            assert!(ring.unfinished().unwrap().is_empty());
        });
    }
}
