//! What the tiers below a device know of a block: by which fingerprint it is told from those of others, and how long it is.

use xxhash_rust::xxh3::xxh3_64;

use super::Layout;
use crate::error::{Result, bail};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    fingerprint: u64,
    /// Bytes of a block of each group; of any length if there are none.
    groups: Option<Vec<u64>>,
}

impl Shape {
    /// Blocks of a layout.
    pub(super) fn of(layout: &Layout) -> Result<Self> {
        let groups = (0..layout.config().layers.len() as u8).map(|group| layout.block_bytes(group));
        Ok(Self {
            fingerprint: layout.fingerprint(),
            groups: Some(groups.collect::<Result<_>>()?),
        })
    }

    /// Chunks of any length, of which only the key says what they are.
    pub(super) fn any() -> Self {
        Self {
            fingerprint: xxh3_64(b"park kv chunks 1"),
            groups: None,
        }
    }

    /// Two shapes with the same fingerprint mean the same by the bytes of a block.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The most bytes that a block may have, if that is known.
    pub(super) fn largest(&self) -> u64 {
        self.groups.iter().flatten().copied().max().unwrap_or(0)
    }

    /// # Errors
    /// `InvalidArgument` for a group that does not exist, or a length that its blocks do not have.
    pub(super) fn check(&self, group: u8, len: u64) -> Result<()> {
        let Some(groups) = &self.groups else { return Ok(()) };
        match groups.get(usize::from(group)) {
            None => bail!(InvalidArgument, "there is no group {group}: there are {}", groups.len()),
            Some(expected) if *expected != len => bail!(
                InvalidArgument,
                "a block of group {group} has {expected} bytes, and {len} were given"
            ),
            Some(_) => Ok(()),
        }
    }
}
