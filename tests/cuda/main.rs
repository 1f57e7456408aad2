//! The paged KV cache's memory on a CUDA device.
//!
//! On a machine with one, these tests use it. Elsewhere each runs itself again in a process that finds `driver.c` as its CUDA driver, which
//! shows that the driver is asked for the right things in the right order, and nothing about a device.
#![allow(unsafe_code, reason = "copies of raw addresses are what is tested")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use park_core::kv::physical::{
    Arena, CopyIn, CopyOut, CopyWithin, CudaDevice, Device, HostConfig, HostTier, Layout, LayoutConfig, Mover,
    PageOrder, Place, Run, Sleep, Tiers, TiersConfig,
};
use park_core::kv::{BlockId, Eviction, Key, Label, Swap};
use park_core::store::{DType, Store};
use park_core::{Config, ErrorKind};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));
const CHILD: &str = "PARK_TEST_CHILD";

/// Runs this test where there is a device, real or not, and says whether this process is there.
fn is_here(test: &str, settings: &[(&str, &str)]) -> bool {
    if std::env::var_os(CHILD).is_some() || CudaDevice::new(0, 1).is_ok() {
        return true;
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("LD_LIBRARY_PATH", env!("PARK_TEST_DRIVER"))
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn copy_in(device: &CudaDevice, bytes: &[u8], places: &[u64]) -> park_core::Result<()> {
    let copy = |to: &u64| CopyIn {
        from: bytes.as_ptr(),
        to: *to,
        len: bytes.len() as u64,
    };
    let batch: Vec<CopyIn> = places.iter().map(copy).collect();
    // SAFETY: `bytes` is borrowed meanwhile, and nobody else has the device.
    unsafe { device.copy_in(&batch) }
}

fn copy_out(device: &CudaDevice, from: u64) -> park_core::Result<[u8; 100]> {
    let mut bytes = [1; 100];
    let batch = [CopyOut {
        from,
        to: bytes.as_mut_ptr(),
        len: 100,
    }];
    // SAFETY: `bytes` has as many, and nobody else has the device.
    unsafe { device.copy_out(&batch)? };
    Ok(bytes)
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    if !is_here("a_batch_is_done_whole_or_not_at_all", &[]) {
        return;
    }
    let device = CudaDevice::new(0, 8192).unwrap();
    let end = device.bytes() - 100;
    let error = copy_in(&device, &[7; 100], &[0, end + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        copy_out(&device, 0).unwrap(),
        [0; 100],
        "half of a refused batch was done"
    );
    copy_in(&device, &[7; 100], &[0, end]).unwrap();
    let within = [CopyWithin {
        from: end,
        to: 1000,
        len: 100,
    }];
    // SAFETY: nobody else has the device.
    unsafe { device.copy_within(&within).unwrap() };
    assert_eq!(copy_out(&device, 1000).unwrap(), [7; 100]);
    // SAFETY: nobody else has the device.
    unsafe { device.zero(&[Run { offset: 1000, len: 100 }]).unwrap() };
    assert_eq!(copy_out(&device, 1000).unwrap(), [0; 100]);
    assert!(copy_out(&device, u64::MAX).is_err());
}

#[test]
fn released_memory_is_given_back_and_reads_as_zeros() {
    if !is_here("released_memory_is_given_back_and_reads_as_zeros", &[]) {
        return;
    }
    let device = CudaDevice::new(0, 1 << 20).unwrap();
    let address = device.address();
    copy_in(&device, &[7; 100], &[0]).unwrap();
    assert_eq!(device.resident().unwrap(), device.bytes());
    device.release().unwrap();
    device.release().unwrap();
    assert_eq!(device.resident().unwrap(), 0);
    assert_eq!(copy_out(&device, 0).unwrap_err().kind(), ErrorKind::Io);
    device.acquire().unwrap();
    assert_eq!(
        (device.address(), device.resident().unwrap()),
        (address, device.bytes())
    );
    assert_eq!(copy_out(&device, 0).unwrap(), [0; 100]);
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    if !is_here("what_there_is_not_is_refused_by_name", &[]) {
        return;
    }
    let kind = |ordinal, bytes| CudaDevice::new(ordinal, bytes).map(|_| ()).unwrap_err().kind();
    assert_eq!(kind(0, 0), ErrorKind::InvalidArgument);
    assert_eq!(kind(0, 1 << 45), ErrorKind::StoreFull);
    assert_eq!(kind(u32::MAX, 100), ErrorKind::InvalidArgument);
    let error = CudaDevice::new(200, 100).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cuda:200"), "{error}");
}

#[test]
fn without_a_driver_it_says_so() {
    match CudaDevice::new(0, 100).map(|_| ()) {
        Ok(()) => {}
        Err(error) => assert!(
            error.kind() == ErrorKind::Unsupported && error.to_string().contains("cuda:0"),
            "{error}"
        ),
    }
}

fn layout() -> Layout {
    Layout::new(LayoutConfig {
        blocks: 16,
        block_size: 4,
        kv_heads: 3,
        head_dim: 4,
        dtype: DType::new(2, 16).unwrap(),
        layers: vec![3],
        order: PageOrder::LayerFirst,
        model: b"test".to_vec(),
    })
    .unwrap()
}

fn label(n: u32) -> Label {
    Label {
        key: Key::new(u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        epoch: 0,
        group: 0,
    }
}

fn place(block: u32) -> Place {
    Place {
        block: BlockId(block),
        group: 0,
    }
}

fn arena() -> Arc<Arena> {
    let device = CudaDevice::new(0, layout().total_bytes()).unwrap();
    Arc::new(Arena::new(layout(), Box::new(device)).unwrap())
}

fn read(arena: &Arena, block: u32) -> Vec<u8> {
    let mut bytes = vec![0; arena.layout().block_bytes(0).unwrap() as usize];
    arena.read_block(place(block), &mut bytes).unwrap();
    bytes
}

#[test]
fn blocks_go_to_host_memory_and_back_and_through_a_sleep() {
    if !is_here("blocks_go_to_host_memory_and_back_and_through_a_sleep", &[]) {
        return;
    }
    let arena = arena();
    let config = Config::default().capacity(8 << 20).max_objects(4096).spill_limit(0);
    let store = Arc::new(Store::open(&config, 0xc0da).unwrap());
    let config = HostConfig {
        blocks: 8,
        eviction: Eviction::Lru,
    };
    let host = HostTier::create(&store, &layout(), config).unwrap();
    let tiers = Tiers::new(arena.clone(), host, None, TiersConfig::default()).unwrap();
    let bytes = layout().block_bytes(0).unwrap() as usize;
    for block in 1..6 {
        arena.write_block(place(block), &vec![block as u8; bytes]).unwrap();
    }
    let rows = |from: u32| (1..6).map(|n| (label(n), BlockId(n + from))).collect::<Vec<_>>();
    assert_eq!(tiers.write_back(&rows(0)).unwrap().wait(PATIENCE).unwrap(), 5);
    assert_eq!(tiers.load(&rows(6)).unwrap().wait(PATIENCE).unwrap(), 5);
    for block in 1..6 {
        assert_eq!(read(&arena, block + 6), vec![block as u8; bytes]);
    }
    tiers.sleep(Sleep::Keep(&store, &[BlockId(2)])).unwrap();
    assert_eq!(arena.device().resident().unwrap(), 0);
    tiers.wake().unwrap();
    assert_eq!(read(&arena, 2), vec![2; bytes]);
    assert_eq!(read(&arena, 3), vec![0; bytes]);
}

/// The driver of these tests refuses other copies, on a real device they are only slower.
#[test]
fn copies_of_tiers_and_swaps_are_of_pinned_memory() {
    let settings = [("PARK_TEST_ONLY_PINNED", "1")];
    if !is_here("copies_of_tiers_and_swaps_are_of_pinned_memory", &settings) {
        return;
    }
    let arena = arena();
    let config = Config::default().capacity(8 << 20).max_objects(4096).spill_limit(0);
    let store = Arc::new(Store::open(&config, 0xc0db).unwrap());
    let config = HostConfig {
        blocks: 8,
        eviction: Eviction::Lru,
    };
    let host = HostTier::create(&store, &layout(), config).unwrap();
    let tiers = Tiers::new(arena.clone(), host, None, TiersConfig::default()).unwrap();
    let rows = [(label(1), BlockId(1)), (label(2), BlockId(2))];
    assert_eq!(tiers.write_back(&rows).unwrap().wait(PATIENCE).unwrap(), 2);
    assert_eq!(tiers.load(&rows).unwrap().wait(PATIENCE).unwrap(), 2);
    let mut mover = Mover::new(arena.clone(), 2).unwrap();
    let swaps = [Swap {
        block: BlockId(3),
        slot: 1,
    }];
    mover.swap_out(&swaps).unwrap();
    mover.swap_in(&swaps).unwrap();
}
