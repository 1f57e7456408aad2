//! `park_object`: a sealed object as read-only bytes; and the verbs that make, find and await objects.

use std::ffi::c_void;
use std::ptr;

use park_core::store::never;
use park_core::{Error, ErrorKind, Format, Object, ObjectId, ObjectRef, Result, Spec};
use parking_lot::RwLock;

use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, Sized, invalid, timeout};
use crate::guard::guard;
use crate::mutable_object::park_mutable_object;
use crate::object_id::park_object_id;
use crate::object_ref::{open_all, park_object_ref, refuse_forked};
use crate::session::park_session;

/// What the bytes of an object mean.
pub type park_format = u32;

/// The user's bytes.
pub const PARK_FORMAT_RAW: park_format = 0;
/// A Python pickle with out-of-band buffers.
pub const PARK_FORMAT_PICKLE5: park_format = 1;
/// One dense tensor; park_tensor_read() reads it.
pub const PARK_FORMAT_TENSOR: park_format = 2;
/// An Arrow IPC stream.
pub const PARK_FORMAT_ARROW: park_format = 3;
/// One dense tensor whose elements lie in a file (safetensors, say): park_tensor_read() reads it, and the object's bytes are the
/// elements. PARK_OBJECT_LOST if the file was changed since it was loaded. A file that is truncated while it is read ends the reader
/// by SIGBUS.
pub const PARK_FORMAT_MAPPED: park_format = 7;

/// What object to make. Set struct_size to sizeof(park_object_spec), and what is not used to 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_object_spec {
    /// sizeof(park_object_spec).
    pub struct_size: usize,
    /// Payload bytes.
    pub len: usize,
    /// `num_nested` objects that the new one keeps alive, for as long as it exists itself. May be NULL if there are none.
    pub nested: *const *const park_object_ref,
    /// Number of nested objects.
    pub num_nested: usize,
    /// What the payload means: PARK_FORMAT_RAW, PARK_FORMAT_PICKLE5 or PARK_FORMAT_ARROW.
    pub format: park_format,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and raw pointers only, no padding.
unsafe impl Sized for park_object_spec {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            len: 0,
            nested: ptr::null(),
            num_nested: 0,
            format: PARK_FORMAT_RAW,
            reserved: 0,
        }
    }
}

/// Reads a caller's description of an object, and passes it on with the references that it names, which live meanwhile.
pub(crate) fn with_spec<T>(
    from_c: &FromC,
    spec: *const park_object_spec,
    make: impl FnOnce(Spec<'_>) -> Result<T>,
) -> Result<T> {
    let spec = from_c.sized(spec, "spec")?;
    let format = match spec.format {
        PARK_FORMAT_RAW => Format::Raw,
        PARK_FORMAT_PICKLE5 => Format::Pickle5,
        PARK_FORMAT_ARROW => Format::Arrow,
        PARK_FORMAT_TENSOR => return Err(invalid("tensors are made with a park_tensor_spec")),
        other => return Err(invalid(format!("there is no format {other}"))),
    };
    if spec.reserved != 0 {
        return Err(invalid(format!("`spec->reserved` is {}, not 0", spec.reserved)));
    }
    let references = open_all(from_c, spec.nested, spec.num_nested, "spec->nested")?;
    let nested: Vec<ObjectId> = references.iter().map(ObjectRef::id).collect();
    make(Spec {
        format,
        nested: &nested,
        ..Spec::raw(spec.len as u64)
    })
}

/// A view of a sealed object, which it keeps alive: its bytes do not move or change while it exists. Shared. Free it with
/// park_object_free().
pub struct park_object {
    object: RwLock<Option<Object>>,
}

impl park_object {
    pub(crate) fn new(object: Object) -> Self {
        Self {
            object: RwLock::new(Some(object)),
        }
    }

    /// Looks at the object, unless it was released.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Object) -> Result<T>) -> Result<T> {
        let object = self.object.read();
        let object = object.as_ref().ok_or_else(closed)?;
        refuse_forked(object.reference().store())?;
        look(object)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::HandleClosed, "the object was released")
}

