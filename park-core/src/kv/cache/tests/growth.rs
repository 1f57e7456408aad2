//! Blocks for more tokens: forks, copies on write, failures, the tables that name them, and what is told of them.

use super::*;

#[test]
fn a_fork_copies_the_last_block_only_and_only_when_it_writes() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (parent, _) = begin(&mut cache, &tokens(10));
    let child = cache.fork(parent).unwrap();
    cache.audit().unwrap();
    assert_eq!(table(&cache, child, 0), [1, 2, 3]);
    let mut changes = Changes::default();
    cache.append(child, &[90]).unwrap();
    assert!(cache.grow(child, 11, &mut changes).unwrap());
    assert_eq!(
        changes.copies,
        [Copy {
            sequence: child,
            from: BlockId(3),
            to: BlockId(4)
        }]
    );
    cache.audit().unwrap();
    cache.settle().unwrap();
    // The parent is alone with its block now and writes in place.
    changes.clear();
    cache.append(parent, &[91]).unwrap();
    assert!(cache.grow(parent, 11, &mut changes).unwrap());
    assert!(changes.copies.is_empty());
    assert_eq!(
        (table(&cache, parent, 0), table(&cache, child, 0)),
        (vec![1, 2, 3], vec![1, 2, 4])
    );
    cache.finish(parent).unwrap();
    cache.audit().unwrap();
    assert_eq!(table(&cache, child, 0), [1, 2, 4]);
    cache.finish(child).unwrap();
    cache.audit().unwrap();
    assert_eq!(cache.pool().free_blocks(), 31);
}

#[test]
fn forks_of_forks_are_a_tree() {
    let mut cache = cache(64, 2, &[Group::Full]);
    let (root, _) = begin(&mut cache, &tokens(5));
    let mut leaves = vec![root];
    for depth in 0..4_u32 {
        for leaf in leaves.clone() {
            leaves.push(cache.fork(leaf).unwrap());
        }
        for (at, leaf) in leaves.iter().enumerate() {
            let known = cache.known(*leaf).unwrap();
            cache.append(*leaf, &[100 + depth * 16 + at as u32]).unwrap();
            assert!(cache.grow(*leaf, known + 1, &mut Changes::default()).unwrap());
            cache.advance(*leaf, known + 1).unwrap();
        }
        cache.settle().unwrap();
        cache.audit().unwrap();
    }
    assert_eq!(leaves.len(), 16);
    for leaf in &leaves {
        assert_eq!(table(&cache, *leaf, 0)[..2], [1, 2]);
        assert_eq!(table(&cache, *leaf, 0).len(), 5);
    }
    for leaf in leaves {
        cache.finish(leaf).unwrap();
        cache.audit().unwrap();
    }
    assert_eq!(cache.pool().free_blocks(), 63);
}

#[test]
fn a_fork_of_a_finished_sequence_is_refused() {
    let mut cache = cache(8, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(3));
    cache.finish(id).unwrap();
    for refused in [
        cache.fork(id).err(),
        cache.finish(id).err(),
        cache.append(id, &[1]).err(),
        cache.known(id).err(),
    ] {
        assert_eq!(refused.unwrap().kind(), ErrorKind::NotFound);
    }
    cache.audit().unwrap();
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let bad = |change: &dyn Fn(&mut CacheConfig)| {
        let mut config = CacheConfig::default();
        change(&mut config);
        Cache::new(config).err().unwrap().kind()
    };
    assert_eq!(bad(&|config| config.block_size = 0), ErrorKind::InvalidArgument);
    assert_eq!(bad(&|config| config.groups.clear()), ErrorKind::InvalidArgument);
    assert_eq!(
        bad(&|config| config.groups = vec![Group::Window(15)]),
        ErrorKind::InvalidArgument
    );
    assert_eq!(bad(&|config| config.blocks = 1), ErrorKind::InvalidArgument);
    assert_eq!(
        bad(&|config| (config.partial, config.groups) = (true, vec![Group::Full; 2])),
        ErrorKind::InvalidArgument
    );

    let mut cache = cache(8, 4, &[Group::Full]);
    assert!(cache.add(NOBODY, &Namespace::default(), &[], &[]).is_err());
    assert!(cache.add(TenantId(1), &Namespace::default(), &[1], &[]).is_err());
    let (id, _) = begin(&mut cache, &tokens(6));
    assert!(cache.lookup(id, 9).is_err(), "it has blocks");
    assert!(
        cache.grow(id, 5, &mut Changes::default()).is_err(),
        "fewer than computed"
    );
    assert!(cache.advance(id, 7).is_err(), "more than known");
    assert!(cache.rewind(id, 7).is_err());
    assert!(cache.set_epoch(0).is_err());
    assert!(cache.table(id, 1).is_err());
    assert!(
        !cache.grow(id, 100, &mut Changes::default()).unwrap(),
        "longer than the pool"
    );
    cache.audit().unwrap();
    assert!(cache.write_block_table(&[id], 0, 1, &mut [0]).is_err());
    assert!(cache.write_slot_mapping(&[(id, 7, 2)], 0, &mut [0; 2]).is_err());
    assert!(
        cache
            .write_page_table(&[(id, 0)], 0, &mut [0; 2], &mut [0; 2], &mut [0])
            .is_err()
    );
}

