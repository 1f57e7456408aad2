//! Where each section of the control segment lies, and the header that says so to a process that joins.

use super::Segment;
use super::alloc::{self, ArenaRoot};
use super::board::Board;
use super::journal::{Journal, LIST};
use super::participant::Participant;
use crate::error::{Result, bail};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Doorbell, RobustMutex, Shared, WaitingLine};

const MAGIC: u64 = u64::from_le_bytes(*b"PARKSHM1");
const VERSION: u32 = 2;
const PAGE: u64 = 4096;

/// Processes that can take part in one session at once.
pub const MAX_PARTICIPANTS: u32 = 1024;
/// Bytes of each participant's inbound ring.
/// Under shuttle it is small, so that a few records are many.
pub const RING_BYTES: u32 = if cfg!(shuttle) { 4 << 10 } else { 256 << 10 };
/// Bytes of one object slot.
pub const SLOT_BYTES: u64 = 128;

/// The session is in use.
pub const STATE_OPEN: u32 = 0;
/// The session was shut down; nothing new may start.
pub const STATE_CLOSED: u32 = 1;

/// The first two pages of the control segment.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    magic: AtomicU64,
    version: AtomicU32,
    max_objects: AtomicU32,
    session: AtomicU64,
    arena_bytes: AtomicU64,
    max_participants: AtomicU32,
    ring_bytes: AtomicU32,
    /// `STATE_OPEN` or `STATE_CLOSED`; written by the head.
    pub state: AtomicU32,
    /// The head's process id; written once.
    pub head_pid: AtomicU32,
    /// Slots with an index at or above this were never used.
    pub slots_used: AtomicU32,
    /// Participants with an index at or above this were never used.
    pub participants_used: AtomicU32,
    /// Guards `free_slots` and the `next` links of free slots.
    pub free_lock: RobustMutex,
    /// First free slot + 1, or 0.
    pub free_slots: AtomicU32,
    /// Tasks that wait for a worker; written by the head, read by workers to decide whether to report at once.
    pub ready_hint: AtomicU32,
    /// When the session was opened, in seconds of the system's monotonic clock. Written once.
    pub opened: AtomicU32,
    /// Rung when memory or slots come back.
    pub space: Doorbell,
    /// Producers, and objects to be restored, that wait for memory.
    pub line: WaitingLine,
    /// Between the spiller and everyone.
    pub board: Board,
    /// Who brings several objects back from disk (store/spill/restore.rs).
    pub gatherers: WaitingLine,
}

// SAFETY: `repr(C)` over `Shared` fields; offsets are pinned by the assertions below.
unsafe impl Shared for Header {}

#[cfg(not(loom))]
const _: () = {
    assert!(std::mem::offset_of!(Header, state) == 40);
    assert!(std::mem::offset_of!(Header, free_lock) == 56);
    assert!(std::mem::offset_of!(Header, space) == 72);
    assert!(std::mem::offset_of!(Header, line) == 80);
    assert!(std::mem::offset_of!(Header, board) == 80 + 24 + 64 * 40);
    assert!(std::mem::offset_of!(Header, gatherers) == 2664 + 304);
    assert!(size_of::<Header>() as u64 <= Layout::ARENA_ROOT);
    assert!(size_of::<Participant>() == 256);
};

/// Byte offsets of the sections, computed from the two sizes that vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Entries of the object table.
    pub max_objects: u32,
    /// Length of the arena segment in bytes.
    pub arena_bytes: u64,
    /// Random tag of the session.
    pub session: u64,
    slots: u64,
    ledgers: u64,
    journals: u64,
    rings: u64,
    pages: u64,
    total: u64,
}

impl Layout {
    const ARENA_ROOT: u64 = 2 * PAGE;
    const PARTICIPANTS: u64 = 5 * PAGE;
    /// Bytes of each participant's journal: its lanes, then the list of its transfer lane.
    const JOURNAL: u64 = 2 * PAGE;

    /// The layout for these sizes.
    pub fn new(max_objects: u32, arena_bytes: u64, session: u64) -> Self {
        let participants = u64::from(MAX_PARTICIPANTS);
        let slots = (Self::PARTICIPANTS + participants * 256).next_multiple_of(PAGE);
        let ledgers = (slots + u64::from(max_objects) * SLOT_BYTES).next_multiple_of(PAGE);
        let journals = (ledgers + participants * u64::from(max_objects) * 8).next_multiple_of(PAGE);
        let rings = (journals + participants * Self::JOURNAL).next_multiple_of(PAGE);
        let pages = rings + participants * u64::from(RING_BYTES);
        let total = (pages + alloc::map_words(arena_bytes) * 8).next_multiple_of(PAGE);
        Self {
            max_objects,
            arena_bytes,
            session,
            slots,
            ledgers,
            journals,
            rings,
            pages,
            total,
        }
    }

