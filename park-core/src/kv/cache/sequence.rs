//! A sequence: the tokens it knows, as keys; the blocks that hold what was computed of them.

use std::collections::VecDeque;
use std::sync::Arc;

use slotmap::{Key as _, KeyData, new_key_type};

use super::segment::SegmentId;
use crate::kv::pool::TenantId;
use crate::kv::{BlockId, Key, Origin};

new_key_type! {
    /// A sequence of a cache. Ids are never used twice.
    pub struct SequenceId;
}

impl SequenceId {
    /// The id as a number, for other languages and for arrays of ids. Never negative as an `i64` before a place was used 2^30 times.
    pub fn to_bits(self) -> u64 {
        self.data().as_ffi()
    }

    /// The id of a number that [`to_bits`](Self::to_bits) made. Any other number gives an id that no cache has.
    pub fn from_bits(bits: u64) -> Self {
        let data = KeyData::from_ffi(bits);
        if data.as_ffi() == bits {
            data.into()
        } else {
            Self::null()
        }
    }
}

/// The table of a sliding window: null blocks, then those of the window.
#[derive(Clone, Default)]
pub(super) struct Window {
    /// How many of the first blocks are behind the window.
    pub(super) behind: u32,
    pub(super) live: VecDeque<BlockId>,
}

impl Window {
    pub(super) fn len(&self) -> u32 {
        self.behind + self.live.len() as u32
    }

    pub(super) fn get(&self, position: u32) -> Option<BlockId> {
        match position.checked_sub(self.behind) {
            Some(at) => self.live.get(at as usize).copied(),
            None => Some(BlockId::NULL),
        }
    }
}

/// See the module. Positions count blocks from the start of the sequence.
pub(super) struct Sequence {
    pub(super) tenant: TenantId,
    pub(super) epoch: u32,
    /// Where its chain of keys begins.
    pub(super) root: Key,
    /// What its keys depend on besides tokens: kept if it has media, or if events are to say it.
    pub(super) origin: Option<Arc<Origin>>,
    /// Blocks and keys that it has in common with the sequences it was forked from or with: those before `base_blocks`.
    pub(super) base: Option<SegmentId>,
    pub(super) base_blocks: u32,
    /// Keys of the full blocks of known tokens, from `base_blocks` on.
    pub(super) keys: Vec<Key>,
    /// Known tokens after the last full block.
    pub(super) tail: Vec<u32>,
    /// Blocks of the full groups from `base_blocks` on, those of one position side by side.
    pub(super) own: Vec<BlockId>,
    /// Tables of the window groups.
    pub(super) windows: Vec<Window>,
    pub(super) known: u32,
    pub(super) computed: u32,
    /// All known tokens, if the cache keeps them.
    pub(super) tokens: Vec<u32>,
    /// The last batch that named it: a batch names each sequence once.
    pub(super) batch: u64,
    /// Numbers its block tables: another one if they have become anything but longer. No two sequences of a cache have the same.
    pub(super) table: u64,
}

impl Sequence {
    /// Positions for which there are blocks.
    pub(super) fn positions(&self, full_groups: usize) -> u32 {
        match self.own.len().checked_div(full_groups) {
            Some(own) => self.base_blocks + own as u32,
            None => self.windows.first().map_or(0, Window::len),
        }
    }

    pub(super) fn has_blocks(&self) -> bool {
        self.base.is_some() || !self.own.is_empty() || self.windows.iter().any(|window| window.len() > 0)
    }
}
