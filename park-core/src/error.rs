//! One table of error kinds for Rust, C and Python.
//!
//! A kind has a fixed number that never changes meaning: C callers see it as a `park_status`, Python looks its exception class
//! up by name. Bindings never `match` on kinds, so a new kind cannot be forgotten by one of them. Messages are lower-case, have
//! no trailing full stop, and say what was asked and what was found.

use std::fmt;

/// The result of every fallible call in park.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, )+) => {
        /// What went wrong. Numbers are part of the C ABI and are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum ErrorKind { $( $(#[$doc])* $name = $number, )+ }

        impl ErrorKind {
            /// Every kind, in numeric order.
            pub const ALL: &'static [ErrorKind] = &[ $( ErrorKind::$name, )+ ];

            /// The kind's name, as bindings show it.
            pub fn name(self) -> &'static str {
                match self { $( ErrorKind::$name => stringify!($name), )+ }
            }
        }
    };
}

kinds! {
    /// An argument is out of range, of the wrong shape or null.
    InvalidArgument = 1,
    /// No object, actor or function has this name or id.
    NotFound = 2,
    /// The deadline passed first.
    Timeout = 3,
    /// The store cannot hold the object.
    StoreFull = 4,
    /// The object existed and its bytes are gone.
    ObjectLost = 5,
    /// The id belongs to another session.
    ForeignSession = 6,
    /// The session was shut down, or its head process is gone.
    SessionClosed = 7,
    /// The memory offered is not a park segment, is truncated, or has another version.
    BadSegment = 8,
    /// The peer runs as another user, or this process attached to look only.
    PermissionDenied = 9,
    /// A signal arrived while the call was blocked.
    Interrupted = 10,
    /// The task raised.
    TaskFailed = 11,
    /// The process that ran the task died.
    WorkerDied = 12,
    /// The actor is dead and will not come back.
    ActorDied = 13,
    /// The actor's process died during the call; the actor may come back.
    ActorUnavailable = 14,
    /// No node can ever satisfy the resources asked for.
    Unschedulable = 15,
    /// The handle was inherited through `fork()` and is not valid in the child.
    Forked = 16,
    /// A fixed-size table (objects, processes) has no free entry.
    TableFull = 17,
    /// The operating system refused a call.
    Io = 18,
    /// Shared memory holds a value that the protocol does not allow.
    Corrupt = 19,
    /// A defect in park, or a panic caught at a language boundary.
    Internal = 20,
    /// The name is already taken.
    AlreadyExists = 21,
    /// The object has another format than the call can read.
    WrongFormat = 22,
    /// The handle was already sealed, aborted, released or closed.
    HandleClosed = 23,
    /// The operation is not offered here.
    Unsupported = 24,
    /// The channel was closed, or whoever is at its other end is gone.
    ChannelClosed = 25,
    /// The work was cancelled.
    Cancelled = 26,
    /// As `Unschedulable`, for an actor.
    ActorUnschedulable = 27,
    /// The placement group that the task was to run in is gone.
    GroupRemoved = 28,
    /// The placement group that the actor was to live in is gone.
    ActorGroupRemoved = 29,
    /// The interpreter or the environment that the work asked for could not be started.
    EnvironmentSetup = 30,
    /// The process that ran the work was killed before the machine ran out of memory.
    OutOfMemory = 31,
}

/// An error: a kind, and a message that names what was asked and what was found.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    detail: Vec<u8>,
}

impl Error {
    /// A new error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: Vec::new(),
        }
    }

    /// Attaches bytes that only one language understands (a pickled exception, say).
    #[must_use]
    pub fn with_detail(mut self, detail: Vec<u8>) -> Self {
        self.detail = detail;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text, without the kind.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The language-specific bytes, empty if there are none.
    pub fn detail(&self) -> &[u8] {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, error.to_string())
    }
}

impl ErrorKind {
    /// The kind with this number, if there is one.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as i32 == number)
    }

    /// Whether the same call can succeed later without a change by the caller.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::StoreFull | Self::Interrupted | Self::ActorUnavailable | Self::TableFull
        )
    }
}

/// Shorthand for `Err(Error::new(kind, format!(..)))`.
macro_rules! bail {
    ($kind:ident, $($arg:tt)+) => {
        return Err($crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($arg)+)))
    };
}
pub(crate) use bail;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_round_trip() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_number(*kind as i32), Some(*kind), "{}", kind.name());
        }
        assert_eq!(ErrorKind::from_number(0), None, "0 is success in C");
    }
}
