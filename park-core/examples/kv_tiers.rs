//! How fast blocks of the paged cache move between tiers, beside a plain copy of the same bytes in the same run.
//!
//! ```text
//! cargo run --release -p park-core --example kv_tiers [FOLDER]
//! ```
//! A layout like that of an 8-billion model: 32 layers, 8 heads of 128, bf16, blocks of 16 tokens: 2 MiB a block. Each row is the best of
//! some rounds over 128 blocks; contents are compared before a number is printed. FOLDER is where the disk tier goes (default: the system's
//! directory for temporary files); what is "disk" below is the page cache of the system unless the row says otherwise.

#![allow(clippy::print_stdout, reason = "an example that prints what it found")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use park_core::kv::physical::{
    Arena, CpuDevice, DiskConfig, DiskTier, HostConfig, HostTier, Layout, LayoutConfig, Mover, PageOrder, Place, Tiers,
    TiersConfig,
};
use park_core::kv::{BlockId, Eviction, Key, Label, Swap};
use park_core::{Config, DType, Error, ErrorKind, Result, Session};

const BLOCKS: u32 = 128;
const ROUNDS: u32 = 7;

fn label(n: u32, epoch: u32) -> Label {
    let key = Key::new(u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ u128::from(epoch));
    Label { key, epoch, group: 0 }
}

fn labels(epoch: u32) -> Vec<(Label, BlockId)> {
    (0..BLOCKS).map(|n| (label(n, epoch), BlockId(n + 1))).collect()
}

fn keys(epoch: u32) -> Vec<Key> {
    labels(epoch).iter().map(|(label, _)| label.key).collect()
}

/// The shortest of some rounds; the round's number goes in.
fn best(mut round: impl FnMut(u32) -> Result<Duration>) -> Result<Duration> {
    (0..ROUNDS)
        .map(&mut round)
        .try_fold(Duration::MAX, |best, took| Ok(best.min(took?)))
}

fn timed<T>(what: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    what()?;
    Ok(begun.elapsed())
}

fn expect(moved: u32) -> Result<()> {
    if moved == BLOCKS {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Internal,
        format!("{moved} blocks moved of {BLOCKS}"),
    ))
}

