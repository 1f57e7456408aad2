//! `park.kv`: the paged KV cache (park-core/src/kv), for engines written in Python.
//!
//! | file | what |
//! |---|---|
//! | `memory` | pages on the device, blocks in host memory and on disk |

pub(crate) mod memory;