#[test]
fn work_that_failed_cannot_be_found() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(4));
    cache.append(id, &tokens(9)).unwrap();
    run_on(&mut cache, id);
    cache.rewind(id, 5).unwrap();
    cache.audit().unwrap();
    let mut same = tokens(4);
    same.extend(tokens(9));
    assert_eq!(begin(&mut cache, &same).1, 4);
}

#[test]
fn drafts_that_were_not_accepted_give_back_their_room() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (id, _) = begin(&mut cache, &tokens(4));
    assert!(cache.grow(id, 20, &mut Changes::default()).unwrap());
    cache.trim(id).unwrap();
    cache.audit().unwrap();
    assert_eq!(table(&cache, id, 0).len(), 1);
}

#[test]
fn tables_come_in_three_forms() {
    let mut cache = cache(32, 4, &[Group::Full]);
    let (one, _) = begin(&mut cache, &tokens(10));
    let two = cache.fork(one).unwrap();
    cache.append(two, &[7, 7, 7]).unwrap();
    run_on(&mut cache, two);
    assert_eq!(table(&cache, two, 0), [1, 2, 4, 5]);
    let mut rows = [9; 10];
    cache.write_block_table(&[one, two], 0, 5, &mut rows).unwrap();
    assert_eq!(rows, [1, 2, 3, 0, 0, 1, 2, 4, 5, 0]);
    let mut slots = [0; 5];
    assert_eq!(
        cache
            .write_slot_mapping(&[(one, 7, 2), (two, 10, 3)], 0, &mut slots)
            .unwrap(),
        5
    );
    assert_eq!(slots, [11, 12, 18, 19, 20]);
    let (mut indptr, mut indices, mut last) = ([0; 3], [0; 8], [0; 2]);
    assert_eq!(
        cache
            .write_page_table(&[(one, 10), (two, 12)], 0, &mut indptr, &mut indices, &mut last)
            .unwrap(),
        6
    );
    assert_eq!(
        (indptr, &indices[..6], last),
        ([0, 3, 6], &[1, 2, 3, 1, 2, 4][..], [2, 4])
    );
}

#[test]
fn events_tell_what_can_be_found() {
    let mut cache = Cache::new(CacheConfig {
        blocks: 4,
        block_size: 2,
        events: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let (id, _) = begin(&mut cache, &tokens(5));
    let events = cache.take_events();
    let [
        Event::Stored {
            keys,
            parent: None,
            tokens: stored,
            block_size: 2,
            group: 0,
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((keys.len(), &stored[..]), (2, &[0, 1, 2, 3][..]));
    let keys = keys.clone();
    cache.append(id, &[5]).unwrap();
    run_on(&mut cache, id);
    let events = cache.take_events();
    assert!(
        matches!(&events[..], [Event::Stored { parent: Some(parent), .. }] if *parent == keys[1]),
        "{events:?}"
    );
    cache.finish(id).unwrap();
    begin(&mut cache, &[9, 9]);
    assert!(matches!(
        &cache.take_events()[..],
        [Event::Removed { .. }, Event::Stored { .. }]
    ));
}
