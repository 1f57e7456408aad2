//! xxh3-128 under a secret of 192 bytes, as its authors recommend where an opponent chooses the input.
//!
//! XXH3 is not a cryptographic hash: the secret keeps collisions from being computed ahead, nothing more. Who needs more selects
//! SHA-256 or BLAKE3.

use xxhash_rust::xxh3::{xxh3_128_with_secret, xxh3_128_with_seed};

use super::KeyedHash;

const SECRET: usize = 192;

pub(super) struct Xxh3 {
    secret: [u8; SECRET],
}

impl Xxh3 {
    /// Stretches the pool's secret: each 16 bytes are the hash of the whole secret under another seed.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let mut stretched = [0; SECRET];
        for (seed, part) in (1..).zip(stretched.chunks_exact_mut(16)) {
            part.copy_from_slice(&xxh3_128_with_seed(secret, seed).to_le_bytes());
        }
        Self { secret: stretched }
    }
}

impl KeyedHash for Xxh3 {
    #[inline]
    fn link(&self, message: &[u8]) -> u128 {
        xxh3_128_with_secret(message, &self.secret)
    }
}
