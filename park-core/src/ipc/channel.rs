//! Putting a record into another participant's ring, and waking it.

use std::sync::Arc;
use std::time::Duration;

use super::message::{ToHead, encode};
use super::parcel::pack;
use crate::error::{Result, bail};
use crate::id::ParticipantId;
use crate::store::Store;
use crate::sync::ring::PushError;

impl Store {
    /// Appends a record to `target`'s ring and rings its bell.
    pub(crate) fn send(&self, target: ParticipantId, record: &[u8]) -> Result<(), PushError> {
        self.ring(target).push(self.me(), self.is_dead(), record)?;
        self.participant(target).doorbell.ring();
        Ok(())
    }

    /// Sends to the head, waiting for room: the head always drains its ring. `urgent` wakes it; otherwise it hears of the message
    /// when it next looks.
    pub fn send_head(self: &Arc<Self>, message: ToHead, urgent: bool) -> Result<()> {
        let (record, _) = pack(self, &encode(&(self.me(), message))?)?;
        loop {
            match self.ring(ParticipantId::HEAD).push(self.me(), self.is_dead(), &record) {
                Ok(()) => {
                    if urgent {
                        self.ring_head();
                    }
                    return Ok(());
                }
                Err(PushError::Full) => {
                    self.ring_head();
                    self.ring(ParticipantId::HEAD)
                        .wait_for_space(record.len(), Duration::from_millis(100));
                    self.check_open()?;
                }
                Err(PushError::Closed) => bail!(SessionClosed, "the park session is closed"),
                Err(PushError::TooLong) => bail!(
                    InvalidArgument,
                    "a message of {} bytes is too long for the head's ring",
                    record.len()
                ),
            }
        }
    }

    /// Makes the head look at its ring now.
    pub fn ring_head(&self) {
        self.participant(ParticipantId::HEAD).doorbell.ring();
    }
}
