//! `park_actor`: C state with methods, on a thread of its own.

use std::ffi::{CString, c_char, c_void};

use park_core::Result;
use park_core::actor::native::{NativeActor, NativeActorHandle};
use park_core::sched::native::NativeCall;

use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, invalid};
use crate::guard::guard;
use crate::object_ref::{open_all, park_object_ref};
use crate::session::park_session;
use crate::task::{UserData, park_destructor, run_callback, set_returns};
use crate::task_call::park_task_call;

/// What an actor does when it is called: as park_task_function, but all calls are made by one thread, one after another, so
/// `user_data` needs no lock. `method` is valid until it returns.
pub type park_actor_function = Option<
    unsafe extern "C" fn(
        call: *mut park_task_call,
        method: *const c_char,
        user_data: *mut c_void,
        err: *mut *mut park_error,
    ) -> park_status,
>;

/// A caller of an actor. Calls through one handle run in their order, also when early ones wait for arguments; a clone is a
/// caller of its own. Shared. Free it with park_actor_free(): the actor ends with its last handle, after what was asked is done.
pub struct park_actor {
    handle: NativeActorHandle,
}

struct Callback {
    function:
        unsafe extern "C" fn(*mut park_task_call, *const c_char, *mut c_void, *mut *mut park_error) -> park_status,
    user_data: UserData,
}

impl NativeActor for Callback {
    fn call(&mut self, method: &str, call: &mut NativeCall<'_>) -> Result<()> {
        let method = CString::new(method).map_err(|_| invalid("the method's name has a NUL"))?;
        // SAFETY: the function came from C with this user data, and both live as long as the actor.
        run_callback(call, |handle, err| unsafe {
            (self.function)(handle, method.as_ptr(), self.user_data.pointer(), err)
        })
    }
}

/// Starts an actor on a thread of its own. `name` is for messages. `user_data` is taken over whatever the status is: `destructor`,
/// unless it is NULL, has been called when this fails, and else is called on the actor's thread as it ends.
/// Ownership: `*out` is the caller's, for park_actor_free(); `name` is copied; `user_data` as above. Threads: shared. Errors:
/// PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED, PARK_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_actor_spawn(
    session: *const park_session,
    name: *const c_char,
    function: park_actor_function,
    user_data: *mut c_void,
    destructor: park_destructor,
    out: *mut *mut park_actor,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let user_data = UserData::new(user_data, destructor);
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        let function = function.ok_or_else(|| invalid("`function` is NULL"))?;
        let actor = Box::new(Callback { function, user_data });
        out.set_handle(park_actor {
            handle: NativeActorHandle::spawn(session.pool()?, from_c.text(name, "name")?, actor)?,
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Calls a method. Arguments and returns are those of park_task_submit().
/// Ownership: each of `returns` is the caller's, for park_object_ref_free(); `args` stay the caller's, and their objects live until
/// the call ends. Threads: shared. Errors: PARK_ACTOR_DIED, PARK_PERMISSION_DENIED, PARK_FOREIGN_SESSION, PARK_TABLE_FULL, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_actor_call(
    actor: *const park_actor,
    method: *const c_char,
    args: *const *const park_object_ref,
    num_args: usize,
    num_returns: usize,
    returns: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let places = from_c.out_slice(returns, num_returns, "returns")?;
        let actor = from_c.borrow(actor, "actor")?;
        let args = open_all(from_c, args, num_args, "args")?;
        set_returns(
            places,
            actor.handle.call(from_c.text(method, "method")?, &args, num_returns)?,
        );
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Another caller of the same actor.
/// Ownership: `*out` is the caller's, for park_actor_free(). Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_actor_clone(
    actor: *const park_actor,
    out: *mut *mut park_actor,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set_handle(park_actor {
            handle: from_c.borrow(actor, "actor")?.handle.clone(),
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees a caller. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_actor_free(actor: *mut park_actor) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(actor) };
}
