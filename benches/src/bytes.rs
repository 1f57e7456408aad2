//! The bytes that all peers of the store bench put, the same as `store_units.pattern` in Python: consecutive 64-bit words that start
//! at `SALT`, so that a read of the wrong page, or of a page nobody wrote, cannot go unseen.

/// The first word. Not zero: fresh pages are.
pub const SALT: u64 = 77;

/// `len` bytes of the pattern; `len` is a multiple of eight.
pub fn pattern(len: usize) -> Vec<u8> {
    (SALT..).take(len / 8).flat_map(u64::to_le_bytes).collect()
}

/// The pattern with `number` in its first word, so that one operation's bytes differ from the next one's.
pub fn stamped(len: usize, number: u64) -> Vec<u8> {
    let mut bytes = pattern(len);
    stamp(&mut bytes, number);
    bytes
}

/// Writes the first word.
pub fn stamp(bytes: &mut [u8], number: u64) {
    bytes[..8].copy_from_slice(&number.to_le_bytes());
}

/// The sum of all words: a read of every byte.
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words
        .iter()
        .fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// What `sum` finds in `len` bytes of the pattern.
pub fn sum_of_pattern(len: usize) -> u64 {
    let words = (len / 8) as u64;
    SALT * words + words * words.saturating_sub(1) / 2
}
