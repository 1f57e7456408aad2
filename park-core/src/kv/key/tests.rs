use proptest::prelude::*;

use super::*;

const SECRET: [u8; 32] = [7; 32];
const ALL: [Algorithm; 3] = [Algorithm::Xxh3, Algorithm::Sha256, Algorithm::Blake3];

fn keys(keyer: &Keyer, namespace: &Namespace<'_>, tokens: &[u32]) -> Vec<Key> {
    let mut keys = Vec::new();
    keyer.chain(keyer.root(namespace), tokens, &mut keys);
    keys
}

#[test]
fn only_full_blocks_have_keys() {
    for algorithm in ALL {
        let keyer = Keyer::new(algorithm, &SECRET, 4).unwrap();
        assert_eq!(keys(&keyer, &Namespace::default(), &[1; 11]).len(), 2);
        assert!(keys(&keyer, &Namespace::default(), &[1; 3]).is_empty());
    }
}

#[test]
fn a_block_size_of_zero_is_refused() {
    let refused = Keyer::new(Algorithm::Xxh3, &SECRET, 0).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn what_is_not_the_same_prefix_has_other_keys() {
    for algorithm in ALL {
        let keyer = Keyer::new(algorithm, &SECRET, 2).unwrap();
        let plain = Namespace::default();
        let one = keys(&keyer, &plain, &[1, 2, 3, 4]);
        // The second block has the same tokens and another past.
        let other = keys(&keyer, &plain, &[9, 2, 3, 4]);
        assert_ne!(one[0], other[0]);
        assert_ne!(one[1], other[1]);
        for namespace in [
            Namespace { tenant: b"a", ..plain },
            Namespace { salt: b"a", ..plain },
            Namespace { adapter: b"a", ..plain },
            Namespace { tenant: b"ab", ..plain },
            Namespace {
                tenant: b"a",
                salt: b"b",
                ..plain
            },
        ] {
            assert_ne!(keys(&keyer, &namespace, &[1, 2, 3, 4])[0], one[0], "{namespace:?}");
        }
        let secret = Keyer::new(algorithm, &[8; 32], 2).unwrap();
        assert_ne!(keys(&secret, &plain, &[1, 2])[0], one[0]);
    }
}

#[test]
fn parts_of_a_namespace_do_not_run_into_each_other() {
    let keyer = Keyer::new(Algorithm::Sha256, &SECRET, 2).unwrap();
    let one = keyer.root(&Namespace {
        tenant: b"ab",
        salt: b"c",
        adapter: b"",
    });
    let other = keyer.root(&Namespace {
        tenant: b"a",
        salt: b"bc",
        adapter: b"",
    });
    assert_ne!(one, other);
}

#[test]
fn media_change_the_blocks_that_they_touch_and_what_follows() {
    for algorithm in ALL {
        let keyer = Keyer::new(algorithm, &SECRET, 2).unwrap();
        let root = keyer.root(&Namespace::default());
        let tokens = [5; 8];
        let picture = |digest| Media {
            start: 3,
            length: 2,
            digest: [digest; 32],
        };
        let with = |media: &[Media]| {
            let mut keys = Vec::new();
            keyer.chain_with_media(root, 0, &tokens, media, &mut keys);
            keys
        };
        let mut plain = Vec::new();
        keyer.chain(root, &tokens, &mut plain);
        assert_eq!(with(&[]), plain, "without media both ways agree");
        let (one, other) = (with(&[picture(1)]), with(&[picture(2)]));
        assert_eq!(one[0], plain[0]);
        for block in 1..4 {
            assert_ne!(one[block], plain[block]);
            assert_ne!(one[block], other[block]);
        }
    }
}

#[test]
fn masks_tell_epochs_and_groups_apart() {
    for algorithm in ALL {
        let keyer = Keyer::new(algorithm, &SECRET, 2).unwrap();
        let masks = [keyer.mask(0, 0), keyer.mask(0, 1), keyer.mask(1, 0), keyer.mask(256, 0)];
        for (at, mask) in masks.iter().enumerate() {
            assert!(!masks[..at].contains(mask));
        }
    }
}

proptest! {
    #[test]
    fn a_chain_can_be_made_in_parts(tokens in proptest::collection::vec(any::<u32>(), 0..200), block in 1_usize..20, cut in 0_usize..200) {
        for algorithm in ALL {
            let keyer = Keyer::new(algorithm, &SECRET, block).unwrap();
            let whole = keys(&keyer, &Namespace::default(), &tokens);
            let cut = cut.min(tokens.len()) / block * block;
            let mut parts = keys(&keyer, &Namespace::default(), &tokens[..cut]);
            let parent = parts.last().copied().unwrap_or(keyer.root(&Namespace::default()));
            keyer.chain(parent, &tokens[cut..], &mut parts);
            prop_assert_eq!(whole, parts);
        }
    }
}
