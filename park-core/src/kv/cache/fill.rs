//! All tables of one step in one call: the forms of `tables`, and the lengths that go with them, for the same list of work.
//!
//! A caller gives the buffers that its kernels read and leaves the others out. Everything is checked before anything is written.

use std::sync::Arc;

use super::Cache;
use super::sequence::SequenceId;
use crate::error::{Result, bail};
use crate::kv::BlockId;

/// Tokens `start..start + count` of a sequence, which one step computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The sequence.
    pub sequence: SequenceId,
    /// The position of the first token.
    pub start: u32,
    /// How many tokens, at least one.
    pub count: u32,
}

impl Span {
    fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }
}

/// Rows of a block table, one a sequence.
#[derive(Debug)]
pub struct Rows<'a> {
    /// Blocks of a row.
    pub width: usize,
    /// The rows, one after the other.
    pub blocks: &'a mut [i32],
    /// What the last call wrote to each row: as many as there are rows, made once, by a caller who writes to none of the rows that a call
    /// wrote, until the next one has. Then a call writes to them what has changed. Empty: every row is written whole.
    pub kept: &'a mut [Kept],
}

/// What a row of a block table holds; by default, nobody knows what.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The cache, and the number of the table that it is the beginning of.
    cache: Option<Arc<()>>,
    table: u64,
    /// How many of its blocks the row has; null blocks follow.
    positions: u32,
    group: u8,
}

/// Buffers of the caller's for `n` spans of `t` tokens in `p` pages. Each may be longer than it has to be: the rest is left alone.
#[derive(Debug, Default)]
pub struct Tables<'a> {
    /// The group whose blocks are written.
    pub group: u8,
    /// `[n][width]`: the blocks of each sequence, padded with the null block.
    pub block_table: Option<Rows<'a>>,
    /// `[t]`: the slot of each token, `block * block_size + offset`.
    pub slot_mapping: Option<&'a mut [i64]>,
    /// `[n + 1]`: where the pages of each sequence begin in `indices`.
    pub indptr: Option<&'a mut [i32]>,
    /// `[p]`: the pages up to the end of each span.
    pub indices: Option<&'a mut [i32]>,
    /// `[n]`: tokens of each sequence's last page.
    pub last_page_len: Option<&'a mut [i32]>,
    /// `[n + 1]`: where the tokens of each span begin among all that are computed.
    pub cu_seqlens_q: Option<&'a mut [i32]>,
    /// `[n + 1]`: where the tokens of each sequence begin among all that are attended to.
    pub cu_seqlens_k: Option<&'a mut [i32]>,
    /// `[n]`: tokens of each sequence up to the end of its span.
    pub seq_lens: Option<&'a mut [i32]>,
}

/// How much of the buffers a call has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filled {
    /// Spans.
    pub sequences: usize,
    /// Tokens of all of them.
    pub tokens: usize,
    /// Pages up to the ends of all of them.
    pub pages: usize,
}

impl Kept {
    fn is_of(&self, cache: &Arc<()>, table: u64, group: u8) -> bool {
        let same = self.cache.as_ref().is_some_and(|known| Arc::ptr_eq(known, cache));
        same && (self.table, self.group) == (table, group)
    }
}

impl Cache {
    /// Writes every table that there is a buffer for.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended; `InvalidArgument` for a group that the cache does not have, a span without a token or
    /// with one that has no block, and too short a buffer. Then nothing is written.
    pub fn fill(&self, spans: &[Span], tables: &mut Tables<'_>) -> Result<Filled> {
        let filled = self.check_tables(spans, tables, false)?;
        self.write_tables(spans, tables);
        Ok(filled)
    }

