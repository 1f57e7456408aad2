//! Keys: what a block of the prefix index is found by.
//!
//! A key stands for *all* tokens up to the end of its block, and for everything else that the keys and values depend on. It is a chain:
//! `key(block) = H(key(block before it), tokens, media)`, and the chain begins at a root made of tenant, salt and adapter. Two prompts
//! share a block exactly if they share everything before it.
//!
//! * **Typed.** What goes into a hash begins with what it is ([`Domain`]) and how long its parts are, so that no two kinds of input can
//!   have the same bytes (vllm#44701 was such a collision).
//! * **Keyed.** Every pool has a secret. Whoever does not know it cannot make two prompts whose keys collide, which with a fixed fast
//!   hash is a way to read another tenant's cache (CVE-2025-46570 and what came before it).
//! * **128 bits.** By accident, two of 2^40 blocks collide with a probability of 2^-49.
//!
//! Epoch and group are not in the chain: a new weight version would otherwise have to hash every waiting prompt again. They select a
//! mask ([`Keyer::mask`]), and the index holds `key ^ mask`.
//!
//! | file | what |
//! |---|---|
//! | `mod` | `Key`, `Keyer`: the chain over tokens |
//! | `namespace` | `Namespace` and `Media`: what a key depends on besides tokens |
//! | `xxh3`, `sha256`, `blake3` | one hash each |

mod blake3;
mod namespace;
mod sha256;
mod xxh3;

pub use self::namespace::{Media, Namespace};

use crate::error::{Error, ErrorKind, Result};

/// Bytes of a block's message before its tokens: the domain, the number of tokens, the parent.
const HEAD: usize = 24;
/// Tokens of a block of the usual size, and bytes of its message: hashes have a way of their own for it.
const USUAL: usize = 16;
const USUAL_MESSAGE: usize = HEAD + 4 * USUAL;

/// Bytes of the longest name (see [`Keyer::named`]): a SHA-256 and what an engine adds to it.
pub(super) const LONGEST_NAME: usize = 39;

/// What a block is found by. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Key(u128);

impl Key {
    /// Stands for "no key" where a pool keeps one a block.
    pub(crate) const NONE: Key = Key(0);

    /// A key that another hash made: an engine that has block hashes of its own brings them this way.
    #[inline]
    pub fn new(raw: u128) -> Self {
        // A branch that is never taken, where a maximum would make each link of a chain wait for it.
        if raw == 0 {
            return Self::of_zero();
        }
        Self(raw)
    }

    #[cold]
    #[inline(never)]
    fn of_zero() -> Self {
        Self(1)
    }

    /// The number behind it.
    pub fn raw(self) -> u128 {
        self.0
    }

    /// As the index holds it: see [`Keyer::mask`].
    #[must_use]
    pub fn masked(self, mask: u128) -> Self {
        Self::new(self.0 ^ mask)
    }
}

/// The hash behind keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// xxh3-128 with a secret of its own for each pool: the fastest. Not a cryptographic hash.
    #[default]
    Xxh3,
    /// SHA-256, cut to 128 bits.
    Sha256,
    /// BLAKE3 in keyed mode, cut to 128 bits.
    Blake3,
}

/// What a message is, so that no two kinds can have the same bytes.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Domain {
    Root = 1,
    Block = 2,
    BlockWithMedia = 3,
    Mask = 4,
    Name = 5,
}

/// One hash with a pool's secret in it.
pub(super) trait KeyedHash {
    /// Hashes a message that begins with the secret's consequence: the key of the block before.
    fn link(&self, message: &[u8]) -> u128;

    /// `link` of the message of a plain block of the usual size.
    #[inline]
    fn link_usual(&self, parent: Key, tokens: &[u32; USUAL]) -> u128 {
        let mut message = [0; USUAL_MESSAGE];
        fill(&mut message, Domain::Block, parent, tokens);
        self.link(&message)
    }

    /// Hashes a message that depends on the secret by itself.
    fn root(&self, message: &[u8]) -> u128 {
        self.link(message)
    }
}

enum Hash {
    Xxh3(Box<xxh3::Xxh3>),
    Sha256(sha256::Sha256),
    Blake3(blake3::Blake3),
}

/// Makes keys. Two keyers of the same algorithm and secret make the same ones, in any process.
pub struct Keyer {
    hash: Hash,
    block_size: usize,
}

