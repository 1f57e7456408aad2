//! SHA-256, the first half of it. A root depends on the secret; a link depends on its parent, which nobody can guess.

use sha2::{Digest, Sha256 as Sha2};

use super::KeyedHash;

pub(super) struct Sha256 {
    /// The state after the secret.
    keyed: Sha2,
}

impl Sha256 {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self {
            keyed: Sha2::new_with_prefix(secret),
        }
    }
}

fn half(digest: &[u8]) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(first)
}

impl KeyedHash for Sha256 {
    #[inline]
    fn link(&self, message: &[u8]) -> u128 {
        half(&Sha2::digest(message))
    }

    fn root(&self, message: &[u8]) -> u128 {
        half(&self.keyed.clone().chain_update(message).finalize())
    }
}