    /// Bytes of the control segment.
    pub fn control_bytes(&self) -> u64 {
        self.total
    }

    /// Writes the header of a fresh segment.
    pub fn write_header(&self, control: &Segment, head_pid: u32) -> Result<()> {
        let header = control.at::<Header>(0)?;
        header.version.store(VERSION, Ordering::Relaxed);
        header.max_objects.store(self.max_objects, Ordering::Relaxed);
        header.session.store(self.session, Ordering::Relaxed);
        header.arena_bytes.store(self.arena_bytes, Ordering::Relaxed);
        header.max_participants.store(MAX_PARTICIPANTS, Ordering::Relaxed);
        header.ring_bytes.store(RING_BYTES, Ordering::Relaxed);
        header.head_pid.store(head_pid, Ordering::Relaxed);
        header
            .opened
            .store(crate::sys::clock::coarse_seconds(), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok(())
    }

    /// Reads a foreign header and checks it against the lengths of the two segments received.
    pub fn read_header(control: &Segment, arena_len: u64) -> Result<Self> {
        let header = control.at::<Header>(0)?;
        let magic = header.magic.load(Ordering::Acquire);
        if magic != MAGIC {
            bail!(BadSegment, "not a park segment: it starts with {magic:#018x}");
        }
        let version = header.version.load(Ordering::Relaxed);
        if version != VERSION {
            bail!(
                BadSegment,
                "the session has layout version {version}, this library speaks version {VERSION}"
            );
        }
        let max_objects = header.max_objects.load(Ordering::Relaxed);
        let arena_bytes = header.arena_bytes.load(Ordering::Relaxed);
        let layout = Self::new(max_objects, arena_bytes, header.session.load(Ordering::Relaxed));
        let fixed = (
            header.max_participants.load(Ordering::Relaxed),
            header.ring_bytes.load(Ordering::Relaxed),
        );
        if fixed != (MAX_PARTICIPANTS, RING_BYTES) {
            bail!(
                BadSegment,
                "the session has {} participants and rings of {} bytes, this library was built for {MAX_PARTICIPANTS} and {RING_BYTES}",
                fixed.0,
                fixed.1
            );
        }
        if control.size() != layout.total || arena_len != arena_bytes {
            bail!(
                BadSegment,
                "truncated segment: the header asks for {} control and {arena_bytes} arena bytes, found {} and {arena_len}",
                layout.total,
                control.size()
            );
        }
        Ok(layout)
    }

    /// The header.
    pub fn header<'a>(&self, control: &'a Segment) -> &'a Header {
        control.must(0)
    }

    /// The allocator's root.
    pub fn arena_root<'a>(&self, control: &'a Segment) -> &'a ArenaRoot {
        control.must(Self::ARENA_ROOT)
    }

    /// Which pages of the arena have memory.
    pub fn page_map<'a>(&self, control: &'a Segment) -> &'a [AtomicU64] {
        let words = alloc::map_words(self.arena_bytes);
        control.words(self.pages, usize::try_from(words).unwrap_or(usize::MAX))
    }

    /// One participant's entry. `index` is below `MAX_PARTICIPANTS`.
    pub fn participant<'a>(&self, control: &'a Segment, index: usize) -> &'a Participant {
        control.must(Self::PARTICIPANTS + index as u64 * 256)
    }

    /// Offset of an object slot.
    pub fn slot(&self, index: u32) -> u64 {
        self.slots + u64::from(index) * SLOT_BYTES
    }

    /// What a participant holds on a slot: references in the low half, pins in the high half.
    pub fn ledger<'a>(&self, control: &'a Segment, participant: usize, slot: u32) -> &'a AtomicU64 {
        control.must(self.ledgers + (participant as u64 * u64::from(self.max_objects) + u64::from(slot)) * 8)
    }

    /// What a participant is in the middle of.
    pub fn journal<'a>(&self, control: &'a Segment, participant: usize) -> &'a Journal {
        control.must(self.journals + participant as u64 * Self::JOURNAL)
    }

    /// The slots that a participant's transfer is about.
    pub fn journal_list<'a>(&self, control: &'a Segment, participant: usize) -> &'a [AtomicU32] {
        let start = self.journals + participant as u64 * Self::JOURNAL + size_of::<Journal>() as u64;
        control.words32(start, LIST)
    }

    /// The words of a participant's ring.
    pub fn ring_words<'a>(&self, control: &'a Segment, participant: usize) -> &'a [AtomicU64] {
        control.words(
            self.rings + participant as u64 * u64::from(RING_BYTES),
            RING_BYTES as usize / 8,
        )
    }
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<ArenaRoot>() as u64 <= Layout::PARTICIPANTS - Layout::ARENA_ROOT);
    assert!((size_of::<Journal>() + LIST * 4) as u64 == Layout::JOURNAL);
};
