//! A block's id, and the label of its content.

use super::Key;

/// The number of a block in its pool: where in physical memory it lies. Block 0 is the null block: no sequence writes to it, and block
/// tables show it where a sliding window has moved on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct BlockId(pub u32);

impl BlockId {
    /// The null block.
    pub const NULL: BlockId = BlockId(0);

    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }

    /// Whether it is the null block.
    pub fn is_null(self) -> bool {
        self == Self::NULL
    }
}

/// What a block's content is found by, and what it is: what others than its pool name it by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// The key, masked for epoch and group as the index of the cache holds it.
    pub key: Key,
    /// The version of the weights that computed it.
    pub epoch: u32,
    /// The group whose layers it holds.
    pub group: u8,
}
