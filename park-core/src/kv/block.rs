//! A block's id.

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
