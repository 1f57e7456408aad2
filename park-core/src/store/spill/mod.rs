//! Objects on disk: what does not fit into memory waits in files until somebody reads it.
//!
//! | file | what |
//! |---|---|
//! | `file` | the format of a spill file, parsed without trust |
//! | `directory` | the session's own directory, and sweeping those that killed sessions left behind |
//! | `volume` | the files together: append, read back, forget, how much at most |

pub mod directory;
pub mod file;
pub mod volume;

pub use directory::Directory;
pub use file::{Record, parse_record};
