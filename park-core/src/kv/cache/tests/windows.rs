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
