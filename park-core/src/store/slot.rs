//! The object slot and the transitions of its state word; store/README.md is the protocol.

use crate::error::{Error, ErrorKind, Result};
use crate::id::ParticipantId;
use crate::sync::Shared;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::failpoint::fail_point;

/// Payloads of up to this many bytes live in the slot.
pub(crate) const INLINE_BYTES: usize = 64;

/// What `block` counts: the arena's granule, 64 bytes.
pub(crate) const BLOCK_UNIT: u64 = 64;

/// Somebody waits for the object.
pub(crate) const WATCHED: u8 = 1;
/// The object was promised before it was written.
pub(crate) const PROMISED: u8 = 2;
/// Somebody wants the object, which is on disk, back in memory.
pub(crate) const WANTED: u8 = 4;
/// The object was looked at since the clock's hand last came by (evict/clock.rs).
pub(crate) const TOUCHED: u8 = 8;
/// The object was lost on disk and is made a second time: who found it sealed before may find it PENDING now.
pub(crate) const REMADE: u8 = 16;

/// Where an object is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Free = 0,
    Cached = 1,
    Pending = 2,
    Writing = 3,
    // The four in which the object exists, next to each other: `is_sealed` is one comparison.
    Sealed = 4,
    Evicting = 5,
    Spilled = 6,
    Restoring = 7,
    Freeing = 8,
}

/// The state word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) generation: u32,
    pub(crate) owner: ParticipantId,
    pub(crate) flags: u8,
    pub(crate) phase: Phase,
}

impl State {
    pub(crate) fn encode(self) -> u64 {
        u64::from(self.generation) << 32
            | u64::from(self.owner.0) << 16
            | u64::from(self.flags) << 8
            | self.phase as u64
    }

    /// Reads a word that any process may have written.
    pub(crate) fn decode(word: u64) -> Result<Self> {
        let [phase, flags, owner_low, owner_high, generation @ ..] = word.to_le_bytes();
        let phase = match phase {
            0 => Phase::Free,
            1 => Phase::Cached,
            2 => Phase::Pending,
            3 => Phase::Writing,
            4 => Phase::Sealed,
            5 => Phase::Evicting,
            6 => Phase::Spilled,
            7 => Phase::Restoring,
            8 => Phase::Freeing,
            _ => {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("object slot has state word {word:#018x}"),
                ));
            }
        };
        let owner = ParticipantId(u16::from_le_bytes([owner_low, owner_high]));
        Ok(Self {
            generation: u32::from_le_bytes(generation),
            owner,
            flags,
            phase,
        })
    }
}

/// What a waiter found when it asked to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// It will be rung when the object is sealed.
    Armed,
    /// The object is sealed.
    Ready,
    /// This generation of the slot is over.
    Gone,
}

/// What a reader found when it asked for an object to be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// It is.
    Here,
    /// It is on disk; the wish is noted, and the reader is rung when it is back.
    Asked,
    /// It is on its way out or back; noted as well.
    Moving,
    /// It is not made yet.
    Open,
    /// This generation of the slot is over.
    Gone,
}

/// One entry of the object table.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    state: AtomicU64,
    pub(crate) counts: AtomicU64,
    pub(crate) claim: AtomicU64,
    pub(crate) watch: AtomicU64,
    pub(crate) offset: AtomicU64,
    pub(crate) len: AtomicU64,
    pub(crate) meta: AtomicU32,
    pub(crate) nested: AtomicU32,
    pub(crate) block: AtomicU32,
    pub(crate) born: AtomicU32,
    pub(crate) inline: [AtomicU64; INLINE_BYTES / 8],
}

#[allow(unsafe_code, reason = "marks a type that lives in shared memory")]
// SAFETY: `repr(C)` over atomics; the assertion below pins the size, so there is no padding.
unsafe impl Shared for Slot {}

#[cfg(not(loom))]
const _: () =
    assert!(size_of::<Slot>() as u64 == crate::shm::layout::SLOT_BYTES && std::mem::offset_of!(Slot, inline) == 64);

