//! What happened to the prefix index, for whoever mirrors it (a router that sends a prompt to where its prefix is).

use super::Key;

/// One change. Blocks are named by key, as others cannot know ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Blocks that follow each other in a sequence can be found from now on.
    Stored {
        /// Their keys, as the index holds them.
        keys: Vec<Key>,
        /// The key of the block before the first; `None` at the start of a sequence.
        parent: Option<Key>,
        /// The tokens of all of them.
        tokens: Vec<u32>,
        /// Tokens of a block.
        block_size: u32,
        /// Which group of layers they hold.
        group: u8,
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
