//! `park_promise`: an object that is promised now and made later, outside of any task.

use std::ffi::c_void;

use park_core::sched::native::Promise;
use park_core::{Error, ErrorKind, Format, Result};
use parking_lot::RwLock;

use crate::error::{free, park_error, park_status};
use crate::from_c::FromC;
use crate::guard::guard;
use crate::mutable_object::park_mutable_object;
use crate::object::{park_object_spec, with_spec};
use crate::object_ref::park_object_ref;
use crate::session::park_session;
use crate::tensor::{park_tensor_spec, read_spec};

/// The duty to make one object, to which others hold references already. Shared. Free it with park_promise_free(): a promise that
/// was not kept by then is raised as PARK_OBJECT_LOST in whoever reads the object, and so is that of a process that dies.
pub struct park_promise {
    promise: RwLock<Option<Promise>>,
}

impl park_promise {
    fn with<T>(&self, keep: impl FnOnce(&Promise) -> Result<T>) -> Result<T> {
        let promise = self.promise.read();
        keep(promise.as_ref().ok_or_else(closed)?)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::HandleClosed, "the promise was released")
}

/// Promises an object: `*reference` is for its readers, who may wait for it, pass it to tasks and send its id elsewhere; `*promise`
/// is for its maker.
/// Ownership: both are the caller's, for park_promise_free() and park_object_ref_free(). Threads: shared.
/// Errors: PARK_TABLE_FULL, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_promise_make(
    session: *const park_session,
    promise: *mut *mut park_promise,
    reference: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let (out, readers) = (from_c.out(promise, "promise")?, from_c.out(reference, "reference")?);
        let session = from_c.borrow(session, "session")?.open()?;
        let (reference, promise) = Promise::new(session.store())?;
        out.set_handle(park_promise {
            promise: RwLock::new(Some(promise)),
        });
        readers.set_handle(park_object_ref::new(reference));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Keeps the promise with a copy of `len` bytes. `data` may be NULL if `len` is 0.
/// Ownership: takes and gives nothing. Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_promise_put(
    promise: *const park_promise,
    data: *const c_void,
    len: usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let bytes = from_c.slice(data.cast::<u8>(), len, "data")?;
        from_c.borrow(promise, "promise")?.with(|promise| promise.put(bytes))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Lends room for the promised object: write it in place, seal it, and free its handle. Aborted, it leaves the promise open.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(); the references of `spec` stay the caller's. Threads: shared.
/// Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_FOREIGN_SESSION, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_promise_create(
    promise: *const park_promise,
    spec: *const park_object_spec,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let promise = from_c.borrow(promise, "promise")?;
        let object = with_spec(from_c, spec, |spec| promise.with(|promise| promise.create(spec)))?;
        out.set_handle(park_mutable_object::new_return(object));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Lends room for the promised object, a tensor: write its elements in place, seal it, and free its handle.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: shared.
/// Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_promise_create_tensor(
    promise: *const park_promise,
    spec: *const park_tensor_spec,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let spec = read_spec(from_c, spec)?;
        let object = from_c
            .borrow(promise, "promise")?
            .with(|promise| promise.create_tensor(&spec))?;
        out.set_handle(park_mutable_object::new_return(object).past_header(Format::Tensor));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Breaks the promise: whoever reads the object gets this error.
/// Ownership: `error` stays the caller's; what it says is copied. Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_promise_fail(
    promise: *const park_promise,
    error: *const park_error,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let error = from_c.borrow(error, "error")?;
        from_c
            .borrow(promise, "promise")?
            .with(|promise| promise.fail(error.error()))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Gives the promise up, unless it was kept. The handle stays to be freed, and is PARK_HANDLE_CLOSED.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_promise_release(promise: *mut park_promise, err: *mut *mut park_error) -> park_status {
    let body = |from_c: &FromC| {
        let taken = from_c.borrow(promise.cast_const(), "promise")?.promise.write().take();
        drop(taken.ok_or_else(closed)?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle, and gives the promise up unless it was kept or released. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_promise_free(promise: *mut park_promise) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(promise) };
}
