//! What keys and values depend on besides the tokens.

/// Whose cache it is, and what computes it. Sequences share blocks only within one namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Namespace<'a> {
    /// Who asked. Tenants never see each other's blocks, not even by the time that a lookup takes.
    pub tenant: &'a [u8],
    /// A secret of the caller's that divides its own cache further.
    pub salt: &'a [u8],
    /// The adapter (LoRA) that the model runs with, and its version; empty for none.
    pub adapter: &'a [u8],
}

impl Namespace<'_> {
    pub(super) fn encode(&self, message: &mut Vec<u8>) {
        for part in [self.tenant, self.salt, self.adapter] {
            message.extend_from_slice(&(part.len() as u64).to_le_bytes());
            message.extend_from_slice(part);
        }
    }
}

/// Tokens that stand for something else: an image, a sound, embeddings that the caller gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Media {
    /// The position of its first token in the sequence.
    pub start: usize,
    /// How many tokens it takes.
    pub length: usize,
    /// A digest of its content.
    pub digest: [u8; 32],
}

impl Media {
    pub(in crate::kv) fn overlaps(&self, start: usize, end: usize) -> bool {
        self.start < end && start < self.start.saturating_add(self.length)
    }

    /// Relative to its block, so that the same picture at the same place of a block has the same bytes.
    pub(super) fn encode(&self, block_start: usize, message: &mut Vec<u8>) {
        let offset = self.start as i64 - block_start as i64;
        message.extend_from_slice(&offset.to_le_bytes());
        message.extend_from_slice(&(self.length as u64).to_le_bytes());
        message.extend_from_slice(&self.digest);
    }
}
