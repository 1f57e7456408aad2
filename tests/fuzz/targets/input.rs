//! Reading a fuzzer's bytes as the numbers that a target wants. Past the end everything is 0.

pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        let bytes = self.bytes(8);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    /// Up to `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number at which things break: small, at a power of two, at the end of a type.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=127 => u64::from(small),
            128..=159 => u64::from(self.byte()) << 8 | u64::from(self.byte()),
            power @ 160..=223 => 1u64 << (power - 160),
            224..=231 => u64::MAX,
            232..=239 => u64::MAX / 2 + u64::from(self.byte() % 3),
            240..=247 => u64::MAX - u64::from(self.byte()),
            _ => self.word(),
        }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}
