//! The directory: by key, the ids of host blocks that any process of the session has stored. A hint in shared memory, without a lock:
//! README.md of this module has the layout, who writes which word, and why a wrong entry can do no harm.
#![allow(unsafe_code, reason = "makes references to atomics out of the store's memory")]

use std::sync::Arc;

use crate::error::{Result, bail};
use crate::id::ObjectId;
use crate::kv::Key;
use crate::store::{ObjectRef, Store, never};
use crate::sync::Shared;
use crate::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u64 = u64::from_le_bytes(*b"PARKKVD1");
const HEAD: u64 = 64;
/// Entries of a bucket.
const WIDTH: u64 = 8;
const ENTRY: u64 = size_of::<Entry>() as u64;
/// More entries than this are more than the blocks of any machine.
const MOST: u64 = 1 << 32;

/// One entry. Any process may write any word at any time.
#[derive(Debug)]
#[repr(C, align(32))]
struct Entry {
    low: AtomicU64,
    high: AtomicU64,
    /// `generation:32 | slot + 1:32` of the object; 0: the entry is free.
    id: AtomicU64,
    unused: AtomicU64,
}

// SAFETY: `repr(C)` over atomics.
unsafe impl Shared for Entry {}

impl Entry {
    fn holds(&self, key: Key) -> bool {
        let key = key.raw();
        self.low.load(Ordering::Relaxed) == key as u64 && self.high.load(Ordering::Relaxed) == (key >> 64) as u64
    }

    /// Swaps rather than stores: so they stand in one order with the CAS of whoever clears.
    fn write(&self, key: Key, id: u64) {
        self.id.swap(0, Ordering::AcqRel);
        self.low.store(key.raw() as u64, Ordering::Relaxed);
        self.high.store((key.raw() >> 64) as u64, Ordering::Relaxed);
        self.id.swap(id, Ordering::AcqRel);
    }

    /// The id, if the entry is about this key.
    fn look(&self, key: Key) -> Option<u64> {
        let id = self.id.load(Ordering::Acquire);
        (id != 0 && self.holds(key)).then_some(id)
    }

