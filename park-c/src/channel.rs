//! `park_channel`: a ring of slots that one process writes and many read in place.

use park_core::Result;
use park_core::channel::{Channel, ChannelSpec};

use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, Sized};
use crate::guard::guard;
use crate::object_ref::{park_object_ref, refuse_forked};
use crate::session::park_session;

/// How large a channel is. Set struct_size to sizeof(park_channel_options).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_channel_options {
    /// sizeof(park_channel_options).
    pub struct_size: usize,
    /// Messages that fit at once; 0 is 8.
    pub slots: u64,
    /// Bytes of the longest message; for a tensor, of its elements.
    pub slot_bytes: u64,
    /// Readers that are waited for from the first message on, at most 64. 0 is a broadcast to whoever is there.
    pub readers: u64,
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_channel_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            slots: 0,
            slot_bytes: 0,
            readers: 0,
        }
    }
}

const DEFAULT_SLOTS: u64 = 8;

/// A channel, seen by this process. It is an object of the store, and lives as long as handles or references to it do. Shared. Free it
/// with park_channel_free().
pub struct park_channel {
    channel: Channel,
}

impl park_channel {
    fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The channel, unless the handle crossed a fork.
    pub(crate) fn open(&self) -> Result<&Channel> {
        refuse_forked(self.channel.reference().store())?;
        Ok(&self.channel)
    }
}

/// Makes a channel in the session's store, whose memory it takes at once: (256 + slot_bytes) * slots and some. PARK_STORE_FULL if there is
/// no room, PARK_INVALID_ARGUMENT for sizes that cannot be.
/// Ownership: `*out` is the caller's, for park_channel_free(). Threads: shared. Errors: PARK_STORE_FULL, PARK_INVALID_ARGUMENT,
/// PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_create(
    session: *const park_session,
    options: *const park_channel_options,
    out: *mut *mut park_channel,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        let options = from_c.sized(options, "options")?;
        let spec = ChannelSpec {
            slots: if options.slots == 0 {
                DEFAULT_SLOTS
            } else {
                options.slots
            },
            slot_bytes: options.slot_bytes,
            readers: options.readers,
        };
        out.set_handle(park_channel::new(Channel::create(session.store(), spec)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// The channel that an object is, in any process of its session. PARK_WRONG_FORMAT if it is none.
/// Ownership: `*out` is the caller's, for park_channel_free(); `ref` stays the caller's. Threads: shared. Errors: PARK_WRONG_FORMAT,
/// PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_open(
    object: *const park_object_ref,
    out: *mut *mut park_channel,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let reference = from_c.borrow(object, "object")?.open()?;
        out.set_handle(park_channel::new(Channel::open(reference)?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// A reference to the channel's object, to pass to other processes. The caller frees it.
/// Ownership: `*out` is the caller's, for park_object_ref_free(). Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_reference(
    channel: *const park_channel,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let channel = from_c.borrow(channel, "channel")?.open()?;
        out.set_handle(park_object_ref::new(channel.reference().clone()));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees the handle. Writers, readers and messages of the channel stay valid. NULL is fine.
/// Ownership: takes the handle. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_channel_free(channel: *mut park_channel) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(channel) };
}
