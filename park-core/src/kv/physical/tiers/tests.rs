use std::time::Duration;

use super::*;
use crate::error::ErrorKind;
use crate::kv::Plan;
use crate::kv::physical::kit::{arena, content, host, label, label_in, layout, place, read, store, write};
use crate::kv::physical::{DiskConfig, Mover, PageOrder};
use crate::store::Store;
use tempfile::TempDir;

mod engine;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

struct Scene {
    tiers: Tiers,
    store: Arc<Store>,
    folder: TempDir,
}

fn disk(folder: &TempDir) -> DiskTier {
    let config = DiskConfig::new(folder.path().join("kv"), 1 << 20);
    DiskTier::open(&config, &layout(8, PageOrder::LayerFirst)).unwrap()
}

fn scene(blocks: u32, order: PageOrder, write_through: bool) -> Scene {
    let (store, folder) = (store(8 << 20), TempDir::new().unwrap());
    let config = TiersConfig {
        queue: 64,
        write_through,
    };
    let tiers = Tiers::new(arena(16, order), host(&store, blocks), Some(disk(&folder)), config).unwrap();
    Scene { tiers, store, folder }
}

fn blocks(numbers: impl IntoIterator<Item = u32>) -> Vec<(Label, BlockId)> {
    numbers.into_iter().map(|n| (label(n), BlockId(n + 1))).collect()
}

fn keys(numbers: impl IntoIterator<Item = u32>) -> Vec<Key> {
    numbers.into_iter().map(|n| label(n).key).collect()
}

fn lead(blocks: u32, on_disk: u32) -> Lead {
    Lead { blocks, on_disk }
}

#[test]
fn what_is_written_back_is_loaded_again_whatever_the_order_of_pages() {
    for order in [PageOrder::LayerFirst, PageOrder::BlockFirst] {
        let Scene {
            tiers, folder: _folder, ..
        } = scene(16, order, false);
        for n in 0..5 {
            write(tiers.arena(), n + 1, label(n));
        }
        assert_eq!(tiers.lookup(&keys(0..5), 0), lead(0, 0));
        let ticket = tiers.write_back(&blocks(0..5)).unwrap();
        assert_eq!(ticket.wait(PATIENCE).unwrap(), 5);
        assert_eq!(tiers.lookup(&keys(0..6), 0), lead(5, 0));
        assert_eq!(tiers.lookup(&keys(0..6), 1), lead(0, 0), "in another epoch");
        tiers.arena().zero_blocks(&[1, 2, 3, 4, 5].map(BlockId)).unwrap();
        let elsewhere: Vec<_> = (0..6).map(|n| (label(n), BlockId(15 - n))).collect();
        assert_eq!(tiers.load(&elsewhere).unwrap().wait(PATIENCE).unwrap(), 5);
        for n in 0..5 {
            assert_eq!(read(tiers.arena(), 15 - n), content(label(n)));
            assert_eq!(read(tiers.arena(), n + 1), vec![0; 576]);
        }
    }
}

#[test]
fn what_host_memory_gives_up_goes_to_disk_and_comes_back() {
    let Scene {
        tiers, folder: _folder, ..
    } = scene(4, PageOrder::LayerFirst, false);
    for n in 0..12 {
        write(tiers.arena(), n + 1, label(n));
        tiers.write_back(&blocks([n])).unwrap().wait(PATIENCE).unwrap();
    }
    assert_eq!(tiers.stats().0.blocks, 4);
    assert_eq!(tiers.stats().1.records, 8);
    assert_eq!(tiers.lookup(&keys(4..12), 0), lead(4, 4), "no longer than host memory");
    assert_eq!(tiers.lookup(&keys(8..12), 0), lead(4, 0));
    assert_eq!(tiers.prefetch(&keys(0..3), 0).unwrap().wait(PATIENCE).unwrap(), 3);
    assert_eq!(tiers.lookup(&keys(0..3), 0), lead(3, 0));
    tiers
        .arena()
        .zero_blocks(&(1..13).map(BlockId).collect::<Vec<_>>())
        .unwrap();
    // More than host memory holds, through it.
    assert_eq!(tiers.load(&blocks(0..12)).unwrap().wait(PATIENCE).unwrap(), 12);
    for n in 0..12 {
        assert_eq!(read(tiers.arena(), n + 1), content(label(n)));
    }
    tiers.host().audit().unwrap();
}

