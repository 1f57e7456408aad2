//! What can be found from now on, as events.

use super::sequence::Sequence;
use crate::kv::group::Groups;
use crate::kv::pool::Pool;
use crate::kv::{Event, Key};

/// Records what nobody could find before: (group, position) of blocks of one sequence, by group, then by position. Blocks that follow
/// each other become one event. `before` is the unmasked key of the block before a position, if there is one.
pub(super) fn tell(
    pool: &mut Pool,
    groups: &Groups,
    masks: &[u128],
    sequence: &Sequence,
    block_size: usize,
    before: impl Fn(u32) -> Option<Key>,
    found_first: &[(u8, u32)],
) {
    let follows = |a: &(u8, u32), b: &(u8, u32)| a.0 == b.0 && a.1 + 1 == b.1;
    for run in found_first.chunk_by(follows) {
        let ((group, first), count) = (run[0], run.len());
        let mask = masks[group as usize];
        let masked = |position: u32| before(position).map(|key| key.masked(mask));
        let start = first as usize * block_size;
        pool.record(
            count,
            Event::Stored {
                keys: (first + 1..).take(count).filter_map(masked).collect(),
                parent: masked(first),
                first,
                tokens: sequence.tokens[start..start + count * block_size].to_vec(),
                block_size: block_size as u32,
                group,
                kind: groups.kinds[group as usize],
                origin: sequence.origin.clone().unwrap_or_default(),
            },
        );
    }
}
