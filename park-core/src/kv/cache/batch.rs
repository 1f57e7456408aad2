//! A whole step in one call, for engines that schedule by themselves: what [`append`](Cache::append), [`grow`](Cache::grow),
//! [`advance`](Cache::advance) and [`fill`](Cache::fill) do for one sequence after the other.
//!
//! A batch happens whole or not at all: sequences, tokens, buffers and free blocks are checked first. As with a scheduler's plan, what a
//! batch computes can be found by others from now on, [`settle`](Cache::settle) ends the step, and [`rewind`](Cache::rewind) takes back
//! what failed.

use super::fill::{Filled, Span, Tables};
use super::sequence::{Sequence, SequenceId};
use super::{Cache, Changes, MOST_TOKENS, ended};
use crate::error::{Result, bail};
use crate::kv::TenantId;

impl Cache {
    /// One more token for each sequence, which the model has sampled from its last one; the step computes it.
    ///
    /// # Errors
    /// `NotFound` for a sequence that has ended; `InvalidArgument` for another number of tokens than of sequences, a sequence that is named
    /// twice, that has tokens which are not computed, or 2^31 - 1 of them, and for what [`fill`](Self::fill) refuses; `StoreFull` if the
    /// pool or a tenant is short of blocks. Then nothing has changed.
    pub fn decode(
        &mut self,
        ids: &[SequenceId],
        tokens: &[u32],
        tables: &mut Tables<'_>,
        changes: &mut Changes,
    ) -> Result<Filled> {
        if ids.len() != tokens.len() {
            bail!(
                InvalidArgument,
                "{} sequences need as many tokens, and {} came",
                ids.len(),
                tokens.len()
            );
        }
        let block_size = self.config.block_size;
        let mut spans = self.begin_batch(ids, |sequence| {
            if sequence.computed != sequence.known || sequence.known as usize >= MOST_TOKENS {
                bail!(
                    InvalidArgument,
                    "of {} tokens {} are computed: a sequence decodes when all are, up to {MOST_TOKENS}",
                    sequence.known,
                    sequence.computed
                );
            }
            Ok(sequence.known + 1)
        })?;
        let filled = self.check_tables(&spans, tables, true)?;
        self.reserve_batch(&spans)?;
        let keeps = self.keeps_tokens();
        for (span, token) in spans.iter().zip(tokens) {
            let stays_open = !(span.start + 1).is_multiple_of(block_size);
            if stays_open && self.has_open_block(&self.sequences[span.sequence]) {
                // Most of the time: nothing but the token is new.
                let sequence = &mut self.sequences[span.sequence];
                sequence.known += 1;
                sequence.computed += 1;
                sequence.tail.push(*token);
                if keeps {
                    sequence.tokens.push(*token);
                }
                continue;
            }
            self.append(span.sequence, &[*token])?;
            self.take_part(*span, changes)?;
        }
        self.write_tables(&spans, tables);
        spans.clear();
        self.spans = spans;
        Ok(filled)
    }

    /// The next tokens of each sequence, up to its first `ends[i]`, all of which it knows; the step computes them.
    ///
    /// # Errors
    /// As of [`decode`](Self::decode); `InvalidArgument` for an end that is not after what is computed or past what is known.
    pub fn prefill(
        &mut self,
        ids: &[SequenceId],
        ends: &[u32],
        tables: &mut Tables<'_>,
        changes: &mut Changes,
    ) -> Result<Filled> {
        if ids.len() != ends.len() {
            bail!(
                InvalidArgument,
                "{} sequences need as many ends, and {} came",
                ids.len(),
                ends.len()
            );
        }
        let mut given = ends.iter();
        let mut spans = self.begin_batch(ids, |sequence| {
            let end = *given.next().expect("as many ends as sequences");
            if end <= sequence.computed || end > sequence.known {
                bail!(
                    InvalidArgument,
                    "of {} tokens {} are computed, and the step was to end at {end}",
                    sequence.known,
                    sequence.computed
                );
            }
            Ok(end)
        })?;
        let filled = self.check_tables(&spans, tables, true)?;
        self.reserve_batch(&spans)?;
        for span in &spans {
            self.take_part(*span, changes)?;
        }
        self.write_tables(&spans, tables);
        spans.clear();
        self.spans = spans;
        Ok(filled)
    }

    /// As [`grow`](Self::grow), for those who cannot go on without.
    ///
    /// # Errors
    /// As of `grow`; `StoreFull` where that gives false.
    pub fn require(&mut self, id: SequenceId, tokens: u32, changes: &mut Changes) -> Result<()> {
        if self.grow(id, tokens, changes)? {
            return Ok(());
        }
        bail!(
            StoreFull,
            "{id:?} needs {} more blocks for {tokens} tokens, and its tenant may take {} now",
            self.blocks_to_grow(id, tokens)?,
            self.pool.available_to(self.tenant_of(id)?)
        )
    }