/// Stores a copy of `len` bytes. `data` may be NULL if `len` is 0.
/// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: PARK_STORE_FULL, PARK_TABLE_FULL,
/// PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_put(
    session: *const park_session,
    data: *const c_void,
    len: usize,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        out.set_handle(park_object_ref::new(session.store().put(from_c.slice(
            data.cast::<u8>(),
            len,
            "data",
        )?)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Lends room for an object of `len` bytes: write it in place (park_mutable_object_data()), then seal it.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(). Threads: shared. Errors: PARK_STORE_FULL, PARK_TABLE_FULL,
/// PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_create(
    session: *const park_session,
    len: usize,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        out.set_handle(park_mutable_object::new(
            session.store().create(Spec::raw(len as u64), &mut never)?,
        ));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// As park_object_create(), for an object of another format, or one that holds references: those stay alive as long as it does.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(); the references of `spec` stay the caller's. Threads: shared.
/// Errors: PARK_STORE_FULL, PARK_TABLE_FULL, PARK_FOREIGN_SESSION, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_create_with(
    session: *const park_session,
    spec: *const park_object_spec,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        let object = with_spec(from_c, spec, |spec| session.store().create(spec, &mut never))?;
        out.set_handle(park_mutable_object::new(object));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Waits for an object and gives a view of it. A failed task's error comes back as the status and the error of this call.
/// PARK_TIMEOUT if it is not there in time.
/// Ownership: `*out` is the caller's, for park_object_free(); it needs the reference no longer. Threads: shared. Errors:
/// PARK_TIMEOUT, PARK_SESSION_CLOSED, and whatever the object raises, such as PARK_TASK_FAILED or PARK_OBJECT_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_get(
    object: *const park_object_ref,
    timeout_ms: i64,
    out: *mut *mut park_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let (reference, timeout) = (from_c.borrow(object, "object")?.open()?, timeout(timeout_ms)?);
        out.set_handle(park_object::new(reference.store().get(&reference, timeout)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Waits until `need` of `count` objects of one session can be read, or time is up, which is no error: `*num_ready` says how many
/// can. `ready`, if it is not NULL, has room for `count` values, and says which.
/// Ownership: `objects` stay the caller's. Threads: shared. Errors: PARK_FOREIGN_SESSION, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_wait(
    objects: *const *const park_object_ref,
    count: usize,
    need: usize,
    timeout_ms: i64,
    ready: *mut bool,
    num_ready: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let num_ready = from_c.out(num_ready, "num_ready")?;
        let which = if ready.is_null() {
            Vec::new()
        } else {
            from_c.out_slice(ready, count, "ready")?
        };
        let (refs, timeout) = (open_all(from_c, objects, count, "objects")?, timeout(timeout_ms)?);
        let Some(first) = refs.first().filter(|_| (1..=count).contains(&need)) else {
            return Err(invalid(format!("cannot wait for {need} of {count} objects")));
        };
        let borrowed: Vec<&ObjectRef> = refs.iter().collect();
        num_ready.set(first.store().wait_some(&borrowed, need, timeout, &mut never)?);
        which
            .into_iter()
            .zip(&refs)
            .for_each(|(place, reference)| place.set(reference.is_sealed()));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Whether an object of this id can be read now.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_contains(
    session: *const park_session,
    id: *const park_object_id,
    out: *mut bool,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let store = from_c.borrow(session, "session")?.open()?;
        out.set(store.store().contains(from_c.read(id, "id")?.into()));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Address and length of the bytes, as they are stored. They are read-only, and valid until the view is released or freed.
/// Ownership: the bytes stay the view's. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_data(
    object: *const park_object,
    data: *mut *const c_void,
    len: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let (data, len) = (from_c.out(data, "data")?, from_c.out(len, "len")?);
        let (address, bytes) = from_c
            .borrow(object, "object")?
            .with(|object| Ok((object.bytes().as_ptr(), object.bytes().len())))?;
        data.set(address.cast());
        len.set(bytes);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// What the bytes mean.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_format(
    object: *const park_object,
    out: *mut park_format,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(
            from_c
                .borrow(object, "object")?
                .with(|object| Ok(object.format() as park_format))?,
        );
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// A reference to the object that the view shows.
/// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_reference(
    object: *const park_object,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set_handle(park_object_ref::new(
            from_c
                .borrow(object, "object")?
                .with(|object| Ok(object.reference().clone()))?,
        ));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// How many references the object holds.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_num_nested(
    object: *const park_object,
    out: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(from_c.borrow(object, "object")?.with(Object::nested)?.len());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// A reference that the object holds, by its place in the object's list.
/// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_nested(
    object: *const park_object,
    index: usize,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let mut nested = from_c.borrow(object, "object")?.with(Object::nested)?;
        if index >= nested.len() {
            let count = nested.len();
            return Err(invalid(format!(
                "the object holds {count} references, asked for number {index}"
            )));
        }
        out.set_handle(park_object_ref::new(nested.swap_remove(index)));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Gives the view back: its bytes must not be looked at any more. The handle stays to be freed, and is PARK_HANDLE_CLOSED.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_release(object: *mut park_object, err: *mut *mut park_error) -> park_status {
    let body = |from_c: &FromC| {
        let taken = from_c.borrow(object.cast_const(), "object")?.object.write().take();
        drop(taken.ok_or_else(closed)?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle, and gives the view back unless that was done. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_free(object: *mut park_object) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(object) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_are_the_cores() {
        for (number, format) in [
            (PARK_FORMAT_RAW, Format::Raw),
            (PARK_FORMAT_PICKLE5, Format::Pickle5),
            (PARK_FORMAT_TENSOR, Format::Tensor),
            (PARK_FORMAT_ARROW, Format::Arrow),
            (PARK_FORMAT_MAPPED, Format::Mapped),
        ] {
            assert_eq!(number, format as u32);
        }
    }
}
