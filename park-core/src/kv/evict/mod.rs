//! In which order free blocks are used again. One policy a file.
//!
//! Free blocks that nothing can find any more (*plain*: no key) cost nothing to take and go first. What a policy decides is the order
//! of the *cached* ones, which a later prompt could still hit. No policy can keep a block from being taken: retention is a place in
//! the order, not a lock, so a pool cannot be wedged by it.
//!
//! | file | order |
//! |---|---|
//! | `lru` | least recently used first, the tail of a sequence before its head: vLLM's order, block by block |
//! | `tiny_lfu` | of the few least recently used, the one whose key was asked for least |
//! | `retention` | by priority, which falls back to the least when its time is over; then least recently used |
//! | `rings` | the linked lists below all of them |
//! | `stack` | plain blocks, where they are used again last in first out |

mod lru;
mod retention;
mod rings;
mod stack;
mod tiny_lfu;

use super::{BlockId, Key};

/// Which order a pool uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Eviction {
    /// Least recently used first, in vLLM's order.
    #[default]
    Lru,
    /// TinyLFU: frequency decides among the least recently used.
    TinyLfu,
    /// Priority and time to live, then least recently used.
    Retention,
}

/// How long a block is worth keeping, beyond its last use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// Blocks of a lower priority are taken first; 0 is what every block has by default.
    pub priority: u8,
    /// When the priority falls back to 0, in the pool's time; 0 for never.
    pub until: u64,
}

/// The free blocks of a pool, in the order in which they are taken. A pool calls it with ids in range only, puts only what is not in
/// it, and removes only what is.
pub(crate) trait Order: Send {
    /// Blocks without keys: they are taken before all that is in the order now, the first of them first.
    fn put_plain(&mut self, blocks: &[BlockId]);

    /// Blocks with keys, in the order in which the policy should see them.
    fn put_cached(&mut self, blocks: &[BlockId]);

    /// They are used again.
    fn remove(&mut self, blocks: &[BlockId]);

    /// Takes the first `count` blocks, of which there are that many. `keys` is what blocks are cached under. Returns how many of the first
    /// it knows to be plain.
    fn take(&mut self, count: usize, keys: &[Key], taken: &mut Vec<BlockId>) -> usize;

    /// A free block has lost its key.
    fn forget(&mut self, block: BlockId);

    /// Whether it wants to hear of hits.
    fn wants_hits(&self) -> bool {
        false
    }

    /// Keys were asked for and found.
    fn hit(&mut self, _keys: &[Key]) {}

    /// From now on, this is how long a block is worth keeping. `free` says whether it is in the order.
    fn retain(&mut self, _block: BlockId, _retention: Retention, _free: bool) {}

    /// The time has come to `now`.
    fn pass(&mut self, _now: u64) {}

    /// Bytes that it occupies for each block.
    fn bytes_per_block(&self) -> usize;

    /// The block after one in the order, or the first of all; `None` after the last.
    fn after(&self, block: Option<BlockId>) -> Option<BlockId>;

    /// All blocks in order, for audits and tests.
    fn all(&self, keys: &[Key]) -> Vec<BlockId>;
}

/// An order of all blocks from the one after the null block, by id.
pub(crate) fn order(eviction: Eviction, blocks: u32) -> Box<dyn Order> {
    match eviction {
        Eviction::Lru => Box::new(lru::Lru::new(blocks)),
        Eviction::TinyLfu => Box::new(tiny_lfu::TinyLfu::new(blocks)),
        Eviction::Retention => Box::new(retention::ByPriority::new(blocks)),
    }
}
