#![doc = include_str!("README.md")]

pub mod call;
pub mod cancel;
pub mod native;
pub mod order;
pub mod registry;
