//! The table: names, slots, readers, order. See the module.
//!
//! Invariants, which [`OffloadTable::audit`] checks: each slot is free, or has exactly one name; the order has exactly the chunks that are
//! ready and not being read. Calls with several names do all or nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Result, bail};

/// When a chunk was last wanted, and which of those that were wanted together goes first. Less goes first; of equals, the lesser name.
pub type OffloadRank = (u64, i64);

/// What is known of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffloadState {
    /// A transfer writes it; it cannot be read yet.
    Writing,
    /// It can be read, and so many transfers do.
    Ready {
        /// Transfers that read it.
        readers: u32,
    },
}

struct Chunk {
    slot: u32,
    state: OffloadState,
    rank: OffloadRank,
}

/// What a store got.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// A slot for each name.
    pub slots: Vec<u32>,
    /// The names that gave theirs up, in the order in which they went.
    pub evicted: Vec<Arc<[u8]>>,
}

/// See the module.
pub struct OffloadTable {
    slots: u32,
    chunks: HashMap<Arc<[u8]>, Chunk>,
    /// Chunks that may go, in the order in which they do.
    order: BTreeMap<(OffloadRank, Arc<[u8]>), u32>,
    /// Slots from here on were never used; those below are in use or in `freed`.
    fresh: u32,
    /// Used again last in, first out.
    freed: Vec<u32>,
    writing: u32,
    now: u64,
}

impl OffloadTable {
    /// An empty table for a tier of so many slots.
    pub fn new(slots: u32) -> Self {
        Self {
            slots,
            chunks: HashMap::new(),
            order: BTreeMap::new(),
            fresh: 0,
            freed: Vec::new(),
            writing: 0,
            now: 0,
        }
    }

    /// Slots of the tier.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Slots that nothing is in.
    pub fn free(&self) -> u32 {
        self.freed.len() as u32 + self.slots - self.fresh
    }

    /// Chunks that are ready and not being read.
    pub fn evictable(&self) -> u32 {
        self.order.len() as u32
    }

    /// Chunks that are being written.
    pub fn writing(&self) -> u32 {
        self.writing
    }

    /// Slots that were ever used since the table was made or cleared.
    pub fn used(&self) -> u32 {
        self.fresh
    }

    /// Free slots that were used before, the next to be used last.
    pub fn freed(&self) -> &[u32] {
        &self.freed
    }

    /// What is known of a chunk, and its slot.
    pub fn find(&self, name: &[u8]) -> Option<(OffloadState, u32)> {
        self.chunks.get(name).map(|chunk| (chunk.state, chunk.slot))
    }

    /// The rank of a chunk.
    pub fn rank_of(&self, name: &[u8]) -> Option<OffloadRank> {
        self.chunks.get(name).map(|chunk| chunk.rank)
    }

    /// A time that is later than every one before.
    pub fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// From now on this is the rank of a chunk. False if it is not there.
    pub fn rank(&mut self, name: &[u8], rank: OffloadRank) -> bool {
        let Some((name, chunk)) = get(&mut self.chunks, name) else {
            return false;
        };
        if let Some(slot) = self.order.remove(&(chunk.rank, name.clone())) {
            self.order.insert((rank, name), slot);
        }
        chunk.rank = rank;
        true
    }

    /// One more reader of each chunk; appends their slots.
    ///
    /// # Errors
    /// `NotFound` for a chunk that is not there, `InvalidArgument` for one that is still being written. Then none has a reader more.
    pub fn pin(&mut self, names: &[&[u8]], slots: &mut Vec<u32>) -> Result<()> {
        for name in names {
            match self.find(name) {
                Some((OffloadState::Ready { .. }, _)) => {}
                Some((OffloadState::Writing, slot)) => {
                    bail!(InvalidArgument, "{} in slot {slot} is still being written", show(name))
                }
                None => bail!(NotFound, "{} is not in the tier", show(name)),
            }
        }
        for name in names {
            if let Some((name, chunk)) = get(&mut self.chunks, name)
                && let OffloadState::Ready { readers } = &mut chunk.state
            {
                *readers += 1;
                slots.push(chunk.slot);
                self.order.remove(&(chunk.rank, name));
            }
        }
        Ok(())
    }

    /// One reader less of each chunk. The list may name a chunk as often as it has readers.
    ///
    /// # Errors
    /// `NotFound` for a chunk that is not there, `InvalidArgument` for one with fewer readers. Then none has a reader less.
    pub fn unpin(&mut self, names: &[&[u8]]) -> Result<()> {
        let mut wanted: HashMap<&[u8], u32> = HashMap::with_capacity(names.len());
        for name in names {
            let wanted = wanted.entry(name).or_default();
            *wanted += 1;
            match self.find(name) {
                Some((OffloadState::Ready { readers }, _)) if readers >= *wanted => {}
                Some((state, _)) => bail!(
                    InvalidArgument,
                    "{} loses a reader more than it has: it is {state:?}",
                    show(name)
                ),
                None => bail!(NotFound, "{} is not in the tier", show(name)),
            }
        }
        for name in names {
            if let Some((name, chunk)) = get(&mut self.chunks, name)
                && let OffloadState::Ready { readers } = &mut chunk.state
            {
                *readers -= 1;
                if *readers == 0 {
                    self.order.insert((chunk.rank, name), chunk.slot);
                }
            }
        }
        Ok(())
    }

