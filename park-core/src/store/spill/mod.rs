//! Objects on disk: what does not fit into memory waits in files until somebody reads it.
//!
//! | file | what |
//! |---|---|
//! | `file` | the format of a spill file, parsed without trust |
//! | `directory` | the session's own directory, and sweeping those that killed sessions left behind |
//! | `volume` | the files together: append, read back, forget, how much at most |
//! | `spiller` | the thread that moves objects out and back, in the head process |
//! | `start` | offering, starting, asking and ending that thread |
//! | `restore` | every process's side: wanting an object back, and waiting for it |

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
