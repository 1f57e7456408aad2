//! Groups with a window.

use super::*;

#[test]
fn a_window_gives_back_what_it_left_behind() {
    let mut cache = cache(32, 2, &[Group::Window(4)]);
    let (id, _) = begin(&mut cache, &tokens(6));
    assert_eq!(table(&cache, id, 0), [1, 2, 3]);
    for token in 6..12 {
        cache.append(id, &[token]).unwrap();
        run_on(&mut cache, id);
    }
    // Eleven were computed when room for the last was made: the window of token 11 begins at 8.
    assert_eq!(table(&cache, id, 0).iter().take_while(|block| **block == 0).count(), 4);
    cache.finish(id).unwrap();
    // The tail window is enough for a hit.
    assert_eq!(begin(&mut cache, &tokens(13)).1, 12);
}

#[test]
fn nobody_goes_back_to_what_a_window_left_behind() {
    let mut cache = cache(32, 2, &[Group::Full, Group::Window(4)]);
    let (id, _) = begin(&mut cache, &tokens(10));
    cache.append(id, &[7]).unwrap();
    run_on(&mut cache, id);
    // With ten computed, token 10 attends to 7 and later: the blocks of 0 to 5 are gone.
    assert_eq!(table(&cache, id, 1)[..4], [0, 0, 0, 9]);
    for computed in [0, 4, 8] {
        let refused = cache.rewind(id, computed).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(
            refused
                .message()
                .contains("a window of 4 has given back those before 6"),
            "{refused}"
        );
    }
    assert_eq!(cache.computed(id).unwrap(), 11);
    cache.rewind(id, 9).unwrap();
    cache.audit().unwrap();
    run_on(&mut cache, id);
}

#[test]
fn a_hybrid_hit_is_what_all_groups_have() {
    let mut cache = cache(64, 2, &[Group::Full, Group::Window(4)]);
    let (id, _) = begin(&mut cache, &tokens(12));
    assert_eq!(table(&cache, id, 0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(table(&cache, id, 1), [7, 8, 9, 10, 11, 12]);
    cache.finish(id).unwrap();
    // Without the window's block before position 5, the longest prefix that all have ends before it.
    cache.pool.forget(BlockId(11)).unwrap();
    let (other, hit) = begin(&mut cache, &tokens(13));
    assert_eq!(hit, 8);
    assert_eq!(table(&cache, other, 0)[..4], [1, 2, 3, 4]);
    assert_eq!(table(&cache, other, 1)[..4], [0, 0, 9, 10]);
}

#[test]
fn a_load_brings_the_tail_of_a_window() {
    let mut cache = Cache::new(CacheConfig {
        blocks: 32,
        block_size: 2,
        groups: vec![Group::Full, Group::Window(4)],
        events: true,
        ..CacheConfig::default()
    })
    .unwrap();
    let id = add(&mut cache, &tokens(13));
    assert_eq!(cache.blocks_to_load(id, 0, 6).unwrap(), 8);
    let loading = cache.begin_load(id, 0, 6).unwrap().unwrap();
    let groups: Vec<u8> = loading.blocks().iter().map(|(label, _)| label.group).collect();
    assert_eq!(
        groups,
        [0, 0, 0, 0, 0, 1, 0, 1],
        "the next token attends to three before it"
    );
    // One that came in full alone is found in no group: nothing of its position is registered.
    cache.end_load(&loading, 7).unwrap();
    cache.audit().unwrap();
    assert_eq!(cache.lookup(id, u32::MAX).unwrap().tokens, 0);
    let loading = cache.begin_load(id, 0, 6).unwrap().unwrap();
    cache.end_load(&loading, 8).unwrap();
    cache.audit().unwrap();
    let stored: Vec<(u8, u32, usize)> = cache
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Stored {
                group,
                first,
                keys,
                tokens,
                ..
            } => {
                assert_eq!(tokens, (first * 2..(first + keys.len() as u32) * 2).collect::<Vec<_>>());
                Some((group, first, keys.len()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(stored, [(0, 0, 5), (1, 4, 1), (0, 5, 1), (1, 5, 1)]);
    assert_eq!(run(&mut cache, id), 12);
    assert_eq!(table(&cache, id, 1)[..4], [0; 4]);
}
