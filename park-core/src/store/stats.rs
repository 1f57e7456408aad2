//! Numbers about the store, and the text of a full one.

use super::Store;
use super::slot::Phase;
use crate::error::{Error, ErrorKind};
use crate::id::{ObjectId, ParticipantId};
use crate::sync::atomic::Ordering;

/// A snapshot; each number is exact for some recent moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes of the arena.
    pub capacity: u64,
    /// Bytes lent, allocator overhead included. Payloads of up to 64 bytes take none.
    pub used: u64,
    /// The most bytes that were lent at once.
    pub peak: u64,
    /// Sealed objects.
    pub objects: u64,
    /// Promised objects that are not sealed yet.
    pub promised: u64,
    /// Payload bytes that any process copied into or out of the store.
    pub bytes_copied: u64,
    /// Payload bytes that any process read in place.
    pub bytes_shared: u64,
}

impl Store {
    /// Numbers about the whole session.
    pub fn stats(&self) -> StoreStats {
        let (used, peak) = self.layout.arena_root(&self.control).usage();
        let mut stats = StoreStats {
            capacity: self.capacity(),
            used,
            peak,
            ..StoreStats::default()
        };
        for index in 0..self.slots_used() {
            match self.slot(index).state().map(|state| state.phase) {
                Ok(Phase::Sealed) => stats.objects += 1,
                Ok(Phase::Pending | Phase::Writing) => stats.promised += 1,
                _ => {}
            }
        }
        for index in 0..self.participants_used() {
            let entry = self.participant(ParticipantId(index));
            stats.bytes_copied += entry.bytes_copied.load(Ordering::Relaxed);
            stats.bytes_shared += entry.bytes_shared.load(Ordering::Relaxed);
        }
        stats
    }

    /// Counts payload bytes copied by this process.
    pub fn count_copied(&self, bytes: u64) {
        self.participant(self.me())
            .bytes_copied
            .fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts payload bytes read in place by this process.
    pub fn count_shared(&self, bytes: u64) {
        self.participant(self.me())
            .bytes_shared
            .fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says what was asked for, what is in use, and by whom.
    pub(super) fn full_error(&self, asked: u64, cause: &Error) -> Error {
        let mut holders: Vec<(u64, u32)> = (0..self.slots_used())
            .filter(|index| self.slot(*index).offset.load(Ordering::Relaxed) != 0)
            .map(|index| (self.slot(index).block_bytes(), index))
            .collect();
        holders.sort_unstable_by(|a, b| b.cmp(a));
        let (used, _) = self.layout.arena_root(&self.control).usage();
        let mut text = format!(
            "the store is full: asked for {asked} bytes, {used} of {} bytes are in use by {} objects ({cause}); largest:",
            self.capacity(),
            holders.len()
        );
        for (len, index) in holders.into_iter().take(3) {
            let slot = self.slot(index);
            let Ok(state) = slot.state() else { continue };
            let id = ObjectId {
                session: self.session(),
                index,
                generation: state.generation,
            };
            let pid = self.participant(state.owner).pid.load(Ordering::Relaxed);
            let refs = self.count(index).get();
            text.push_str(&format!(
                " {id} ({len} bytes, {:?}, made by process {pid}, {refs} references)",
                state.phase
            ));
        }
        Error::new(ErrorKind::StoreFull, text)
    }
}
