//! Worker processes: `zygote` starts and reaps them, `foreign` those of other interpreters, `pool` is the head's list of them, `inbox` is
//! what one of them is asked to do, `trace` when it did so.

mod attendance;
pub mod foreign;
pub mod inbox;
pub mod pool;
mod trace;
pub mod zygote;
