//! `park_object_id`: the name of an object, as bytes and as text.

use std::ffi::c_char;

use park_core::ObjectId;

use crate::error::{park_error, park_status};
use crate::from_c::FromC;
use crate::guard::guard;

/// Length of an id as text, with the closing NUL.
pub const PARK_OBJECT_ID_TEXT: usize = 33;

/// The name of one object, for ever. A value: it keeps nothing alive. Compare the bytes for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct park_object_id {
    /// As every language of park writes it.
    pub bytes: [u8; 16],
}

impl From<ObjectId> for park_object_id {
    fn from(id: ObjectId) -> Self {
        Self { bytes: id.to_bytes() }
    }
}

impl From<park_object_id> for ObjectId {
    fn from(id: park_object_id) -> Self {
        Self::from_bytes(id.bytes)
    }
}

/// Writes an id as 32 hexadecimal digits and a NUL. `text` has room for PARK_OBJECT_ID_TEXT bytes.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_id_format(
    id: *const park_object_id,
    text: *mut c_char,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let id = ObjectId::from(from_c.read(id, "id")?);
        let mut digits = [0; PARK_OBJECT_ID_TEXT];
        digits[..2 * ObjectId::SIZE].copy_from_slice(id.to_string().as_bytes());
        from_c
            .out(text.cast::<[u8; PARK_OBJECT_ID_TEXT]>(), "text")?
            .set(digits);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Reads an id from 32 hexadecimal digits.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_object_id_parse(
    text: *const c_char,
    out: *mut park_object_id,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(from_c.text(text, "text")?.parse::<ObjectId>()?.into());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}
