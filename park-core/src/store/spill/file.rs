//! The format of a spill file: a head, then records one after another, all little-endian.
//!
//! ```text
//! head    0   8   magic "PARKSPL1"
//!         8   4   version
//!         12  4   number of the file in its session
//!         16  8   session tag
//!         24  8   xxh3-64 of the 24 bytes before
//! record  0   4   magic "OBJ1"
//!         4   4   meta: format and view, as in the object's slot
//!         8   8   session tag
//!         16  4   slot index
//!         20  4   generation
//!         24  8   len: payload bytes
//!         32  4   references stored after the payload
//!         36  4   zero
//!         40  8   xxh3-64 of what is stored: payload, padding and references
//!         48  8   xxh3-64 of the 48 bytes before
//!         56      what is stored
//! ```
//! Nothing read back is believed: the record's head must carry its own checksum and name the object that is looked for, and its bytes
//! must carry theirs. A file lives no longer than its session, so there is no reader of older versions.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ObjectId;

const FILE_MAGIC: [u8; 8] = *b"PARKSPL1";
const RECORD_MAGIC: [u8; 4] = *b"OBJ1";
const VERSION: u32 = 1;

/// Bytes of a file's head.
pub const FILE_HEAD: u64 = 32;
/// Bytes of a record's head.
pub const RECORD_HEAD: u64 = 56;

/// Takes fixed-size fields off the front of bytes that may be too few.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                Ok(*field)
            }
            None => bail!(Corrupt, "a spill record ends in the middle of its head"),
        }
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// The head of file `number` of a session.
pub fn file_head(number: u32, session: u64) -> [u8; FILE_HEAD as usize] {
    let mut head = [0; FILE_HEAD as usize];
    head[..8].copy_from_slice(&FILE_MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&number.to_le_bytes());
    head[16..24].copy_from_slice(&session.to_le_bytes());
    let sum = xxh3_64(&head[..24]);
    head[24..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Number and session of the file that starts with these bytes.
pub fn parse_file_head(bytes: &[u8]) -> Result<(u32, u64)> {
    let mut fields = Fields(bytes);
    let (magic, version) = (fields.take::<8>()?, fields.u32()?);
    if magic != FILE_MAGIC {
        bail!(Corrupt, "not a spill file: it starts with {magic:02x?}");
    }
    let (number, session, sum) = (fields.u32()?, fields.u64()?, fields.u64()?);
    if sum != xxh3_64(bytes.get(..24).unwrap_or_default()) {
        bail!(Corrupt, "the head of spill file {number} does not match its checksum");
    }
    if version != VERSION {
        bail!(
            Corrupt,
            "spill file {number} has version {version}, this library writes version {VERSION}"
        );
    }
    Ok((number, session))
}

/// What the head of a record says. Only ever made by `parse`, or for an object that is about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Whose bytes.
    pub id: ObjectId,
    /// Format and view, as in the object's slot.
    pub meta: u32,
    /// Payload bytes.
    pub len: u64,
    /// References stored after the payload.
    pub nested: u32,
    /// Checksum of what is stored.
    pub sum: u64,
}

impl RecordHead {
    /// The bytes on disk.
    pub fn encode(&self) -> [u8; RECORD_HEAD as usize] {
        let mut head = [0; RECORD_HEAD as usize];
        head[..4].copy_from_slice(&RECORD_MAGIC);
        head[4..8].copy_from_slice(&self.meta.to_le_bytes());
        head[8..16].copy_from_slice(&self.id.session.to_le_bytes());
        head[16..20].copy_from_slice(&self.id.index.to_le_bytes());
        head[20..24].copy_from_slice(&self.id.generation.to_le_bytes());
        head[24..32].copy_from_slice(&self.len.to_le_bytes());
        head[32..36].copy_from_slice(&self.nested.to_le_bytes());
        head[40..48].copy_from_slice(&self.sum.to_le_bytes());
        let own = xxh3_64(&head[..48]);
        head[48..].copy_from_slice(&own.to_le_bytes());
        head
    }

    /// Reads the head of a record.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields(bytes);
        let magic = fields.take::<4>()?;
        if magic != RECORD_MAGIC {
            bail!(Corrupt, "not a spill record: it starts with {magic:02x?}");
        }
        let meta = fields.u32()?;
        let id = ObjectId {
            session: fields.u64()?,
            index: fields.u32()?,
            generation: fields.u32()?,
        };
        let (len, nested, zero, sum, own) = (
            fields.u64()?,
            fields.u32()?,
            fields.u32()?,
            fields.u64()?,
            fields.u64()?,
        );
        if own != xxh3_64(bytes.get(..48).unwrap_or_default()) || zero != 0 {
            bail!(Corrupt, "the head of a spill record does not match its checksum");
        }
        Ok(Self {
            id,
            meta,
            len,
            nested,
            sum,
        })
    }

    /// Bytes stored after the head. `None` if the numbers cannot be those of an object.
    pub fn stored(&self) -> Option<u64> {
        if self.nested == 0 {
            return Some(self.len);
        }
        let references = u64::from(self.nested) * ObjectId::SIZE as u64;
        self.len.checked_next_multiple_of(8)?.checked_add(references)
    }
}

