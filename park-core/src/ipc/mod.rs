//! The control plane between the processes of a session. Payloads never travel here: they stay in the store.
//!
//! `message` says what is sent, `placement` where work may run, `parcel` what becomes of a long one, `channel` puts it into the receiver's ring and rings its bell, `outbox` keeps what does not fit
//! yet, `roster` hands out participant entries, `handshake` lets a stranger join.

pub mod channel;
pub mod handshake;
pub mod message;
pub mod outbox;
pub mod parcel;
pub mod placement;
pub mod roster;

pub use message::{Args, PairsRequest, Payload, ToHead, ToWorker};
pub use outbox::Outbox;

#[cfg(all(test, shuttle))]
mod shuttle_tests;
