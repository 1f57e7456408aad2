//! Tests of the cache, by noun; here is what they share.

mod growth;
mod prefix;
mod properties;
mod windows;

use super::*;

const NOBODY: TenantId = TenantId(0);

impl Cache {
    /// All that decides what the cache does next, for checks of models: sequences in the order given, segments in that in which they are
    /// come upon.
    pub(in crate::kv) fn hash_state(&self, order: &[SequenceId], hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let mut segments = Vec::new();
        assert_eq!(order.len(), self.sequences.len());
        (self.epoch, &self.in_flight).hash(hash);
        for id in order {
            let sequence = &self.sequences[*id];
            (sequence.tenant, sequence.epoch, sequence.root).hash(hash);
            (sequence.base_blocks, &sequence.keys, &sequence.tail, &sequence.own).hash(hash);
            (sequence.known, sequence.computed).hash(hash);
            for window in &sequence.windows {
                (window.behind, &window.live).hash(hash);
            }
            let mut next = sequence.base;
            while let Some(id) = next {
                let known = segments.iter().position(|other| *other == id);
                known.hash(hash);
                if known.is_some() {
                    break;
                }
                segments.push(id);
                let (_, segment) = self.segments.iter().find(|(other, _)| *other == id).unwrap();
                (segment.references, &segment.keys, &segment.blocks).hash(hash);
                next = segment.parent;
            }
        }
        self.pool.hash_state(hash);
    }
}

fn cache(blocks: u32, block_size: u32, groups: &[Group]) -> Cache {
    Cache::new(CacheConfig {
        blocks,
        block_size,
        groups: groups.to_vec(),
        ..CacheConfig::default()
    })
    .unwrap()
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).collect()
}

fn add(cache: &mut Cache, tokens: &[u32]) -> SequenceId {
    cache.add(NOBODY, &Namespace::default(), tokens, &[]).unwrap()
}

/// Looks up, attaches, and computes all that is known. Returns the tokens that were hit.
fn run(cache: &mut Cache, id: SequenceId) -> u32 {
    let hit = cache.lookup(id, u32::MAX).unwrap();
    cache.attach(id, &hit).unwrap();
    let known = cache.known(id).unwrap();
    assert!(cache.grow(id, known, &mut Changes::default()).unwrap());
    cache.advance(id, known).unwrap();
    cache.settle().unwrap();
    cache.audit().unwrap();
    hit.tokens
}

fn begin(cache: &mut Cache, tokens: &[u32]) -> (SequenceId, u32) {
    let id = add(cache, tokens);
    let hit = run(cache, id);
    (id, hit)
}

fn table(cache: &Cache, id: SequenceId, group: u8) -> Vec<u32> {
    cache.table(id, group).unwrap().iter().map(|block| block.0).collect()
}

fn run_on(cache: &mut Cache, id: SequenceId) {
    let known = cache.known(id).unwrap();
    assert!(cache.grow(id, known, &mut Changes::default()).unwrap());
    cache.advance(id, known).unwrap();
    cache.settle().unwrap();
    cache.audit().unwrap();
}
