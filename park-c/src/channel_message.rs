//! `park_channel_message`: a message of a channel, read in place.

use std::ffi::c_void;

use park_core::channel::Message;
use park_core::{Error, ErrorKind, Result};
use parking_lot::RwLock;

use crate::error::{free, park_error, park_status};
use crate::from_c::FromC;
use crate::guard::guard;
use crate::object::park_format;
use crate::object_ref::refuse_forked;
use crate::tensor::{describe, park_tensor};

/// A message of a channel: its bytes do not move or change until it is released. Shared. Free it with park_channel_message_free().
pub struct park_channel_message {
    message: RwLock<Option<Message>>,
}

impl park_channel_message {
    pub(crate) fn new(message: Message) -> Self {
        Self {
            message: RwLock::new(Some(message)),
        }
    }

    /// Looks at the message, unless it was released.
    fn with<T>(&self, look: impl FnOnce(&Message) -> Result<T>) -> Result<T> {
        let message = self.message.read();
        let message = message.as_ref().ok_or_else(closed)?;
        refuse_forked(message.channel().reference().store())?;
        look(message)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::HandleClosed, "the message was released")
}

/// The bytes of the message, aligned to 64 bytes. Valid until the message is released or freed.
/// Ownership: `*data` is the message's. Threads: shared. Errors: PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_message_data(
    message: *const park_channel_message,
    data: *mut *const c_void,
    len: *mut usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let (data, len) = (from_c.out(data, "data")?, from_c.out(len, "len")?);
        from_c.borrow(message, "message")?.with(|message| {
            data.set(message.bytes().as_ptr().cast());
            len.set(message.bytes().len());
            Ok(())
        })
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// What the bytes mean: one of PARK_FORMAT_RAW ... PARK_FORMAT_ARROW.
/// Ownership: takes and gives nothing. Threads: shared. Errors: PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_message_format(
    message: *const park_channel_message,
    out: *mut park_format,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        out.set(
            from_c
                .borrow(message, "message")?
                .with(|message| Ok(message.kind().format as park_format))?,
        );
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Describes the tensor that a message is, for reading in place until the message is released or freed. PARK_WRONG_FORMAT if it is none.
/// Ownership: `out->data` is the message's. Threads: shared. Errors: PARK_WRONG_FORMAT, PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_message_tensor(
    message: *const park_channel_message,
    out: *mut park_tensor,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out_sized(out, "out")?;
        out(from_c
            .borrow(message, "message")?
            .with(|message| message.tensor().map(|(spec, elements)| describe(&spec, elements)))?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Gives the slot back to the writer, once the messages read before it are released too. The handle stays to be freed, and is
/// PARK_HANDLE_CLOSED.
/// Ownership: takes the message's slot, not the handle. Threads: movable. Errors: PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_message_release(
    message: *mut park_channel_message,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let taken = from_c.borrow(message.cast_const(), "message")?.message.write().take();
        drop(taken.ok_or_else(closed)?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle, and releases the message unless that was done. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_message_free(message: *mut park_channel_message) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(message) };
}