impl Keyer {
    /// A keyer for blocks of `block_size` tokens. A secret that others can guess makes the keys guessable.
    ///
    /// # Errors
    /// `InvalidArgument` for a block size of zero.
    pub fn new(algorithm: Algorithm, secret: &[u8; 32], block_size: usize) -> Result<Self> {
        if block_size == 0 {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "a block holds at least one token, and the block size is 0",
            ));
        }
        let hash = match algorithm {
            Algorithm::Xxh3 => Hash::Xxh3(Box::new(xxh3::Xxh3::new(secret))),
            Algorithm::Sha256 => Hash::Sha256(sha256::Sha256::new(secret)),
            Algorithm::Blake3 => Hash::Blake3(blake3::Blake3::new(secret)),
        };
        Ok(Self { hash, block_size })
    }

    /// Where the chain of a namespace begins.
    pub fn root(&self, namespace: &Namespace<'_>) -> Key {
        let mut message = Vec::with_capacity(64);
        message.extend_from_slice(&(Domain::Root as u32).to_le_bytes());
        namespace.encode(&mut message);
        Key::new(self.hash_root(&message))
    }

    /// What separates groups and weight versions in one index: keys of different (epoch, group) meet with a probability of 2^-128,
    /// and the pool checks the epoch besides.
    pub fn mask(&self, epoch: u32, group: u8) -> u128 {
        let mut message = [0; 9];
        message[..4].copy_from_slice(&(Domain::Mask as u32).to_le_bytes());
        message[4..8].copy_from_slice(&epoch.to_le_bytes());
        message[8] = group;
        self.hash_root(&message)
    }

    /// The key of a name that an engine made: a hash of its own, of at most [`LONGEST_NAME`] bytes. Hashed again, so that a short one or
    /// one that somebody chose spreads over the index as any other.
    #[inline]
    pub(super) fn named(&self, name: &[u8]) -> Key {
        let mut message = [0; 5 + LONGEST_NAME];
        message[..4].copy_from_slice(&(Domain::Name as u32).to_le_bytes());
        message[4] = name.len() as u8;
        message[5..5 + name.len()].copy_from_slice(name);
        Key::new(self.hash_root(&message[..5 + name.len()]))
    }

    /// Appends the keys of all full blocks of `tokens`, which follow the block of `parent` (or a root). What is left over, less than a
    /// block, has no key.
    pub fn chain(&self, parent: Key, tokens: &[u32], keys: &mut Vec<Key>) {
        match &self.hash {
            Hash::Xxh3(hash) => self.chain_with(hash.as_ref(), parent, tokens, keys),
            Hash::Sha256(hash) => self.chain_with(hash, parent, tokens, keys),
            Hash::Blake3(hash) => self.chain_with(hash, parent, tokens, keys),
        }
    }

    /// As [`chain`](Self::chain), for tokens some of which are places of images, sounds or given embeddings. `first` is the position of
    /// `tokens[0]` in its sequence; `media` is ordered by start.
    pub fn chain_with_media(&self, parent: Key, first: usize, tokens: &[u32], media: &[Media], keys: &mut Vec<Key>) {
        let mut parent = parent;
        let mut message = Vec::new();
        for (index, block) in tokens.chunks_exact(self.block_size).enumerate() {
            let start = first + index * self.block_size;
            let within = media
                .iter()
                .filter(|item| item.overlaps(start, start + self.block_size));
            message.clear();
            message.resize(HEAD + 4 * block.len(), 0);
            fill(&mut message, Domain::Block, parent, block);
            let plain = message.len();
            for item in within {
                item.encode(start, &mut message);
            }
            if message.len() > plain {
                message[..4].copy_from_slice(&(Domain::BlockWithMedia as u32).to_le_bytes());
            }
            parent = Key::new(self.hash_link(&message));
            keys.push(parent);
        }
    }

    /// Tokens of a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    fn chain_with<H: KeyedHash>(&self, hash: &H, mut parent: Key, tokens: &[u32], keys: &mut Vec<Key>) {
        if self.block_size == USUAL {
            let (blocks, _) = tokens.as_chunks::<USUAL>();
            keys.extend(blocks.iter().map(|block| {
                parent = Key::new(hash.link_usual(parent, block));
                parent
            }));
            return;
        }
        let mut message = vec![0; HEAD + 4 * self.block_size];
        keys.extend(tokens.chunks_exact(self.block_size).map(|block| {
            fill(&mut message, Domain::Block, parent, block);
            parent = Key::new(hash.link(&message));
            parent
        }));
    }

    fn hash_root(&self, message: &[u8]) -> u128 {
        match &self.hash {
            Hash::Xxh3(hash) => hash.root(message),
            Hash::Sha256(hash) => hash.root(message),
            Hash::Blake3(hash) => hash.root(message),
        }
    }

    fn hash_link(&self, message: &[u8]) -> u128 {
        match &self.hash {
            Hash::Xxh3(hash) => hash.link(message),
            Hash::Sha256(hash) => hash.link(message),
            Hash::Blake3(hash) => hash.link(message),
        }
    }
}

/// Writes the message of a block: domain, number of tokens, parent, tokens.
#[inline]
fn fill(message: &mut [u8], domain: Domain, parent: Key, block: &[u32]) {
    message[..4].copy_from_slice(&(domain as u32).to_le_bytes());
    message[4..8].copy_from_slice(&(block.len() as u32).to_le_bytes());
    message[8..HEAD].copy_from_slice(&parent.0.to_le_bytes());
    // Two tokens at a time: hashes read words of 64 bits, and a read of what two writes have left waits for both.
    let (pairs, last) = block.as_chunks::<2>();
    let (words, rest) = message[HEAD..].as_chunks_mut::<8>();
    for (word, pair) in words.iter_mut().zip(pairs) {
        *word = word_of(pair).to_le_bytes();
    }
    for token in last {
        rest[..4].copy_from_slice(&token.to_le_bytes());
    }
}

/// Two tokens as a message holds them.
#[inline]
fn word_of(pair: &[u32; 2]) -> u64 {
    u64::from(pair[0]) | u64::from(pair[1]) << 32
}

#[cfg(test)]
mod tests;
