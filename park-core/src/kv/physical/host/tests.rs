use super::*;
use crate::config::Config;
use crate::kv::physical::PageOrder;
use crate::kv::physical::kit::{arena, config, content, host, label, label_in, layout, store, write};
use crate::sync::atomic::Ordering;
use proptest::prelude::*;

fn has(tier: &HostTier, n: u32) -> bool {
    tier.find(label(n).key, 0).is_some()
}

#[test]
fn a_block_is_read_in_place_by_everyone_who_has_the_directory() {
    let store = store(8 << 20);
    let first = host(&store, 8);
    let other_order = layout(99, PageOrder::BlockFirst);
    let second = HostTier::open(&store, &other_order, config(8), first.directory()).unwrap();
    assert!(second.find(label(1).key, 0).is_none());
    let stored = first.put(label(1), &content(label(1))).unwrap();
    let found = second.find(label(1).key, 0).unwrap();
    assert_eq!(found.bytes(), content(label(1)));
    assert_eq!(found.bytes().as_ptr(), stored.bytes().as_ptr(), "it was copied");
    assert_eq!(found.bytes().as_ptr().align_offset(64), 0);
    assert_eq!(found.label(), label(1));
    // A second one of the same key is no second object.
    let again = second.put(label(1), &content(label(1))).unwrap();
    assert_eq!(again.object().reference().id(), stored.object().reference().id());
    assert_eq!(
        (first.stats().stored, second.stats().stored, second.stats().found),
        (1, 0, 1)
    );
    // Who made it may go: whoever found it keeps it.
    drop((stored, again));
    drop(first);
    assert_eq!(found.bytes(), content(label(1)));
    assert!(second.find(label(1).key, 0).is_some());
    assert!(second.find(label(1).key, 1).is_none(), "of another epoch");
    second.audit().unwrap();
}

#[test]
fn the_least_recently_used_goes_first_and_views_of_it_stay() {
    let store = store(8 << 20);
    let tier = host(&store, 3);
    for n in 0..3 {
        tier.put(label(n), &content(label(n))).unwrap();
    }
    let view = tier.find(label(1).key, 0).unwrap();
    tier.touch(&[label(0).key], 0);
    for n in 3..5 {
        tier.put(label(n), &content(label(n))).unwrap();
    }
    assert_eq!(
        [0, 1, 2, 3, 4].map(|n| has(&tier, n)),
        [true, true, false, true, true],
        "1 is kept by the view, and found again"
    );
    assert_eq!(view.bytes(), content(label(1)));
    assert_eq!(tier.stats().blocks, 3);
    tier.audit().unwrap();
    drop(view);
    assert_eq!(tier.clear(), 3);
    assert_eq!([0, 1, 3, 4].map(|n| has(&tier, n)), [false; 4]);
    assert_eq!(store.references_held(), 1, "only the directory is left");
    tier.audit().unwrap();
}

#[test]
fn a_sequence_is_given_up_from_its_end() {
    let store = store(8 << 20);
    let (tier, arena) = (host(&store, 4), arena(8, PageOrder::LayerFirst));
    for n in 0..4 {
        write(&arena, n + 1, label(n));
    }
    let blocks: Vec<_> = (0..4).map(|n| (label(n), BlockId(n + 1))).collect();
    assert_eq!(tier.store_blocks(&arena, &blocks).unwrap(), 4);
    assert_eq!(tier.store_blocks(&arena, &blocks).unwrap(), 0, "they are there");
    tier.put(label(9), &content(label(9))).unwrap();
    assert_eq!([0, 1, 2, 3, 9].map(|n| has(&tier, n)), [true, true, true, false, true]);
    tier.touch(&[label(0).key, label(1).key, label(2).key], 0);
    tier.put(label(10), &content(label(10))).unwrap();
    tier.put(label(11), &content(label(11))).unwrap();
    assert_eq!([0, 1, 2, 9].map(|n| has(&tier, n)), [true, true, false, false]);
}

