//! `park_channel_reader`: a seat among the readers of a channel.

use park_core::channel::ChannelReader;
use park_core::store::never;
use parking_lot::Mutex;

use crate::channel::park_channel;
use crate::channel_message::park_channel_message;
use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, timeout};
use crate::guard::guard;

/// A reader of a channel. Movable. Free it with park_channel_reader_free().
pub struct park_channel_reader {
    reader: Mutex<ChannelReader>,
}

/// Takes a seat: one of those that were counted when the channel was made, and then the first message is the first that was ever
/// written; else a further one, and then it is the next. PARK_TABLE_FULL if all 64 are taken.
/// Ownership: `*out` is the caller's, for park_channel_reader_free(). Threads: shared. Errors: PARK_TABLE_FULL, PARK_CHANNEL_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_reader_open(
    channel: *const park_channel,
    out: *mut *mut park_channel_reader,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let reader = from_c.borrow(channel, "channel")?.open()?.reader()?;
        out.set_handle(park_channel_reader {
            reader: Mutex::new(reader),
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Waits for the next message and gives it in place. Its slot is not written to again before the message is released or freed, so a
/// reader that keeps messages holds the writer up; with all slots in its hands it gets PARK_INVALID_ARGUMENT. PARK_TIMEOUT if none comes in
/// time; PARK_CHANNEL_CLOSED when none is left and none can come, because the writer closed the channel or died.
/// Ownership: `*out` is the caller's, for park_channel_message_free(). Threads: movable. Errors: PARK_TIMEOUT, PARK_CHANNEL_CLOSED,
/// PARK_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_reader_read(
    reader: *mut park_channel_reader,
    timeout_ms: i64,
    out: *mut *mut park_channel_message,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let mut reader = from_c.borrow(reader.cast_const(), "reader")?.reader.lock();
        out.set_handle(park_channel_message::new(
            reader.read(timeout(timeout_ms)?, &mut never)?,
        ));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle, and gives the seat back once its messages are released too. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_reader_free(reader: *mut park_channel_reader) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(reader) };
}
