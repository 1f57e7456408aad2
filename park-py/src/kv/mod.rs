//! `park.kv`: the paged KV cache (park-core/src/kv), for engines written in Python.
//!
//! | file | what |
//! |---|---|
//! | `radix` | `RadixTree`: prefixes by their tokens |

mod radix;

pub(crate) use radix::RadixTree;
