//! `ChannelReader`: a seat at a channel, and the messages that were taken from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::cursors::{FREE, MAX_READERS, Next};
use super::identity::{is_gone, me, pid_of};
use super::wait::wait_until;
use super::{Channel, Kind, Message};
use crate::error::{Result, bail};
use crate::store::Interrupt;
use crate::sync::SpinPolicy;
use crate::sync::atomic::Ordering;

/// See the module's documentation. Movable between threads; one of them reads at a time.
#[derive(Debug)]
pub struct ChannelReader {
    seat: Arc<Seated>,
    next: u64,
    spin: SpinPolicy,
}

/// The seat itself, which lasts as long as the reader or one of its messages.
#[derive(Debug)]
pub(super) struct Seated {
    channel: Channel,
    index: usize,
    me: u64,
    held: Mutex<Held>,
}

/// Messages that were taken and not all given back: `done[i]` says whether `tail + i` was.
#[derive(Debug)]
struct Held {
    tail: u64,
    done: VecDeque<bool>,
}

impl ChannelReader {
    pub(super) fn join(channel: Channel) -> Result<Self> {
        let me = me(channel.store())?;
        let Some((index, next)) = channel.cursors().join(me, is_gone(channel.store())) else {
            bail!(TableFull, "the channel has {MAX_READERS} readers, its maximum");
        };
        let held = Mutex::new(Held {
            tail: next,
            done: VecDeque::new(),
        });
        Ok(Self {
            seat: Arc::new(Seated {
                channel,
                index,
                me,
                held,
            }),
            next,
            spin: SpinPolicy::default(),
        })
    }

    /// The channel it reads.
    pub fn channel(&self) -> &Channel {
        &self.seat.channel
    }

    /// The next message, waiting for it up to `timeout`. `ChannelClosed` when there is none and none can come: the writer closed the
    /// channel, or died (a later call goes on if another writer takes over).
    pub fn read(&mut self, timeout: Option<Duration>, interrupt: Interrupt<'_>) -> Result<Message> {
        let channel = &self.seat.channel;
        let (store, cursors, slots) = (channel.store(), channel.cursors(), channel.spec().slots);
        store.check_open()?;
        let next = self.next;
        let held = next - self.seat.held.lock().tail;
        if held >= slots {
            bail!(
                InvalidArgument,
                "all {slots} slots of the channel are held by this reader: drop a message before reading another"
            );
        }
        let look = || {
            Ok(match cursors.next(next, slots)? {
                Next::Nothing => None,
                other => Some(other),
            })
        };
        let tick = || {
            store.check_head()?;
            let writer = cursors.writer();
            // Looked at once more after the death is known: its last message may have come after our last look.
            if writer != FREE && is_gone(store)(writer) && cursors.next(next, slots)? == Next::Nothing {
                bail!(ChannelClosed, "the channel's writer, process {}, died", pid_of(writer));
            }
            Ok(())
        };
        match wait_until(cursors.messages(), &self.spin, timeout, interrupt, look, tick)? {
            Some(Next::Message) => {}
            Some(_) => bail!(ChannelClosed, "the channel was closed by its writer"),
            None => bail!(Timeout, "no message came within {:?}", timeout.unwrap_or_default()),
        }
        let slot = channel.slot_header(next);
        let kind = Kind::decode(slot.meta.load(Ordering::Relaxed))?;
        let len = slot.len.load(Ordering::Relaxed);
        let room = kind.room(channel.spec().slot_bytes);
        let Some(len) = usize::try_from(len).ok().filter(|_| len <= room) else {
            bail!(Corrupt, "a message of {len} bytes lies in a slot of {room}");
        };
        self.seat.held.lock().done.push_back(false);
        self.next += 1;
        Ok(Message::new(self.seat.clone(), next, len, kind))
    }
}

impl Seated {
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// A message was dropped. The tail moves over all that were, up to the first that was not.
    pub(super) fn give_back(&self, position: u64) {
        if self.channel.store().is_forked() {
            return;
        }
        let mut held = self.held.lock();
        let at = usize::try_from(position - held.tail).unwrap_or(usize::MAX);
        if let Some(done) = held.done.get_mut(at) {
            *done = true;
        }
        let mut moved = false;
        while held.done.front() == Some(&true) {
            held.done.pop_front();
            held.tail += 1;
            moved = true;
        }
        if moved {
            // Under the lock, so that tails become visible in order.
            self.channel.cursors().release(self.index, held.tail);
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        if !self.channel.store().is_forked() {
            self.channel.cursors().leave(self.index, self.me);
        }
    }
}
