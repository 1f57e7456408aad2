//! Whether it all adds up: the references of each block are those of tables, segments and copies in flight, and nothing else.

use std::collections::HashMap;

use super::Cache;
use crate::error::{Result, bail};

impl Cache {
    /// Checks every invariant of the cache and of its pool. Linear in blocks and sequences; made for production, after what went wrong,
    /// and for tests, after every step.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that does not add up.
    pub fn audit(&self) -> Result<()> {
        let mut held = vec![0_u32; self.pool.blocks() as usize];
        let full = self.groups.full.len();
        let mut shared = HashMap::new();
        for (id, sequence) in &self.sequences {
            for block in &sequence.own {
                held[block.at()] += 1;
            }
            for block in sequence.windows.iter().flat_map(|window| &window.live) {
                held[block.at()] += 1;
            }
            if let Some(base) = sequence.base {
                *shared.entry(base).or_insert(0) += 1;
            }
            let positions = sequence.positions(full);
            if sequence.computed > sequence.known || sequence.computed.div_ceil(self.config.block_size) > positions {
                bail!(
                    Corrupt,
                    "{id:?} has {} computed tokens of {} known ones in {positions} blocks",
                    sequence.computed,
                    sequence.known
                );
            }
            let keys: usize = self
                .segments
                .path(sequence.base)
                .map(|segment| segment.keys.len())
                .sum();
            if keys != sequence.base_blocks as usize {
                bail!(
                    Corrupt,
                    "{id:?} has {} blocks before its own, and keys of {keys}",
                    sequence.base_blocks
                );
            }
            let known = (keys + sequence.keys.len()) * self.config.block_size as usize + sequence.tail.len();
            if known != sequence.known as usize {
                bail!(
                    Corrupt,
                    "{id:?} knows {} tokens, and has keys for {known}",
                    sequence.known
                );
            }
        }
        for (id, segment) in self.segments.iter() {
            for block in &segment.blocks {
                held[block.at()] += 1;
            }
            if let Some(parent) = segment.parent {
                *shared.entry(parent).or_insert(0) += 1;
            }
            if segment.blocks.len() != segment.keys.len() * full {
                bail!(
                    Corrupt,
                    "{id:?} has {} blocks for {} keys",
                    segment.blocks.len(),
                    segment.keys.len()
                );
            }
        }
        for (id, segment) in self.segments.iter() {
            let references = shared.get(&id).copied().unwrap_or(0);
            if references != segment.references {
                bail!(
                    Corrupt,
                    "{id:?} counts {} references, and has {references}",
                    segment.references
                );
            }
        }
        for block in &self.in_flight {
            held[block.at()] += 1;
        }
        for (block, references) in &self.pinned {
            held[block.at()] += references;
        }
        self.pool.audit(&held)
    }
}
