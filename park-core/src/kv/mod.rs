//! The paged KV cache and its scheduler: which tokens' keys and values lie in which blocks, who shares them, and what is computed next.
//!
//! Logic only: but for `physical/`, no memory is touched here. An engine gets plans (blocks to write to, blocks to copy) and says what it has
//! done. `README.md` beside this file tells the life of a block, a sequence and an epoch.
//!
//! Everything is owned by one thread (`&mut self`), ids are 32-bit numbers, and calls take batches. Three layers, each of use by itself:
//!
//! | layer | for whom |
//! |---|---|
//! | [`Pool`] | an engine with tables of its own: blocks, references, keys |
//! | [`Cache`] | an engine with a scheduler of its own: sequences, prefixes, forks, windows |
//! | [`Scheduler`] | an engine that only computes |
//!
//! | file | what |
//! |---|---|
//! | `block`, `pool` | ids; the pool |
//! | `key/` | what blocks are found by |
//! | `index` | from keys to blocks |
//! | `evict/` | which free block is taken next |
//! | `named/` | a pool whose blocks are found by hashes that the engine made: vLLM's `BlockPool` |
//! | `group` | full attention, sliding windows |
//! | `cache/` | sequences over a pool |
//! | `schedule/` | requests over a cache |
//! | `radix/` | beside all of these: prefixes by their tokens, for engines that allocate slots themselves (SGLang) |
//! | `offload/` | which chunks lie in a tier below the device |
//! | `event/` | what can be found, for those who mirror it |
//! | `metrics` | what was counted |
//! | `physical/` | the bytes: pages on the device, blocks in host memory and on disk |

mod block;
mod cache;
mod event;
mod evict;
mod group;
mod index;
mod key;
mod metrics;
mod named;
mod offload;
pub mod physical;
mod pool;
mod radix;
mod schedule;

pub use block::{BlockId, Label};
pub use cache::{
    Cache, CacheConfig, Changes, Copy, Filled, Hit, Kept, Loading, Placed, Rows, SequenceId, Span, Tables, TenantStats,
};
pub use event::{Event, Hashes, Origin, Wire};
pub use evict::{Eviction, Retention};
pub use group::Group;
pub use key::{Algorithm, Key, Keyer, Media, Namespace};
pub use metrics::{CacheMetrics, Histogram, SchedulerMetrics, TenantMetrics};
pub use named::{Name, NamedPool};
pub use offload::{ArcLists, OffloadPolicy, OffloadRank, OffloadState, OffloadTable, Stored};
pub use pool::{Pool, PoolConfig, PoolStats, TenantId};
pub use radix::{
    RadixConfig, RadixEviction, RadixInserted, RadixInsertion, RadixMatch, RadixNode, RadixSplit, RadixTree,
};
pub use schedule::{
    OnEpoch, Outcome, Plan, Policy, Preempted, Request, Scheduler, SchedulerConfig, SchedulerStats, Swap, Work,
};

#[cfg(test)]
mod tests;
