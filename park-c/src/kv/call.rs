//! What every call on one of these handles does: it looks at its pointers, takes the handle's lock, and gives its result on success only.

use park_core::Result;
use parking_lot::Mutex;

use crate::error::{park_error, park_status};
use crate::from_c::{FromC, Sized};
use crate::guard::guard;

/// What a C program holds: a state behind a lock.
pub(super) trait Handle {
    /// What is behind the lock.
    type State;
    /// What signatures call it.
    const NAME: &str;
    fn state(&self) -> &Mutex<Self::State>;
}

/// A call that gives nothing.
///
/// # Safety
/// As of [`guard`]: all pointers of the call follow the rules at the head of `park.h`.
pub(super) unsafe fn with<H: Handle>(
    handle: *mut H,
    err: *mut *mut park_error,
    call: impl FnOnce(&FromC, &mut H::State) -> Result<()>,
) -> park_status {
    let body = |from_c: &FromC| {
        let state = &mut *from_c.borrow(handle.cast_const(), H::NAME)?.state().lock();
        call(from_c, state)
    };
    // SAFETY: the caller's promise.
    unsafe { guard(err, body) }
}

/// A call that gives a value.
///
/// # Safety
/// As of [`with`].
pub(super) unsafe fn give<H: Handle, T>(
    handle: *mut H,
    out: *mut T,
    err: *mut *mut park_error,
    call: impl FnOnce(&FromC, &mut H::State) -> Result<T>,
) -> park_status {
    let body = |from_c: &FromC, state: &mut H::State| {
        let out = from_c.out(out, "out")?;
        out.set(call(from_c, state)?);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { with(handle, err, body) }
}

/// A call that fills a struct that says its own size.
///
/// # Safety
/// As of [`with`].
pub(super) unsafe fn fill<H: Handle, T: Sized>(
    handle: *mut H,
    out: *mut T,
    err: *mut *mut park_error,
    call: impl FnOnce(&FromC, &mut H::State) -> Result<T>,
) -> park_status {
    let body = |from_c: &FromC, state: &mut H::State| {
        let out = from_c.out_sized(out, "out")?;
        out(call(from_c, state)?);
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { with(handle, err, body) }
}
