//! What travels: the kind of a message, and a message in a reader's hands.
#![allow(
    unsafe_code,
    reason = "makes slices over slots that the writer leaves alone while they are held"
)]

use std::sync::Arc;

use super::Channel;
use super::reader::Seated;
use crate::error::{Result, bail};
use crate::store::format::TENSOR_HEADER;
use crate::store::{Format, TensorSpec, View};

/// What the bytes of a message mean: a RAW, PICKLE5, TENSOR or ARROW payload, as an object's would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What they mean.
    pub format: Format,
    /// For tensors: the Python type.
    pub view: View,
}

impl Kind {
    /// Plain bytes.
    pub const RAW: Self = Self {
        format: Format::Raw,
        view: View::Numpy,
    };

    pub(super) fn check(self) -> Result<Self> {
        match self.format {
            Format::Raw | Format::Pickle5 | Format::Tensor | Format::Arrow => Ok(self),
            other => bail!(InvalidArgument, "a message of a channel cannot be {other:?}"),
        }
    }

    pub(super) fn encode(self) -> u64 {
        u64::from(self.format as u8) | u64::from(self.view as u8) << 8
    }

    /// Reads a word that any process may have written.
    pub(super) fn decode(word: u64) -> Result<Self> {
        let [format, view, 0, 0, 0, 0, 0, 0] = word.to_le_bytes() else {
            bail!(Corrupt, "a message of a channel has kind {word:#x}");
        };
        let kind = Self {
            format: Format::from_number(format)?,
            view: View::from_number(view),
        };
        match kind.check() {
            Ok(kind) => Ok(kind),
            Err(error) => bail!(Corrupt, "{error}"),
        }
    }

    /// Bytes that a slot has for a message of this kind, its tensor header included.
    pub(super) fn room(self, slot_bytes: u64) -> u64 {
        match self.format {
            Format::Tensor => TENSOR_HEADER + slot_bytes,
            _ => slot_bytes,
        }
    }
}

/// A message, in place. Its slot is not written to again until it is dropped, on whatever thread.
#[derive(Debug)]
pub struct Message {
    seat: Arc<Seated>,
    position: u64,
    len: usize,
    kind: Kind,
}

impl Message {
    /// For the reader, which found message `position` published and has not given it back.
    pub(super) fn new(seat: Arc<Seated>, position: u64, len: usize, kind: Kind) -> Self {
        Self {
            seat,
            position,
            len,
            kind,
        }
    }

    /// The payload.
    pub fn bytes(&self) -> &[u8] {
        let address = self.seat.channel().read_address(self.position);
        // SAFETY: `len` was checked against the slot, which lies in a mapping that the channel's reference keeps. The message was
        // published (Acquire) and our tail is not beyond it while `self` lives, so the writer, which waits for every tail before
        // it uses a slot again, leaves the bytes alone: README.md, "no torn read".
        unsafe { std::slice::from_raw_parts(address, self.len) }
    }

    /// The channel it came by.
    pub fn channel(&self) -> &Channel {
        self.seat.channel()
    }

    /// What the payload means.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its number: how many messages were published before it.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Type and shape of a tensor, and its elements.
    pub fn tensor(&self) -> Result<(TensorSpec, &[u8])> {
        if self.kind.format != Format::Tensor {
            bail!(WrongFormat, "the message is {:?}, not a tensor", self.kind.format);
        }
        let spec = TensorSpec::parse(self.bytes(), self.kind.view)?;
        let header = usize::try_from(TENSOR_HEADER).unwrap_or(0);
        Ok((spec, self.bytes().get(header..).unwrap_or_default()))
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.seat.give_back(self.position);
    }
}