impl Slot {
    /// The next free slot + 1. FREE slots keep it in the word that counts nested references otherwise.
    pub(crate) fn next_free(&self) -> &AtomicU32 {
        &self.nested
    }

    /// Bytes of the arena block lent to this slot.
    pub(crate) fn block_bytes(&self) -> u64 {
        u64::from(self.block.load(Ordering::Relaxed)) * BLOCK_UNIT
    }

    /// The state, with everything the last writer published.
    pub(crate) fn state(&self) -> Result<State> {
        State::decode(self.state.load(Ordering::Acquire))
    }

    /// Whether generation `generation` is sealed, in memory or on disk: the hot check, one load.
    pub(crate) fn is_sealed(&self, generation: u32) -> bool {
        let word = self.state.load(Ordering::Acquire);
        let exists = (word & 0xff).wrapping_sub(Phase::Sealed as u64) <= Phase::Restoring as u64 - Phase::Sealed as u64;
        word >> 32 == u64::from(generation) && exists
    }

    /// Whether it is sealed and in memory. SeqCst: with the pin that went before, this decides whether the bytes stay (`Store::pin`).
    pub(crate) fn is_resident(&self, generation: u32) -> bool {
        let word = self.state.load(Ordering::SeqCst);
        word >> 32 == u64::from(generation) && word & 0xff == Phase::Sealed as u64
    }

    /// Whether it was lost on disk and is made again now.
    pub(crate) fn is_remade(&self, generation: u32) -> bool {
        self.state().is_ok_and(|seen| {
            seen.generation == generation
                && seen.flags & REMADE != 0
                && matches!(seen.phase, Phase::Pending | Phase::Writing)
        })
    }

