//! `park.kv`: the paged KV cache (park-core/src/kv), for engines written in Python.
//!
//! | file | what |
//! |---|---|
//! | `offload` | `OffloadTable`: which chunks lie in a tier below the device |
//! | `radix` | `RadixTree`: prefixes by their tokens |

mod offload;
mod radix;

pub(crate) use offload::OffloadTable;
pub(crate) use radix::RadixTree;
