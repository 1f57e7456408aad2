//! What the Rust peers of the store bench share: how to measure, how to have a second process, and which bytes to move.

pub mod bytes;
pub mod child;
pub mod measure;
