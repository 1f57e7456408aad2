//! The paged KV cache for Python.
//!
//! | file | what |
//! |---|---|
//! | `block_pool` | a pool whose blocks are found by hashes that the engine made: `park.interop.vllm` |

mod block_pool;

pub(crate) use block_pool::{NamedBlock, NamedPool};
