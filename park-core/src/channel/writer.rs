//! `ChannelWriter`: the one end that writes, and `Draft`: the message that is being written.
#![allow(unsafe_code, reason = "copies bytes into a slot that no reader may look at")]

use std::time::Duration;

use super::identity::{is_gone, me};
use super::wait::wait_until;
use super::{Channel, Kind};
use crate::error::{Result, bail};
use crate::store::{Format, Interrupt, TensorSpec};
use crate::sync::SpinPolicy;
use crate::sync::atomic::Ordering;
use crate::sys::failpoint::fail_point;

/// See the module's documentation. Dropping it closes the channel. Movable between threads; one of them writes at a time.
#[derive(Debug)]
pub struct ChannelWriter {
    channel: Channel,
    /// Number of the next message: the truth that `head` shows to others.
    position: u64,
    /// The lowest tail when we last looked; `None` before the first look.
    floor: Option<u64>,
    is_closed: bool,
    spin: SpinPolicy,
}

/// A message that is being written, in place. It is not there for anybody until it is published; dropping it leaves no trace.
#[derive(Debug)]
#[must_use]
pub struct Draft<'a> {
    writer: &'a mut ChannelWriter,
    len: u64,
    kind: Kind,
}

/// A draft without its borrow of the writer, for languages that cannot express one. `ChannelWriter::resume` makes it a draft again.
#[derive(Debug)]
pub struct Unfinished {
    position: u64,
    len: u64,
    kind: Kind,
}

impl ChannelWriter {
    pub(super) fn claim(channel: Channel) -> Result<Self> {
        let me = me(channel.store())?;
        let position = channel.cursors().claim(me, is_gone(channel.store()))?;
        fail_point!("channel.write.claimed");
        Ok(Self {
            channel,
            position,
            floor: None,
            is_closed: false,
            spin: SpinPolicy::default(),
        })
    }

    /// The channel it writes.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Writes a message of plain bytes, waiting up to `timeout` for a free slot.
    pub fn write(&mut self, bytes: &[u8], timeout: Option<Duration>, interrupt: Interrupt<'_>) -> Result<()> {
        let mut draft = self.begin(Kind::RAW, bytes.len() as u64, timeout, interrupt)?;
        draft.write(0, bytes)?;
        draft.publish()
    }

    /// Writes a tensor: `elements` as `spec` lays them out.
    pub fn write_tensor(
        &mut self,
        spec: &TensorSpec,
        elements: &[u8],
        timeout: Option<Duration>,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        if spec.nbytes() != elements.len() as u64 {
            bail!(
                InvalidArgument,
                "a tensor of shape {:?} has {} bytes, got {}",
                spec.shape,
                spec.nbytes(),
                elements.len()
            );
        }
        let mut draft = self.begin_tensor(spec, timeout, interrupt)?;
        draft.write(spec.header().len() as u64, elements)?;
        draft.publish()
    }

