//! Who holds the store's memory: the text of a full store, and what `park memory` prints.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use super::slot::{Phase, Slot};
use super::{Format, Store};
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

/// What one process keeps. An object that two hold counts for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// As what it takes part.
    pub party: Party,
    /// Its process id; 0 for nobody.
    pub pid: u32,
    /// Bytes in memory of the objects that it holds.
    pub bytes: u64,
    /// How many these are.
    pub objects: u64,
    /// Bytes of those that it looks at right now, so that they cannot go to disk.
    pub pinned: u64,
    /// Bytes of objects that it holds and that are on disk.
    pub spilled: u64,
    /// How long ago the oldest of all these was made.
    pub oldest: Duration,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRow {
    /// Which.
    pub id: ObjectId,
    /// What it takes, in memory or on disk.
    pub bytes: u64,
    /// Where it is in its life.
    pub phase: &'static str,
    /// References to it, of all kinds.
    pub refs: u32,
    /// Views of its bytes.
    pub pins: u32,
    /// How long ago it was made.
    pub age: Duration,
    /// The process that made it.
    pub creator: u32,
}

/// References to one object, apart by who has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountRow {
    /// Which.
    pub id: ObjectId,
    /// Those of this process; in the head's process also those of tasks and actors that it keeps.
    pub here: u32,
    /// Those of messages under way; of an object that is still to be made, one is its maker's.
    pub under_way: u32,
    /// It is nobody's value: the handle of an actor, a function or a class.
    pub is_internal: bool,
    /// It is still to be made.
    pub is_promised: bool,
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
    /// Bytes of those that somebody looks at.
    pub pinned: u64,
    /// Bytes of objects that are on disk.
    pub spilled: u64,
    /// Objects that are on disk.
    pub spilled_objects: u64,
    /// Why nothing more can be spilled, if so.
    pub trouble: Option<String>,
    /// Threads that wait for memory.
    pub waiting: usize,
    /// Who holds all this, most bytes in memory first.
    pub holders: Vec<Holder>,
    /// The largest objects, those in memory first, largest first.
    pub largest: Vec<ObjectRow>,
}

/// An object that takes memory or disk space.
struct Entry {
    index: u32,
    bytes: u64,
    on_disk: bool,
    born: u32,
    pins: u32,
    held: bool,
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Free | Phase::Cached => "free",
        Phase::Pending => "pending",
        Phase::Writing => "writing",
        Phase::Sealed => "sealed",
        Phase::Evicting => "going to disk",
        Phase::Spilled => "on disk",
        Phase::Restoring => "coming from disk",
        Phase::Freeing => "freeing",
    }
}

/// Whether the object is nobody's value: the handle of an actor, a function or a class.
fn is_internal(slot: &Slot) -> bool {
    let format = slot.meta.load(Ordering::Relaxed) & 0xff;
    [Format::Actor, Format::Code]
        .into_iter()
        .any(|internal| format == u32::from(internal as u8))
}

impl Store {
    /// Who holds the memory: by process, and the `most` largest objects.
    pub fn memory_report(&self, most: usize) -> MemoryReport {
        let mut entries: Vec<Entry> = (0..self.slots_used()).filter_map(|index| self.entry(index)).collect();
        let mut holders: Vec<Holder> = (0..self.participants_used())
            .filter_map(|number| self.holder(ParticipantId(number), &mut entries))
            .collect();
        let unheld = entries.iter().filter(|entry| !entry.held).map(|entry| (entry, 0));
        holders.extend(self.sum_up(Party::Nobody, 0, unheld));
        holders.sort_by_key(|holder| std::cmp::Reverse((holder.bytes, holder.spilled)));
        entries.sort_unstable_by_key(|entry| (entry.on_disk, std::cmp::Reverse((entry.bytes, entry.pins))));
        let total = |wanted: fn(&Entry) -> bool| {
            let found = entries.iter().filter(|entry| wanted(entry));
            found.fold((0u64, 0), |(bytes, count), entry| {
                (bytes.saturating_add(entry.bytes), count + 1)
            })
        };
        let (spilled, spilled_objects) = total(|entry| entry.on_disk);
        MemoryReport {
            capacity: self.capacity(),
            used: self.stats().used,
            objects: total(|entry| !entry.on_disk).1,
            pinned: total(|entry| entry.pins > 0).0,
            spilled,
            spilled_objects,
            trouble: self.board().trouble().map(|trouble| trouble.to_string()),
            waiting: self.header().line.len(),
            holders,
            largest: entries.iter().take(most).filter_map(|entry| self.row(entry)).collect(),
        }
    }

    /// Every value, also such as take no room of their own, and every promise of one.
    pub fn values(&self) -> Vec<ObjectRow> {
        let value = |index| {
            let slot = self.slot(index);
            let phase = slot.state().ok()?.phase;
            let counts = (phase == Phase::Pending || self.is_whole(phase)) && !is_internal(slot);
            let views = (0..self.participants_used()).map(|who| self.held_by(ParticipantId(who), index).1);
            counts.then(|| Entry {
                pins: views.sum(),
                ..self.entry_of(index, phase)
            })
        };
        let entries = (0..self.slots_used()).filter_map(value);
        entries.filter_map(|entry| self.row(&entry)).collect()
    }

