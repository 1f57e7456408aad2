//! SHA-256, the first half of it. A root depends on the secret; a link depends on its parent, which nobody can guess.
//!
//! The message of a block of the usual size, with SHA-256's padding, is two of its blocks: they are put together in place and compressed in
//! one call. A test holds that against the crate's digest.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256 as Sha2};

use super::{Domain, Key, KeyedHash, USUAL, USUAL_MESSAGE, fill};

/// SHA-256's initial state (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The usual message, padded: a one bit, zeros, and the message's length in bits.
const PADDED: [u8; 128] = {
    let mut padded = [0; 128];
    let bits = 8 * USUAL_MESSAGE as u64;
    padded[USUAL_MESSAGE] = 0x80;
    padded[126] = (bits >> 8) as u8;
    padded[127] = bits as u8;
    padded
};

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

    #[inline]
    fn link_usual(&self, parent: Key, tokens: &[u32; USUAL]) -> u128 {
        let (mut state, mut padded) = (INITIAL, PADDED);
        fill(&mut padded[..USUAL_MESSAGE], Domain::Block, parent, tokens);
        let (blocks, _) = padded.as_chunks::<64>();
        compress256(&mut state, blocks);
        // Bytes of the digest are those of the state's words, highest first.
        (0..4)
            .rev()
            .fold(0, |key, at| key << 32 | u128::from(state[at].swap_bytes()))
    }

    fn root(&self, message: &[u8]) -> u128 {
        half(&self.keyed.clone().chain_update(message).finalize())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_blocks_in_place_are_the_digest_of_the_message(parent: u128, tokens: [u32; USUAL]) {
            let (hash, parent) = (Sha256::new(&[0; 32]), Key::new(parent));
            let mut message = [0; USUAL_MESSAGE];
            fill(&mut message, Domain::Block, parent, &tokens);
            prop_assert_eq!(hash.link_usual(parent, &tokens), hash.link(&message));
        }
    }
}
