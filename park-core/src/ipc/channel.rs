//! Putting a record into another participant's ring, and waking it.

use std::sync::Arc;
use std::time::Duration;

use super::message::{ToHead, encode};
use super::parcel::pack;
use crate::error::{Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::store::Store;
use crate::sync::ring::PushError;

impl Store {
    /// Appends a record to `target`'s ring and rings its bell. This process's references to `holds` go over to the record; if it is
    /// refused they stay.
    pub(crate) fn send(&self, target: ParticipantId, record: &[u8], holds: &[ObjectId]) -> Result<(), PushError> {
        self.push(target, record, holds)?;
        self.participant(target).doorbell.ring();
        Ok(())
    }

    /// Sends to the head, waiting for room: the head always drains its ring. `urgent` wakes it; otherwise it hears of the message
    /// when it next looks. What the message names stays this process's if this fails.
    pub fn send_head(self: &Arc<Self>, message: ToHead, urgent: bool) -> Result<()> {
        self.send_head_as(self.me(), message, urgent)
    }

    /// As `send_head`, for a participant of this process.
    pub(crate) fn send_head_as(self: &Arc<Self>, from: ParticipantId, message: ToHead, urgent: bool) -> Result<()> {
        let names = message.holds();
        let (record, parcel) = pack(self, &encode(&(from, message))?, &names)?;
        let Some(parcel) = parcel else {
            return self.push_to_head(&record, &names, urgent);
        };
        let sent = self.push_to_head(&record, &[parcel], urgent);
        match &sent {
            // The parcel holds them now.
            Ok(()) => names.iter().for_each(|id| self.drop_hold(*id)),
            Err(_) => self.drop_hold(parcel),
        }
        sent
    }

    fn push_to_head(&self, record: &[u8], holds: &[ObjectId], urgent: bool) -> Result<()> {
        loop {
            match self.push(ParticipantId::HEAD, record, holds) {
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
                    self.check_head()?;
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
