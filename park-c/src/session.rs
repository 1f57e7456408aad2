//! `park_session`: a process's membership in a session.

use std::ffi::{CString, c_char};
use std::time::Duration;

use park_core::{Config, Error, ErrorKind, Result, Session};
use parking_lot::RwLock;

use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, Sized, invalid};
use crate::guard::guard;

/// A session that this process opened or attached to. Shared. Free it with park_session_free(), which also closes it.
pub struct park_session {
    /// None once it was closed through this handle.
    session: RwLock<Option<Session>>,
    address: CString,
}

impl park_session {
    fn new(session: Session) -> Self {
        let address = CString::new(session.address()).unwrap_or_default();
        Self {
            session: RwLock::new(Some(session)),
            address,
        }
    }

    /// The session, unless it was closed through this handle.
    pub(crate) fn open(&self) -> Result<Session> {
        self.session
            .read()
            .clone()
            .ok_or_else(|| Error::new(ErrorKind::HandleClosed, "the session was closed through this handle"))
    }
}

/// How to open a session. Set struct_size to sizeof(park_session_options); every member that is 0 has its default.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_session_options {
    /// sizeof(park_session_options).
    pub struct_size: usize,
    /// Bytes of object memory. Default: 30 % of the memory that the machine or the container allows.
    pub capacity: u64,
    /// How long a producer waits for room, in milliseconds. Default: 2000.
    pub full_timeout_ms: u64,
    /// How many objects may exist at once. Default: 2097152.
    pub max_objects: u32,
    /// Threads that run native tasks. Default: one a CPU.
    pub native_threads: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_session_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            capacity: 0,
            full_timeout_ms: 0,
            max_objects: 0,
            native_threads: 0,
        }
    }
}

impl park_session_options {
    fn config(&self) -> Result<Config> {
        let mut config = Config::default();
        if self.capacity != 0 {
            config = config.capacity(self.capacity);
        }
        if self.full_timeout_ms != 0 {
            // Beyond a year it means "for ever", and far beyond it a deadline could not be computed.
            config = config.full_timeout(Duration::from_millis(self.full_timeout_ms.min(365 * 24 * 3_600_000)));
        }
        if self.max_objects != 0 {
            config = config.max_objects(self.max_objects);
        }
        if self.native_threads > 4096 {
            return Err(invalid(format!(
                "native_threads is {}, the maximum is 4096",
                self.native_threads
            )));
        }
        if self.native_threads != 0 {
            config = config.native_threads(self.native_threads as usize);
        }
        Ok(config)
    }
}

/// What a session's store holds. Set struct_size to sizeof(park_session_stats) before the call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct park_session_stats {
    /// sizeof(park_session_stats).
    pub struct_size: usize,
    /// Bytes of object memory.
    pub capacity: u64,
    /// Bytes in use.
    pub used: u64,
    /// Objects that exist.
    pub objects: u64,
    /// Payload bytes that any process copied into or out of the store.
    pub bytes_copied: u64,
    /// Payload bytes that were handed out as views, without a copy.
    pub bytes_shared: u64,
    /// The most bytes that were in use at once.
    pub peak: u64,
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_session_stats {
    fn defaults() -> Self {
        Self::default()
    }
}

/// Opens a session of its own. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_open(
    options: *const park_session_options,
    out: *mut *mut park_session,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let options = if options.is_null() {
            Sized::defaults()
        } else {
            from_c.sized(options, "options")?
        };
        out.set_handle(park_session::new(Session::open(&park_session_options::config(
            &options,
        )?)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Joins the session at `address`: what park_session_address() gives, or Python's park.init().address_info["session"].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_attach(
    address: *const c_char,
    out: *mut *mut park_session,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set_handle(park_session::new(Session::attach(from_c.text(address, "address")?)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// The text by which another process attaches. Valid until the handle is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_address(
    session: *const park_session,
    out: *mut *const c_char,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(from_c.borrow(session, "session")?.address.as_ptr());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// What the session's store holds now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_read_stats(
    session: *const park_session,
    out: *mut park_session_stats,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out_sized(out, "out")?;
        let stats = from_c.borrow(session, "session")?.open()?.store().stats();
        out(park_session_stats {
            struct_size: 0,
            capacity: stats.capacity,
            used: stats.used,
            objects: stats.objects,
            bytes_copied: stats.bytes_copied,
            bytes_shared: stats.bytes_shared,
            peak: stats.peak,
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Closes the session in this process; for the process that opened it, for every process. Native tasks that have not begun fail,
/// those that run are waited for. Objects and references that are held stay readable until they are freed. A second close, and
/// every other call with this handle, is PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_close(session: *mut park_session, err: *mut *mut park_error) -> park_status {
    let body = |from_c: &FromC| {
        let handle = from_c.borrow(session.cast_const(), "session")?;
        let session = handle.open()?;
        // Taken out in a statement of its own: closing waits for tasks, and one of them may be about to ask this handle.
        let taken = handle.session.write().take();
        session.close();
        drop(taken);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Closes the session, unless that was done, and frees the handle. NULL is fine. Not from inside a native task of this session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_free(session: *mut park_session) {
    if !session.is_null() {
        // The status says that it was closed before, which is fine.
        // SAFETY: live until it is freed in the next statement, by the rules at the head of park.h.
        let _ = unsafe { park_session_close(session, std::ptr::null_mut()) };
    }
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(session) };
}
