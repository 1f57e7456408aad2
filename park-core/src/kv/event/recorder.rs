//! Events that nobody has taken yet.

use super::Event;
use crate::kv::Key;

/// How often a pool may be stored and removed whole before what nobody took is dropped.
const TURNOVERS: usize = 4;

pub(in crate::kv) struct Recorder {
    events: Vec<Event>,
    /// Blocks that they name.
    named: usize,
    /// How many may be named.
    most: usize,
    /// The epoch that events speak of.
    epoch: u32,
    /// Events that were dropped since the pool was made.
    lost: u64,
}

impl Recorder {
    /// For a pool of so many blocks, in epoch 0.
    pub(in crate::kv) fn new(blocks: usize) -> Self {
        Self {
            events: Vec::new(),
            named: 0,
            most: TURNOVERS.saturating_mul(blocks),
            epoch: 0,
            lost: 0,
        }
    }

    /// The epoch that events speak of.
    pub(in crate::kv) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Events that were dropped, as nobody took them in time.
    pub(in crate::kv) fn lost(&self) -> u64 {
        self.lost
    }

    /// From now on events speak of this epoch, of which nothing is stored yet.
    pub(in crate::kv) fn begin(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.clear();
    }

    /// Nothing can be found any more. What came before makes no difference to a mirror, and is left out.
    pub(in crate::kv) fn clear(&mut self) {
        self.events.clear();
        self.events.push(Event::Cleared);
        self.named = 0;
    }

    /// A key of this epoch cannot be found any more.
    pub(in crate::kv) fn removed(&mut self, key: Key, group: u8, epoch: u32) {
        if epoch == self.epoch {
            self.push(1, Event::Removed { key, group });
        }
    }

    /// Adds an event that names so many blocks.
    pub(in crate::kv) fn push(&mut self, named: usize, event: Event) {
        if self.named + named > self.most {
            self.lost += self.events.len() as u64;
            self.clear();
        }
        self.named += named;
        self.events.push(event);
    }

    pub(in crate::kv) fn take(&mut self) -> Vec<Event> {
        self.named = 0;
        std::mem::take(&mut self.events)
    }
}