    /// Marks a sealed object as looked at. A load, mostly: the mark is set once a round of the clock's hand.
    pub(crate) fn touch(&self, generation: u32) {
        let word = self.state.load(Ordering::Relaxed);
        let sealed = word >> 32 == u64::from(generation) && word & 0xff == Phase::Sealed as u64;
        if sealed && word & u64::from(TOUCHED) << 8 == 0 {
            // If that fails somebody else changed the word, and the mark is only a hint.
            let marked = word | u64::from(TOUCHED) << 8;
            let _ = self
                .state
                .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Clears flags of generation `generation`; returns those it had.
    pub(crate) fn clear_flags(&self, generation: u32, flags: u8) -> u8 {
        while let Ok(seen) = self.state() {
            if seen.generation != generation {
                return 0;
            }
            let cleared = State {
                flags: seen.flags & !flags,
                ..seen
            };
            if seen == cleared || self.advance(seen, cleared) {
                return seen.flags;
            }
        }
        0
    }

    /// Moves generation `generation` from one phase to another, whatever its flags are, and clears some of them. Returns those it had,
    /// or `None` if it is in another phase. SeqCst, for the same reason as `is_resident`.
    pub(crate) fn shift(&self, generation: u32, from: Phase, to: Phase, clear: u8) -> Option<u8> {
        loop {
            let seen = self.state().ok()?;
            if seen.generation != generation || seen.phase != from {
                return None;
            }
            let moved = State {
                flags: seen.flags & !clear,
                phase: to,
                ..seen
            };
            if self
                .state
                .compare_exchange(seen.encode(), moved.encode(), Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
            {
                return Some(seen.flags);
            }
        }
    }

    /// Moves from exactly `from` to `to`. False if another process was first.
    pub(crate) fn advance(&self, from: State, to: State) -> bool {
        self.state
            .compare_exchange(from.encode(), to.encode(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Sets the state of a slot that nobody else may touch now (CACHED by the caller, or under the free-list lock).
    pub(crate) fn assign(&self, to: State) {
        self.state.store(to.encode(), Ordering::Release);
    }

    /// PENDING -> WRITING(me), keeping the flags. False if the object was sealed, is being written, or is gone.
    pub(crate) fn begin_promised(&self, generation: u32, me: ParticipantId) -> Result<bool> {
        loop {
            let seen = self.state()?;
            if seen.generation != generation || seen.phase != Phase::Pending {
                return Ok(false);
            }
            if self.advance(
                seen,
                State {
                    owner: me,
                    phase: Phase::Writing,
                    ..seen
                },
            ) {
                return Ok(true);
            }
        }
    }

    /// WRITING(me) -> SEALED(me). Returns whether somebody waits.
    pub(crate) fn seal(&self, generation: u32, me: ParticipantId) -> Result<bool> {
        loop {
            let seen = self.state()?;
            if seen.generation != generation || seen.phase != Phase::Writing || seen.owner != me {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("sealing an object that is {seen:?}"),
                ));
            }
            if self.advance(
                seen,
                State {
                    flags: seen.flags & !(WATCHED | REMADE) | TOUCHED,
                    phase: Phase::Sealed,
                    ..seen
                },
            ) {
                return Ok(seen.flags & WATCHED != 0);
            }
        }
    }

    /// Asks for a ring when the object is sealed.
    pub(crate) fn watch(&self, generation: u32, me: ParticipantId) -> Result<Watch> {
        let bit = 1u64 << (me.0 % 64);
        // The bit goes first: a sealer that sees WATCHED must also see whom to ring. AcqRel, because the sealer's swap of `watch`
        // either finds the bit, or came before it, and then the state read below is the sealed one.
        if self.watch.load(Ordering::Acquire) & bit == 0 {
            self.watch.fetch_or(bit, Ordering::AcqRel);
            fail_point!("object.watch.noted");
        }
        loop {
            let seen = self.state()?;
            if seen.generation != generation {
                return Ok(Watch::Gone);
            }
            match seen.phase {
                Phase::Sealed | Phase::Evicting | Phase::Spilled | Phase::Restoring => return Ok(Watch::Ready),
                Phase::Pending | Phase::Writing if seen.flags & WATCHED != 0 => return Ok(Watch::Armed),
                Phase::Pending | Phase::Writing => {
                    if self.advance(
                        seen,
                        State {
                            flags: seen.flags | WATCHED,
                            ..seen
                        },
                    ) {
                        fail_point!("object.watch.flagged");
                        return Ok(Watch::Armed);
                    }
                }
                Phase::Free | Phase::Cached | Phase::Freeing => return Ok(Watch::Gone),
            }
        }
    }

    /// Asks for an object that is not in memory to be brought back, and for a ring then.
    pub(crate) fn want(&self, generation: u32, me: ParticipantId) -> Result<Want> {
        let bit = 1u64 << (me.0 % 64);
        // The bit goes first, as in `watch`.
        self.watch.fetch_or(bit, Ordering::AcqRel);
        loop {
            let seen = self.state()?;
            if seen.generation != generation {
                return Ok(Want::Gone);
            }
            let found = match seen.phase {
                Phase::Sealed => return Ok(Want::Here),
                Phase::Spilled => Want::Asked,
                Phase::Evicting | Phase::Restoring => Want::Moving,
                Phase::Pending | Phase::Writing if seen.flags & REMADE != 0 => return Ok(Want::Open),
                _ => return Ok(Want::Gone),
            };
            let noted = State {
                flags: seen.flags | WATCHED | WANTED,
                ..seen
            };
            if seen == noted || self.advance(seen, noted) {
                fail_point!("object.want.flagged");
                return Ok(found);
            }
        }
    }

    /// Everyone to ring after sealing, as bits of participant ids modulo 64.
    pub(crate) fn take_watchers(&self) -> u64 {
        self.watch.swap(0, Ordering::AcqRel)
    }
}

#[cfg(any(test, loom))]
impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            counts: AtomicU64::new(0),
            claim: AtomicU64::new(0),
            watch: AtomicU64::new(0),
            offset: AtomicU64::new(0),
            len: AtomicU64::new(0),
            meta: AtomicU32::new(0),
            nested: AtomicU32::new(0),
            block: AtomicU32::new(0),
            born: AtomicU32::new(0),
            inline: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn state_words_round_trip_and_garbage_is_refused() {
        let state = State {
            generation: 0xdead_beef,
            owner: ParticipantId(1023),
            flags: 7,
            phase: Phase::Freeing,
        };
        assert_eq!(State::decode(state.encode()).unwrap(), state);
        assert_eq!(State::decode(9).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn only_one_producer_wins_a_promise() {
        let slot = Slot::new();
        slot.assign(State {
            generation: 4,
            owner: ParticipantId(0),
            flags: PROMISED,
            phase: Phase::Pending,
        });
        assert!(slot.begin_promised(4, ParticipantId(2)).unwrap());
        assert!(!slot.begin_promised(4, ParticipantId(3)).unwrap());
        assert!(slot.seal(4, ParticipantId(3)).is_err(), "not its writer");
        assert!(!slot.seal(4, ParticipantId(2)).unwrap());
        assert!(slot.is_sealed(4) && !slot.is_sealed(5));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Doorbell;
    use loom::sync::Arc;
    use loom::thread;

    /// A waiter that was told `Armed` is always rung by the sealer, and then reads the payload.
    #[test]
    fn loom_slot_seal_and_watch_never_miss_each_other() {
        loom::model(|| {
            let shared = Arc::new((Slot::new(), Doorbell::new()));
            let me = ParticipantId(2);
            shared.0.assign(State {
                generation: 1,
                owner: me,
                flags: PROMISED,
                phase: Phase::Pending,
            });
            let sealer = {
                let shared = shared.clone();
                thread::spawn(move || {
                    assert!(shared.0.begin_promised(1, me).unwrap());
                    shared.0.len.store(42, Ordering::Relaxed);
                    if shared.0.seal(1, me).unwrap() && shared.0.take_watchers() & 1 << 5 != 0 {
                        shared.1.ring();
                    }
                })
            };
            loop {
                let ticket = shared.1.ticket();
                if shared.0.watch(1, ParticipantId(5)).unwrap() == Watch::Ready {
                    break;
                }
                shared.1.wait(ticket, None);
            }
            assert_eq!(shared.0.len.load(Ordering::Relaxed), 42);
            sealer.join().unwrap();
        });
    }

    /// A warm slot's owner takes it while a starving process cools it: one of them gets the block, the other sees that it did not.
    #[test]
    fn loom_slot_a_warm_block_is_taken_or_cooled() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let warm = State {
                generation: 3,
                owner: ParticipantId(1),
                flags: 0,
                phase: Phase::Cached,
            };
            slot.offset.store(4096, Ordering::Relaxed);
            slot.assign(warm);
            let thief = {
                let slot = slot.clone();
                thread::spawn(move || {
                    let Ok(seen) = slot.state() else { return false };
                    let freeing = State {
                        owner: ParticipantId(2),
                        phase: Phase::Freeing,
                        ..seen
                    };
                    if seen.phase != Phase::Cached || !slot.advance(seen, freeing) {
                        return false;
                    }
                    assert_eq!(slot.offset.swap(0, Ordering::Relaxed), 4096, "released once");
                    slot.assign(State {
                        generation: 4,
                        owner: ParticipantId(2),
                        ..warm
                    });
                    true
                })
            };
            let taken = slot.advance(
                warm,
                State {
                    phase: Phase::Writing,
                    ..warm
                },
            );
            if taken {
                assert_eq!(slot.offset.load(Ordering::Relaxed), 4096);
            }
            assert!(taken != thief.join().unwrap());
        });
    }

    /// Two producers race for one promise (a worker's result against the head's "worker died"): exactly one writes.
    #[test]
    fn loom_slot_two_producers_one_winner() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            slot.assign(State {
                generation: 1,
                owner: ParticipantId(0),
                flags: PROMISED,
                phase: Phase::Pending,
            });
            let race = |me: u16| {
                let slot = slot.clone();
                thread::spawn(move || {
                    let won = slot.begin_promised(1, ParticipantId(me)).unwrap();
                    if won {
                        slot.len.store(me.into(), Ordering::Relaxed);
                        slot.seal(1, ParticipantId(me)).unwrap();
                    }
                    won
                })
            };
            let (a, b) = (race(1), race(2));
            let (a, b) = (a.join().unwrap(), b.join().unwrap());
            assert!(a != b);
            assert!(slot.is_sealed(1));
            assert_eq!(slot.len.load(Ordering::Relaxed), if a { 1 } else { 2 });
        });
    }
}
