#![doc = include_str!("README.md")]

mod cursors;
mod identity;
mod memory;
mod message;
mod reader;
mod wait;
mod writer;

pub use cursors::MAX_READERS;
pub use memory::{Channel, ChannelSpec};
pub use message::{Kind, Message};
pub use reader::ChannelReader;
pub use writer::{ChannelWriter, Draft, Unfinished};

#[cfg(all(test, not(loom)))]
mod tests;
