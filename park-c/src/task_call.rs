//! `park_task_call`: what a callback sees of the call it serves.

use std::ffi::c_void;
use std::ptr;
use std::thread::{self, ThreadId};

use park_core::sched::native::NativeCall;
use park_core::{Format, Result, Spec};

use crate::error::{park_error, park_status};
use crate::from_c::{FromC, invalid};
use crate::guard::guard;
use crate::mutable_object::park_mutable_object;
use crate::object::{park_object, park_object_spec, with_spec};
use crate::tensor::{park_tensor_spec, read_spec};

/// One call, as its callback sees it. Pinned, and borrowed: valid on the callback's thread until the callback returns.
pub struct park_task_call {
    call: *mut NativeCall<'static>,
    args: Vec<park_object>,
    thread: ThreadId,
}

impl park_task_call {
    pub(crate) fn new(call: &mut NativeCall<'_>) -> Self {
        let args = call
            .args()
            .iter()
            .map(|object| park_object::new(object.clone()))
            .collect();
        Self {
            call: ptr::from_mut(call).cast(),
            args,
            thread: thread::current().id(),
        }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut NativeCall<'_>) -> Result<T>) -> Result<T> {
        if thread::current().id() != self.thread {
            return Err(invalid(
                "`call` is pinned: it can be used on the thread of its callback only",
            ));
        }
        // SAFETY: the call outlives the callback, and so this handle; one thread uses it, and no function here calls back.
        use_it(unsafe { &mut *self.call })
    }
}

/// How many arguments there are.
/// Ownership: takes and gives nothing. Threads: pinned. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_num_args(
    call: *const park_task_call,
    out: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(from_c.borrow(call, "call")?.args.len());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// How many values the callback has to return.
/// Ownership: takes and gives nothing. Threads: pinned. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_num_returns(
    call: *const park_task_call,
    out: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(from_c.borrow(call, "call")?.with(|call| Ok(call.returns()))?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// An argument, borrowed until the callback returns: not to be released or freed. It is there: an argument that failed fails the
/// call before the callback hears of it.
/// Ownership: `*out` belongs to the call. Threads: pinned. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_arg(
    call: *const park_task_call,
    index: usize,
    out: *mut *const park_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let call = from_c.borrow(call, "call")?;
        let none = || {
            invalid(format!(
                "there are {} arguments, asked for number {index}",
                call.args.len()
            ))
        };
        out.set(ptr::from_ref(call.args.get(index).ok_or_else(none)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// A return is a copy of `len` bytes.
/// Ownership: `data` is copied. Threads: pinned. Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_put(
    call: *mut park_task_call,
    index: usize,
    data: *const c_void,
    len: usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let bytes = from_c.slice(data.cast::<u8>(), len, "data")?;
        from_c
            .borrow(call.cast_const(), "call")?
            .with(|call| call.put(index, bytes))?;
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Lends room for a return of `len` bytes: write it in place, seal it, and free its handle.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: pinned. Errors: PARK_ALREADY_EXISTS,
/// PARK_STORE_FULL, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_create(
    call: *mut park_task_call,
    index: usize,
    len: usize,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let object = from_c
            .borrow(call.cast_const(), "call")?
            .with(|call| call.create(index, Spec::raw(len as u64)))?;
        out.set_handle(park_mutable_object::new_return(object));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// As park_task_call_create(), for a return of another format, or one that holds references.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(); the references of `spec` stay the caller's. Threads: pinned.
/// Errors: PARK_ALREADY_EXISTS, PARK_STORE_FULL, PARK_FOREIGN_SESSION, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_create_with(
    call: *mut park_task_call,
    index: usize,
    spec: *const park_object_spec,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let call = from_c.borrow(call.cast_const(), "call")?;
        let object = with_spec(from_c, spec, |spec| call.with(|call| call.create(index, spec)))?;
        out.set_handle(park_mutable_object::new_return(object));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// One return raises an error in whoever reads it; the others are not touched, and the callback may end well.
/// Ownership: `error` stays the caller's; what it says is copied. Threads: pinned. Errors: PARK_ALREADY_EXISTS, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_fail(
    call: *mut park_task_call,
    index: usize,
    error: *const park_error,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let error = from_c.borrow(error, "error")?;
        from_c
            .borrow(call.cast_const(), "call")?
            .with(|call| call.fail(index, error.error()))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Lends room for a return that is a tensor: write its elements in place, seal it, and free its handle.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: pinned. Errors: PARK_ALREADY_EXISTS,
/// PARK_STORE_FULL, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_call_create_tensor(
    call: *mut park_task_call,
    index: usize,
    spec: *const park_tensor_spec,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let spec = read_spec(from_c, spec)?;
        let object = from_c
            .borrow(call.cast_const(), "call")?
            .with(|call| call.create_tensor(index, &spec))?;
        out.set_handle(park_mutable_object::new_return(object).past_header(Format::Tensor));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}