    /// References to the objects that this process or a message refers to. Each number was true a moment ago.
    pub fn reference_counts(&self) -> Vec<CountRow> {
        let mut inside: HashMap<u32, u32> = HashMap::new();
        let mut rows = Vec::new();
        for index in 0..self.slots_used() {
            let slot = self.slot(index);
            let Ok(seen) = slot.state() else { continue };
            let is_promised = seen.phase == Phase::Pending;
            if !is_promised && !self.is_whole(seen.phase) {
                continue;
            }
            for id in self.nested_ids(slot) {
                *inside.entry(id.index).or_default() += 1;
            }
            let ledgers = (0..self.participants_used()).map(|who| self.held_by(ParticipantId(who), index).0);
            rows.push(CountRow {
                id: ObjectId {
                    session: self.session(),
                    index,
                    generation: seen.generation,
                },
                here: self.held_by(self.me(), index).0,
                under_way: self.count(index).get().saturating_sub(ledgers.sum()),
                is_internal: is_internal(slot),
                is_promised,
            });
        }
        rows.retain_mut(|row| {
            row.under_way = row
                .under_way
                .saturating_sub(inside.get(&row.id.index).copied().unwrap_or(0));
            row.here + row.under_way > 0
        });
        rows
    }

    fn entry(&self, index: u32) -> Option<Entry> {
        let slot = self.slot(index);
        let phase = slot.state().ok()?.phase;
        if matches!(phase, Phase::Free | Phase::Cached) {
            // A warm block is no object's: whoever finds the store full takes it.
            return None;
        }
        let in_memory = slot.offset.load(Ordering::Relaxed) != 0;
        (phase == Phase::Spilled || in_memory).then(|| self.entry_of(index, phase))
    }

    fn entry_of(&self, index: u32, phase: Phase) -> Entry {
        let slot = self.slot(index);
        let on_disk = phase == Phase::Spilled;
        Entry {
            index,
            bytes: if on_disk {
                slot.len.load(Ordering::Relaxed)
            } else {
                slot.block_bytes()
            },
            on_disk,
            born: slot.born.load(Ordering::Relaxed),
            pins: 0,
            held: false,
        }
    }

    fn holder(&self, participant: ParticipantId, entries: &mut [Entry]) -> Option<Holder> {
        let mut held = Vec::new();
        for entry in entries {
            let (refs, pins) = self.held_by(participant, entry.index);
            entry.pins = entry.pins.saturating_add(pins);
            entry.held |= refs > 0;
            if refs > 0 {
                held.push((&*entry, pins));
            }
        }
        let party = match participant {
            ParticipantId::HEAD | ParticipantId::DRIVER => Party::Driver,
            _ => Party::Process,
        };
        let pid = self.participant(participant).pid.load(Ordering::Relaxed);
        self.sum_up(party, pid, held.into_iter())
    }

    fn sum_up<'a>(&self, party: Party, pid: u32, held: impl Iterator<Item = (&'a Entry, u32)>) -> Option<Holder> {
        let (mut bytes, mut objects, mut pinned, mut spilled, mut born) = (0u64, 0, 0u64, 0u64, None);
        for (entry, pins) in held {
            born = born.min(Some(entry.born)).or(Some(entry.born));
            if entry.on_disk {
                spilled = spilled.saturating_add(entry.bytes);
            } else {
                bytes = bytes.saturating_add(entry.bytes);
                objects += 1;
                pinned = pinned.saturating_add(if pins > 0 { entry.bytes } else { 0 });
            }
        }
        Some(Holder {
            party,
            pid,
            bytes,
            objects,
            pinned,
            spilled,
            oldest: self.time_since(born?),
        })
    }

    fn row(&self, entry: &Entry) -> Option<ObjectRow> {
        let slot = self.slot(entry.index);
        let state = slot.state().ok()?;
        Some(ObjectRow {
            id: ObjectId {
                session: self.session(),
                index: entry.index,
                generation: state.generation,
            },
            bytes: entry.bytes,
            phase: phase_name(state.phase),
            refs: self.count(entry.index).get(),
            pins: entry.pins,
            age: self.time_since(entry.born),
            creator: self.participant(state.owner).pid.load(Ordering::Relaxed),
        })
    }

    fn time_since(&self, born: u32) -> Duration {
        Duration::from_secs(self.age().saturating_sub(born).into())
    }

    /// Says what was asked for, what is in use, and by whom.
    pub(super) fn full_error(&self, asked: u64, cause: &str) -> Error {
        Error::new(ErrorKind::StoreFull, self.memory_report(3).full_text(asked, cause))
    }
}

impl MemoryReport {
    /// Why `asked` bytes were not to be had.
    fn full_text(&self, asked: u64, cause: &str) -> String {
        let mut text = format!(
            "the store is full: asked for {asked} bytes, {} of {} bytes are in use by {} objects ({cause}), {} of them in objects \
             that somebody looks at; {} bytes are on disk",
            self.used, self.capacity, self.objects, self.pinned, self.spilled
        );
        // Writing to a string cannot fail.
        if let Some(trouble) = &self.trouble {
            let _ = write!(text, ", and no more can be spilled: {trouble}");
        }
        let mut holders = Vec::new();
        for holder in self.holders.iter().filter(|holder| holder.objects > 0).take(4) {
            let Holder {
                party,
                pid,
                bytes,
                objects,
                oldest,
                ..
            } = holder;
            let who = match party {
                Party::Nobody => party.name().to_owned(),
                _ => format!("{} {pid}", party.name()),
            };
            holders.push(format!(
                "{who} ({bytes} bytes in {objects} objects, the oldest made {} s ago)",
                oldest.as_secs()
            ));
        }
        let mut rows = Vec::new();
        for row in &self.largest {
            rows.push(format!(
                "{} ({} bytes, {}, made by process {} {} s ago, {} references)",
                row.id,
                row.bytes,
                row.phase,
                row.creator,
                row.age.as_secs(),
                row.refs
            ));
        }
        let _ = write!(text, "; held by: {}; largest: {}", holders.join(", "), rows.join(", "));
        text
    }
}