#[test]
fn a_full_store_makes_the_tier_give_up_its_own_and_then_is_an_error() {
    let store = store(Config::MIN_CAPACITY);
    let tier = host(&store, 1000);
    let hog = store.put(&vec![1; 700 << 10]).unwrap();
    for n in 0..1000 {
        tier.put(label(n), &content(label(n))).unwrap();
    }
    assert!(tier.stats().evicted > 0 && has(&tier, 999) && !has(&tier, 0));
    let used = tier.stats();
    let mut views = Vec::new();
    let full = (1000..2000).find_map(|n| match tier.put(label(n), &content(label(n))) {
        Ok(view) => {
            views.push(view);
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(full.unwrap().kind(), ErrorKind::StoreFull, "{used:?}");
    assert_eq!(tier.stats().refused, 1);
    for view in &views {
        assert_eq!(view.bytes(), content(view.label()));
    }
    drop((views, hog));
    tier.put(label(5000), &content(label(5000))).unwrap();
    tier.audit().unwrap();
}

#[test]
fn what_others_made_is_adopted_as_far_as_there_is_room() {
    let store = store(8 << 20);
    let maker = host(&store, 8);
    let keeper = HostTier::open(&store, &layout(8, PageOrder::LayerFirst), config(5), maker.directory()).unwrap();
    for n in 0..8 {
        maker.put(label(n), &content(label(n))).unwrap();
    }
    assert_eq!(keeper.adopt(), 5);
    assert_eq!(keeper.adopt(), 0);
    drop(maker);
    let held: Vec<_> = (0..8).filter(|n| has(&keeper, *n)).collect();
    assert_eq!(held.len(), 5);
    assert_eq!(keeper.stats().evicted, 0);
    keeper.audit().unwrap();
}

#[test]
fn a_new_epoch_gives_the_room_of_the_old_one_back() {
    let store = store(8 << 20);
    let tier = host(&store, 8);
    for n in 0..3 {
        tier.put(label_in(n, 0), &content(label_in(n, 0))).unwrap();
        tier.put(label_in(n, 1), &content(label_in(n, 1))).unwrap();
    }
    assert_eq!(tier.retire(1), 3);
    assert_eq!(tier.stats().blocks, 3);
    for n in 0..3 {
        assert!(!has(&tier, n));
        assert_eq!(
            tier.find(label_in(n, 1).key, 1).unwrap().bytes(),
            content(label_in(n, 1))
        );
    }
    tier.audit().unwrap();
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let store = store(8 << 20);
    let tier = host(&store, 8);
    let kind = |result: Result<HostTier>| result.err().map(|error| error.kind());
    let wrong = Layout::new(crate::kv::physical::LayoutConfig {
        model: b"other".to_vec(),
        ..layout(8, PageOrder::LayerFirst).config().clone()
    })
    .unwrap();
    let right = layout(8, PageOrder::LayerFirst);
    let open = |layout: &Layout, id| HostTier::open(&store, layout, config(8), id);
    assert_eq!(kind(open(&wrong, tier.directory())), Some(ErrorKind::WrongFormat));
    let other = store.put(&[1; 100]).unwrap();
    assert_eq!(kind(open(&right, other.id())), Some(ErrorKind::WrongFormat));
    let gone = store.put(&[1; 100]).unwrap().id();
    assert_eq!(kind(open(&right, gone)), Some(ErrorKind::NotFound));
    assert_eq!(
        kind(HostTier::create(&store, &right, config(0))),
        Some(ErrorKind::InvalidArgument)
    );
    let short = tier.put(label(1), &[0; 10]).unwrap_err();
    assert_eq!(short.kind(), ErrorKind::InvalidArgument);
    let group = Label { group: 1, ..label(1) };
    assert_eq!(
        tier.put(group, &content(label(1))).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whoever scribbles over the directory makes blocks be missed, never be taken for each other; and nothing else breaks.
    #[test]
    fn a_scribbled_directory_leads_to_the_right_block_or_to_none(
        scribbles in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u64>(), any::<prop::sample::Index>()), 1..200),
    ) {
        let store = store(8 << 20);
        let maker = host(&store, 16);
        let raw = store.put(&[7; 640]).unwrap();
        for n in 0..16 {
            maker.put(label(n), &content(label(n))).unwrap();
        }
        let reader = HostTier::open(&store, &layout(8, PageOrder::LayerFirst), config(16), maker.directory()).unwrap();
        let words = reader.directory.words();
        for (at, how, number, other) in scribbles {
            let value = match how {
                0 => number,
                1 => words[other.index(words.len())].load(Ordering::Relaxed),
                2 => u64::from(raw.id().generation) << 32 | u64::from(raw.id().index + 1),
                _ => number % 64,
            };
            words[at.index(words.len())].store(value, Ordering::Relaxed);
        }
        for n in 0..16 {
            if let Some(found) = reader.find(label(n).key, 0) {
                prop_assert_eq!(found.bytes(), content(label(n)));
            }
        }
        reader.adopt();
        reader.audit().unwrap();
        reader.put(label(77), &content(label(77))).unwrap();
        drop((reader, maker, raw));
        prop_assert_eq!(store.references_held(), 0);
    }
}