/// A whole record, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says about itself.
    pub head: RecordHead,
    /// Payload, and the references after it.
    pub stored: &'a [u8],
}

/// Reads the record at the start of `bytes`, which may be anything.
pub fn parse_record(bytes: &[u8]) -> Result<Record<'_>> {
    let head = RecordHead::parse(bytes)?;
    let stored = head
        .stored()
        .and_then(|len| usize::try_from(len).ok())
        .and_then(|len| bytes.get(RECORD_HEAD as usize..)?.get(..len));
    let Some(stored) = stored else {
        bail!(
            Corrupt,
            "the spill record of object {} is cut off: {} of its {} payload bytes and {} references are there",
            head.id,
            bytes.len().saturating_sub(RECORD_HEAD as usize),
            head.len,
            head.nested
        );
    };
    if xxh3_64(stored) != head.sum {
        return Err(mismatch(head.id));
    }
    Ok(Record { head, stored })
}

fn mismatch(id: ObjectId) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the bytes of object {id} do not match their checksum"),
    )
}

/// The checksum of bytes that pass by in pieces.
#[derive(Default)]
pub struct Sum(Xxh3);

impl Sum {
    /// The next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The checksum so far.
    pub fn value(&self) -> u64 {
        self.0.digest()
    }

    /// Whether this is what the record's head promised.
    pub fn check(&self, head: &RecordHead) -> Result<()> {
        if self.value() == head.sum {
            return Ok(());
        }
        Err(mismatch(head.id))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(payload: &[u8], nested: u32) -> Vec<u8> {
        let mut head = RecordHead {
            id: ObjectId {
                session: 0x1234_5678_9abc_def0,
                index: 17,
                generation: 3,
            },
            meta: 0x0102,
            len: payload.len() as u64,
            nested,
            sum: 0,
        };
        let mut stored = payload.to_vec();
        stored.resize(usize::try_from(head.stored().unwrap()).unwrap(), 0);
        head.sum = xxh3_64(&stored);
        [&head.encode()[..], &stored].concat()
    }

    #[test]
    fn records_and_heads_round_trip() {
        let bytes = record(b"some bytes", 2);
        let back = parse_record(&bytes).unwrap();
        assert_eq!((back.head.len, back.head.nested, back.head.meta), (10, 2, 0x0102));
        assert_eq!(back.stored.len(), 16 + 32);
        assert_eq!(back.head.encode()[..], bytes[..RECORD_HEAD as usize]);
        assert_eq!(parse_file_head(&file_head(9, 77)).unwrap(), (9, 77));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for bytes in [record(&[0; 200], 0), record(b"xyz", 1), record(b"", 0)] {
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(parse_record(&bad).unwrap_err().kind(), ErrorKind::Corrupt, "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert_eq!(parse_record(&bytes[..len]).unwrap_err().kind(), ErrorKind::Corrupt);
            }
        }
        let head = file_head(9, 77);
        for bit in 0..head.len() * 8 {
            let mut bad = head;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_file_head(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_length_that_no_file_can_have_is_no_arithmetic_error() {
        let id = ObjectId {
            session: 1,
            index: 1,
            generation: 1,
        };
        for (len, nested) in [(u64::MAX, 0), (u64::MAX, 1), (u64::MAX - 64, u32::MAX)] {
            let head = RecordHead {
                id,
                meta: 0,
                len,
                nested,
                sum: 0,
            };
            assert!(parse_record(&head.encode()).is_err());
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_record(&bytes);
            let _ = parse_file_head(&bytes);
            let mut plausible = RECORD_MAGIC.to_vec();
            plausible.extend_from_slice(&bytes);
            prop_assert!(parse_record(&plausible).is_err());
        }

        #[test]
        fn pieces_sum_up_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..2000) {
            let mut sum = Sum::default();
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            sum.add(a);
            sum.add(b);
            prop_assert_eq!(sum.value(), xxh3_64(&bytes));
        }
    }
}