#[test]
fn a_restart_finds_what_was_written_through() {
    let Scene { tiers, store, folder } = scene(8, PageOrder::LayerFirst, true);
    for n in 0..3 {
        write(tiers.arena(), n + 1, label(n));
    }
    tiers.write_back(&blocks(0..3)).unwrap().wait(PATIENCE).unwrap();
    tiers.host().put(label(3), &content(label(3))).unwrap();
    assert_eq!(tiers.persist(&keys([3]), 0).unwrap().wait(PATIENCE).unwrap(), 1);
    let none = tiers.persist(&keys([7]), 0).unwrap().wait(PATIENCE).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    tiers.flush().unwrap().wait(PATIENCE).unwrap();
    drop(tiers);
    assert_eq!(store.references_held(), 0);
    let again = Tiers::new(
        arena(16, PageOrder::BlockFirst),
        host(&store, 8),
        Some(disk(&folder)),
        TiersConfig::default(),
    );
    let again = again.unwrap();
    assert_eq!(again.lookup(&keys(0..5), 0), lead(4, 4));
    assert_eq!(again.lookup(&keys(0..5), 1), lead(0, 0));
    assert_eq!(again.load(&blocks(0..5)).unwrap().wait(PATIENCE).unwrap(), 4);
    for n in 0..4 {
        assert_eq!(read(again.arena(), n + 1), content(label(n)));
    }
    assert_eq!(again.retire(1), (4, 4));
    assert_eq!(again.lookup(&keys(0..5), 0), lead(0, 0));
}

