//! `park_task_*`: C functions as native tasks, on the threads of this process.

use std::ffi::{c_char, c_void};
use std::ptr;

use park_core::sched::native::NativeCall;
use park_core::{Error, ErrorKind, ObjectRef, Result};

use crate::error::{PARK_OK, park_error, park_status};
use crate::from_c::{FromC, Out, invalid};
use crate::guard::{guard, quietly};
use crate::object_ref::{open_all, park_object_ref};
use crate::session::park_session;
use crate::task_call::park_task_call;

/// A native task: reads the arguments of `call`, writes its returns, and returns PARK_OK; or fails with another status and, if it
/// can say why, an error in `*err`, which park frees. It runs on any thread of the pool, several calls at a time with the same
/// `user_data`. No C++ exception may leave it.
pub type park_task_function = Option<
    unsafe extern "C" fn(call: *mut park_task_call, user_data: *mut c_void, err: *mut *mut park_error) -> park_status,
>;

/// Called once with a callback's `user_data`, when park needs it no longer, on any thread.
pub type park_destructor = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A callback's `user_data`, and what frees it.
pub(crate) struct UserData {
    pointer: *mut c_void,
    destructor: park_destructor,
}

// SAFETY: `park_task_function` says that the pointer is used by several threads at a time; C cares for what it points to.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(pointer: *mut c_void, destructor: park_destructor) -> Self {
        Self { pointer, destructor }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(destructor) = self.destructor {
            // SAFETY: C gave the function for this pointer, and this is the one call.
            quietly(|| unsafe { destructor(self.pointer) });
        }
    }
}

/// Runs a callback on a call. `invoke` passes it the call's handle, and a place for an error.
pub(crate) fn run_callback(
    call: &mut NativeCall<'_>,
    invoke: impl FnOnce(*mut park_task_call, *mut *mut park_error) -> park_status,
) -> Result<()> {
    let mut handle = park_task_call::new(call);
    let mut err: *mut park_error = ptr::null_mut();
    let status = invoke(&raw mut handle, &raw mut err);
    let error = (!err.is_null()).then(|| {
        // SAFETY: an error that the callback made or received, and leaves to us.
        unsafe { Box::from_raw(err) }
    });
    match error {
        _ if status == PARK_OK => Ok(()),
        Some(error) => Err(error.error().clone()),
        None => {
            let kind = ErrorKind::from_number(status);
            let text = format!("it returned status {status} without an error");
            Err(Error::new(kind.unwrap_or(ErrorKind::TaskFailed), text))
        }
    }
}

/// Places for the references to a call's returns; all are written, or none.
pub(crate) fn set_returns(places: Vec<Out<'_, *mut park_object_ref>>, returns: Vec<ObjectRef>) {
    places
        .into_iter()
        .zip(returns)
        .for_each(|(place, reference)| place.set_handle(park_object_ref::new(reference)));
}

/// Gives a native task a name; PARK_ALREADY_EXISTS if it is taken. `user_data` is taken over whatever the status is: `destructor`,
/// unless it is NULL, has been called when this fails, and else is called when the session closes.
/// Ownership: `name` is copied; `user_data` as above. Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_SESSION_CLOSED, PARK_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_register(
    session: *const park_session,
    name: *const c_char,
    function: park_task_function,
    user_data: *mut c_void,
    destructor: park_destructor,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let user_data = UserData::new(user_data, destructor);
        let session = from_c.borrow(session, "session")?.open()?;
        let function = function.ok_or_else(|| invalid("`function` is NULL"))?;
        session.pool()?.register(from_c.text(name, "name")?, move |call| {
            // SAFETY: the function came from C with this user data, and both live until the session's pool drops them.
            run_callback(call, |handle, err| unsafe {
                function(handle, user_data.pointer(), err)
            })
        })?;
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Calls a native task, once its arguments are there, on a thread of the pool. Writes a reference for each of the `num_returns`
/// values that it will return, to be awaited, passed on as arguments, or freed at once. PARK_NOT_FOUND if there is no such task.
/// Ownership: each of `returns` is the caller's, for park_object_ref_free(); `args` stay the caller's, and their objects live until
/// the task ends. Threads: shared. Errors: PARK_NOT_FOUND, PARK_FOREIGN_SESSION, PARK_TABLE_FULL, PARK_PERMISSION_DENIED,
/// PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_task_submit(
    session: *const park_session,
    name: *const c_char,
    args: *const *const park_object_ref,
    num_args: usize,
    num_returns: usize,
    returns: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let places = from_c.out_slice(returns, num_returns, "returns")?;
        let session = from_c.borrow(session, "session")?.open()?;
        let args = open_all(from_c, args, num_args, "args")?;
        set_returns(
            places,
            session.pool()?.submit(from_c.text(name, "name")?, &args, num_returns)?,
        );
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}
