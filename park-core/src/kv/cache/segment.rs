//! Segments: what forked sequences have in common.
//!
//! A fork moves the full blocks of its sequence into a segment that both then refer to, so it takes constant time however long the
//! sequence is, and each block of the segment keeps the one reference it had. Segments form a tree: a segment's parent holds the blocks
//! before its own. A segment goes when the last sequence or segment that refers to it does.

use slotmap::{SlotMap, new_key_type};

use crate::kv::{BlockId, Key};

new_key_type! {
    pub(super) struct SegmentId;
}

pub(super) struct Segment {
    pub(super) parent: Option<SegmentId>,
    /// Sequences and segments that refer to it.
    pub(super) references: u32,
    pub(super) keys: Vec<Key>,
    /// Blocks of the full groups, those of one position side by side.
    pub(super) blocks: Vec<BlockId>,
}

/// All segments of a cache.
#[derive(Default)]
pub(super) struct Segments {
    map: SlotMap<SegmentId, Segment>,
}

impl Segments {
    /// A segment with two references: the sequence that was forked and the fork. It takes over the reference to its parent.
    pub(super) fn add(&mut self, parent: Option<SegmentId>, keys: Vec<Key>, blocks: Vec<BlockId>) -> SegmentId {
        self.map.insert(Segment {
            parent,
            references: 2,
            keys,
            blocks,
        })
    }

    /// One more reference.
    pub(super) fn share(&mut self, id: SegmentId) {
        self.map[id].references += 1;
    }

    /// One reference less. Blocks of segments that lost their last one are appended to `left`, last position first.
    pub(super) fn leave(&mut self, id: SegmentId, left: &mut Vec<BlockId>) {
        let mut next = Some(id);
        while let Some(id) = next {
            let segment = &mut self.map[id];
            segment.references -= 1;
            if segment.references > 0 {
                return;
            }
            left.extend(segment.blocks.iter().rev());
            next = segment.parent;
            self.map.remove(id);
        }
    }

    /// A segment and those before it, last first.
    pub(super) fn path(&self, id: Option<SegmentId>) -> impl Iterator<Item = &Segment> {
        std::iter::successors(id.map(|id| &self.map[id]), |segment| {
            segment.parent.map(|parent| &self.map[parent])
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SegmentId, &Segment)> {
        self.map.iter()
    }
}
