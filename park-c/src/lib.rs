//! The C ABI of park: every function of `include/park.h`, which cbindgen makes from this crate.
//!
//! One file is one noun, and the prefix of its functions: `park_object_put` lives in `object.rs`. Each body runs inside the one
//! guard (`guard.rs`), which turns errors and panics into a status, and reads its arguments through the guard's witness
//! (`from_c.rs`), which refuses NULL, misaligned pointers, bad lengths and bad UTF-8. So a body only converts, calls park-core and
//! converts back.
//!
//! The KV cache is a folder of such files, `kv/`, whose functions begin with `park_kv_`.
//!
//! The rules for callers stand once, at the head of `park.h` (see `cbindgen.toml`), not in each function.
#![allow(
    unsafe_code,
    reason = "a C ABI is made of raw pointers; from_c.rs is where they are checked"
)]
#![allow(
    non_camel_case_types,
    reason = "the types have their C names, so that header and sources can be read side by side"
)]
#![allow(
    clippy::missing_safety_doc,
    reason = "one set of pointer rules for all functions, at the head of park.h"
)]

pub mod actor;
pub mod channel;
pub mod channel_message;
pub mod channel_reader;
pub mod channel_writer;
#[cfg(feature = "cxx")]
pub mod cxx;
pub mod error;
mod from_c;
mod guard;
pub mod kv;
pub mod mutable_object;
pub mod object;
pub mod object_id;
pub mod object_ref;
pub mod promise;
pub mod session;
pub mod task;
pub mod task_call;
pub mod tensor;
pub mod version;
