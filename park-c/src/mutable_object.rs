//! `park_mutable_object`: an object that is being written.

use std::ffi::c_void;

use park_core::sched::native::ReturnObject;
use park_core::store::format::TENSOR_HEADER;
use park_core::{Error, ErrorKind, Format, MutableObject, ObjectRef, Result};
use parking_lot::Mutex;

use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, invalid};
use crate::guard::guard;
use crate::object_id::park_object_id;
use crate::object_ref::park_object_ref;

/// An object of the caller's own, or the return of a task.
enum Writing {
    Own(MutableObject),
    Return(ReturnObject),
}

impl Writing {
    fn object(&mut self) -> &mut MutableObject {
        match self {
            Self::Own(object) => object,
            Self::Return(object) => object,
        }
    }

    fn seal(self) -> Result<ObjectRef> {
        match self {
            Self::Own(object) => object.seal(),
            Self::Return(object) => object.seal(),
        }
    }
}

/// Memory for one object that is being written, until it is sealed or aborted. Movable. Free it with park_mutable_object_free().
pub struct park_mutable_object {
    writing: Mutex<Option<Writing>>,
    /// Bytes before those that the caller writes: the header of a tensor.
    skip: u64,
}

impl park_mutable_object {
    pub(crate) fn new(object: MutableObject) -> Self {
        Self {
            writing: Mutex::new(Some(Writing::Own(object))),
            skip: 0,
        }
    }

    pub(crate) fn new_return(object: ReturnObject) -> Self {
        Self {
            writing: Mutex::new(Some(Writing::Return(object))),
            skip: 0,
        }
    }

    /// The object's header is written; the caller sees the elements.
    pub(crate) fn past_header(self, format: Format) -> Self {
        Self {
            skip: if format == Format::Tensor { TENSOR_HEADER } else { 0 },
            ..self
        }
    }

    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&mut MutableObject, u64) -> Result<T>) -> Result<T> {
        use_it(self.writing.lock().as_mut().ok_or_else(closed)?.object(), self.skip)
    }

    pub(crate) fn seal(&self) -> Result<ObjectRef> {
        // Its own statement: sealing wakes whoever waits, and needs no lock of ours.
        let taken = self.writing.lock().take();
        taken.ok_or_else(closed)?.seal()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::HandleClosed, "the object was sealed or aborted")
}

/// Where to write, and how many bytes: the payload, or the elements of a tensor. Aligned to 64 bytes unless the object is smaller
/// than that. Valid until the object is sealed, aborted or freed.
/// Ownership: the memory stays the object's. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_mutable_object_data(
    object: *const park_mutable_object,
    data: *mut *mut c_void,
    len: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let (data, len) = (from_c.out(data, "data")?, from_c.out(len, "len")?);
        let place = |object: &mut MutableObject, skip: u64| {
            Ok((object.as_mut_ptr().wrapping_add(skip as usize), object.len() - skip))
        };
        let (address, bytes) = from_c.borrow(object, "object")?.with(place)?;
        data.set(address.cast());
        len.set(bytes as usize);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Copies `len` bytes to `offset`.
/// Ownership: `data` is copied. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_mutable_object_write(
    object: *mut park_mutable_object,
    offset: usize,
    data: *const c_void,
    len: usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let bytes = from_c.slice(data.cast::<u8>(), len, "data")?;
        from_c.borrow(object.cast_const(), "object")?.with(|object, skip| {
            let at = skip
                .checked_add(offset as u64)
                .ok_or_else(|| invalid(format!("offset {offset} is beyond the object")))?;
            object.write(at, bytes)
        })?;
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// The id that the object will have.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_mutable_object_id(
    object: *const park_mutable_object,
    out: *mut park_object_id,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(
            from_c
                .borrow(object, "object")?
                .with(|object, _| Ok(object.id().into()))?,
        );
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Makes the object immutable and visible to every process. `out` may be NULL for the return of a task, which its reader keeps
/// alive. Afterwards the handle is PARK_HANDLE_CLOSED, and only freed.
/// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_mutable_object_seal(
    object: *mut park_mutable_object,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = if out.is_null() {
            None
        } else {
            Some(from_c.out(out, "out")?)
        };
        let reference = from_c.borrow(object.cast_const(), "object")?.seal()?;
        if let Some(out) = out {
            out.set_handle(park_object_ref::new(reference));
        }
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Gives the memory back: the object never existed. Afterwards the handle is PARK_HANDLE_CLOSED, and only freed.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_mutable_object_abort(
    object: *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let taken = from_c.borrow(object.cast_const(), "object")?.writing.lock().take();
        drop(taken.ok_or_else(closed)?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle, and aborts the object unless it was sealed. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_mutable_object_free(object: *mut park_mutable_object) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(object) };
}