    /// What [`fill`](Self::fill) would write, if it can. `to_grow` is whether the blocks are still to come.
    pub(super) fn check_tables(&self, spans: &[Span], tables: &Tables<'_>, to_grow: bool) -> Result<Filled> {
        self.check_group(tables.group)?;
        let block_size = u64::from(self.config.block_size);
        let full = self.groups.full.len();
        let (mut tokens, mut attended, mut pages) = (0, 0, 0);
        for span in spans {
            let sequence = self.get(span.sequence)?;
            let (end, had) = (span.end(), u64::from(sequence.positions(full)));
            if span.count == 0 {
                bail!(InvalidArgument, "no token of {:?} was asked for", span.sequence);
            }
            if !to_grow && end > had * block_size {
                bail!(
                    InvalidArgument,
                    "{:?} has room for {} tokens, not for {end}",
                    span.sequence,
                    had * block_size
                );
            }
            let blocks = had.max(end.div_ceil(block_size));
            if let Some(rows) = &tables.block_table
                && blocks > rows.width as u64
            {
                bail!(
                    InvalidArgument,
                    "{:?} has {blocks} blocks, and a row of `block_table` has room for {}",
                    span.sequence,
                    rows.width
                );
            }
            tokens += u64::from(span.count);
            attended += end;
            pages += end.div_ceil(block_size);
        }
        if attended.max(pages) > i32::MAX as u64 {
            bail!(
                InvalidArgument,
                "{attended} tokens in {pages} pages are more than the 2^31 - 1 that kernels can count"
            );
        }
        let (n, tokens, pages) = (spans.len(), tokens as usize, pages as usize);
        let rows = tables.block_table.as_ref().map(|rows| (rows.blocks.len(), rows.width));
        for (name, room, needed) in [
            (
                "block_table",
                rows.map(|(room, _)| room),
                n * rows.map_or(0, |(_, width)| width),
            ),
            (
                "slot_mapping",
                tables.slot_mapping.as_ref().map(|out| out.len()),
                tokens,
            ),
            ("indptr", tables.indptr.as_ref().map(|out| out.len()), n + 1),
            ("indices", tables.indices.as_ref().map(|out| out.len()), pages),
            ("last_page_len", tables.last_page_len.as_ref().map(|out| out.len()), n),
            ("cu_seqlens_q", tables.cu_seqlens_q.as_ref().map(|out| out.len()), n + 1),
            ("cu_seqlens_k", tables.cu_seqlens_k.as_ref().map(|out| out.len()), n + 1),
            ("seq_lens", tables.seq_lens.as_ref().map(|out| out.len()), n),
        ] {
            if let Some(room) = room
                && room < needed
            {
                bail!(
                    InvalidArgument,
                    "`{name}` has room for {room} numbers, and {n} sequences of {tokens} tokens in {pages} pages need {needed}"
                );
            }
        }
        Ok(Filled {
            sequences: n,
            tokens,
            pages,
        })
    }

    /// Writes what was checked.
    pub(super) fn write_tables(&self, spans: &[Span], tables: &mut Tables<'_>) {
        let (group, block_size, full) = (tables.group, self.config.block_size, self.groups.full.len());
        let ends = || spans.iter().map(|span| span.start + span.count);
        if let Some(rows) = &mut tables.block_table
            && rows.width > 0
        {
            for (at, (span, row)) in spans.iter().zip(rows.blocks.chunks_exact_mut(rows.width)).enumerate() {
                let sequence = &self.sequences[span.sequence];
                let (row, rest) = row.split_at_mut(sequence.positions(full) as usize);
                let mut kept = rows.kept.get_mut(at);
                // A table of the same number has only become longer.
                let from = match &mut kept {
                    Some(kept) if kept.is_of(&self.identity, sequence.table, group) => {
                        std::mem::replace(&mut kept.positions, row.len() as u32)
                    }
                    _ => 0,
                };
                self.copy_row(sequence, group, from, &mut row[from as usize..]);
                if from == 0 {
                    let positions = row.len() as u32;
                    rest.fill(BlockId::NULL.0 as i32);
                    if let Some(kept) = kept {
                        *kept = Kept {
                            cache: Some(self.identity.clone()),
                            table: sequence.table,
                            positions,
                            group,
                        };
                    }
                }
            }
            // Rows past the last are the caller's again.
            if let Some(rest) = rows.kept.get_mut(spans.len()..) {
                rest.fill(Kept::default());
            }
        }
        if let Some(slots) = &mut tables.slot_mapping {
            let mut rest = &mut slots[..];
            let mut row = Vec::new();
            for span in spans {
                let (part, after) = std::mem::take(&mut rest).split_at_mut(span.count as usize);
                rest = after;
                let sequence = &self.sequences[span.sequence];
                let first = span.start / block_size;
                let last = (span.start + span.count - 1) / block_size;
                row.clear();
                row.resize((last - first + 1) as usize, 0);
                self.copy_row(sequence, group, first, &mut row);
                for (slot, token) in part.iter_mut().zip(span.start..) {
                    let block = row[(token / block_size - first) as usize];
                    *slot = i64::from(block) * i64::from(block_size) + i64::from(token % block_size);
                }
            }
        }
        if let Some(indices) = &mut tables.indices {
            let mut rest = &mut indices[..];
            for (span, end) in spans.iter().zip(ends()) {
                let (row, after) = std::mem::take(&mut rest).split_at_mut(end.div_ceil(block_size) as usize);
                rest = after;
                self.copy_row(&self.sequences[span.sequence], group, 0, row);
            }
        }
        if let Some(indptr) = &mut tables.indptr {
            write_sums(indptr, ends().map(|end| end.div_ceil(block_size)));
        }
        if let Some(lengths) = &mut tables.last_page_len {
            write(lengths, ends().map(|end| (end - 1) % block_size + 1));
        }
        if let Some(sums) = &mut tables.cu_seqlens_q {
            write_sums(sums, spans.iter().map(|span| span.count));
        }
        if let Some(sums) = &mut tables.cu_seqlens_k {
            write_sums(sums, ends());
        }
        if let Some(lengths) = &mut tables.seq_lens {
            write(lengths, ends());
        }
    }
}

