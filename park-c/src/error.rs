//! `park_status` and `park_error`: what went wrong.

use std::ffi::{CString, c_char, c_void};
use std::sync::LazyLock;

use park_core::{Error, ErrorKind};

use crate::from_c::FromC;
use crate::guard::{guard, quietly};

/// How a call ended: PARK_OK, or the number of a kind of error. Numbers never change their meaning; new ones may be added.
pub type park_status = i32;

/// The call did what it says.
pub const PARK_OK: park_status = 0;
/// An argument is out of range, of the wrong shape, NULL or misaligned.
pub const PARK_INVALID_ARGUMENT: park_status = 1;
/// No object, actor or function has this name or id.
pub const PARK_NOT_FOUND: park_status = 2;
/// The deadline passed first.
pub const PARK_TIMEOUT: park_status = 3;
/// The store cannot hold the object.
pub const PARK_STORE_FULL: park_status = 4;
/// The object existed and its bytes are gone.
pub const PARK_OBJECT_LOST: park_status = 5;
/// The id belongs to another session.
pub const PARK_FOREIGN_SESSION: park_status = 6;
/// The session was shut down, or the process that opened it is gone.
pub const PARK_SESSION_CLOSED: park_status = 7;
/// The memory offered is not a park segment, is truncated, or has another version.
pub const PARK_BAD_SEGMENT: park_status = 8;
/// The peer runs as another user, or this process attached to look only.
pub const PARK_PERMISSION_DENIED: park_status = 9;
/// A signal arrived while the call was blocked.
pub const PARK_INTERRUPTED: park_status = 10;
/// The task failed.
pub const PARK_TASK_FAILED: park_status = 11;
/// The process that ran the task died.
pub const PARK_WORKER_DIED: park_status = 12;
/// The actor is dead and will not come back.
pub const PARK_ACTOR_DIED: park_status = 13;
/// The actor's process died during the call; the actor may come back.
pub const PARK_ACTOR_UNAVAILABLE: park_status = 14;
/// No node can ever satisfy the resources asked for.
pub const PARK_UNSCHEDULABLE: park_status = 15;
/// The handle was inherited through fork() and is not valid in the child.
pub const PARK_FORKED: park_status = 16;
/// A fixed-size table (objects, processes) has no free entry.
pub const PARK_TABLE_FULL: park_status = 17;
/// The operating system refused a call.
pub const PARK_IO: park_status = 18;
/// Shared memory holds a value that the protocol does not allow.
pub const PARK_CORRUPT: park_status = 19;
/// A defect in park; also a panic that was caught at the boundary to C.
pub const PARK_INTERNAL: park_status = 20;
/// The name is already taken.
pub const PARK_ALREADY_EXISTS: park_status = 21;
/// The object has another format than the call can read.
pub const PARK_WRONG_FORMAT: park_status = 22;
/// The handle was already sealed, aborted, released or closed.
pub const PARK_HANDLE_CLOSED: park_status = 23;
/// The operation is not offered here.
pub const PARK_UNSUPPORTED: park_status = 24;
/// The channel was closed, or whoever is at its other end is gone.
pub const PARK_CHANNEL_CLOSED: park_status = 25;
/// The work was cancelled.
pub const PARK_CANCELLED: park_status = 26;
/// As PARK_UNSCHEDULABLE, for an actor.
pub const PARK_ACTOR_UNSCHEDULABLE: park_status = 27;
/// The placement group that the task was to run in is gone.
pub const PARK_GROUP_REMOVED: park_status = 28;
/// The placement group that the actor was to live in is gone.
pub const PARK_ACTOR_GROUP_REMOVED: park_status = 29;
/// The interpreter or the environment that the work asked for could not be started.
pub const PARK_ENVIRONMENT_SETUP: park_status = 30;
/// The process that ran the work was killed before the machine ran out of memory.
pub const PARK_OUT_OF_MEMORY: park_status = 31;

/// An error: a status, and a message that names what was asked and what was found. Shared. Free it with park_error_free().
pub struct park_error {
    error: Error,
    message: CString,
}

impl park_error {
    /// An error as C holds it. NULs of the message, which C could not see past, become U+FFFD.
    pub(crate) fn into_raw(error: Error) -> *mut Self {
        let message = CString::new(error.message().replace('\0', "\u{fffd}")).unwrap_or_default();
        Box::into_raw(Box::new(Self { error, message }))
    }

    pub(crate) fn error(&self) -> &Error {
        &self.error
    }
}

/// Status and name of each kind; 0 is first.
static NAMES: LazyLock<Vec<(park_status, CString)>> = LazyLock::new(|| {
    let kinds = ErrorKind::ALL.iter().map(|kind| (*kind as park_status, kind.name()));
    std::iter::once((PARK_OK, "Ok"))
        .chain(kinds)
        .map(|(number, name)| (number, CString::new(name).unwrap_or_default()))
        .collect()
});

