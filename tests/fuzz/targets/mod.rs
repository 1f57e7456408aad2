//! The fuzz targets: functions of bytes that must not panic, die or wait for ever, whatever the bytes are.
//!
//! | target | what is fed |
//! |---|---|
//! | `c_abi` | sequences of calls of `park.h` with NULL, misaligned and closed handles, impossible lengths, offsets and texts |
//! | `c_kv` | sequences of calls of the `park_kv_` part of `park.h`, with an audit after each |
//! | `messages` | records of the control plane: envelopes, frames, parcels |
//! | `formats` | tensor headers, ERROR objects, ids as text |
//! | `spill` | heads and records of spill files |
//! | `ring` | cursors and words of a ring |
//! | `segment` | the first page of a control segment, wrong lengths, and scribbled segments that are then used |
//! | `welcome` | what a stranger says to a session's socket |
//! | `join` | what a session's socket answers to a stranger |
//! | `kv` | calls of the paged cache: pool, sequences, scheduler |
//! | `kv_events` | events of the paged cache, written in vLLM's form |

mod c_abi;
mod c_kv;
mod formats;
mod handshake;
mod input;
mod kv;
mod kv_events;
mod messages;
mod ring;
mod segment;
mod spill;

/// One target.
pub(crate) type Target = fn(&[u8]);

/// Name and function of each.
pub(crate) const ALL: &[(&str, Target)] = &[
    ("c_abi", c_abi::target),
    ("c_kv", c_kv::target),
    ("messages", messages::target),
    ("formats", formats::target),
    ("spill", spill::target),
    ("ring", ring::target),
    ("segment", segment::target),
    ("welcome", handshake::welcome),
    ("join", handshake::join),
    ("kv", kv::target),
    ("kv_events", kv_events::target),
];
