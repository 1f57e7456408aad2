//! Bytes that follow from a seed, random sizes, and a small generator for both.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A size from 0 to `largest`: every power of two is as likely as every other.
    pub(crate) fn size(&mut self, largest: u64) -> u64 {
        if self.below(20) == 0 {
            return 0;
        }
        let bits = u64::from(64 - largest.leading_zeros());
        let top = 1u64 << self.below(bits);
        (top + self.below(top)).min(largest)
    }
}

/// Writes the pattern of `seed`.
pub(crate) fn fill(bytes: &mut [u8], seed: u64) {
    let mut random = Random(seed);
    // One number a kilobyte, so that half a gigabyte is filled at the speed of memory; each byte depends on seed and place.
    for chunk in bytes.chunks_mut(1024) {
        let word = random.next().to_le_bytes();
        for (byte, value) in chunk.iter_mut().zip(word.iter().cycle()) {
            *byte = *value;
        }
    }
}

/// Where the bytes first differ from the pattern of `seed`.
pub(crate) fn mismatch(bytes: &[u8], seed: u64) -> Option<usize> {
    let mut random = Random(seed);
    for (number, chunk) in bytes.chunks(1024).enumerate() {
        let word = random.next().to_le_bytes();
        if let Some(at) = chunk
            .iter()
            .zip(word.iter().cycle())
            .position(|(byte, value)| byte != value)
        {
            return Some(number * 1024 + at);
        }
    }
    None
}
