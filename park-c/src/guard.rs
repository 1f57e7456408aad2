//! The one way from C into Rust: no panic crosses it, and no error is lost on it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use park_core::{Error, ErrorKind, Result};

use crate::error::{PARK_OK, park_error, park_status};
use crate::from_c::FromC;

/// Runs the body of a C function. On failure the status says why, and `*err`, unless `err` is NULL, becomes an error that the
/// caller frees. On success `*err` becomes NULL.
///
/// # Safety
/// The witness it passes on vouches for every pointer of the call: they follow the rules at the head of `park.h`. So must `err`.
pub(crate) unsafe fn guard(err: *mut *mut park_error, body: impl FnOnce(&FromC) -> Result<()>) -> park_status {
    // SAFETY: the caller of this function promises what the witness stands for.
    let from_c = unsafe { FromC::new() };
    let target = if err.is_null() {
        Ok(None)
    } else {
        from_c.out(err, "err").map(Some)
    };
    let (target, outcome) = match target {
        Ok(target) => (target, catch(|| body(&from_c))),
        // Where the error would go is itself not a place to write to.
        Err(error) => (None, Err(error)),
    };
    let status = outcome
        .as_ref()
        .map_or_else(|error| error.kind() as park_status, |()| PARK_OK);
    if let Some(target) = target {
        target.set(outcome.err().map_or(std::ptr::null_mut(), park_error::into_raw));
    }
    status
}

/// Runs a body without a status, such as that of a `_free` function. A panic ends there: its text went to the panic hook.
pub(crate) fn quietly(body: impl FnOnce()) {
    // An error cannot arise, and the text of a panic has been reported.
    let _ = catch(|| {
        body();
        Ok(())
    });
}

/// Turns a panic into an error of kind `Internal`.
pub(crate) fn catch<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(panic_error(payload.as_ref())))
}

fn panic_error(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    Error::new(ErrorKind::Internal, format!("park panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn errors_panics_and_success() {
        let mut err = ptr::null_mut();
        // SAFETY: `err` is a local variable, and the bodies read nothing through the witness.
        let call = |err: *mut *mut park_error, body: fn(&FromC) -> Result<()>| unsafe { guard(err, body) };
        assert_eq!(call(&raw mut err, |_| panic!("oh")), ErrorKind::Internal as i32);
        // SAFETY: the guard has just written a live error.
        let error = unsafe { Box::from_raw(err) };
        assert_eq!(error.error().message(), "park panicked: oh");
        assert_eq!(call(&raw mut err, |_| Ok(())), PARK_OK);
        assert!(err.is_null(), "cleared on success");
        assert_eq!(
            call(ptr::null_mut(), |_| Err(Error::new(ErrorKind::Timeout, ""))),
            ErrorKind::Timeout as i32
        );
        let odd = ptr::without_provenance_mut(1);
        assert_eq!(
            call(odd, |_| Ok(())),
            ErrorKind::InvalidArgument as i32,
            "nothing is written there"
        );
    }
}
