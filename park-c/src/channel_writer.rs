//! `park_channel_writer`: the one end of a channel that writes.

use std::ffi::c_void;

use park_core::channel::{ChannelWriter, Draft, Kind, Unfinished};
use park_core::store::format::TENSOR_HEADER;
use park_core::store::never;
use park_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::channel::park_channel;
use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, invalid, timeout};
use crate::guard::guard;
use crate::object_ref::refuse_forked;
use crate::tensor::{park_tensor_spec, read_spec};

/// The writer's end of a channel, of which there is one at a time. Movable. Free it with park_channel_writer_free().
pub struct park_channel_writer {
    state: Mutex<State>,
}

struct State {
    /// `None` once closed.
    writer: Option<ChannelWriter>,
    /// The message that was begun and not published yet.
    begun: Option<Unfinished>,
}

impl State {
    fn writer(&mut self) -> Result<&mut ChannelWriter> {
        // Whatever is done next, a message that was begun before it is given up.
        self.begun = None;
        self.writer.as_mut().ok_or_else(closed)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::HandleClosed, "the channel was closed by this writer")
}

/// Claims the writer's end. PARK_ALREADY_EXISTS while another writer lives, PARK_CHANNEL_CLOSED after one closed the channel. After one was
/// killed, the new one goes on behind the last message that was published.
/// Ownership: `*out` is the caller's, for park_channel_writer_free(). Threads: shared. Errors: PARK_ALREADY_EXISTS, PARK_CHANNEL_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_open(
    channel: *const park_channel,
    out: *mut *mut park_channel_writer,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let writer = from_c.borrow(channel, "channel")?.open()?.writer()?;
        let state = Mutex::new(State {
            writer: Some(writer),
            begun: None,
        });
        out.set_handle(park_channel_writer { state });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Writes a copy of `len` bytes as the next message, once the slowest reader has given a slot back. PARK_TIMEOUT if none does in time,
/// PARK_INVALID_ARGUMENT if the message is longer than a slot, PARK_CHANNEL_CLOSED if every reader has left.
/// Ownership: copies `data`. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED, PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_write(
    writer: *mut park_channel_writer,
    data: *const c_void,
    len: usize,
    timeout_ms: i64,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let mut state = from_c.borrow(writer.cast_const(), "writer")?.state.lock();
        let bytes = from_c.slice(data.cast::<u8>(), len, "data")?;
        state.writer()?.write(bytes, timeout(timeout_ms)?, &mut never)
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// As park_channel_writer_write(), for a tensor whose elements are `nbytes` long and laid out as `spec` says.
/// Ownership: copies `data`. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED, PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_write_tensor(
    writer: *mut park_channel_writer,
    spec: *const park_tensor_spec,
    data: *const c_void,
    nbytes: usize,
    timeout_ms: i64,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let mut state = from_c.borrow(writer.cast_const(), "writer")?.state.lock();
        let spec = read_spec(from_c, spec)?;
        let elements = from_c.slice(data.cast::<u8>(), nbytes, "data")?;
        state
            .writer()?
            .write_tensor(&spec, elements, timeout(timeout_ms)?, &mut never)
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Lends the next slot for a message of `len` bytes to be written in place: `*data` is 64-byte aligned, and valid until the message is
/// published, another one is begun or written, or the writer is closed or freed. Errors as of park_channel_writer_write().
/// Ownership: `*data` is the writer's, lent. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED,
/// PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_begin(
    writer: *mut park_channel_writer,
    len: usize,
    timeout_ms: i64,
    data: *mut *mut c_void,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let data = from_c.out(data, "data")?;
        let mut state = from_c.borrow(writer.cast_const(), "writer")?.state.lock();
        let draft = state
            .writer()?
            .begin(Kind::RAW, len as u64, timeout(timeout_ms)?, &mut never)?;
        let (address, begun) = lend(draft, 0);
        state.begun = Some(begun);
        data.set(address);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// As park_channel_writer_begin(), for a tensor, whose elements `*data` has room for.
/// Ownership: `*data` is the writer's, lent. Threads: movable. Errors: PARK_TIMEOUT, PARK_INVALID_ARGUMENT, PARK_CHANNEL_CLOSED,
/// PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_begin_tensor(
    writer: *mut park_channel_writer,
    spec: *const park_tensor_spec,
    timeout_ms: i64,
    data: *mut *mut c_void,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let data = from_c.out(data, "data")?;
        let mut state = from_c.borrow(writer.cast_const(), "writer")?.state.lock();
        let spec = read_spec(from_c, spec)?;
        let draft = state.writer()?.begin_tensor(&spec, timeout(timeout_ms)?, &mut never)?;
        let (address, begun) = lend(draft, TENSOR_HEADER);
        state.begun = Some(begun);
        data.set(address);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

fn lend(mut draft: Draft<'_>, skip: u64) -> (*mut c_void, Unfinished) {
    (draft.as_mut_ptr().wrapping_add(skip as usize).cast(), draft.set_aside())
}

/// Makes the message that was begun visible to every reader. PARK_INVALID_ARGUMENT if none was.
/// Ownership: takes back what begin lent. Threads: movable. Errors: PARK_INVALID_ARGUMENT, PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_publish(
    writer: *mut park_channel_writer,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let mut state = from_c.borrow(writer.cast_const(), "writer")?.state.lock();
        let begun = state.begun.take();
        let writer = state.writer()?;
        let begun = begun.ok_or_else(|| invalid("no message was begun"))?;
        writer.resume(begun)?.publish()
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// No more messages: readers get those that were published, then PARK_CHANNEL_CLOSED. Afterwards the handle is PARK_HANDLE_CLOSED, and only
/// freed.
/// Ownership: takes the channel's end, not the handle. Threads: movable. Errors: PARK_HANDLE_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_close(
    writer: *mut park_channel_writer,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let mut state = from_c.borrow(writer.cast_const(), "writer")?.state.lock();
        refuse_forked(state.writer()?.channel().reference().store())?;
        state.writer = None;
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle, and closes the channel unless that was done. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_writer_free(writer: *mut park_channel_writer) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(writer) };
}
