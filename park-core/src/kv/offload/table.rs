//! The table: names, slots, readers, order. See the module.
//!
//! Invariants, which [`OffloadTable::audit`] checks: each slot is free, or has exactly one name; the order has exactly the chunks that are
//! ready and not being read. Calls with several names do all or nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::order::{Name, OffloadPolicy, Order, Seat};
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

impl OffloadState {
    fn idle(self) -> bool {
        self == Self::Ready { readers: 0 }
    }
}

/// The lists of [`OffloadPolicy::Arc`], each in the order in which it is given up.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ArcLists {
    /// Chunks that were wanted once.
    pub recent: Vec<Arc<[u8]>>,
    /// Chunks that were wanted again.
    pub frequent: Vec<Arc<[u8]>>,
    /// Names that the first list gave up.
    pub recent_ghosts: Vec<Arc<[u8]>>,
    /// Names that the second list gave up.
    pub frequent_ghosts: Vec<Arc<[u8]>>,
    /// How long the first list is to be.
    pub target: f64,
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
    chunks: HashMap<Name, Chunk>,
    policy: OffloadPolicy,
    order: Box<dyn Order>,
    /// Slots from here on were never used; those below are in use or in `freed`.
    fresh: u32,
    /// Used again last in, first out.
    freed: Vec<u32>,
    writing: u32,
    now: u64,
}

impl OffloadTable {
    /// An empty table for a tier of so many slots, which are given up in the order of a policy.
    pub fn new(slots: u32, policy: OffloadPolicy) -> Self {
        Self {
            slots,
            chunks: HashMap::new(),
            policy,
            order: policy.order(slots),
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
        self.order.evictable() as u32
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
        self.moves(name, rank, false)
    }

    /// A chunk was wanted now: it is the last to go. With `again` that counts as one more use, which matters to
    /// [`OffloadPolicy::Arc`]. False if it is not there.
    pub fn wanted(&mut self, name: &[u8], again: bool) -> bool {
        let rank = (self.tick(), 0);
        self.moves(name, rank, again)
    }

    fn moves(&mut self, name: &[u8], rank: OffloadRank, again: bool) -> bool {
        let Some((name, chunk)) = get(&mut self.chunks, name) else {
            return false;
        };
        let from = (chunk.rank, name);
        self.order.moves(&from, rank, chunk.state.idle(), again);
        chunk.rank = rank;
        true
    }

    /// A chunk that is not there was wanted: [`OffloadPolicy::Arc`] learns from that.
    pub fn missed(&mut self, name: &[u8]) {
        if !self.chunks.contains_key(name) {
            self.order.missed(name);
        }
    }

    /// What [`OffloadPolicy::Arc`] knows; `None` with another policy.
    pub fn arc_lists(&self) -> Option<ArcLists> {
        let arcs = self.order.arcs()?;
        let mut seats: Vec<Seat> = self
            .chunks
            .iter()
            .map(|(name, chunk)| (chunk.rank, name.clone()))
            .collect();
        seats.sort_unstable();
        let (frequent, recent): (Vec<Seat>, Vec<Seat>) =
            seats.into_iter().partition(|(_, name)| arcs.is_frequent(name));
        let names = |seats: Vec<Seat>| seats.into_iter().map(|(_, name)| name).collect();
        Some(ArcLists {
            recent: names(recent),
            frequent: names(frequent),
            recent_ghosts: arcs.ghosts(false),
            frequent_ghosts: arcs.ghosts(true),
            target: arcs.target,
        })
    }

    /// From now on the first list of [`OffloadPolicy::Arc`] is to be so long.
    ///
    /// # Errors
    /// `InvalidArgument` with another policy, or for what is no length from 0 to all slots.
    pub fn set_arc_target(&mut self, target: f64) -> Result<()> {
        if !(0.0..=f64::from(self.slots)).contains(&target) {
            bail!(InvalidArgument, "a target is from 0 to {}, not {target}", self.slots);
        }
        if !self.order.set_target(target) {
            bail!(
                InvalidArgument,
                "a target is of Arc, and the policy is {:?}",
                self.policy
            );
        }
        Ok(())
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
                if *readers == 1 {
                    self.order.busy(&(chunk.rank, name));
                }
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
                    self.order.idle((chunk.rank, name));
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
        for seat in victims {
            self.evicted(&seat);
            stored.evicted.push(seat.1);
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
            let name: Name = (*name).into();
            self.order.enters(&(*rank, name.clone()));
            self.chunks.insert(name, chunk);
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
                .map(|seat| (seat.1.clone(), self.evicted(&seat)))
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
                self.order.idle((chunk.rank, name));
            } else {
                self.freed.push(chunk.slot);
                let seat = (chunk.rank, name);
                self.chunks.remove(&seat.1);
                self.order.leaves(&seat, false);
            }
        }
    }

    /// Forgets a chunk whose content is lost, if it is ready and not being read. False if not.
    pub fn forget(&mut self, name: &[u8]) -> bool {
        let Some((name, chunk)) = get(&mut self.chunks, name) else {
            return false;
        };
        if !chunk.state.idle() {
            return false;
        }
        self.freed.push(chunk.slot);
        let seat = (chunk.rank, name);
        self.chunks.remove(&seat.1);
        self.order.leaves(&seat, true);
        true
    }

    /// Forgets everything, transfers included.
    pub fn clear(&mut self) {
        *self = Self::new(self.slots, self.policy);
    }

    /// The first chunks that may go and are not kept.
    fn victims(&self, count: usize, kept: &[&[u8]]) -> Option<Vec<Seat>> {
        match count {
            0 => Some(Vec::new()),
            count if count > self.order.evictable() => None,
            count => self.order.victims(count, &kept.iter().copied().collect()),
        }
    }

    /// Takes a chunk that may go out of the tier, for others; returns its slot, which is free now.
    fn evicted(&mut self, seat: &Seat) -> u32 {
        let chunk = self.chunks.remove(&seat.1).expect("what may go is there");
        self.order.evicted(seat);
        self.freed.push(chunk.slot);
        chunk.slot
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
        if let Some((once, again)) = self.order.arcs().map(|arcs| arcs.sizes())
            && once + again != self.chunks.len()
        {
            bail!(
                Corrupt,
                "{once} and {again} chunks are listed, and there are {}",
                self.chunks.len()
            );
        }
        let idle = |(name, chunk): (&Name, &Chunk)| chunk.state.idle().then(|| (chunk.rank, name.clone()));
        let expected: BTreeSet<Seat> = self.chunks.iter().filter_map(idle).collect();
        let ordered = self.order.all_idle();
        if expected != ordered || ordered.len() != self.order.evictable() {
            bail!(
                Corrupt,
                "{} chunks may go, and {} are in order",
                expected.len(),
                self.order.evictable()
            );
        }
        Ok(())
    }
}

/// A chunk with the name that the table keeps.
fn get<'a>(chunks: &'a mut HashMap<Name, Chunk>, name: &[u8]) -> Option<(Name, &'a mut Chunk)> {
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
