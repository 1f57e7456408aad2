//! Keys of a long prompt.

use park_bench::measure::{Case, Peer, Result};
use park_core::kv::{Algorithm, Key, Keyer, Namespace};

use crate::{BLOCK, BLOCKS, PROMPT, tokens};

pub(crate) fn rows(peer: &mut Peer) -> Result<()> {
    for (name, algorithm) in [
        ("hash 131,072 tokens, xxh3", Algorithm::Xxh3),
        ("hash 131,072 tokens, SHA-256", Algorithm::Sha256),
        ("hash 131,072 tokens, BLAKE3", Algorithm::Blake3),
    ] {
        peer.row(name, || hash(algorithm))?;
    }
    Ok(())
}

fn hash(algorithm: Algorithm) -> Result<Case<'static>> {
    let prompt = tokens(1, PROMPT);
    let keyer = Keyer::new(algorithm, &[7; 32], BLOCK as usize)?;
    let root = keyer.root(&Namespace::default());
    // The same chain in two pieces is what it must come to.
    let (mut first, mut second) = (Vec::new(), Vec::new());
    keyer.chain(root, &prompt[..4096], &mut first);
    keyer.chain(first[first.len() - 1], &prompt[4096..], &mut second);
    let last = second[second.len() - 1];
    let mut keys: Vec<Key> = Vec::with_capacity(BLOCKS as usize);
    Ok(Case::timed(
        1.0,
        move || {
            keys.clear();
            keyer.chain(root, &prompt, &mut keys);
            Ok((keys.len(), keys[keys.len() - 1]))
        },
        move |answer| Ok(*answer == (BLOCKS as usize, last)),
    ))
}
