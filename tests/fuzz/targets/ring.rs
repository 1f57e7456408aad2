//! A ring whose cursors and words are garbage: reading ends, and finds records that lie inside.

use std::sync::atomic::{AtomicU64, Ordering};

use park_core::ParticipantId;
use park_core::sync::ring::{Ring, RingCursors, RingReader};

use super::input::Input;

const WORDS: usize = 64;
const CURSORS: usize = size_of::<RingCursors>() / 8;

pub(crate) fn target(data: &[u8]) {
    let memory: Vec<AtomicU64> = (0..CURSORS + WORDS).map(|_| AtomicU64::new(0)).collect();
    // SAFETY: `repr(C)` over atomics, for which any bits are valid; the words are as long and as aligned.
    let cursors = unsafe { &*memory.as_ptr().cast::<RingCursors>() };
    let ring = Ring::new(cursors, &memory[CURSORS..]);
    let mut input = Input::new(data);
    let mut reader = RingReader::new(ring);
    while !input.is_empty() {
        match input.byte() % 6 {
            0 => {
                let at = 1 + usize::from(input.byte()) % (memory.len() - 1);
                memory[at].store(input.number(), Ordering::Relaxed);
            }
            // Lock and closed: a lock that names nobody alive, so that none waits ten seconds for it.
            1 => memory[0].store(input.number() << 16, Ordering::Relaxed),
            2 => {
                let len = usize::from(input.byte());
                let _ = ring.push(ParticipantId(1), |_| true, input.bytes(len));
            }
            3 => {
                if let Ok(Some((position, record))) = reader.next(ring) {
                    assert!(record.len() <= WORDS * 8);
                    let _ = reader.finish(ring, position);
                }
            }
            4 => {
                let left = ring.unfinished().map(|records| records.len()).unwrap_or(0);
                assert!(left <= WORDS);
            }
            _ => reader = RingReader::new(ring),
        }
    }
}
