//! `park_object_ref`: a counted reference that keeps an object alive.

use park_core::{Error, ErrorKind, ObjectRef, Result, Store};
use parking_lot::RwLock;

use crate::error::{free, park_error, park_status};
use crate::from_c::FromC;
use crate::guard::guard;
use crate::object_id::park_object_id;
use crate::session::park_session;

/// Keeps one object alive, made already or promised. Shared. Free it with park_object_ref_free().
pub struct park_object_ref {
    reference: RwLock<Option<ObjectRef>>,
}

impl park_object_ref {
    pub(crate) fn new(reference: ObjectRef) -> Self {
        Self {
            reference: RwLock::new(Some(reference)),
        }
    }

    /// The reference, unless it was released.
    pub(crate) fn open(&self) -> Result<ObjectRef> {
        let reference = self.reference.read().clone().ok_or_else(closed)?;
        refuse_forked(reference.store())?;
        Ok(reference)
    }
}

/// In a forked child handles are refused one and all, also where park-core could still read.
pub(crate) fn refuse_forked(store: &Store) -> Result<()> {
    if store.is_forked() { store.check_open() } else { Ok(()) }
}

fn closed() -> Error {
    Error::new(ErrorKind::HandleClosed, "the object reference was released")
}

/// The references of an array of handles.
pub(crate) fn open_all(
    from_c: &FromC,
    refs: *const *const park_object_ref,
    count: usize,
    name: &str,
) -> Result<Vec<ObjectRef>> {
    from_c
        .handles(refs, count, name)?
        .into_iter()
        .map(park_object_ref::open)
        .collect()
}

/// The id of the object.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_ref_id(
    object: *const park_object_ref,
    out: *mut park_object_id,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(from_c.borrow(object, "object")?.open()?.id().into());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// A reference by id, for ids that came as text or bytes. PARK_NOT_FOUND unless something, anywhere, keeps the object alive.
/// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: PARK_NOT_FOUND, PARK_FOREIGN_SESSION,
/// PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_ref_resolve(
    session: *const park_session,
    id: *const park_object_id,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        out.set_handle(park_object_ref::new(
            session.store().resolve(from_c.read(id, "id")?.into())?,
        ));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// One more reference to the same object.
/// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_ref_clone(
    object: *const park_object_ref,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set_handle(park_object_ref::new(from_c.borrow(object, "object")?.open()?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Whether the object can be read now, without waiting. True also if reading it raises an error.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_ref_is_ready(
    object: *const park_object_ref,
    out: *mut bool,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(from_c.borrow(object, "object")?.open()?.is_sealed());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Gives the reference back; the object goes when the last one does. The handle stays to be freed, and is PARK_HANDLE_CLOSED.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_ref_release(
    object: *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let taken = from_c.borrow(object.cast_const(), "object")?.reference.write().take();
        drop(taken.ok_or_else(closed)?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle, and gives the reference back unless that was done. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_ref_free(object: *mut park_object_ref) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(object) };
}
