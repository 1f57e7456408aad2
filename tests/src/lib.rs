//! Shared helpers of the tests that span crates or processes.

pub mod cxx;
pub mod random;
pub mod role;