    /// What a batch computes: from the first token that is not computed to the end that `end_of` says.
    fn begin_batch(
        &mut self,
        ids: &[SequenceId],
        mut end_of: impl FnMut(&Sequence) -> Result<u32>,
    ) -> Result<Vec<Span>> {
        self.batch += 1;
        let mut spans = std::mem::take(&mut self.spans);
        spans.clear();
        for id in ids {
            let sequence = self.sequences.get_mut(*id).ok_or_else(|| ended(*id))?;
            if std::mem::replace(&mut sequence.batch, self.batch) == self.batch {
                bail!(InvalidArgument, "a batch names {id:?} twice");
            }
            let end = end_of(sequence)?;
            spans.push(Span {
                sequence: *id,
                start: sequence.computed,
                count: end - sequence.computed,
            });
        }
        Ok(spans)
    }

    /// Sees to it that there are free blocks for all of a batch.
    fn reserve_batch(&mut self, spans: &[Span]) -> Result<()> {
        if !self.groups.windows.is_empty() {
            for span in spans {
                self.leave_behind(span.sequence)?;
            }
        }
        let mut needed = 0;
        let mut by_tenant = vec![0; self.tenants.len()];
        for span in spans {
            let sequence = &self.sequences[span.sequence];
            if span.count == 1 && self.has_open_block(sequence) {
                continue;
            }
            let blocks = u64::from(self.blocks_to_grow(span.sequence, span.start + span.count)?);
            needed += blocks;
            by_tenant[sequence.tenant.0 as usize] += blocks;
        }
        let free = self.pool.free_blocks();
        if needed > u64::from(free) {
            bail!(StoreFull, "the step needs {needed} more blocks, and {free} are free");
        }
        for (tenant, needed) in (0..).zip(by_tenant) {
            let room = self.pool.available_to(TenantId(tenant));
            if needed > u64::from(room) {
                bail!(
                    StoreFull,
                    "the step needs {needed} more blocks for tenant {tenant}, which may take {room} now"
                );
            }
        }
        Ok(())
    }

    /// Whether the next token of a sequence has room in a block that it has begun and that nobody else sees.
    fn has_open_block(&self, sequence: &Sequence) -> bool {
        let full = self.groups.full.len();
        if !sequence.computed.is_multiple_of(self.config.block_size) && self.groups.windows.is_empty() {
            let position = sequence.computed / self.config.block_size - sequence.base_blocks;
            let blocks = &sequence.own[position as usize * full..][..full];
            return !blocks.iter().any(|block| self.pool.is_visible(*block));
        }
        false
    }

