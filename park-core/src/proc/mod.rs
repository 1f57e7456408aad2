//! Worker processes: `zygote` starts and reaps them, `pool` is the head's list of them, `inbox` is what one of them is asked to do.

mod attendance;
pub mod inbox;
pub mod pool;
pub mod zygote;
