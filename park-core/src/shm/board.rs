//! What the processes of a session and its spiller (store/spill/io.rs) tell each other, in the header of the control segment.
//!
//! ```text
//! mode      u32  OFF: nothing is ever spilled. OFFERED: the head will start its thread when asked. RUNNING: it runs.  the head
//! trouble   u32  why the last object could not be spilled: cause:8 | errno:24, 0 none                                 the spiller
//! bell           rung by who joins the line for memory, wants an object back, or freed one that was on disk           all; it sleeps
//! wishes    u32  slots ever entered into `wished`                                                                      who wants (add)
//! freed     u32  objects freed while they were on disk: their files have room to give back                             who frees (add)
//! bytes     u64  bytes on disk                                                                                         the spiller
//! out, back u64  objects ever written to disk, and ever read back                                                      the spiller
//! wished    64 x u32  slot index + 1 of an object that somebody wants back, at `wishes` modulo 64                      who wants; it clears
//! ```
//! `wished` only says where to look. The wish itself is the flag WANTED in the slot's state, set before; whoever finds less in
//! `wished` than `wishes` promises (overrun, or a writer that died in between) looks at every object on disk instead.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Doorbell, Shared};
use crate::sys::failpoint::fail_point;

/// Nothing is ever spilled.
pub const OFF: u32 = 0;
/// The head will start its thread when asked.
pub const OFFERED: u32 = 1;
/// The thread runs.
pub const RUNNING: u32 = 2;

/// The session may not have more on disk.
const LIMIT: u32 = 1 << 24;
/// The system refused a write.
const REFUSED: u32 = 2 << 24;
/// Entries of `wished`.
const WISHES: usize = 64;

/// See the module's documentation.
#[derive(Debug)]
#[repr(C)]
pub struct Board {
    /// `OFF`, `OFFERED` or `RUNNING`.
    pub mode: AtomicU32,
    trouble: AtomicU32,
    /// Where the spiller sleeps when nobody waits for memory.
    pub bell: Doorbell,
    wishes: AtomicU32,
    freed: AtomicU32,
    /// Bytes on disk.
    pub bytes: AtomicU64,
    /// Objects written to disk.
    pub out: AtomicU64,
    /// Objects read back.
    pub back: AtomicU64,
    wished: [AtomicU32; WISHES],
}

// SAFETY: `repr(C)` over `Shared` fields without padding: the size is pinned below.
unsafe impl Shared for Board {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Board>() == 48 + 4 * WISHES);

/// Why nothing more can be spilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The session has as much on disk as it may.
    Limit,
    /// The system refused, with this error number.
    Refused(i32),
}

/// Which objects somebody wants back.
#[derive(Debug, PartialEq, Eq)]
pub enum Wishes {
    /// At most these slots are new.
    These(Vec<u32>),
    /// Any may be.
    Any,
}

impl Board {
    /// Somebody wants the object in this slot back; its state says so already.
    pub fn wish(&self, index: u32) {
        let at = self.wishes.fetch_add(1, Ordering::Relaxed) as usize % WISHES;
        fail_point!("board.wish.counted");
        self.wished[at].store(index.wrapping_add(1), Ordering::Release);
        fail_point!("board.wish.entered");
    }

    /// The wishes since `seen`, which moves on. For the spiller.
    pub fn new_wishes(&self, seen: &mut u32) -> Wishes {
        let now = self.wishes.load(Ordering::Relaxed);
        let count = now.wrapping_sub(*seen);
        let from = std::mem::replace(seen, now);
        if count as usize > WISHES {
            return Wishes::Any;
        }
        let taken = (0..count).map(|n| {
            let at = from.wrapping_add(n) as usize % WISHES;
            self.wished[at].swap(0, Ordering::Acquire).checked_sub(1)
        });
        match taken.collect::<Option<Vec<u32>>>() {
            Some(these) => Wishes::These(these),
            None => Wishes::Any,
        }
    }

    /// An object that was on disk has been freed.
    pub fn count_freed(&self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
        fail_point!("board.freed.counted");
    }

    /// How many that were, modulo 2^32.
    pub fn freed(&self) -> u32 {
        self.freed.load(Ordering::Relaxed)
    }

    /// Why the last object could not be spilled, if so.
    pub fn trouble(&self) -> Option<Trouble> {
        let word = self.trouble.load(Ordering::Relaxed);
        match word & 0xff << 24 {
            LIMIT => Some(Trouble::Limit),
            REFUSED => Some(Trouble::Refused(i32::try_from(word & 0xff_ffff).unwrap_or(0))),
            _ => None,
        }
    }

    /// Says whether spilling works. For the spiller.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        let word = match trouble {
            None => 0,
            Some(Trouble::Limit) => LIMIT,
            Some(Trouble::Refused(errno)) => REFUSED | errno.unsigned_abs() & 0xff_ffff,
        };
        self.trouble.store(word, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limit => f.write_str("the session has as much on disk as it may have"),
            Self::Refused(errno) => write!(
                f,
                "the spill file could not be written: {}",
                std::io::Error::from_raw_os_error(*errno)
            ),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn board() -> Board {
        Board {
            mode: AtomicU32::new(OFF),
            trouble: AtomicU32::new(0),
            bell: Doorbell::new(),
            wishes: AtomicU32::new(u32::MAX - 1),
            freed: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            out: AtomicU64::new(0),
            back: AtomicU64::new(0),
            wished: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    #[test]
    fn wishes_are_found_once_also_past_the_end_of_the_counter() {
        let board = board();
        let mut seen = u32::MAX - 1;
        assert_eq!(board.new_wishes(&mut seen), Wishes::These(vec![]));
        [5, 9, 5].into_iter().for_each(|index| board.wish(index));
        assert_eq!(board.new_wishes(&mut seen), Wishes::These(vec![5, 9, 5]));
        (0..65).for_each(|index| board.wish(index));
        assert_eq!(board.new_wishes(&mut seen), Wishes::Any);
        board.wishes.fetch_add(1, Ordering::Relaxed);
        board.wished.iter().for_each(|entry| entry.store(0, Ordering::Relaxed));
        assert_eq!(board.new_wishes(&mut seen), Wishes::Any, "its writer died in between");
    }

    #[test]
    fn trouble_travels() {
        let board = board();
        for trouble in [None, Some(Trouble::Limit), Some(Trouble::Refused(28))] {
            board.set_trouble(trouble);
            assert_eq!(board.trouble(), trouble);
        }
        assert!(Trouble::Refused(28).to_string().contains("No space left"));
    }
}