    /// Frees an entry that led to nothing, unless it was written again meanwhile.
    fn clear(&self, id: u64) {
        let _ = self.id.compare_exchange(id, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// See the module. Cheap to clone; keeps the directory's object alive.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    reference: ObjectRef,
    entries: *const u8,
    buckets: u64,
}

// SAFETY: the address is of the store's mapping, which outlives `reference`; it is reached only as atomics (`entry`).
unsafe impl Send for Directory {}
// SAFETY: as above.
unsafe impl Sync for Directory {}

impl Directory {
    /// A new directory for processes that hold `blocks` blocks each, of layouts with this fingerprint.
    pub(super) fn create(store: &Arc<Store>, blocks: u64, fingerprint: u64) -> Result<Self> {
        if blocks == 0 || blocks > MOST {
            bail!(
                InvalidArgument,
                "a directory has room for 1 to {MOST} blocks, and {blocks} were asked for"
            );
        }
        // Four times the room, as buckets fill unevenly and several processes hold as many: still little beside the blocks.
        let buckets = (4 * blocks).div_ceil(WIDTH).next_power_of_two();
        let len = HEAD + buckets * WIDTH * ENTRY;
        let mut object = store.create_channel_object(len, &mut never)?;
        // Memory of the arena is handed out as it was left.
        let zeros = [0; 1 << 12];
        let mut at = 0;
        while at < len {
            let piece = (len - at).min(zeros.len() as u64);
            object.write(at, &zeros[..piece as usize])?;
            at += piece;
        }
        for (at, word) in [(0, MAGIC), (8, fingerprint), (16, buckets)] {
            object.write(at, &word.to_le_bytes())?;
        }
        Self::open(object.seal()?, fingerprint)
    }

    /// The directory that an object of this session is.
    pub(super) fn open(reference: ObjectRef, fingerprint: u64) -> Result<Self> {
        let memory = reference.channel_bytes()?;
        if memory.len < HEAD {
            bail!(
                WrongFormat,
                "object {} of {} bytes is no directory of cache blocks",
                reference.id(),
                memory.len
            );
        }
        let word = |at: usize| {
            // SAFETY: one of the first eight words of an object of at least 64 bytes, aligned to 64 and mapped while `reference` lives.
            let word = unsafe { &*memory.write.wrapping_add(at).cast::<AtomicU64>() };
            word.load(Ordering::Relaxed)
        };
        let (magic, found, buckets) = (word(0), word(8), word(16));
        if magic != MAGIC {
            bail!(WrongFormat, "object {} is no directory of cache blocks", reference.id());
        }
        if found != fingerprint {
            bail!(
                WrongFormat,
                "directory {} is of blocks with fingerprint {found:016x}, and the layout has {fingerprint:016x}",
                reference.id()
            );
        }
        let fits = buckets.is_power_of_two() && buckets <= MOST && memory.len == HEAD + buckets * WIDTH * ENTRY;
        if !fits {
            bail!(
                Corrupt,
                "directory {} of {} bytes says that it has {buckets} buckets",
                reference.id(),
                memory.len
            );
        }
        Ok(Self {
            entries: memory.write.wrapping_add(HEAD as usize).cast_const(),
            reference,
            buckets,
        })
    }

    /// The reference that keeps it, to pass on.
    pub(super) fn reference(&self) -> &ObjectRef {
        &self.reference
    }

    /// Says that a key's block is this object, unless another process's is entered already and still exists.
    pub(super) fn publish(&self, key: Key, id: ObjectId, exists: impl Fn(ObjectId) -> bool) {
        let mut place = None;
        for entry in self.bucket(key) {
            let seen = entry.id.load(Ordering::Acquire);
            let gone = seen == 0 || !exists(self.unpack(seen));
            if !gone && entry.holds(key) {
                return;
            }
            if place.is_none() && gone {
                place = Some(entry);
            }
        }
        let nth = (key.raw() >> 96) as u64 % WIDTH;
        let place = place.unwrap_or_else(|| self.entry(self.home(key) + nth));
        place.write(key, u64::from(id.generation) << 32 | (u64::from(id.index) + 1));
    }

    /// Objects that may be a key's block, to be looked at; `take` says whether one was. Entries that led to nothing are freed.
    pub(super) fn find<T>(&self, key: Key, take: impl Fn(ObjectId) -> Option<T>) -> Option<T> {
        for entry in self.bucket(key) {
            if let Some(id) = entry.look(key) {
                match take(self.unpack(id)) {
                    Some(found) => return Some(found),
                    None => entry.clear(id),
                }
            }
        }
        None
    }

    /// Everything that is entered.
    pub(super) fn ids(&self) -> impl Iterator<Item = ObjectId> {
        (0..self.buckets * WIDTH)
            .map(|at| self.entry(at).id.load(Ordering::Acquire))
            .filter(|id| *id != 0)
            .map(|id| self.unpack(id))
    }

    fn unpack(&self, word: u64) -> ObjectId {
        ObjectId {
            session: self.reference.id().session,
            // The word may be anything; no object has the slot that 0 stands for.
            index: (word as u32).wrapping_sub(1),
            generation: (word >> 32) as u32,
        }
    }

    fn home(&self, key: Key) -> u64 {
        (key.raw() as u64 & (self.buckets - 1)) * WIDTH
    }

    fn bucket(&self, key: Key) -> impl Iterator<Item = &Entry> {
        let home = self.home(key);
        (home..home + WIDTH).map(|at| self.entry(at))
    }

    fn entry(&self, at: u64) -> &Entry {
        let address = self.entries.wrapping_add((at * ENTRY) as usize);
        // SAFETY: `at` is below buckets * WIDTH by construction of its callers, and `open` compared that with the object's length; entries
        // are aligned to 32 in an object that is aligned to 64, mapped while `reference` lives; atomics are valid for any bits.
        unsafe { &*address.cast::<Entry>() }
    }

    /// All words of the entries, for tests that scribble over them.
    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: as in `entry`.
        unsafe { std::slice::from_raw_parts(self.entries.cast(), (self.buckets * WIDTH * ENTRY / 8) as usize) }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A reader found that an entry leads to nothing and frees it, while a writer gives the entry to another block: what the writer entered
    /// stays, whoever is first.
    #[test]
    fn loom_freeing_a_stale_entry_never_frees_a_new_one() {
        loom::model(|| {
            let word = || AtomicU64::new(0);
            let entry = Arc::new(Entry {
                low: word(),
                high: word(),
                id: word(),
                unused: word(),
            });
            entry.write(Key::new(1), 9);
            let writer = {
                let entry = entry.clone();
                thread::spawn(move || entry.write(Key::new(2), 2))
            };
            if let Some(id) = entry.look(Key::new(1)) {
                entry.clear(id);
            }
            writer.join().unwrap();
            assert_eq!(entry.look(Key::new(2)), Some(2));
            assert_eq!(entry.look(Key::new(1)), None);
        });
    }
}