/// The name of a status, such as "Timeout"; "Unknown" for a number that this library does not know. Static: never freed.
/// Ownership: the text is static and never freed. Threads: shared. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn park_status_name(status: park_status) -> *const c_char {
    NAMES
        .iter()
        .find(|(number, _)| *number == status)
        .map_or(c"Unknown".as_ptr(), |(_, name)| name.as_ptr())
}

/// A new error, for callbacks that fail on their own account. A status that is unknown, or PARK_OK, becomes PARK_TASK_FAILED.
/// The message is copied; NULL is an empty one, and one that is not UTF-8 is replaced by a note that says so.
/// Ownership: the error is the caller's, for park_error_free(), or for park if a callback leaves it in `*err`. Threads: shared.
/// Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_error_new(status: park_status, message: *const c_char) -> *mut park_error {
    // SAFETY: the message is NULL or NUL-terminated, by the rules at the head of park.h.
    let from_c = unsafe { FromC::new() };
    let bytes = if message.is_null() {
        Ok("")
    } else {
        from_c.text(message, "message")
    };
    let text = bytes.unwrap_or("(a message that is not UTF-8)");
    park_error::into_raw(Error::new(
        ErrorKind::from_number(status).unwrap_or(ErrorKind::TaskFailed),
        text,
    ))
}

/// The status of an error; PARK_OK for NULL.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_error_status(error: *const park_error) -> park_status {
    // SAFETY: the error is NULL or live, by the rules at the head of park.h.
    let from_c = unsafe { FromC::new() };
    from_c
        .borrow(error, "error")
        .map_or(PARK_OK, |error| error.error.kind() as park_status)
}

/// The message of an error, UTF-8, valid until the error is freed; an empty text for NULL.
/// Ownership: the text belongs to the error. Threads: shared. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_error_message(error: *const park_error) -> *const c_char {
    // SAFETY: the error is NULL or live, by the rules at the head of park.h.
    let from_c = unsafe { FromC::new() };
    from_c
        .borrow(error, "error")
        .map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Bytes that only one language understands, such as the pickled exception of a Python task; none, and `*len` 0, if there are none
/// and for NULL.
/// Ownership: the bytes belong to the error and are valid until it is freed. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_error_detail(
    error: *const park_error,
    data: *mut *const c_void,
    len: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let (data, len) = (from_c.out(data, "data")?, from_c.out(len, "len")?);
        let detail = if error.is_null() {
            &[][..]
        } else {
            from_c.borrow(error, "error")?.error.detail()
        };
        data.set(if detail.is_empty() {
            std::ptr::null()
        } else {
            detail.as_ptr().cast()
        });
        len.set(detail.len());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Whether the same call can succeed later without a change by the caller. False for PARK_OK and for unknown numbers.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn park_status_is_retryable(status: park_status) -> bool {
    ErrorKind::from_number(status).is_some_and(ErrorKind::is_retryable)
}

/// Frees an error. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_error_free(error: *mut park_error) {
    // SAFETY: NULL, or made by `into_raw` and freed once, by the rules at the head of park.h.
    unsafe { free(error) };
}

/// Frees a handle that `Box::into_raw` made. NULL, and what cannot be a handle, are left alone.
///
/// # Safety
/// The handle is NULL or came from `Box::into_raw`, and is not used again.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() && handle.is_aligned() {
        // SAFETY: as the caller promises.
        let handle = unsafe { Box::from_raw(handle) };
        quietly(|| drop(handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    /// `PARK_NOT_FOUND` for `NotFound`.
    fn constant(name: &str) -> String {
        let mut text = "PARK".to_owned();
        for letter in name.chars() {
            if letter.is_uppercase() {
                text.push('_');
            }
            text.push(letter.to_ascii_uppercase());
        }
        text
    }

    #[test]
    fn every_kind_has_its_constant_and_every_constant_its_kind() {
        let source = include_str!("error.rs");
        let lines: Vec<&str> = source
            .lines()
            .filter(|line| line.starts_with("pub const PARK_"))
            .collect();
        assert_eq!(lines.len(), ErrorKind::ALL.len() + 1);
        for kind in ErrorKind::ALL {
            let line = format!("pub const {}: park_status = {};", constant(kind.name()), *kind as i32);
            assert!(lines.contains(&line.as_str()), "missing: {line}");
        }
    }

    #[test]
    fn names_and_messages() {
        // SAFETY: static texts.
        let name = |status| unsafe { CStr::from_ptr(park_status_name(status)) }.to_str().unwrap();
        assert_eq!(
            (name(0), name(3), name(999), name(-1)),
            ("Ok", "Timeout", "Unknown", "Unknown")
        );
        let raw = park_error::into_raw(Error::new(ErrorKind::Io, "a\0b"));
        // SAFETY: `raw` is live until it is freed below.
        let text = unsafe { park_error_message(raw) };
        // SAFETY: the error's text, which ends with a NUL.
        let text = unsafe { CStr::from_ptr(text) };
        assert_eq!(text.to_str().unwrap(), "a\u{fffd}b");
        // SAFETY: freed once.
        unsafe { park_error_free(raw) };
    }
}
