//! What a prompt finds of what others computed, and what it must not.

use super::*;

#[test]
fn a_prompt_finds_what_another_computed() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (one, hit) = begin(&mut cache, &tokens(10));
    assert_eq!((hit, table(&cache, one, 0)), (0, vec![1, 2, 3]));
    let (other, hit) = begin(&mut cache, &tokens(10));
    assert_eq!((hit, table(&cache, other, 0)), (8, vec![1, 2, 4]));
    // The last token is always computed, so of two whole blocks one is found.
    assert_eq!(begin(&mut cache, &tokens(8)).1, 4);
    cache.finish(one).unwrap();
    cache.finish(other).unwrap();
    cache.audit().unwrap();
    assert_eq!(begin(&mut cache, &tokens(11)).1, 8);
    let stats = cache.tenant_stats(NOBODY);
    assert_eq!((stats.asked, stats.hit), (39, 20));
}

#[test]
fn what_was_generated_is_found_as_well() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(6));
    for token in 6..12 {
        cache.append(id, &[token]).unwrap();
        assert!(cache.grow(id, token + 1, &mut Changes::default()).unwrap());
        cache.advance(id, token + 1).unwrap();
        cache.audit().unwrap();
    }
    assert_eq!(begin(&mut cache, &tokens(13)).1, 12);
}

#[test]
fn namespaces_share_nothing() {
    let mut cache = cache(32, 4, &[Group::Full]);
    begin(&mut cache, &tokens(9));
    for namespace in [
        Namespace {
            tenant: b"other",
            ..Namespace::default()
        },
        Namespace {
            salt: b"other",
            ..Namespace::default()
        },
        Namespace {
            adapter: b"other",
            ..Namespace::default()
        },
    ] {
        let id = cache.add(NOBODY, &namespace, &tokens(9), &[]).unwrap();
        assert_eq!(run(&mut cache, id), 0);
        cache.finish(id).unwrap();
    }
}

#[test]
fn a_new_epoch_finds_nothing_of_the_old() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (old, _) = begin(&mut cache, &tokens(9));
    cache.set_epoch(1).unwrap();
    let (new, hit) = begin(&mut cache, &tokens(9));
    assert_eq!(hit, 0);
    assert_eq!((cache.epoch_of(old).unwrap(), cache.epoch_of(new).unwrap()), (0, 1));
    cache.finish(new).unwrap();
    cache.finish(old).unwrap();
    // What the old model computed is taken before what the new one did.
    assert_eq!(cache.pool().free_order().last(), Some(&BlockId(4)));
    assert_eq!(begin(&mut cache, &tokens(9)).1, 8);
    assert_eq!(cache.set_epoch(1).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_renewed_sequence_computes_its_tokens_again() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(9));
    let fork = cache.fork(id).unwrap();
    cache.set_epoch(5).unwrap();
    cache.renew(id).unwrap();
    cache.audit().unwrap();
    assert_eq!((cache.computed(id).unwrap(), cache.known(id).unwrap()), (0, 9));
    assert_eq!(run(&mut cache, id), 0);
    assert_eq!(begin(&mut cache, &tokens(9)).1, 8);
    cache.finish(fork).unwrap();
    cache.audit().unwrap();
}

#[test]
fn a_detached_sequence_finds_its_own_blocks() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(9));
    let fork = cache.fork(id).unwrap();
    cache.append(fork, &[50, 51, 52, 53]).unwrap();
    run_on(&mut cache, fork);
    cache.detach(fork).unwrap();
    cache.audit().unwrap();
    assert_eq!(run(&mut cache, fork), 12);
}

