//! The ring in one process: order, room, carried records, and what a scribbled word does.

use super::*;
use crate::error::ErrorKind;

fn words(n: usize) -> Vec<AtomicU64> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

const ME: ParticipantId = ParticipantId(2);

#[test]
fn records_come_back_in_order_through_many_wraps() {
    let (cursors, words) = (RingCursors::new(), words(64));
    let ring = Ring::new(&cursors, &words);
    let mut reader = RingReader::new(ring);
    for round in 0..500usize {
        let record = vec![u8::try_from(round % 251).unwrap(); round % ring.max_record()];
        ring.push(ME, |_| false, &record).unwrap();
        let (position, got) = reader.next(ring).unwrap().unwrap();
        assert_eq!(got, record);
        reader.finish(ring, position).unwrap();
    }
}

#[test]
fn room_comes_back_only_when_the_oldest_is_finished() {
    let (cursors, words) = (RingCursors::new(), words(32));
    let ring = Ring::new(&cursors, &words);
    let mut reader = RingReader::new(ring);
    let mut positions = Vec::new();
    while ring.push(ME, |_| false, &[7; 40]).is_ok() {
        positions.push(reader.next(ring).unwrap().unwrap().0);
    }
    assert_eq!(ring.push(ME, |_| false, &[7; 40]), Err(PushError::Full));
    for position in &positions[1..] {
        reader.finish(ring, *position).unwrap();
    }
    assert_eq!(ring.push(ME, |_| false, &[7; 40]), Err(PushError::Full));
    assert_eq!(ring.unfinished().unwrap(), vec![vec![7; 40]]);
    reader.finish(ring, positions[0]).unwrap();
    ring.push(ME, |_| false, &[7; 40]).unwrap();
}

fn carry(reader: &mut RingReader, ring: Ring<'_>) {
    reader.carry(ring, ME, |_| false, |_| {}).unwrap();
}

#[test]
fn work_that_never_ends_is_carried_along() {
    let (cursors, words) = (RingCursors::new(), words(64));
    let ring = Ring::new(&cursors, &words);
    let mut reader = RingReader::new(ring);
    ring.push(ME, |_| false, b"for ever").unwrap();
    let (forever, _) = reader.next(ring).unwrap().unwrap();
    for round in 0..500u64 {
        ring.push(ME, |_| false, &round.to_le_bytes()).unwrap();
        let (position, got) = reader.next(ring).unwrap().unwrap();
        assert_eq!(got, round.to_le_bytes());
        let position = reader.settle(position);
        reader.finish(ring, position).unwrap();
        carry(&mut reader, ring);
        assert_eq!(ring.unfinished().unwrap(), [b"for ever"]);
    }
    let now = reader.settle(forever);
    assert_ne!(now, forever);
    reader.finish(ring, now).unwrap();
    assert!(ring.unfinished().unwrap().is_empty() && reader.next(ring).unwrap().is_none());
    assert!(reader.carried.is_empty() && reader.origins.is_empty() && reader.ending.is_empty());
    assert_eq!(reader.open, 0);
}

#[test]
fn a_copy_and_its_original_count_once() {
    let (cursors, words) = (RingCursors::new(), words(64));
    let ring = Ring::new(&cursors, &words);
    ring.push(ME, |_| false, b"work").unwrap();
    // As a consumer leaves it that is killed between the two steps.
    let mut copy = 0_u64.to_le_bytes().to_vec();
    copy.extend_from_slice(b"work");
    ring.append(KEPT, ME, |_| false, &copy, |_| {}, |_| {}).unwrap();
    assert_eq!(ring.unfinished().unwrap(), [b"work"]);
    words[0].store(DONE | 4, Ordering::Release);
    assert_eq!(ring.unfinished().unwrap(), [b"work"]);
}

#[test]
fn what_is_being_finished_stays_where_it_is() {
    let (cursors, words) = (RingCursors::new(), words(64));
    let ring = Ring::new(&cursors, &words);
    let mut reader = RingReader::new(ring);
    ring.push(ME, |_| false, b"ending").unwrap();
    let (ending, _) = reader.next(ring).unwrap().unwrap();
    let ending = reader.settle(ending);
    while ring.push(ME, |_| false, b"short").is_ok() {
        let (position, _) = reader.next(ring).unwrap().unwrap();
        reader.finish(ring, position).unwrap();
        carry(&mut reader, ring);
    }
    assert_eq!(ring.unfinished().unwrap(), [b"ending"]);
    reader.finish(ring, ending).unwrap();
    ring.push(ME, |_| false, b"room again").unwrap();
}

#[test]
fn a_closed_ring_refuses_and_reopens_empty() {
    let (cursors, words) = (RingCursors::new(), words(32));
    let ring = Ring::new(&cursors, &words);
    ring.push(ME, |_| false, b"left").unwrap();
    ring.close(ME, |_| false, |_| {});
    assert_eq!(ring.push(ME, |_| false, b"late"), Err(PushError::Closed));
    assert_eq!(ring.unfinished().unwrap(), vec![b"left".to_vec()]);
    ring.reopen(ME, |_| false, |_| {});
    assert!(RingReader::new(ring).next(ring).unwrap().is_none());
    ring.push(ME, |_| false, b"new").unwrap();
}

#[test]
fn a_scribbled_header_is_an_error() {
    let (cursors, words) = (RingCursors::new(), words(32));
    let ring = Ring::new(&cursors, &words);
    ring.push(ME, |_| false, b"x").unwrap();
    words[0].store(LIVE | 1 << 40, Ordering::Relaxed);
    assert_eq!(RingReader::new(ring).next(ring).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(ring.unfinished().unwrap_err().kind(), ErrorKind::Corrupt);
}