#[test]
fn a_damaged_record_ends_the_load_and_is_made_again() {
    let Scene { tiers, store, folder } = scene(8, PageOrder::LayerFirst, true);
    for n in 0..3 {
        write(tiers.arena(), n + 1, label(n));
    }
    tiers.write_back(&blocks(0..3)).unwrap().wait(PATIENCE).unwrap();
    drop(tiers);
    let file = folder.path().join("kv/kv-00000000.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    // The content of the second record.
    bytes[64 + 640 + 64 + 100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let tiers = Tiers::new(
        arena(16, PageOrder::LayerFirst),
        host(&store, 8),
        Some(disk(&folder)),
        TiersConfig::default(),
    );
    let tiers = tiers.unwrap();
    assert_eq!(
        tiers.lookup(&keys(0..3), 0),
        lead(3, 3),
        "content is checked when it is read"
    );
    assert_eq!(tiers.load(&blocks(0..3)).unwrap().wait(PATIENCE).unwrap(), 1);
    assert_eq!(read(tiers.arena(), 1), content(label(0)));
    assert_eq!(read(tiers.arena(), 2), vec![0; 576], "damaged bytes reached the device");
    assert_eq!(tiers.stats().1.corrupt, 1);
    assert_eq!(tiers.lookup(&keys(0..3), 0), lead(1, 0));
    write(tiers.arena(), 2, label(1));
    tiers.write_back(&blocks(1..2)).unwrap().wait(PATIENCE).unwrap();
    assert_eq!(tiers.load(&blocks(0..3)).unwrap().wait(PATIENCE).unwrap(), 3);
}

#[test]
fn a_transfer_that_fails_fails_alone() {
    let Scene {
        tiers, folder: _folder, ..
    } = scene(8, PageOrder::LayerFirst, false);
    write(tiers.arena(), 1, label(0));
    let bad = tiers.write_back(&[(label(9), BlockId(99))]).unwrap();
    let wrong = tiers
        .write_back(&[(Label { group: 3, ..label(8) }, BlockId(1))])
        .unwrap();
    let good = tiers.write_back(&blocks(0..1)).unwrap();
    assert_eq!(bad.wait(PATIENCE).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(wrong.wait(PATIENCE).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(good.wait(PATIENCE).unwrap(), 1);
    assert_eq!(
        tiers.lookup(&keys([9]), 0),
        lead(0, 0),
        "nothing was stored of the one that failed"
    );
    let twice = tiers.load(&[(label(0), BlockId(2)), (label(0), BlockId(2))]).unwrap();
    assert_eq!(
        twice.wait(PATIENCE).unwrap_err().kind(),
        ErrorKind::InvalidArgument,
        "one block, two contents"
    );
    assert_eq!(
        tiers.load(&[(label(0), BlockId(2))]).unwrap().wait(PATIENCE).unwrap(),
        1
    );
    let no_disk = Tiers::new(
        arena(2, PageOrder::LayerFirst),
        host(&store(1 << 20), 2),
        None,
        TiersConfig::default(),
    )
    .unwrap();
    assert_eq!(no_disk.persist(&[], 0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(no_disk.prefetch(&keys([1]), 0).unwrap().wait(PATIENCE).unwrap(), 0);
}

#[test]
fn memory_is_given_back_in_a_sleep_and_content_kept_or_not_as_asked() {
    let Scene {
        tiers,
        store,
        folder: _folder,
    } = scene(8, PageOrder::LayerFirst, false);
    let arena = tiers.arena().clone();
    let total = arena.device().resident().unwrap();
    assert!(total >= arena.layout().total_bytes());
    for n in 0..4 {
        write(&arena, n + 1, label(n));
    }
    tiers.write_back(&blocks(0..1)).unwrap().wait(PATIENCE).unwrap();
    tiers.sleep(Sleep::Keep(&store, &[BlockId(2), BlockId(3)])).unwrap();
    assert_eq!(arena.device().resident().unwrap(), 0);
    let asleep = |error: crate::error::Error| error.kind() == ErrorKind::HandleClosed;
    assert!(asleep(arena.read_block(place(1), &mut [0; 576]).unwrap_err()));
    assert!(asleep(arena.write_block(place(1), &[0; 576]).unwrap_err()));
    assert!(asleep(arena.copy_blocks(&[]).unwrap_err()));
    assert!(asleep(
        tiers.write_back(&blocks(1..2)).unwrap().wait(PATIENCE).unwrap_err()
    ));
    assert!(asleep(tiers.load(&blocks(0..1)).unwrap().wait(PATIENCE).unwrap_err()));
    assert!(asleep(tiers.sleep(Sleep::Drop).unwrap_err()));
    tiers.wake().unwrap();
    assert_eq!(arena.device().resident().unwrap(), total);
    assert_eq!(tiers.wake().unwrap_err().kind(), ErrorKind::InvalidArgument);
    for (block, kept) in [(1, false), (2, true), (3, true), (4, false)] {
        let expected = if kept { content(label(block - 1)) } else { vec![0; 576] };
        assert_eq!(read(&arena, block), expected);
    }
    assert_eq!(
        tiers.load(&blocks(0..1)).unwrap().wait(PATIENCE).unwrap(),
        1,
        "lower tiers stay"
    );
    tiers.sleep(Sleep::Drop).unwrap();
    tiers.wake().unwrap();
    assert_eq!(read(&arena, 2), vec![0; 576]);
    let nowhere = tiers.sleep(Sleep::Keep(&store, &[BlockId(99)])).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::InvalidArgument);
    assert!(!arena.is_asleep(), "what cannot be kept is not dropped");
}

#[test]
fn copies_that_would_meet_in_a_block_are_refused() {
    let arena = arena(8, PageOrder::BlockFirst);
    for n in 0..4 {
        write(&arena, n + 1, label(n));
    }
    let copy = |copies: &[(u32, u32)]| {
        let copies: Vec<_> = copies.iter().map(|(from, to)| (BlockId(*from), BlockId(*to))).collect();
        arena.copy_blocks(&copies)
    };
    for bad in [&[(1, 2), (2, 5)][..], &[(1, 5), (2, 5)], &[(1, 1)], &[(1, 8)]] {
        assert_eq!(copy(bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad:?}");
    }
    assert_eq!(read(&arena, 5), vec![0; 576]);
    copy(&[(1, 5), (1, 6), (2, 7)]).unwrap();
    assert_eq!(read(&arena, 6), content(label(0)));
    assert_eq!(read(&arena, 7), content(label(1)));
}

#[test]
fn places_of_swapped_blocks_are_checked() {
    let arena = arena(8, PageOrder::LayerFirst);
    write(&arena, 1, label(0));
    write(&arena, 2, label(1));
    let mut mover = Mover::new(arena.clone(), 2).unwrap();
    let swap = |block, slot| crate::kv::Swap {
        block: BlockId(block),
        slot,
    };
    mover.swap_out(&[swap(1, 1), swap(2, 0)]).unwrap();
    mover.swap_in(&[swap(3, 0), swap(4, 1), swap(5, 1)]).unwrap();
    assert_eq!(
        [3, 4, 5].map(|block| read(&arena, block)),
        [1, 0, 0].map(|n| content(label(n)))
    );
    for bad in [
        mover.swap_out(&[swap(1, 2)]),
        mover.swap_out(&[swap(1, 0), swap(2, 0)]),
        mover.swap_in(&[swap(9, 0)]),
    ] {
        assert_eq!(bad.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let mut none = Mover::new(arena, 0).unwrap();
    none.run(&Plan::default()).unwrap();
    assert!(none.swap_in(&[swap(1, 0)]).is_err());
}

#[test]
fn old_epochs_are_never_served() {
    let Scene {
        tiers, folder: _folder, ..
    } = scene(8, PageOrder::LayerFirst, true);
    write(tiers.arena(), 1, label_in(0, 0));
    tiers
        .write_back(&[(label_in(0, 0), BlockId(1))])
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    // Even under the same key, as a caller would have it that masks wrongly.
    let same = label_in(0, 0).key;
    assert_eq!(tiers.lookup(&[same], 1), lead(0, 0));
    let stale = Label {
        epoch: 1,
        ..label_in(0, 0)
    };
    assert_eq!(tiers.load(&[(stale, BlockId(2))]).unwrap().wait(PATIENCE).unwrap(), 0);
    assert_eq!(tiers.prefetch(&[same], 1).unwrap().wait(PATIENCE).unwrap(), 0);
}
