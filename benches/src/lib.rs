//! What the Rust peers share: how to measure, how to have a second process, which bytes to move, and which requests to replay.

pub mod bytes;
pub mod child;
pub mod measure;
pub mod trace;
