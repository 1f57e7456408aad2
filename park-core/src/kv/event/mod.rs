//! What happened to the prefix index, for whoever mirrors it: a router that sends a prompt to where its prefix is.
//!
//! Events speak of what a new prompt can find, in the present epoch: a key is stored when the first block of it can be found, and removed
//! when the last one cannot be found any more (of two requests that compute the same prompt at a time, each has blocks of its own). What
//! an older epoch computes and loses is nobody's news, and a new epoch begins with [`Event::Cleared`]. So whoever applies all events in
//! order has exactly the set of keys that the index has; a test does so after every step of random runs.
//!
//! Recording is off unless asked for. It is bounded: whoever does not take events for longer than the pool takes to be filled four times
//! over finds [`Event::Cleared`] in place of what was dropped. Then its mirror misses blocks that are there, which costs it a hit, but
//! names none that is not.
//!
//! | file | what |
//! |---|---|
//! | `mod` | events |
//! | `recorder` | those that nobody has taken yet |
//! | `wire` | vLLM's form of them, as bytes |

mod recorder;
mod wire;

use std::sync::Arc;

pub(super) use self::recorder::Recorder;
pub use self::wire::{Hashes, Wire};

use super::{Group, Key, Media, Namespace};

/// One change. Blocks are named by key, as others cannot know ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Blocks that follow each other in a sequence can be found from now on.
    Stored {
        /// Their keys, as the index holds them.
        keys: Vec<Key>,
        /// The key of the block before the first; `None` at the start of a sequence.
        parent: Option<Key>,
        /// The position of the first block in its sequence, in blocks.
        first: u32,
        /// The tokens of all of them.
        tokens: Vec<u32>,
        /// Tokens of a block.
        block_size: u32,
        /// Which group of layers they hold.
        group: u8,
        /// What those layers attend to.
        kind: Group,
        /// What their keys depend on besides tokens.
        origin: Arc<Origin>,
    },
    /// A block cannot be found any more.
    Removed {
        /// Its key.
        key: Key,
        /// Its group.
        group: u8,
    },
    /// No block can be found any more.
    Cleared,
}

/// A sequence's [`Namespace`] and media, kept with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// See [`Namespace::tenant`].
    pub tenant: Vec<u8>,
    /// See [`Namespace::salt`].
    pub salt: Vec<u8>,
    /// See [`Namespace::adapter`].
    pub adapter: Vec<u8>,
    /// Which of its tokens stand for something else, ordered by start.
    pub media: Vec<Media>,
}

impl Origin {
    pub(super) fn new(namespace: &Namespace<'_>, media: &[Media]) -> Self {
        Self {
            tenant: namespace.tenant.to_vec(),
            salt: namespace.salt.to_vec(),
            adapter: namespace.adapter.to_vec(),
            media: media.to_vec(),
        }
    }

    /// The first position in `start..end` that stands for something else.
    pub(super) fn first_media(&self, start: usize, end: usize) -> Option<usize> {
        let within = self.media.iter().filter(|item| item.overlaps(start, end));
        within.map(|item| item.start.max(start)).min()
    }
}

#[cfg(test)]
mod tests;
