//! Cache blocks between processes: one computes a prefix, another reads it where it lies, the first is killed. And a process that is killed
//! while it writes to the disk tier, after which the next one finds all that was there and nothing wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use park_core::kv::physical::{
    Arena, CpuDevice, DiskConfig, DiskTier, HostConfig, HostTier, Layout, LayoutConfig, PageOrder, Place, Tiers,
    TiersConfig,
};
use park_core::kv::{BlockId, Cache, CacheConfig, Changes, Eviction, Key, Label, Namespace, TenantId};
use park_core::{Config, DType, Session};

/// Shared with the tests that span crates, which is where it lives: this one needs no more than the core.
#[allow(unreachable_pub, reason = "a library's module there")]
#[path = "../../tests/src/role.rs"]
mod role;

const BLOCKS: u32 = 8;
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

fn layout() -> Layout {
    Layout::new(LayoutConfig {
        blocks: 32,
        block_size: 16,
        kv_heads: 2,
        head_dim: 16,
        dtype: DType::new(4, 16).unwrap(),
        layers: vec![4],
        order: PageOrder::LayerFirst,
        model: b"a model".to_vec(),
    })
    .unwrap()
}

fn config() -> HostConfig {
    HostConfig {
        blocks: 64,
        eviction: Eviction::Lru,
    }
}

/// The labels of the prompt that every process here knows, by its own cache: keys follow from tokens and secret alone.
fn prompt() -> (Cache, Vec<(Label, BlockId)>) {
    let mut cache = Cache::new(CacheConfig {
        blocks: 32,
        secret: [7; 32],
        ..CacheConfig::default()
    })
    .unwrap();
    let tokens: Vec<u32> = (0..BLOCKS * 16).collect();
    let id = cache
        .add(TenantId::default(), &Namespace::default(), &tokens, &[])
        .unwrap();
    assert!(cache.grow(id, BLOCKS * 16, &mut Changes::default()).unwrap());
    cache.advance(id, BLOCKS * 16).unwrap();
    let stored = cache.stored(id, 0).unwrap();
    (cache, stored)
}

/// What the "model" computes for a block.
fn content(label: Label) -> Vec<u8> {
    let bytes = layout().block_bytes(0).unwrap();
    let key = label.key.raw().to_le_bytes();
    (0..bytes).map(|at| key[at as usize % 16] ^ (at >> 4) as u8).collect()
}

fn tiers(session: &Session, directory: &str) -> Tiers {
    let layout = layout();
    let device = CpuDevice::new(layout.total_bytes()).unwrap();
    let host = HostTier::open(session.store(), &layout, config(), directory.parse().unwrap()).unwrap();
    let arena = Arc::new(Arena::new(layout, Box::new(device)).unwrap());
    Tiers::new(arena, host, None, TiersConfig::default()).unwrap()
}

/// Whether an address lies in the session's arena, mapped for reading only.
fn is_in_the_arena(address: *const u8) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(from)..number(to)).contains(&(address as usize))
            && line.contains("memfd:park-arena")
            && rights == "r--s"
    })
}

/// A: computes the prompt's blocks and writes them back; then waits to be killed.
fn maker(session: &Session, directory: &str) {
    let (tiers, (_cache, stored)) = (tiers(session, directory), prompt());
    for (label, block) in &stored {
        let place = Place {
            block: *block,
            group: 0,
        };
        tiers.arena().write_block(place, &content(*label)).unwrap();
    }
    let written = tiers.write_back(&stored).unwrap().wait(PATIENCE).unwrap();
    role::say(&format!("wrote {written}"));
    std::thread::sleep(Duration::from_secs(120));
}

