//! BLAKE3 in its keyed mode, the first half of it.

use super::KeyedHash;

pub(super) struct Blake3 {
    secret: [u8; 32],
}

impl Blake3 {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self { secret: *secret }
    }
}

impl KeyedHash for Blake3 {
    #[inline]
    fn link(&self, message: &[u8]) -> u128 {
        let mut first = [0; 16];
        first.copy_from_slice(&::blake3::keyed_hash(&self.secret, message).as_bytes()[..16]);
        u128::from_le_bytes(first)
    }
}