    /// Lends the next slot for a tensor, its header already written.
    pub fn begin_tensor(
        &mut self,
        spec: &TensorSpec,
        timeout: Option<Duration>,
        interrupt: Interrupt<'_>,
    ) -> Result<Draft<'_>> {
        let kind = Kind {
            format: Format::Tensor,
            view: spec.view,
        };
        let header = spec.header();
        let len = spec.nbytes() + header.len() as u64;
        let mut draft = self.begin(kind, len, timeout, interrupt)?;
        draft.write(0, &header)?;
        Ok(draft)
    }

    /// Lends the next slot for a message of `len` bytes (a tensor's header included), waiting up to `timeout` until the slowest reader
    /// has given it back.
    pub fn begin(
        &mut self,
        kind: Kind,
        len: u64,
        timeout: Option<Duration>,
        interrupt: Interrupt<'_>,
    ) -> Result<Draft<'_>> {
        let kind = kind.check()?;
        self.check()?;
        let room = kind.room(self.channel.spec().slot_bytes);
        if len > room {
            bail!(
                InvalidArgument,
                "a message of {len} bytes does not fit into a slot of {room} bytes"
            );
        }
        self.wait_for_slot(timeout, interrupt)?;
        Ok(Draft {
            writer: self,
            len,
            kind,
        })
    }

    /// Goes on with a draft that was set aside. `HandleClosed` if its message was published or written over since.
    pub fn resume(&mut self, draft: Unfinished) -> Result<Draft<'_>> {
        self.check()?;
        if draft.position != self.position {
            bail!(HandleClosed, "message {} was published already", draft.position);
        }
        let Unfinished { len, kind, .. } = draft;
        Ok(Draft {
            writer: self,
            len,
            kind,
        })
    }

    /// No more messages: readers get those that were published, then `ChannelClosed`. A second call does nothing.
    pub fn close(&mut self) {
        if !self.is_closed && !self.channel.store().is_forked() {
            self.is_closed = true;
            self.channel.cursors().close(self.position);
        }
    }

    fn check(&self) -> Result<()> {
        if self.is_closed {
            bail!(HandleClosed, "the channel was closed by this writer");
        }
        self.channel.store().check_open()
    }

    /// Waits until slot `position` is nobody's.
    fn wait_for_slot(&mut self, timeout: Option<Duration>, interrupt: Interrupt<'_>) -> Result<()> {
        let (channel, position) = (&self.channel, self.position);
        let (store, cursors, spec) = (channel.store(), channel.cursors(), channel.spec());
        if self.floor.is_some_and(|floor| position - floor < spec.slots) {
            return Ok(());
        }
        let look = || {
            let floor = cursors.floor(position)?;
            if floor.readers == 0 && spec.readers > 0 {
                bail!(ChannelClosed, "every reader of the channel has left");
            }
            Ok(Some(floor.oldest).filter(|oldest| position - oldest < spec.slots))
        };
        let tick = || {
            store.check_head()?;
            cursors.evict(is_gone(store));
            Ok(())
        };
        match wait_until(cursors.space(), &self.spin, timeout, interrupt, look, tick)? {
            Some(oldest) => self.floor = Some(oldest),
            None => bail!(
                Timeout,
                "all {} slots of the channel were in use for {:?}",
                spec.slots,
                timeout.unwrap_or_default()
            ),
        }
        Ok(())
    }
}

impl Drop for ChannelWriter {
    fn drop(&mut self) {
        self.close();
    }
}

impl Draft<'_> {
    /// Bytes of the message.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the message is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies `bytes` to `offset` of the message.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: a slice is readable for its length.
        unsafe { self.write_from(offset, bytes.as_ptr(), bytes.len()) }
    }

    /// Copies `len` bytes from `source`, which other threads may be writing to: what arrives then is some mixture.
    ///
    /// # Safety
    /// `source` is readable for `len` bytes, and not in this slot.
    pub unsafe fn write_from(&mut self, offset: u64, source: *const u8, len: usize) -> Result<()> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            bail!(
                InvalidArgument,
                "writing {len} bytes at offset {offset} of a message of {} bytes",
                self.len
            );
        }
        let target = self
            .as_mut_ptr()
            .wrapping_add(usize::try_from(offset).unwrap_or(usize::MAX));
        // SAFETY: inside the slot (`len` was checked against it by `begin`), which no reader looks at before it is published; the
        // source is readable and elsewhere, as the caller promises.
        unsafe { std::ptr::copy_nonoverlapping(source, target, len) };
        Ok(())
    }

    /// Address of the message, `len()` bytes, 64-byte aligned. What it holds before it is written is left from an older message.
    /// Valid until the draft is published or dropped.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.writer.channel.write_address(self.writer.position)
    }

    /// Makes the message visible to every reader.
    pub fn publish(self) -> Result<()> {
        let writer = self.writer;
        writer.check()?;
        let slot = writer.channel.slot_header(writer.position);
        slot.len.store(self.len, Ordering::Relaxed);
        slot.meta.store(self.kind.encode(), Ordering::Relaxed);
        fail_point!("channel.write.described");
        writer.position = writer.channel.cursors().publish(writer.position);
        Ok(())
    }

    /// Sets the draft aside: the slot stays lent, and nothing is published. See [`Unfinished`].
    pub fn set_aside(self) -> Unfinished {
        Unfinished {
            position: self.writer.position,
            len: self.len,
            kind: self.kind,
        }
    }
}
