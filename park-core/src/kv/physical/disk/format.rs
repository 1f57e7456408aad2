//! The format of a segment file: a head, then records. README.md of `physical` has the bytes.
//!
//! Nothing that is read back is believed: heads carry checksums of themselves, say which file they are of and where in it they lie,
//! and content carries a sum of its own.

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Result, bail};
use crate::kv::{Key, Label};

/// Bytes of a file's head and of a record's head; records begin at multiples of it.
pub(super) const HEAD: u64 = 64;
const FILE_MAGIC: [u8; 8] = *b"PARKKVS1";
/// What each record begins with.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"KVR1";
const VERSION: u32 = 1;

pub(super) type Head = [u8; HEAD as usize];

/// The head of file `number`.
pub(super) fn file_head(number: u32, fingerprint: u64) -> Head {
    let mut head = [0; HEAD as usize];
    head[..8].copy_from_slice(&FILE_MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&number.to_le_bytes());
    head[16..24].copy_from_slice(&fingerprint.to_le_bytes());
    seal(head)
}

/// The fingerprint of file `number`.
///
/// # Errors
/// `Corrupt` if it is not the head of that file; `WrongFormat` for another version.
pub(super) fn parse_file_head(head: &Head, number: u32) -> Result<u64> {
    let fingerprint = word(head, 16);
    if head[..8] != FILE_MAGIC || !is_sealed(head) {
        bail!(Corrupt, "segment file {number} does not begin with the head of one");
    }
    let version = half_word(head, 8);
    if version != VERSION {
        bail!(
            WrongFormat,
            "segment file {number} has version {version}, this library writes version {VERSION}"
        );
    }
    if *head != file_head(number, fingerprint) {
        bail!(
            Corrupt,
            "segment file {number} has the head of file {}",
            half_word(head, 12)
        );
    }
    Ok(fingerprint)
}

/// What a record says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) label: Label,
    /// Bytes of content.
    pub(super) len: u64,
    /// Their checksum.
    pub(super) sum: u64,
}

impl Record {
    /// Its head, at `at` in file `number`.
    pub(super) fn head(&self, number: u32, at: u64) -> Head {
        let mut head = [0; HEAD as usize];
        head[..4].copy_from_slice(&RECORD_MAGIC);
        head[4] = self.label.group;
        head[8..16].copy_from_slice(&self.len.to_le_bytes());
        head[16..32].copy_from_slice(&self.label.key.raw().to_le_bytes());
        head[32..36].copy_from_slice(&self.label.epoch.to_le_bytes());
        head[36..40].copy_from_slice(&number.to_le_bytes());
        head[40..48].copy_from_slice(&self.sum.to_le_bytes());
        head[48..56].copy_from_slice(&at.to_le_bytes());
        seal(head)
    }

    /// The record that begins at `at` in file `number`; `None` if none does.
    pub(super) fn parse(head: &Head, number: u32, at: u64) -> Option<Self> {
        let record = Self {
            label: Label {
                key: Key::new(u128::from(word(head, 16)) | u128::from(word(head, 24)) << 64),
                epoch: half_word(head, 32),
                group: head[4],
            },
            len: word(head, 8),
            sum: word(head, 40),
        };
        (*head == record.head(number, at)).then_some(record)
    }

    /// Bytes of the file that it takes; `None` if no file has them.
    pub(super) fn stored(&self) -> Option<u64> {
        self.len.checked_add(HEAD)?.checked_next_multiple_of(HEAD)
    }
}

fn word(head: &Head, at: usize) -> u64 {
    head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn half_word(head: &Head, at: usize) -> u32 {
    head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn seal(mut head: Head) -> Head {
    let sum = xxh3_64(&head[..56]);
    head[56..].copy_from_slice(&sum.to_le_bytes());
    head
}

fn is_sealed(head: &Head) -> bool {
    seal(*head) == *head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            label: Label {
                key: Key::new(0x1234_5678_9abc_def0_1122_3344_5566_7788),
                epoch: 3,
                group: 1,
            },
            len: 4096,
            sum: 77,
        }
    }

    #[test]
    fn heads_round_trip_and_every_flipped_bit_is_noticed() {
        let head = record().head(9, 128);
        assert_eq!(Record::parse(&head, 9, 128), Some(record()));
        let file = file_head(9, 55);
        assert_eq!(parse_file_head(&file, 9).unwrap(), 55);
        for bit in 0..512 {
            let flip = |head: Head| {
                let mut bad = head;
                bad[bit / 8] ^= 1 << (bit % 8);
                bad
            };
            assert_eq!(Record::parse(&flip(head), 9, 128), None, "bit {bit}");
            assert!(parse_file_head(&flip(file), 9).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_head_that_lies_elsewhere_is_none() {
        let head = record().head(9, 128);
        assert_eq!(Record::parse(&head, 9, 192), None);
        assert_eq!(Record::parse(&head, 8, 128), None);
        assert_eq!(
            parse_file_head(&file_head(9, 55), 8).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let mut newer = file_head(9, 55);
        newer[8] = 2;
        assert_eq!(
            parse_file_head(&seal(newer), 9).unwrap_err().kind(),
            ErrorKind::WrongFormat
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_none(bytes: [u8; 32], more: [u8; 32]) {
            let mut head = [0; 64];
            head[..32].copy_from_slice(&bytes);
            head[32..].copy_from_slice(&more);
            prop_assert_eq!(Record::parse(&head, 0, 64), None);
            // Even one that is sealed: then it says what it is, and its size is no arithmetic error.
            head[..4].copy_from_slice(&RECORD_MAGIC);
            let sealed = seal(head);
            if let Some(record) = Record::parse(&sealed, 0, 64) {
                let _ = record.stored();
            }
        }
    }
}
