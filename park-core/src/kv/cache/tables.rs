//! Block tables as kernels read them, written into the caller's buffers: one call for a batch.
//!
//! | form | read by |
//! |---|---|
//! | one row of blocks a sequence, padded with the null block | vLLM, FlashAttention (`block_table`) |
//! | one slot a token, `block * block_size + offset` | cache writes (`slot_mapping`) |
//! | rows one after the other, with their ends and the tokens of their last pages | FlashInfer (`indptr`, `indices`, `last_page_len`) |

use super::Cache;
use super::sequence::{Sequence, SequenceId};
use crate::error::{Result, bail};
use crate::kv::{BlockId, Group};

impl Cache {
    /// The blocks of a sequence in a group, from the first position on.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended, `InvalidArgument` for a group that the cache does not have.
    pub fn table(&self, id: SequenceId, group: u8) -> Result<Vec<BlockId>> {
        let sequence = self.get(id)?;
        self.check_group(group)?;
        let mut row = vec![0; sequence.positions(self.groups.full.len()) as usize];
        self.copy_row(sequence, group, 0, &mut row);
        Ok(row.into_iter().map(|block| BlockId(block as u32)).collect())
    }

    /// Writes one row a sequence of `width` blocks each; places past a sequence's blocks get the null block.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended; `InvalidArgument` for a group that the cache does not have, a buffer that is not of
    /// `sequences * width` numbers, or a row that is too short.
    pub fn write_block_table(&self, sequences: &[SequenceId], group: u8, width: usize, rows: &mut [i32]) -> Result<()> {
        self.check_group(group)?;
        if Some(rows.len()) != sequences.len().checked_mul(width) {
            bail!(
                InvalidArgument,
                "{} rows of {width} blocks were asked for, and there is room for {} numbers",
                sequences.len(),
                rows.len()
            );
        }
        for (at, id) in sequences.iter().enumerate() {
            let sequence = self.get(*id)?;
            let blocks = sequence.positions(self.groups.full.len()) as usize;
            if blocks > width {
                bail!(
                    InvalidArgument,
                    "{id:?} has {blocks} blocks, and a row has room for {width}"
                );
            }
            let (row, rest) = rows[at * width..(at + 1) * width].split_at_mut(blocks);
            self.copy_row(sequence, group, 0, row);
            rest.fill(BlockId::NULL.0 as i32);
        }
        Ok(())
    }

    /// Writes the slots of tokens `start..start + count` of each sequence, one sequence after the other. Returns how many were written.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended; `InvalidArgument` for a group that the cache does not have, tokens without a block, or
    /// too short a buffer.
    pub fn write_slot_mapping(&self, work: &[(SequenceId, u32, u32)], group: u8, slots: &mut [i64]) -> Result<usize> {
        self.check_group(group)?;
        let block_size = self.config.block_size;
        let (mut written, mut row) = (0, Vec::new());
        for (id, start, count) in work {
            let sequence = self.get(*id)?;
            let end = u64::from(*start) + u64::from(*count);
            let room = u64::from(sequence.positions(self.groups.full.len())) * u64::from(block_size);
            if end > room {
                bail!(InvalidArgument, "{id:?} has room for {room} tokens, not for {end}");
            }
            let Some(part) = slots.get_mut(written..written + *count as usize) else {
                bail!(
                    InvalidArgument,
                    "there is room for {} slots, and the work has more",
                    slots.len()
                );
            };
            let first = start / block_size;
            row.clear();
            row.resize((end.div_ceil(u64::from(block_size)) - u64::from(first)) as usize, 0);
            self.copy_row(sequence, group, first, &mut row);
            for (slot, token) in part.iter_mut().zip(*start..) {
                let block = row[(token / block_size - first) as usize];
                *slot = i64::from(block) * i64::from(block_size) + i64::from(token % block_size);
            }
            written += *count as usize;
        }
        Ok(written)
    }

    /// Writes FlashInfer's form for the first `tokens` tokens of each sequence: `indptr` has one number more than there are sequences.
    /// Returns how many `indices` were written.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended; `InvalidArgument` for a group that the cache does not have, tokens without a block, no
    /// tokens, or too short a buffer.
    pub fn write_page_table(
        &self,
        work: &[(SequenceId, u32)],
        group: u8,
        indptr: &mut [i32],
        indices: &mut [i32],
        last_page_len: &mut [i32],
    ) -> Result<usize> {
        self.check_group(group)?;
        let block_size = self.config.block_size;
        if indptr.len() != work.len() + 1 || last_page_len.len() != work.len() {
            bail!(
                InvalidArgument,
                "{} sequences need as many last page lengths and one more indptr, and there is room for {} and {}",
                work.len(),
                last_page_len.len(),
                indptr.len()
            );
        }
        let mut written = 0;
        indptr[0] = 0;
        for (at, (id, tokens)) in work.iter().enumerate() {
            let sequence = self.get(*id)?;
            let pages = tokens.div_ceil(block_size);
            if *tokens == 0 || pages > sequence.positions(self.groups.full.len()) {
                bail!(InvalidArgument, "{id:?} has no room for {tokens} tokens");
            }
            let Some(row) = indices.get_mut(written..written + pages as usize) else {
                bail!(
                    InvalidArgument,
                    "there is room for {} indices, and the sequences have more",
                    indices.len()
                );
            };
            self.copy_row(sequence, group, 0, row);
            written += pages as usize;
            indptr[at + 1] = written as i32;
            last_page_len[at] = (tokens - (pages - 1) * block_size) as i32;
        }
        Ok(written)
    }

    /// Writes the blocks at positions `first..first + row.len()`, all of which the sequence has.
    pub(super) fn copy_row(&self, sequence: &Sequence, group: u8, first: u32, row: &mut [i32]) {
        if let Group::Window(_) = self.groups.kinds[group as usize] {
            let nth = self.groups.windows.iter().position(|(number, _)| *number == group);
            let window = &sequence.windows[nth.expect("a window group is in the list of windows")];
            for (position, place) in (first..).zip(row) {
                *place = window.get(position).unwrap_or(BlockId::NULL).0 as i32;
            }
            return;
        }
        let groups = self.groups.full.len();
        let nth = self.groups.full.iter().position(|number| *number == group);
        let nth = nth.expect("a full group is in the list of full groups");
        let mut write = |start: u32, blocks: &[BlockId]| {
            let skipped = first.saturating_sub(start) as usize;
            let at = start.saturating_sub(first) as usize;
            let (Some(row), Some(blocks)) = (row.get_mut(at..), blocks.get(skipped * groups..)) else {
                return;
            };
            if groups == 1 {
                // Side by side, and so a copy of memory.
                for (place, block) in row.iter_mut().zip(blocks) {
                    *place = block.0 as i32;
                }
            } else {
                for (place, position) in row.iter_mut().zip(blocks.chunks_exact(groups)) {
                    *place = position[nth].0 as i32;
                }
            }
        };
        write(sequence.base_blocks, &sequence.own);
        let mut end = sequence.base_blocks;
        for segment in self.segments.path(sequence.base) {
            if end <= first {
                break;
            }
            end -= (segment.blocks.len() / groups) as u32;
            write(end, &segment.blocks);
        }
    }

    pub(super) fn check_group(&self, group: u8) -> Result<()> {
        if group as usize >= self.groups.kinds.len() {
            bail!(
                InvalidArgument,
                "there is no group {group}: there are {}",
                self.groups.kinds.len()
            );
        }
        Ok(())
    }
}
