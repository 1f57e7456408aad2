//! `park_kv_...`: the paged KV cache and its scheduler (park-core/src/kv), for engines written in C and C++.
//!
//! | file | what |
//! |---|---|
//! | `cache` | `park_kv_cache`: sequences over a pool of blocks |
//! | `scheduler` | `park_kv_scheduler`: requests over a cache |
//! | `options` | what both are made of |
//! | `prompt` | what is asked of a model |
//! | `tables` | arrays of the caller's that steps write their block tables to |
//! | `plan` | what an engine is to do: lists that stay the handle's |
//! | `events` | what can be found, in vLLM's wire format |
//! | `metrics` | how long blocks stay and requests wait; each tenant |
//! | `call` | what every call on a handle does |

pub mod cache;
mod call;
pub mod events;
pub mod metrics;
pub mod options;
pub mod plan;
pub mod prompt;
pub mod scheduler;
pub mod tables;

use park_core::Result;
use park_core::kv::SequenceId;

use crate::from_c::{FromC, invalid};

/// A sequence of a cache, or a request of a scheduler. Ids are never used twice; 0 is none.
pub type park_kv_sequence = u64;

/// Ids as the core has them.
fn sequences(from_c: &FromC, ids: *const park_kv_sequence, count: usize) -> Result<Vec<SequenceId>> {
    let ids = from_c.slice(ids, count, "sequences")?;
    Ok(ids.iter().map(|id| SequenceId::from_bits(*id)).collect())
}

/// A quota; UINT32_MAX is none.
fn quota(blocks: u32) -> Option<u32> {
    (blocks != u32::MAX).then_some(blocks)
}

/// A number of a tenant.
fn tenant(number: u32) -> Result<park_core::kv::TenantId> {
    let number = u16::try_from(number).map_err(|_| invalid(format!("there is no tenant {number}")))?;
    Ok(park_core::kv::TenantId(number))
}
