//! `park.kv`: the paged KV cache and its scheduler (park-core/src/kv), for engines written in Python.
//!
//! One call a step: sequences and tokens come as arrays, tables are written into arrays of the caller's, and no Python object is made
//! for a sequence. Each class holds its core value under a lock that is never held while Python runs.
//!
//! | file | what |
//! |---|---|
//! | `cache`, `scheduler` | the classes of these names |
//! | `tables` | `Tables`: arrays of the caller's that steps write to |
//! | `memory` | pages on the device, blocks in host memory and on disk |
//! | `chunks` | bytes by key in host memory and on disk, without an order |
//! | `offload` | `OffloadTable`: which chunks lie in a tier below the device |
//! | `radix` | `RadixTree`: prefixes by their tokens |
//! | `block_pool` | a pool whose blocks are found by hashes that the engine made: `park.interop.vllm` |
//! | `plan` | `Plan` and `Changes`: what an engine is to do |
//! | `events` | what can be found from now on, as dicts and in vLLM's wire format |
//! | `config` | what both are made of, from keyword arguments |
//! | `buffers` | memory of numpy, torch and others, checked before it is read or written |
//! | `numbers` | numbers of Python's: one, or an array |
//! | `errors` | the exceptions of `park.kv.errors` |

mod block_pool;
mod buffers;
mod cache;
mod chunks;
mod config;
mod errors;
mod events;
mod memory;
mod numbers;
mod offload;
mod plan;
mod radix;
mod scheduler;
mod tables;

pub(crate) use block_pool::{NamedBlock, NamedPool};
pub(crate) use cache::Cache;
pub(crate) use chunks::KvChunks;
pub(crate) use memory::{KvDevice, KvMemory, KvTicket};
pub(crate) use offload::OffloadTable;
pub(crate) use plan::{Changes, Plan};
pub(crate) use radix::RadixTree;
pub(crate) use scheduler::Scheduler;
pub(crate) use tables::Tables;
