//! Who holds the store's memory: the text of a full store, and what `park memory` prints.

use std::fmt::Write;
use std::time::Duration;

use super::Store;
use super::slot::{Phase, Slot};
use crate::error::{Error, ErrorKind};
use crate::id::{ObjectId, ParticipantId};
use crate::sync::atomic::Ordering;

/// Who takes part in a session, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The process that opened the session: its program, and what tasks that wait or run refer to.
    Driver,
    /// Any other process: a worker, or one that attached.
    Process,
    /// No process: messages under way, and other objects.
    Nobody,
}

impl Party {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Process => "process",
            Self::Nobody => "messages and other objects",
        }
    }
}

/// What one process keeps in memory. An object that two hold counts for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// As what it takes part.
    pub party: Party,
    /// Its process id; 0 for nobody.
    pub pid: u32,
    /// Bytes of the objects that it holds.
    pub bytes: u64,
    /// How many these are.
    pub objects: u64,
    /// How long ago the oldest of them was made.
    pub oldest: Duration,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// Which.
    pub id: ObjectId,
    /// What it takes in the arena.
    pub bytes: u64,
    /// Where it is in its life.
    pub phase: &'static str,
    /// References to it, of all kinds.
    pub refs: u32,
    /// How long ago it was made.
    pub age: Duration,
    /// The process that made it.
    pub creator: u32,
}

/// A snapshot of who holds what; each number was true a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryReport {
    /// Bytes of the arena.
    pub capacity: u64,
    /// Bytes lent, allocator overhead included.
    pub used: u64,
    /// Objects with bytes in the arena.
    pub objects: u64,
    /// Who holds them, most bytes first.
    pub holders: Vec<Holder>,
    /// The largest of them, largest first.
    pub largest: Vec<ObjectRow>,
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Free | Phase::Cached => "free",
        Phase::Pending => "pending",
        Phase::Writing => "writing",
        Phase::Sealed => "sealed",
        Phase::Freeing => "freeing",
    }
}

/// The sums for one holder while they grow.
#[derive(Clone, Copy)]
struct Sums {
    bytes: u64,
    objects: u64,
    born: u32,
}

impl Sums {
    const NONE: Self = Self {
        bytes: 0,
        objects: 0,
        born: u32::MAX,
    };

    fn add(&mut self, bytes: u64, born: u32) {
        self.bytes += bytes;
        self.objects += 1;
        self.born = self.born.min(born);
    }
}

impl Store {
    /// Who holds the memory: by process, and the `most` largest objects.
    pub fn memory_report(&self, most: usize) -> MemoryReport {
        let now = self.age();
        let age = |born: u32| Duration::from_secs(now.saturating_sub(born).into());
        let slots = self.slots_used();
        let mut largest: Vec<(u64, u32)> = (0..slots)
            .filter(|index| has_memory(self.slot(*index)))
            .map(|index| (self.slot(index).block_bytes(), index))
            .collect();
        let objects = largest.len() as u64;
        let mut holders = Vec::new();
        let mut held = vec![false; slots as usize];
        for number in 0..self.participants_used() {
            let participant = ParticipantId(number);
            let mut sums = Sums::NONE;
            for (bytes, index) in &largest {
                if self.held_by(participant, *index).0 > 0 {
                    held[*index as usize] = true;
                    sums.add(*bytes, self.slot(*index).born.load(Ordering::Relaxed));
                }
            }
            if sums.objects > 0 {
                holders.push(Holder {
                    party: match participant {
                        ParticipantId::HEAD | ParticipantId::DRIVER => Party::Driver,
                        _ => Party::Process,
                    },
                    pid: self.participant(participant).pid.load(Ordering::Relaxed),
                    bytes: sums.bytes,
                    objects: sums.objects,
                    oldest: age(sums.born),
                });
            }
        }
        let mut sums = Sums::NONE;
        for (bytes, index) in largest.iter().filter(|(_, index)| !held[*index as usize]) {
            sums.add(*bytes, self.slot(*index).born.load(Ordering::Relaxed));
        }
        if sums.objects > 0 {
            holders.push(Holder {
                party: Party::Nobody,
                pid: 0,
                bytes: sums.bytes,
                objects: sums.objects,
                oldest: age(sums.born),
            });
        }
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
        largest.sort_unstable_by(|a, b| b.cmp(a));
        largest.truncate(most);
        let rows = largest.into_iter().filter_map(|(bytes, index)| {
            let slot = self.slot(index);
            let state = slot.state().ok()?;
            Some(ObjectRow {
                id: ObjectId {
                    session: self.session(),
                    index,
                    generation: state.generation,
                },
                bytes,
                phase: phase_name(state.phase),
                refs: self.count(index).get(),
                age: age(slot.born.load(Ordering::Relaxed)),
                creator: self.participant(state.owner).pid.load(Ordering::Relaxed),
            })
        });
        MemoryReport {
            capacity: self.capacity(),
            used: self.layout.arena_root(&self.control).usage().0,
            objects,
            holders,
            largest: rows.collect(),
        }
    }

    /// Says what was asked for, what is in use, and by whom.
    pub(super) fn full_error(&self, asked: u64, cause: &str) -> Error {
        Error::new(ErrorKind::StoreFull, self.memory_report(3).full_text(asked, cause))
    }
}

fn has_memory(slot: &Slot) -> bool {
    slot.offset.load(Ordering::Relaxed) != 0
}

impl MemoryReport {
    /// Why `asked` bytes were not to be had.
    fn full_text(&self, asked: u64, cause: &str) -> String {
        let mut text = format!(
            "the store is full: asked for {asked} bytes, {} of {} bytes are in use by {} objects ({cause}); held by:",
            self.used, self.capacity, self.objects
        );
        for holder in self.holders.iter().take(4) {
            let Holder {
                party,
                pid,
                bytes,
                objects,
                oldest,
            } = holder;
            let who = match party {
                Party::Nobody => party.name().to_owned(),
                _ => format!("{} {pid}", party.name()),
            };
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                " {who} ({bytes} bytes in {objects} objects, the oldest made {:.1} s ago),",
                oldest.as_secs_f64()
            );
        }
        text.push_str(" largest:");
        for row in &self.largest {
            let _ = write!(
                text,
                " {} ({} bytes, {}, made by process {} {:.1} s ago, {} references),",
                row.id,
                row.bytes,
                row.phase,
                row.creator,
                row.age.as_secs_f64(),
                row.refs
            );
        }
        text.truncate(text.trim_end_matches([',', ':']).len());
        text
    }
}
