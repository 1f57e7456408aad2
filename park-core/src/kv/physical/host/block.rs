//! The bytes of a host block: a head, then the pages of its group. A RAW object of the store.
//!
//! ```text
//! 0   8   magic "PARKKVB1"
//! 8   8   fingerprint of the layout
//! 16  16  key
//! 32  4   epoch
//! 36  4   group:8, zero
//! 40  8   bytes after the head
//! 48  8   zero
//! 56  8   xxh3-64 of all before
//! 64      pages
//! ```
//! Everything that leads to an object is a hint (README.md); this head is what is believed, because it is sealed with the bytes it
//! describes.

use xxhash_rust::xxh3::xxh3_64;

use crate::kv::physical::Shape;
use crate::kv::{Key, Label};
use crate::store::Object;

/// Bytes of the head.
pub(in crate::kv::physical) const HEAD: u64 = 64;
const MAGIC: [u8; 8] = *b"PARKKVB1";

/// The head of a block of `len` bytes.
pub(super) fn encode(label: Label, fingerprint: u64, len: u64) -> [u8; HEAD as usize] {
    let mut head = [0; HEAD as usize];
    head[..8].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&fingerprint.to_le_bytes());
    head[16..32].copy_from_slice(&label.key.raw().to_le_bytes());
    head[32..36].copy_from_slice(&label.epoch.to_le_bytes());
    head[36] = label.group;
    head[40..48].copy_from_slice(&len.to_le_bytes());
    let sum = xxh3_64(&head[..56]);
    head[56..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// What the bytes of an object say they are. They may be anything.
fn decode(bytes: &[u8], shape: &Shape) -> Option<Label> {
    let (head, pages) = bytes.split_first_chunk::<{ HEAD as usize }>()?;
    let word = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let key = Key::new(u128::from(word(16)?) | u128::from(word(24)?) << 64);
    let label = Label {
        key,
        epoch: word(32)? as u32,
        group: head[36],
    };
    let len = pages.len() as u64;
    let right = *head == encode(label, shape.fingerprint(), len) && shape.check(label.group, len).is_ok();
    right.then_some(label)
}

/// A block of host memory: sealed bytes that other processes may be reading too. As long as it exists, they stay where they are. A clone
/// is one more reference to the same bytes.
#[derive(Clone, Debug)]
pub struct HostBlock {
    object: Object,
    label: Label,
}

impl HostBlock {
    /// The block that an object is; `None` for an object that is none, or one of another layout.
    pub(super) fn open(object: Object, shape: &Shape) -> Option<Self> {
        let label = decode(object.bytes(), shape)?;
        Some(Self { object, label })
    }

    /// The pages of its group, in the order of the layers, in place.
    pub fn bytes(&self) -> &[u8] {
        &self.object.bytes()[HEAD as usize..]
    }

    /// What it is.
    pub fn label(&self) -> Label {
        self.label
    }

    /// The object of the store.
    pub fn object(&self) -> &Object {
        &self.object
    }
}
