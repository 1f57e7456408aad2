//! What the tests of this module share: small layouts, a store, contents that follow from their key.

use std::sync::Arc;

use super::{Arena, CpuDevice, HostConfig, HostTier, Layout, LayoutConfig, PageOrder};
use crate::config::Config;
use crate::kv::{BlockId, Eviction, Key, Label};
use crate::store::{DType, Store};

/// 192 bytes a page, three layers.
pub(super) fn layout(blocks: u32, order: PageOrder) -> Layout {
    Layout::new(LayoutConfig {
        blocks,
        block_size: 4,
        kv_heads: 3,
        head_dim: 4,
        dtype: DType::new(2, 16).unwrap(),
        layers: vec![3],
        order,
        model: b"test".to_vec(),
    })
    .unwrap()
}

pub(super) fn store(bytes: u64) -> Arc<Store> {
    let config = Config::default().capacity(bytes).max_objects(4096).spill_limit(0);
    Arc::new(Store::open(&config, 0x7e57).unwrap())
}

pub(super) fn arena(blocks: u32, order: PageOrder) -> Arc<Arena> {
    let layout = layout(blocks, order);
    let device = CpuDevice::new(layout.total_bytes()).unwrap();
    Arc::new(Arena::new(layout, Box::new(device)).unwrap())
}

pub(super) fn host(store: &Arc<Store>, blocks: u32) -> HostTier {
    HostTier::create(store, &layout(8, PageOrder::LayerFirst), config(blocks)).unwrap()
}

pub(super) fn config(blocks: u32) -> HostConfig {
    HostConfig {
        blocks,
        eviction: Eviction::Lru,
    }
}

/// A key as a hash would make it.
pub(super) fn label(n: u32) -> Label {
    label_in(n, 0)
}

pub(super) fn label_in(n: u32, epoch: u32) -> Label {
    let spread = u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ u128::from(epoch) << 7;
    Label {
        key: Key::new(spread),
        epoch,
        group: 0,
    }
}

/// What a block of this label holds, and no other.
pub(super) fn content(label: Label) -> Vec<u8> {
    let mut state = label.key.raw() as u64 ^ u64::from(label.epoch) << 32;
    let len = layout(8, PageOrder::LayerFirst).block_bytes(label.group).unwrap();
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

pub(super) fn write(arena: &Arena, block: u32, label: Label) {
    arena.write_block(place(block), &content(label)).unwrap();
}

pub(super) fn read(arena: &Arena, block: u32) -> Vec<u8> {
    let mut bytes = vec![0; arena.layout().block_bytes(0).unwrap() as usize];
    arena.read_block(place(block), &mut bytes).unwrap();
    bytes
}

pub(super) fn place(block: u32) -> super::Place {
    super::Place {
        block: BlockId(block),
        group: 0,
    }
}
