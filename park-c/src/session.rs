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
    /// 1: take the memory of the whole capacity now and keep it, PARK_STORE_FULL if the machine does not have it. Default: memory is
    /// taken as it is needed, and given back when the store is idle.
    pub reserve: u32,
    /// 1: as reserve, and fill in this process's page tables too, about a second for 4 GB. PARK_UNSUPPORTED before Linux 5.14.
    pub prefault: u32,
    /// 1: ask for huge pages where the system allows them for shared memory.
    pub huge_pages: u32,
    /// 1: keep objects in memory only. Default: those that do not fit go to disk.
    pub no_spill: u32,
    /// Below which directory objects go to disk. Default: the system's directory for temporary files.
    pub spill_directory: *const c_char,
    /// Bytes that may be on disk at once. Default: 90 % of what is free there when the first object goes.
    pub spill_limit: u64,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and a raw pointer only.
unsafe impl Sized for park_session_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            capacity: 0,
            full_timeout_ms: 0,
            max_objects: 0,
            native_threads: 0,
            reserve: 0,
            prefault: 0,
            huge_pages: 0,
            no_spill: 0,
            spill_directory: std::ptr::null(),
            spill_limit: 0,
        }
    }
}

impl park_session_options {
    fn config(&self, from_c: &FromC) -> Result<Config> {
        let mut config = Config::default()
            .reserve(yes(self.reserve, "reserve")?)
            .prefault(yes(self.prefault, "prefault")?)
            .huge_pages(yes(self.huge_pages, "huge_pages")?);
        if !self.spill_directory.is_null() {
            config = config.spill_directory(from_c.text(self.spill_directory, "spill_directory")?);
        }
        if yes(self.no_spill, "no_spill")? {
            config = config.spill_limit(0);
        } else if self.spill_limit != 0 {
            config = config.spill_limit(self.spill_limit);
        }
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

/// A member that is 0 or 1.
fn yes(value: u32, name: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(invalid(format!("{name} is {other}, must be 0 or 1"))),
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
    /// Objects that were promised or are being written.
    pub promised: u64,
    /// Bytes of blocks that processes keep for their next objects, and give back when the store is full.
    pub cached: u64,
    /// The largest object that could be stored now, in bytes.
    pub largest_free: u64,
    /// Bytes of memory that the store takes from the system.
    pub resident: u64,
    /// Bytes on disk.
    pub spilled: u64,
    /// Objects that were written to disk so far.
    pub objects_spilled: u64,
    /// Objects that were read back from disk so far.
    pub objects_restored: u64,
}

/// What a session is, which does not change. Set struct_size to sizeof(park_session_info) before the call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct park_session_info {
    /// sizeof(park_session_info).
    pub struct_size: usize,
    /// The tag that every object id of the session carries.
    pub session: u64,
    /// Bytes of object memory.
    pub capacity: u64,
    /// How many objects may exist at once.
    pub max_objects: u32,
    /// This process's number in the session.
    pub participant: u32,
    /// 1 in the process that opened the session, else 0.
    pub is_head: u32,
    /// 1 if this process attached with park_session_attach_read_only(), else 0.
    pub is_read_only: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_session_info {
    fn defaults() -> Self {
        Self::default()
    }
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_session_stats {
    fn defaults() -> Self {
        Self::default()
    }
}

/// Opens a session of its own. `options` may be NULL.
/// Ownership: `*out` is the caller's, for park_session_free(). Threads: shared. Errors: PARK_IO, PARK_STORE_FULL, PARK_UNSUPPORTED.
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
        let config = park_session_options::config(&options, from_c)?;
        out.set_handle(park_session::new(Session::open(&config)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Joins the session at `address`: what park_session_address() gives, or Python's park.init().address_info["session"].
/// Ownership: `*out` is the caller's, for park_session_free(). Threads: shared.
/// Errors: PARK_NOT_FOUND, PARK_TIMEOUT, PARK_PERMISSION_DENIED, PARK_BAD_SEGMENT, PARK_TABLE_FULL, PARK_SESSION_CLOSED, PARK_IO.
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

/// Joins the session at `address` to look only: objects can be found, awaited, read and released. Whatever would make one, run a
/// task or call an actor is PARK_PERMISSION_DENIED, and object memory is mapped so that a stray write faults. This guards the
/// session against mistakes of this process, not against malice: counts of references stay writable to it.
/// Ownership: `*out` is the caller's, for park_session_free(). Threads: shared.
/// Errors: PARK_NOT_FOUND, PARK_TIMEOUT, PARK_PERMISSION_DENIED, PARK_BAD_SEGMENT, PARK_TABLE_FULL, PARK_SESSION_CLOSED, PARK_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_attach_read_only(
    address: *const c_char,
    out: *mut *mut park_session,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = Session::attach_read_only(from_c.text(address, "address")?)?;
        out.set_handle(park_session::new(session));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// The text by which another process attaches. Valid until the handle is freed.
/// Ownership: the text belongs to the handle. Threads: shared. Errors: none of its own.
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

/// What the session is.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_read_info(
    session: *const park_session,
    out: *mut park_session_info,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out_sized(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        let store = session.store();
        out(park_session_info {
            struct_size: 0,
            session: store.session(),
            capacity: store.capacity(),
            max_objects: store.max_objects(),
            participant: u32::from(store.me().0),
            is_head: u32::from(session.is_head()),
            is_read_only: u32::from(store.is_read_only()),
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// What the session's store holds now.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
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
            promised: stats.promised,
            cached: stats.cached,
            largest_free: stats.largest_free,
            resident: stats.resident,
            spilled: stats.spilled,
            objects_spilled: stats.objects_spilled,
            objects_restored: stats.objects_restored,
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Gives the memory of free parts of the store back to the system, as the process that opened the session does by itself when the
/// store is idle. `out_bytes`, which may be NULL, becomes how many bytes that were.
/// Ownership: takes and gives nothing. Threads: shared. Errors: PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED, PARK_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_session_trim(
    session: *const park_session,
    out_bytes: *mut u64,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let session = from_c.borrow(session, "session")?.open()?;
        let bytes = session.store().trim()?;
        if !out_bytes.is_null() {
            from_c.out(out_bytes, "out_bytes")?.set(bytes);
        }
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Closes the session in this process; for the process that opened it, for every process. Native tasks that have not begun fail,
/// those that run are waited for. Objects that are open stay readable until they are freed, and so does whatever a held reference
/// names in memory; what went to disk is gone with the session. A second close, and every other call with this handle, is
/// PARK_HANDLE_CLOSED.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
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
/// Ownership: takes the handle. Threads: movable. Errors: none.
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
