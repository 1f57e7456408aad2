#![doc = include_str!("README.md")]

pub mod directory;
pub mod file;
mod restore;
mod spiller;
mod start;
pub mod volume;

pub use directory::Directory;
pub use file::{Record, parse_record};
pub(crate) use start::{Lost, Plan, SpillThread};

#[cfg(all(test, not(loom)))]
mod tests;
