//! Numbers about the store.

use super::Store;
use super::slot::Phase;
use crate::id::ParticipantId;
use crate::shm::alloc::HEADER;
use crate::sync::atomic::Ordering;

/// A snapshot; each number is exact for some recent moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes that objects may take.
    pub capacity: u64,
    /// Bytes that objects take, allocator overhead included. Payloads of up to 64 bytes take none.
    pub used: u64,
    /// Bytes of blocks that processes keep for their next objects, and give back when the store is full.
    pub cached: u64,
    /// The most bytes that were taken or kept at once.
    pub peak: u64,
    /// The largest object that could be stored right now.
    pub largest_free: u64,
    /// Bytes of memory that the arena takes from the system.
    pub resident: u64,
    /// Sealed objects.
    pub objects: u64,
    /// Promised objects that are not sealed yet.
    pub promised: u64,
    /// Bytes on disk.
    pub spilled: u64,
    /// Objects that were written to disk so far.
    pub objects_spilled: u64,
    /// Objects that were read back from disk so far.
    pub objects_restored: u64,
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
            // A corrupt arena lends nothing.
            largest_free: self
                .allocator(self.me())
                .free_extent()
                .map_or(0, |(largest, _)| largest),
            resident: self.resident(),
            spilled: self.board().bytes.load(Ordering::Relaxed),
            objects_spilled: self.board().out.load(Ordering::Relaxed),
            objects_restored: self.board().back.load(Ordering::Relaxed),
            ..StoreStats::default()
        };
        for index in 0..self.slots_used() {
            match self.slot(index).state().map(|state| state.phase) {
                Ok(Phase::Sealed | Phase::Evicting | Phase::Spilled | Phase::Restoring) => stats.objects += 1,
                Ok(Phase::Pending | Phase::Writing) => stats.promised += 1,
                Ok(Phase::Cached) if self.warm_state(index).is_some() => {
                    stats.cached += self.slot(index).block_bytes() + HEADER;
                }
                _ => {}
            }
        }
        stats.used = stats.used.saturating_sub(stats.cached);
        for index in 0..self.participants_used() {
            let entry = self.participant(ParticipantId(index));
            stats.bytes_copied = stats
                .bytes_copied
                .wrapping_add(entry.bytes_copied.load(Ordering::Relaxed));
            stats.bytes_shared = stats
                .bytes_shared
                .wrapping_add(entry.bytes_shared.load(Ordering::Relaxed));
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
}