#[test]
fn a_part_of_a_block_is_copied() {
    let mut cache = Cache::new(CacheConfig {
        block_size: 4,
        partial: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let (one, _) = begin(&mut cache, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let other = add(&mut cache, &[1, 2, 3, 4, 5, 6, 70, 80, 90]);
    let hit = cache.lookup(other, u32::MAX).unwrap();
    assert_eq!((hit.tokens, hit.ends_within_block()), (6, true));
    cache.attach(other, &hit).unwrap();
    cache.audit().unwrap();
    let mut changes = Changes::default();
    assert!(cache.grow(other, 9, &mut changes).unwrap());
    assert_eq!(changes.copies.len(), 1);
    assert_eq!(changes.copies[0].from, BlockId(2));
    cache.advance(other, 9).unwrap();
    cache.settle().unwrap();
    cache.audit().unwrap();
    cache.finish(one).unwrap();
    cache.finish(other).unwrap();
    // Alone with the block it found, it still may not write to it.
    let third = add(&mut cache, &[1, 2, 3, 4, 5, 60]);
    let hit = cache.lookup(third, u32::MAX).unwrap();
    assert_eq!(hit.tokens, 5);
    cache.attach(third, &hit).unwrap();
    changes.clear();
    assert!(cache.grow(third, 6, &mut changes).unwrap());
    assert_eq!(changes.copies.len(), 1);
    cache.settle().unwrap();
    cache.audit().unwrap();
    // Another epoch sees none of it.
    cache.set_epoch(1).unwrap();
    let fourth = add(&mut cache, &[1, 2, 3, 4, 5, 60]);
    assert_eq!(cache.lookup(fourth, u32::MAX).unwrap().tokens, 0);
}

#[test]
fn a_verified_hit_holds_the_same_tokens() {
    let mut cache = Cache::new(CacheConfig {
        block_size: 2,
        verify: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let (id, _) = begin(&mut cache, &tokens(5));
    assert_eq!(begin(&mut cache, &tokens(5)).1, 4);
    // As if another content had the same key.
    let second = cache.table(id, 0).unwrap()[1];
    cache.contents.as_mut().unwrap().put(second, Key::NONE, &[7, 7], true);
    assert_eq!(begin(&mut cache, &tokens(5)).1, 2);
}

fn image(start: usize, length: usize, content: u8) -> Media {
    Media {
        start,
        length,
        digest: [content; 32],
    }
}

#[test]
fn an_image_in_the_last_block_of_a_prompt_tells_apart_what_follows_it() {
    let mut cache = cache(32, 4, &[Group::Full]);
    // Six tokens, the last two of which are an image: the output fills its block.
    let mut ids = Vec::new();
    for content in [1, 2] {
        let media = [image(4, 2, content)];
        let id = cache.add(NOBODY, &Namespace::default(), &[7; 6], &media).unwrap();
        run(&mut cache, id);
        cache.append(id, &[8, 8, 8]).unwrap();
        run_on(&mut cache, id);
        ids.push(id);
    }
    let [one, other] = ids[..] else { unreachable!() };
    let key = |id| cache.pool().key_of(cache.table(id, 0).unwrap()[1]);
    assert_ne!(key(one), key(other), "one would be given the other's image");
    // And it is the key of the same prompt that comes with its output.
    let tokens = [7, 7, 7, 7, 7, 7, 8, 8, 8];
    let id = cache
        .add(NOBODY, &Namespace::default(), &tokens, &[image(4, 2, 1)])
        .unwrap();
    assert_eq!(run(&mut cache, id), 8);
    let id = cache.add(NOBODY, &Namespace::default(), &tokens, &[]).unwrap();
    assert_eq!(run(&mut cache, id), 4);
}

#[test]
fn a_part_of_a_block_with_an_image_is_not_used() {
    let mut cache = Cache::new(CacheConfig {
        block_size: 4,
        partial: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let plain = Namespace::default();
    let cached = cache
        .add(NOBODY, &plain, &[1, 7, 7, 7, 5, 5, 5, 5, 5], &[image(1, 3, 1)])
        .unwrap();
    run(&mut cache, cached);
    // The same tokens, of another image, and of none.
    for media in [&[image(1, 3, 2)][..], &[]] {
        let id = cache.add(NOBODY, &plain, &[1, 7, 7, 7, 6], media).unwrap();
        assert_eq!(cache.lookup(id, u32::MAX).unwrap().tokens, 0, "{media:?}");
        cache.finish(id).unwrap();
    }
    // After the image, of the same content, a part is used; and before one.
    let id = cache
        .add(NOBODY, &plain, &[1, 7, 7, 7, 5, 5, 9], &[image(1, 3, 1)])
        .unwrap();
    assert_eq!(cache.lookup(id, u32::MAX).unwrap().tokens, 6);
    let id = cache
        .add(
            NOBODY,
            &plain,
            &[1, 7, 7, 7, 5, 5, 5],
            &[image(1, 3, 1), image(5, 1, 1)],
        )
        .unwrap();
    assert_eq!(cache.lookup(id, u32::MAX).unwrap().tokens, 5);
}

#[test]
fn a_hit_that_is_not_what_it_was_is_refused() {
    for partial in [false, true] {
        let mut cache = Cache::new(CacheConfig {
            blocks: 4,
            block_size: 4,
            partial,
            ..CacheConfig::default()
        })
        .unwrap();
        let (first, _) = begin(&mut cache, &tokens(8));
        cache.finish(first).unwrap();
        let again = add(&mut cache, &tokens(9));
        let hit = cache.lookup(again, u32::MAX).unwrap();
        assert_eq!(hit.tokens, 8);
        // Its blocks are given up, and hold another's tokens: they have keys again.
        let (other, _) = begin(&mut cache, &[50; 12]);
        cache.finish(other).unwrap();
        let stranger = add(&mut cache, &[50; 12]);
        let theirs = cache.lookup(stranger, u32::MAX).unwrap();
        assert!(theirs.tokens >= 8);
        for wrong in [&hit, &theirs] {
            let refused = cache.attach(again, wrong).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
        }
        assert_eq!(
            (cache.computed(again).unwrap(), cache.blocks_held(again).unwrap()),
            (0, 0)
        );
        cache.audit().unwrap();
        cache.attach(stranger, &theirs).unwrap();
    }
}

#[test]
fn a_hit_whose_blocks_fell_free_since_counts_against_the_quota() {
    let mut cache = cache(8, 4, &[Group::Full]);
    let poor = cache.add_tenant(Some(1)).unwrap();
    let namespace = Namespace::default();
    let first = cache.add(poor, &namespace, &tokens(4), &[]).unwrap();
    run(&mut cache, first);
    let fork = cache.add(NOBODY, &namespace, &tokens(5), &[]).unwrap();
    let hit = cache.lookup(fork, u32::MAX).unwrap();
    cache.attach(fork, &hit).unwrap();
    cache.finish(first).unwrap();
    let second = cache.add(poor, &namespace, &tokens(5), &[]).unwrap();
    let hit = cache.lookup(second, u32::MAX).unwrap();
    assert_eq!((hit.tokens, hit.free), (4, 0), "somebody uses its block");
    cache.finish(fork).unwrap();
    let own = cache.add(poor, &namespace, &[70; 4], &[]).unwrap();
    run(&mut cache, own);
    let refused = cache.attach(second, &hit).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreFull, "{refused}");
    cache.audit().unwrap();
}