fn write(out: &mut [i32], numbers: impl Iterator<Item = u32>) {
    for (place, number) in out.iter_mut().zip(numbers) {
        *place = number as i32;
    }
}

/// Writes 0, then the sum of the numbers up to each.
fn write_sums(out: &mut [i32], numbers: impl Iterator<Item = u32>) {
    let mut sum = 0;
    out[0] = 0;
    for (place, number) in out[1..].iter_mut().zip(numbers) {
        sum += number as i32;
        *place = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::kv::{CacheConfig, Changes, Group, Namespace, TenantId};

    fn cache(groups: &[Group]) -> Cache {
        Cache::new(CacheConfig {
            blocks: 64,
            block_size: 4,
            groups: groups.to_vec(),
            ..CacheConfig::default()
        })
        .unwrap()
    }

    fn grown(cache: &mut Cache, tokens: u32) -> SequenceId {
        let all: Vec<u32> = (0..tokens).collect();
        let id = cache
            .add(TenantId::default(), &Namespace::default(), &all, &[])
            .unwrap();
        assert!(cache.grow(id, tokens, &mut Changes::default()).unwrap());
        id
    }

    #[test]
    fn all_forms_of_one_step_agree_with_the_single_calls() {
        let mut cache = cache(&[Group::Full, Group::Window(8)]);
        let (a, b) = (grown(&mut cache, 10), grown(&mut cache, 21));
        cache.advance(b, 17).unwrap();
        cache.grow(b, 21, &mut Changes::default()).unwrap();
        let spans = [
            Span {
                sequence: a,
                start: 0,
                count: 10,
            },
            Span {
                sequence: b,
                start: 17,
                count: 3,
            },
        ];
        for group in [0, 1] {
            let (mut table, mut slots) = ([-1; 3 * 7], [-1; 14]);
            let (mut indptr, mut indices, mut last) = ([-1; 4], [-1; 9], [-1; 3]);
            let (mut q, mut k, mut lengths) = ([-1; 3], [-1; 3], [-1; 2]);
            let filled = cache
                .fill(
                    &spans,
                    &mut Tables {
                        group,
                        block_table: Some(Rows {
                            width: 7,
                            blocks: &mut table,
                            kept: &mut [],
                        }),
                        slot_mapping: Some(&mut slots),
                        indptr: Some(&mut indptr),
                        indices: Some(&mut indices),
                        last_page_len: Some(&mut last),
                        cu_seqlens_q: Some(&mut q),
                        cu_seqlens_k: Some(&mut k),
                        seq_lens: Some(&mut lengths),
                    },
                )
                .unwrap();
            assert_eq!((filled.sequences, filled.tokens, filled.pages), (2, 13, 8));

            let mut expected = [0; 14];
            cache.write_block_table(&[a, b], group, 7, &mut expected).unwrap();
            assert_eq!(table[..14], expected);
            assert_eq!(table[14..], [-1; 7], "rows past the last are left alone");
            let mut expected = [0; 13];
            cache
                .write_slot_mapping(&[(a, 0, 10), (b, 17, 3)], group, &mut expected)
                .unwrap();
            assert_eq!((&slots[..13], slots[13]), (&expected[..], -1));
            let (mut ends, mut pages, mut lens) = ([0; 3], [0; 8], [0; 2]);
            cache
                .write_page_table(&[(a, 10), (b, 20)], group, &mut ends, &mut pages, &mut lens)
                .unwrap();
            assert_eq!(
                (&indptr[..3], &indices[..8], &last[..2]),
                (&ends[..], &pages[..], &lens[..])
            );
            assert_eq!((q, k, lengths), ([0, 10, 13], [0, 10, 30], [10, 20]));
        }
    }

    #[test]
    fn a_row_that_is_kept_gets_what_has_changed() {
        let mut cache = cache(&[Group::Full]);
        let (a, b) = (grown(&mut cache, 8), grown(&mut cache, 5));
        let (mut rows, mut kept) = ([-1; 3 * 5], vec![Kept::default(); 3]);
        let mut fill = |cache: &Cache, ids: &[SequenceId], rows: &mut [i32]| {
            let span = |sequence: &SequenceId| Span {
                sequence: *sequence,
                start: 0,
                count: 1,
            };
            let spans: Vec<Span> = ids.iter().map(span).collect();
            let mut tables = Tables {
                block_table: Some(Rows {
                    width: 5,
                    blocks: rows,
                    kept: &mut kept,
                }),
                ..Tables::default()
            };
            cache.fill(&spans, &mut tables).unwrap();
        };
        fill(&cache, &[a, b], &mut rows);
        assert_eq!(rows, [1, 2, 0, 0, 0, 3, 4, 0, 0, 0, -1, -1, -1, -1, -1]);
        // What is not its own to write it does not: here the caller breaks his word, to see what is written.
        rows[..10].fill(-7);
        assert!(cache.grow(a, 12, &mut Changes::default()).unwrap());
        fill(&cache, &[a, b], &mut rows);
        assert_eq!(rows[..10], [-7, -7, 5, -7, -7, -7, -7, -7, -7, -7]);
        // Another order, a table that has become shorter, a row that was the caller's meanwhile: all of it.
        fill(&cache, &[b, a], &mut rows);
        assert_eq!(rows[..10], [3, 4, 0, 0, 0, 1, 2, 5, 0, 0]);
        cache.advance(a, 8).unwrap();
        cache.trim(a).unwrap();
        fill(&cache, &[b, a], &mut rows);
        assert_eq!(rows[5..10], [1, 2, 0, 0, 0]);
        fill(&cache, &[b], &mut rows);
        rows[5..10].fill(-7);
        fill(&cache, &[b, a], &mut rows);
        assert_eq!(rows[5..10], [1, 2, 0, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_writes_nothing() {
        let mut cache = cache(&[Group::Full]);
        let id = grown(&mut cache, 10);
        let span = Span {
            sequence: id,
            start: 0,
            count: 10,
        };
        let mut slots = [-1; 10];
        let mut indptr = [-1; 1];
        let short = cache.fill(
            &[span],
            &mut Tables {
                slot_mapping: Some(&mut slots),
                indptr: Some(&mut indptr),
                ..Tables::default()
            },
        );
        assert_eq!(short.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!((slots, indptr), ([-1; 10], [-1; 1]));
        for bad in [
            Span { count: 0, ..span },
            Span { count: 13, ..span },
            Span {
                start: u32::MAX,
                count: u32::MAX,
                ..span
            },
        ] {
            let refused = cache.fill(&[bad], &mut Tables::default()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{bad:?}");
        }
        cache.finish(id).unwrap();
        let ended = cache.fill(&[span], &mut Tables::default()).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn ids_are_numbers_and_back() {
        let mut cache = cache(&[Group::Full]);
        let id = grown(&mut cache, 1);
        assert_eq!(SequenceId::from_bits(id.to_bits()), id);
        for none in [0, 1, u64::MAX, id.to_bits() ^ 1 << 32, id.to_bits() + 1] {
            assert_eq!(
                cache.known(SequenceId::from_bits(none)).unwrap_err().kind(),
                ErrorKind::NotFound
            );
        }
    }
}