fn measure(order: PageOrder, folder: &std::path::Path, session: &Session) -> Result<()> {
    let layout = Layout::new(LayoutConfig {
        blocks: 2 * BLOCKS + 1,
        block_size: 16,
        kv_heads: 8,
        head_dim: 128,
        dtype: DType::new(4, 16)?,
        layers: vec![32],
        order,
        model: b"example".to_vec(),
    })?;
    let bytes = layout.block_bytes(0)?;
    let total = bytes * u64::from(BLOCKS);
    let device = CpuDevice::new(layout.total_bytes())?;
    let config = HostConfig {
        blocks: BLOCKS,
        eviction: Eviction::Lru,
    };
    let host = HostTier::create(session.store(), &layout, config)?;
    let disk = DiskTier::open(&DiskConfig::new(folder, 4 * total), &layout)?;
    let arena = Arc::new(Arena::new(layout, Box::new(device))?);
    let tiers = Tiers::new(arena.clone(), host, Some(disk), TiersConfig::default())?;

    let content = |n: u32| -> Vec<u8> { (0..bytes).map(|at| (at as u32 * 31 + n * 7) as u8).collect() };
    let place = |n| Place {
        block: BlockId(n),
        group: 0,
    };
    for n in 0..2 * BLOCKS {
        arena.write_block(place(n + 1), &content(n))?;
    }
    let check = |what: &str| -> Result<()> {
        let mut found = vec![0; bytes as usize];
        for n in 0..BLOCKS {
            arena.read_block(place(n + 1), &mut found)?;
            if found != content(n) {
                return Err(Error::new(ErrorKind::Internal, format!("{what}: block {n} is wrong")));
            }
        }
        Ok(())
    };
    let blank = || {
        let all: Vec<BlockId> = (1..=BLOCKS).map(BlockId).collect();
        arena.zero_blocks(&all)
    };

    let (from, mut to) = (vec![1_u8; total as usize], vec![2_u8; total as usize]);
    let memcpy = best(|_| {
        timed(|| {
            black_box(&mut to).copy_from_slice(black_box(&from));
            Ok(())
        })
    })?;
    let rate = |took: Duration| total as f64 / took.as_secs_f64() / 1e9;
    println!("\n{order:?}, {BLOCKS} blocks of {} KiB", bytes >> 10);
    println!("  {:34} {:6.2} GB/s", "memcpy", rate(memcpy));
    let row = |name: &str, took: Duration| {
        println!(
            "  {name:34} {:6.2} GB/s   {:5.2} of memcpy",
            rate(took),
            rate(took) / rate(memcpy)
        );
    };

    let mut mover = Mover::new(arena.clone(), BLOCKS)?;
    let swaps: Vec<Swap> = (0..BLOCKS)
        .map(|slot| Swap {
            block: BlockId(slot + 1),
            slot,
        })
        .collect();
    row("swap out", best(|_| timed(|| mover.swap_out(&swaps)))?);
    blank()?;
    row("swap in", best(|_| timed(|| mover.swap_in(&swaps)))?);
    check("swap")?;
    let copies: Vec<_> = (1..=BLOCKS).map(|n| (BlockId(n), BlockId(n + BLOCKS))).collect();
    row(
        "copy within the device",
        best(|_| timed(|| arena.copy_blocks(&copies)))?,
    );

    // Each round under other keys, into memory that the store has warm.
    let stored = best(|round| {
        let took = timed(|| expect(tiers.write_back(&labels(round))?.wait(None)?))?;
        if round + 1 < ROUNDS {
            tiers.host().clear();
        }
        Ok(took)
    })?;
    row("write back to host (objects)", stored);
    blank()?;
    let last = ROUNDS - 1;
    row(
        "load from host",
        best(|_| timed(|| expect(tiers.load(&labels(last))?.wait(None)?)))?,
    );
    check("load")?;

    let written = best(|round| {
        let disk = tiers.disk().ok_or_else(|| Error::new(ErrorKind::Internal, "no disk"))?;
        disk.retire(u32::MAX);
        timed(|| {
            if round + 1 < ROUNDS {
                // Under other epochs, so that they are written anew.
                for key in keys(last) {
                    let block = tiers.host().find(key, last);
                    let block = block.ok_or_else(|| Error::new(ErrorKind::Internal, "a block is gone"))?;
                    let label = Label {
                        epoch: 100 + round,
                        ..block.label()
                    };
                    disk.append(label, block.bytes())?;
                }
                return Ok(());
            }
            expect(tiers.persist(&keys(last), last)?.wait(None)?)
        })
    })?;
    row("host to disk", written);
    row(
        "host to disk and onto the platter",
        written + timed(|| tiers.flush()?.wait(None))?,
    );
    let prefetched = best(|_| {
        tiers.host().clear();
        timed(|| expect(tiers.prefetch(&keys(last), last)?.wait(None)?))
    })?;
    row("prefetch from disk, checked", prefetched);
    blank()?;
    let loaded = best(|_| {
        tiers.host().clear();
        timed(|| expect(tiers.load(&labels(last))?.wait(None)?))
    })?;
    row("disk to device, checked", loaded);
    check("disk")?;
    drop(tiers);

    let layout = arena.layout().clone();
    let reopened = timed(|| {
        let disk = DiskTier::open(&DiskConfig::new(folder, 4 * total), &layout)?;
        expect(u32::try_from(keys(last).iter().filter(|key| disk.find(**key, last).is_some()).count()).unwrap_or(0))
    })?;
    println!("  reopening the disk tier with {BLOCKS} blocks: {reopened:?}");
    Ok(())
}

fn main() -> Result<()> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("park-kv-tiers-{}", std::process::id()));
    let session = Session::open(&Config::default().capacity(2 << 30))?;
    let done = [PageOrder::LayerFirst, PageOrder::BlockFirst]
        .into_iter()
        .try_for_each(|order| measure(order, &folder, &session));
    // Whatever happened, nothing is left behind.
    let _ = std::fs::remove_dir_all(&folder);
    done
}