    /// Gives each name a slot to be written, at its rank. If there are too few, chunks give theirs up, but for those in `kept`. None, and
    /// nothing happens, if there are still too few.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is there, or twice in the list; `InvalidArgument` unless there is a rank for each. Then nothing has
    /// happened.
    pub fn store(&mut self, names: &[&[u8]], ranks: &[OffloadRank], kept: &[&[u8]]) -> Result<Option<Stored>> {
        if names.len() != ranks.len() {
            bail!(InvalidArgument, "{} chunks have {} ranks", names.len(), ranks.len());
        }
        let mut seen = HashSet::with_capacity(names.len());
        if let Some(name) = names
            .iter()
            .find(|name| self.find(name).is_some() || !seen.insert(**name))
        {
            bail!(AlreadyExists, "{} is in the tier, or asked for twice", show(name));
        }
        let lacking = names.len().saturating_sub(self.free() as usize);
        let Some(victims) = self.victims(lacking, kept) else {
            return Ok(None);
        };
        let mut stored = Stored::default();
        for (rank, name) in victims {
            self.forget(&name, rank);
            stored.evicted.push(name);
        }
        // What was never used goes first, as in vLLM: a tier then fills from its start.
        for (name, rank) in names.iter().zip(ranks) {
            let slot = if self.fresh < self.slots {
                self.fresh += 1;
                self.fresh - 1
            } else {
                self.freed.pop().expect("as many slots are free as were counted")
            };
            let chunk = Chunk {
                slot,
                state: OffloadState::Writing,
                rank: *rank,
            };
            self.chunks.insert((*name).into(), chunk);
            stored.slots.push(slot);
        }
        self.writing += names.len() as u32;
        Ok(Some(stored))
    }

    /// Takes the first `count` chunks that may go and are not in `kept` out of the tier. None, and nothing happens, if there are not so
    /// many.
    pub fn evict(&mut self, count: usize, kept: &[&[u8]]) -> Option<Vec<(Arc<[u8]>, u32)>> {
        let victims = self.victims(count, kept)?;
        Some(
            victims
                .into_iter()
                .map(|(rank, name)| (name.clone(), self.forget(&name, rank)))
                .collect(),
        )
    }

    /// The transfers that write these chunks are over: they are ready, or, if those failed, gone. Appends the indices of the names that
    /// were being written; others are passed over.
    pub fn finish(&mut self, names: &[&[u8]], succeeded: bool, done: &mut Vec<usize>) {
        for (at, name) in names.iter().enumerate() {
            let Some((name, chunk)) = get(&mut self.chunks, name) else {
                continue;
            };
            if chunk.state != OffloadState::Writing {
                continue;
            }
            self.writing -= 1;
            done.push(at);
            if succeeded {
                chunk.state = OffloadState::Ready { readers: 0 };
                self.order.insert((chunk.rank, name), chunk.slot);
            } else {
                self.freed.push(chunk.slot);
                self.chunks.remove(&name);
            }
        }
    }

    /// Forgets everything, transfers included.
    pub fn clear(&mut self) {
        *self = Self::new(self.slots);
    }

    /// The first chunks that may go and are not kept.
    fn victims(&self, count: usize, kept: &[&[u8]]) -> Option<Vec<(OffloadRank, Arc<[u8]>)>> {
        if count > self.order.len() {
            return None;
        }
        let kept: HashSet<&[u8]> = if count == 0 {
            HashSet::new()
        } else {
            kept.iter().copied().collect()
        };
        let free = self.order.keys().filter(|(_, name)| !kept.contains(&**name));
        let victims: Vec<_> = free.take(count).cloned().collect();
        (victims.len() == count).then_some(victims)
    }

    /// Takes a chunk that may go out of the tier; returns its slot, which is free now.
    fn forget(&mut self, name: &Arc<[u8]>, rank: OffloadRank) -> u32 {
        let slot = self
            .order
            .remove(&(rank, name.clone()))
            .expect("what may go is in the order");
        self.chunks.remove(name);
        self.freed.push(slot);
        slot
    }

    /// Checks every invariant of the module.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that is wrong.
    pub fn audit(&self) -> Result<()> {
        let mut taken = vec![false; self.slots as usize];
        let slots = self
            .chunks
            .values()
            .map(|chunk| chunk.slot)
            .chain(self.freed.iter().copied());
        let mut counted = 0;
        for slot in slots.chain(self.fresh..self.slots) {
            counted += 1;
            if slot >= self.slots || std::mem::replace(&mut taken[slot as usize], true) {
                bail!(Corrupt, "slot {slot} of {} is there twice, or not at all", self.slots);
            }
        }
        if counted != self.slots {
            bail!(Corrupt, "{counted} slots of {} are free or have a name", self.slots);
        }
        let writing = self
            .chunks
            .values()
            .filter(|chunk| chunk.state == OffloadState::Writing)
            .count();
        if writing != self.writing as usize {
            bail!(
                Corrupt,
                "{writing} chunks are being written, and {} are counted",
                self.writing
            );
        }
        let idle = |(name, chunk): (&Arc<[u8]>, &Chunk)| {
            (chunk.state == OffloadState::Ready { readers: 0 }).then(|| ((chunk.rank, name.clone()), chunk.slot))
        };
        let expected: BTreeMap<_, _> = self.chunks.iter().filter_map(idle).collect();
        if expected != self.order {
            bail!(
                Corrupt,
                "{} chunks may go, and {} are in order",
                expected.len(),
                self.order.len()
            );
        }
        Ok(())
    }
}

/// A chunk with the name that the table keeps.
fn get<'a>(chunks: &'a mut HashMap<Arc<[u8]>, Chunk>, name: &[u8]) -> Option<(Arc<[u8]>, &'a mut Chunk)> {
    let (name, _) = chunks.get_key_value(name)?;
    let name = name.clone();
    let chunk = chunks.get_mut(&name)?;
    Some((name, chunk))
}

/// A name, for messages.
fn show(name: &[u8]) -> String {
    let shown: String = name.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    format!("chunk {shown}{}", if name.len() > 20 { ".." } else { "" })
}
