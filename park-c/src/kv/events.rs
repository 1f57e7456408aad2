//! `park_kv_publisher` and `park_kv_events`: what can be found, as one message in vLLM's wire format.

use std::ffi::c_char;
use std::ptr;

use park_core::Result;
use park_core::kv::{Event, Hashes, Wire};

use crate::from_c::{FromC, Sized, invalid};

/// Keys are written as numbers, their low 64 bits: what vLLM does unless told otherwise.
pub const PARK_KV_HASHES_INT: u32 = 0;
/// Keys are written as their 16 bytes, the highest first.
pub const PARK_KV_HASHES_BYTES: u32 = 1;

/// What a batch of events says of its publisher. Set struct_size to sizeof(park_kv_publisher).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_publisher {
    /// sizeof(park_kv_publisher).
    pub struct_size: usize,
    /// Seconds since 1970.
    pub time: f64,
    /// Where the blocks are, in vLLM's words: "GPU", "CPU" or "STORAGE". NULL: "GPU".
    pub medium: *const c_char,
    /// The publisher's place among its data parallel replicas; UINT32_MAX: it has none.
    pub rank: u32,
    /// PARK_KV_HASHES_INT or PARK_KV_HASHES_BYTES.
    pub hashes: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, numbers and a raw pointer only.
unsafe impl Sized for park_kv_publisher {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            time: 0.0,
            medium: ptr::null(),
            rank: 0,
            hashes: PARK_KV_HASHES_INT,
        }
    }
}

/// A batch of events. Set struct_size to sizeof(park_kv_events) before the call. The bytes are the handle's, valid until its next call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_events {
    /// sizeof(park_kv_events).
    pub struct_size: usize,
    /// One MessagePack message, `[time, events, rank]`, as vLLM 0.33 publishes it. There is one also without an event.
    pub bytes: *const u8,
    /// How many.
    pub num_bytes: usize,
    /// Events of the batch.
    pub num_events: usize,
}

// SAFETY: as above.
unsafe impl Sized for park_kv_events {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            bytes: ptr::null(),
            num_bytes: 0,
            num_events: 0,
        }
    }
}

/// What the core writes of a publisher.
pub(super) fn read(from_c: &FromC, publisher: *const park_kv_publisher) -> Result<(f64, Wire<'_>)> {
    let given = from_c.sized(publisher, "publisher")?;
    let wire = Wire {
        medium: match given.medium.is_null() {
            true => "GPU",
            false => from_c.text(given.medium, "publisher->medium")?,
        },
        rank: (given.rank != u32::MAX).then_some(given.rank),
        hashes: match given.hashes {
            PARK_KV_HASHES_INT => Hashes::Int,
            PARK_KV_HASHES_BYTES => Hashes::Bytes,
            other => return Err(invalid(format!("`publisher->hashes` is none of 0 and 1 but {other}"))),
        },
    };
    Ok((given.time, wire))
}

/// The batch of these events, in `message`.
pub(super) fn batch(time: f64, wire: &Wire<'_>, events: &[Event], message: &mut Vec<u8>) -> park_kv_events {
    *message = wire.encode(time, events);
    park_kv_events {
        struct_size: size_of::<park_kv_events>(),
        bytes: message.as_ptr(),
        num_bytes: message.len(),
        num_events: events.len(),
    }
}
