//! Wiring: what a process of a session consists of, how it starts and in which order it ends.
//!
//! The head lives in the process that opened the session. Its state is private memory under one mutex; whoever has work for it
//! (a submitting thread, the head's own thread, the watcher) takes the mutex, does the work, and leaves. There is no dispatcher on
//! the submit path: a task that can run now is in its worker's ring when `submit` returns.
//!
//! | file | what |
//! |---|---|
//! | `session` | `Session`: open, attach, join as a worker, close |
//! | `head` | the head's state and its inbox |
//! | `place` | which worker gets which task; sending ahead and taking back |
//! | `placement` | nodes and placement groups |
//! | `actors` | creating, placing, finding and ending actors |
//! | `cancel` | cancelling tasks, and what they submitted |
//! | `lineage` | how objects were made, and making them again |
//! | `history` | tasks that ended lately |
//! | `pairs` | the table of keys and values |
//! | `describe` | who is there, for people and tests |
//! | `death` | what happens when a process ends |
//! | `spawner` | where workers come from: processes, or threads and what those share |
//! | `foreign` | zygotes of other interpreters: ready, ended, let go |
//! | `memory` | ending workers before the machine runs out of memory |
//! | `watch` | the thread that hears of deaths and of strangers that want to join |

mod actors;
mod audit;
mod cancel;
mod death;
mod describe;
mod foreign;
mod head;
mod history;
mod lineage;
mod memory;
mod pairs;
mod place;
mod placement;
mod session;
mod spawner;
mod watch;

pub use describe::{ActorRow, CallRow, Description, DriverRow, TaskRow, WorkerRow};
pub use head::{Head, HeadStats, WorkerSetup};
pub use history::EndedRow;
pub use memory::MemoryWatch;
pub use session::Session;
pub use spawner::{Seat, ThreadHost, WorkerSource};
