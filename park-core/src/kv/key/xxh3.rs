//! xxh3-128 under a secret of 192 bytes, as its authors recommend where an opponent chooses the input.
//!
//! XXH3 is not a cryptographic hash: the secret keeps collisions from being computed ahead, nothing more. Who needs more selects
//! SHA-256 or BLAKE3.
//!
//! A block of the usual size makes a message of 88 bytes, for which XXH3 takes its way for 65 to 96 bytes. Here that way is written out
//! over words: tokens and parent go into it from where they are, and no message is put together in memory first. A test holds it
//! against the crate's.

use xxhash_rust::xxh3::{xxh3_128_with_secret, xxh3_128_with_seed};

use super::{Domain, Key, KeyedHash, USUAL, USUAL_MESSAGE, word_of};

const SECRET: usize = 192;
/// Of the secret, the words that a message of the usual length meets.
const WORDS: usize = 12;

// XXH64's primes, and the multiplier of XXH3's avalanche.
const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const AVALANCHE: u64 = 0x1656_6791_9e37_79f9;

pub(super) struct Xxh3 {
    secret: [u8; SECRET],
    words: [u64; WORDS],
}

impl Xxh3 {
    /// Stretches the pool's secret: each 16 bytes are the hash of the whole secret under another seed.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let mut stretched = [0; SECRET];
        for (seed, part) in (1..).zip(stretched.chunks_exact_mut(16)) {
            part.copy_from_slice(&xxh3_128_with_seed(secret, seed).to_le_bytes());
        }
        let (words, _) = stretched.as_chunks::<8>();
        Self {
            secret: stretched,
            words: std::array::from_fn(|at| u64::from_le_bytes(words[at])),
        }
    }
}

impl KeyedHash for Xxh3 {
    #[inline]
    fn link(&self, message: &[u8]) -> u128 {
        xxh3_128_with_secret(message, &self.secret)
    }

    #[inline]
    fn link_usual(&self, parent: Key, tokens: &[u32; USUAL]) -> u128 {
        let (pairs, _) = tokens.as_chunks::<2>();
        let token = |at: usize| word_of(&pairs[at]);
        let head = Domain::Block as u64 | (USUAL as u64) << 32;
        let (low, high) = (parent.0 as u64, (parent.0 >> 64) as u64);
        let length = USUAL_MESSAGE as u64;

        // The message's words are head, low, high and the eight pairs of tokens. From its middle outwards:
        let mut sums = (length.wrapping_mul(PRIME_1), 0);
        self.mix(&mut sums, [token(1), token(2)], [token(2), token(3)], 8);
        self.mix(&mut sums, [high, token(0)], [token(4), token(5)], 4);
        self.mix(&mut sums, [head, low], [token(6), token(7)], 0);
        let (one, other) = sums;
        let first = avalanche(one.wrapping_add(other));
        let second = one
            .wrapping_mul(PRIME_1)
            .wrapping_add(other.wrapping_mul(PRIME_4))
            .wrapping_add(length.wrapping_mul(PRIME_2));
        u128::from(first) | u128::from(avalanche(second).wrapping_neg()) << 64
    }
}

impl Xxh3 {
    /// XXH3's step over 32 bytes, two from each side, under four words of the secret.
    #[inline(always)]
    fn mix(&self, sums: &mut (u64, u64), left: [u64; 2], right: [u64; 2], secret: usize) {
        let secret = &self.words[secret..secret + 4];
        sums.0 = sums.0.wrapping_add(fold(left[0] ^ secret[0], left[1] ^ secret[1]));
        sums.0 ^= right[0].wrapping_add(right[1]);
        sums.1 = sums.1.wrapping_add(fold(right[0] ^ secret[2], right[1] ^ secret[3]));
        sums.1 ^= left[0].wrapping_add(left[1]);
    }
}

/// Both halves of the product, one over the other.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline(always)]
fn avalanche(word: u64) -> u64 {
    let word = (word ^ word >> 37).wrapping_mul(AVALANCHE);
    word ^ word >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kv::key::fill;

    proptest! {
        #[test]
        fn the_way_written_out_is_that_of_the_crate(secret: [u8; 32], parent: u128, tokens: [u32; USUAL]) {
            let (hash, parent) = (Xxh3::new(&secret), Key::new(parent));
            let mut message = [0; USUAL_MESSAGE];
            fill(&mut message, Domain::Block, parent, &tokens);
            prop_assert_eq!(hash.link_usual(parent, &tokens), hash.link(&message));
        }
    }
}