    /// Room for a span, and its place among what is computed.
    fn take_part(&mut self, span: Span, changes: &mut Changes) -> Result<()> {
        let end = span.start + span.count;
        if !self.grow(span.sequence, end, changes)? {
            bail!(Internal, "the blocks of a batch were counted, and one is missing");
        }
        self.advance(span.sequence, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::kv::{CacheConfig, Group, Namespace, Rows};

    fn cache(config: CacheConfig) -> Cache {
        Cache::new(CacheConfig {
            block_size: 4,
            ..config
        })
        .unwrap()
    }

    fn add(cache: &mut Cache, tenant: TenantId, tokens: u32) -> SequenceId {
        let all: Vec<u32> = (0..tokens).map(|at| at + 1000 * cache.sequences() as u32).collect();
        cache.add(tenant, &Namespace::default(), &all, &[]).unwrap()
    }

    /// The same steps sequence by sequence: what a batch must come to.
    fn one_by_one(cache: &mut Cache, ids: &[SequenceId], tokens: &[u32], changes: &mut Changes) {
        for (id, token) in ids.iter().zip(tokens) {
            let known = cache.known(*id).unwrap();
            cache.append(*id, &[*token]).unwrap();
            assert!(cache.grow(*id, known + 1, changes).unwrap());
            cache.advance(*id, known + 1).unwrap();
        }
    }

    #[test]
    fn a_batch_is_its_sequences_one_after_the_other() {
        for groups in [
            vec![Group::Full],
            vec![Group::Full; 2],
            vec![Group::Full, Group::Window(5)],
        ] {
            let config = CacheConfig {
                blocks: 400,
                groups: groups.clone(),
                verify: groups.len() == 1,
                ..CacheConfig::default()
            };
            let (mut batched, mut single) = (cache(config.clone()), cache(config));
            let (mut changes, mut expected) = (Changes::default(), Changes::default());
            let mut ids: Vec<SequenceId> = (3..11)
                .map(|tokens| add(&mut batched, TenantId::default(), tokens))
                .collect();
            for (id, tokens) in ids.iter().zip(3..) {
                assert_eq!(add(&mut single, TenantId::default(), tokens), *id);
                assert!(single.grow(*id, tokens, &mut expected).unwrap());
                single.advance(*id, tokens).unwrap();
            }
            let ends: Vec<u32> = (3..11).collect();
            batched
                .prefill(&ids, &ends, &mut Tables::default(), &mut changes)
                .unwrap();
            let fork = batched.fork(ids[2]).unwrap();
            assert_eq!(single.fork(ids[2]).unwrap(), fork);
            ids.push(fork);
            for step in 0..20 {
                let tokens: Vec<u32> = (0..ids.len() as u32).map(|at| at * 100 + step).collect();
                let mut slots = vec![0; ids.len()];
                let mut tables = Tables {
                    slot_mapping: Some(&mut slots),
                    ..Tables::default()
                };
                batched.decode(&ids, &tokens, &mut tables, &mut changes).unwrap();
                one_by_one(&mut single, &ids, &tokens, &mut expected);
                assert_eq!(
                    (&changes.copies, &changes.placed),
                    (&expected.copies, &expected.placed),
                    "{groups:?}"
                );
                for (id, slot) in ids.iter().zip(&slots) {
                    let known = single.known(*id).unwrap();
                    let mut one = [0];
                    single.write_slot_mapping(&[(*id, known - 1, 1)], 0, &mut one).unwrap();
                    assert_eq!(one[0], *slot);
                }
                batched.settle().unwrap();
                single.settle().unwrap();
                batched.audit().unwrap();
            }
            assert!(!changes.copies.is_empty(), "the fork's tail was copied");
            assert_eq!(batched.pool().free_order(), single.pool().free_order());
            assert_eq!(batched.pool_stats(), single.pool_stats());
        }
    }

    #[test]
    fn a_batch_that_cannot_happen_whole_does_not_happen() {
        let mut cache = cache(CacheConfig {
            blocks: 6,
            ..CacheConfig::default()
        });
        let poor = cache.add_tenant(Some(1)).unwrap();
        let (a, b) = (add(&mut cache, TenantId::default(), 4), add(&mut cache, poor, 4));
        let mut changes = Changes::default();
        let refused = |done: Result<Filled>| done.unwrap_err().kind();
        let none = &mut Tables::default();
        assert_eq!(
            refused(cache.decode(&[a], &[1], none, &mut changes)),
            ErrorKind::InvalidArgument
        );
        cache.prefill(&[a, b], &[4, 4], none, &mut changes).unwrap();
        changes.clear();
        // The tenant's quota, a sequence twice, another number of tokens, one that has ended, a row that is too short.
        assert_eq!(
            refused(cache.decode(&[a, b], &[1, 2], none, &mut changes)),
            ErrorKind::StoreFull
        );
        assert_eq!(
            refused(cache.decode(&[a, a], &[1, 2], none, &mut changes)),
            ErrorKind::InvalidArgument
        );
        assert_eq!(
            refused(cache.decode(&[a, b], &[1], none, &mut changes)),
            ErrorKind::InvalidArgument
        );
        assert_eq!(
            refused(cache.decode(&[a, SequenceId::from_bits(7)], &[1, 2], none, &mut changes)),
            ErrorKind::NotFound
        );
        let mut row = [0; 1];
        let mut short = Tables {
            block_table: Some(Rows {
                width: 1,
                blocks: &mut row,
                kept: &mut [],
            }),
            ..Tables::default()
        };
        assert_eq!(
            refused(cache.decode(&[a], &[1], &mut short, &mut changes)),
            ErrorKind::InvalidArgument
        );
        for ends in [[4, 4], [5, 5]] {
            assert_eq!(
                refused(cache.prefill(&[a, b], &ends, none, &mut changes)),
                ErrorKind::InvalidArgument
            );
        }
        assert!(changes.placed.is_empty() && changes.copies.is_empty());
        assert_eq!((cache.known(a).unwrap(), cache.computed(b).unwrap()), (4, 4));
        cache.audit().unwrap();
        // And then it does: each takes one block, of which there are three.
        cache.decode(&[a], &[1], none, &mut changes).unwrap();
        assert_eq!(changes.placed.len(), 1);
        cache.audit().unwrap();
    }

    #[test]
    fn a_pool_that_is_short_for_all_of_a_batch_gives_none_of_it() {
        let mut cache = cache(CacheConfig {
            blocks: 4,
            caching: false,
            ..CacheConfig::default()
        });
        let ids: Vec<SequenceId> = (0..2).map(|_| add(&mut cache, TenantId::default(), 4)).collect();
        let mut changes = Changes::default();
        cache
            .prefill(&ids, &[4, 4], &mut Tables::default(), &mut changes)
            .unwrap();
        let short = cache
            .decode(&ids, &[1, 2], &mut Tables::default(), &mut changes)
            .unwrap_err();
        assert_eq!((short.kind(), cache.pool().free_blocks()), (ErrorKind::StoreFull, 1));
        assert_eq!(cache.known(ids[0]).unwrap(), 4);
        cache.audit().unwrap();
    }
}