/// B: finds the prompt's blocks and reads them where they lie; looks again once the maker is gone, if it is told one.
fn reader(session: &Session, directory: &str, maker: Option<u32>) {
    let (tiers, (_cache, stored)) = (tiers(session, directory), prompt());
    let keys: Vec<Key> = stored.iter().map(|(label, _)| label.key).collect();
    let lead = tiers.lookup(&keys, 0);
    let views: Vec<_> = keys.iter().filter_map(|key| tiers.host().find(*key, 0)).collect();
    let right = |views: &[park_core::kv::physical::HostBlock]| {
        views
            .iter()
            .all(|view| view.bytes() == content(view.label()) && is_in_the_arena(view.bytes().as_ptr()))
    };
    role::say(&format!("found {} in place: {}", lead.blocks, right(&views)));
    let Some(maker) = maker else { return };
    let gone = format!("/proc/{maker}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::path::Path::new(&gone).exists() {
        assert!(Instant::now() < deadline, "the maker was not killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The views, and what is found anew; and a sequence of this process goes on from there.
    let again: Vec<_> = keys.iter().filter_map(|key| tiers.host().find(*key, 0)).collect();
    let loaded = tiers.load(&stored).unwrap().wait(PATIENCE).unwrap();
    let mut bytes = vec![0; layout().block_bytes(0).unwrap() as usize];
    let place = Place {
        block: stored[3].1,
        group: 0,
    };
    tiers.arena().read_block(place, &mut bytes).unwrap();
    let copied = bytes == content(stored[3].0);
    role::say(&format!(
        "still {} {} {loaded} {copied}",
        right(&views) && right(&again),
        again.len()
    ));
}

/// Writes blocks to a disk tier, and says how many, until it is killed.
fn writer(folder: &str) {
    let disk = DiskTier::open(&disk_config(folder), &layout()).unwrap();
    for n in 0.. {
        let label = numbered(n);
        disk.append(label, &content(label)).unwrap();
        role::say(&format!("{n}"));
    }
}

fn disk_config(folder: &str) -> DiskConfig {
    DiskConfig {
        segment_bytes: 1 << 20,
        ..DiskConfig::new(folder, 1 << 30)
    }
}

fn numbered(n: u32) -> Label {
    Label {
        key: Key::new(u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        epoch: 3,
        group: 0,
    }
}

#[test]
fn role() {
    let Some((role, argument)) = role::asked() else { return };
    if role == "writer" {
        return writer(&argument);
    }
    let mut words = argument.split(' ');
    let session = Session::attach(words.next().unwrap()).unwrap();
    let directory = words.next().unwrap();
    match &role[..] {
        "maker" => maker(&session, directory),
        "reader" => reader(&session, directory, words.next().map(|pid| pid.parse().unwrap())),
        _ => panic!("what is {role}?"),
    }
}

#[test]
fn a_prefix_is_read_where_it_lies_and_outlives_the_process_that_computed_it() {
    let session = Session::open(&Config::default().capacity(32 << 20)).unwrap();
    let keeper = HostTier::create(session.store(), &layout(), config()).unwrap();
    let argument = format!("{} {}", session.address(), keeper.directory());
    let mut maker = role::spawn("maker", &argument);
    assert_eq!(maker.line().as_deref(), Some("wrote 8"));
    let mut reader = role::spawn("reader", &format!("{argument} {}", maker.pid()));
    assert_eq!(reader.line().as_deref(), Some("found 8 in place: true"));
    drop(maker); // SIGKILL
    assert_eq!(reader.line().as_deref(), Some("still true 8 8 true"));
    drop(reader);

    // Nobody has them any more, once both are buried. Then the same with a process that stays and keeps what others made.
    let mut maker = role::spawn("maker", &argument);
    assert_eq!(maker.line().as_deref(), Some("wrote 8"));
    assert_eq!(keeper.adopt(), 8);
    drop(maker);
    let mut late = role::spawn("reader", &argument);
    assert_eq!(late.line().as_deref(), Some("found 8 in place: true"));
    assert!(late.end(Duration::from_secs(60)).is_some_and(|status| status.success()));
    keeper.audit().unwrap();
    drop(keeper);
}

#[test]
fn a_process_that_is_killed_while_it_writes_leaves_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kv").to_str().unwrap().to_owned();
    let mut said = 0;
    for round in 0..3u32 {
        let mut writer = role::spawn("writer", &path);
        for _ in 0..20 + 7 * round {
            said = writer.line().unwrap().parse::<u32>().unwrap().max(said);
        }
        drop(writer); // SIGKILL, most likely in the middle of a record
        let disk = DiskTier::open(&disk_config(&path), &layout()).unwrap();
        assert_eq!(disk.stats().corrupt, 0);
        for n in 0..said + 100 {
            let label = numbered(n);
            let mut bytes = Vec::new();
            let there = disk
                .read(label.key, label.epoch, &mut |_, piece| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            assert!(there || n > said, "{n} was said and is not there");
            assert!(!there || bytes == content(label), "{n} is not what was written");
        }
    }
}
