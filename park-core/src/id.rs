//! Typed identifiers. They are plain values: holding one keeps nothing alive (an `ObjectRef` does that).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Names one object of one session, for ever: the generation changes when the slot is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId {
    /// Random tag of the session; an id from elsewhere is refused by it.
    pub session: u64,
    /// Slot in the object table.
    pub index: u32,
    /// Which use of the slot.
    pub generation: u32,
}

impl ObjectId {
    /// Length of the binary form.
    pub const SIZE: usize = 16;

    /// Little-endian session, index, generation.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.session.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.index.to_le_bytes());
        bytes[12..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    /// Reads the binary form; any 16 bytes are an id, though perhaps of no object.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            session: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            index: u32::from_le_bytes([i, j, k, l]),
            generation: u32::from_le_bytes([m, n, o, p]),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ObjectId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            let shown: String = text.chars().take(48).collect();
            Error::new(
                ErrorKind::InvalidArgument,
                format!("an object id is 32 hexadecimal digits, got {shown:?}"),
            )
        };
        if text.len() != 2 * Self::SIZE || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; Self::SIZE];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self::from_bytes(bytes))
    }
}

/// A process (or the head's scheduler thread) that takes part in a session: an index into the participant table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ParticipantId(pub u16);

impl ParticipantId {
    /// The scheduler of the process that opened the session.
    pub const HEAD: Self = Self(0);
    /// The user threads of the process that opened the session.
    pub const DRIVER: Self = Self(1);

    /// As an array index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Names one submitted task within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId(pub u64);

/// Names one placement group within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_rejects_noise() {
        let id = ObjectId {
            session: 0x0123_4567_89ab_cdef,
            index: 7,
            generation: 0xffff_0001,
        };
        assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
        for bad in ["", "zz", &"g".repeat(32), &"é".repeat(16), &"0".repeat(31)] {
            assert_eq!(bad.parse::<ObjectId>().unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
