//! Where everything lies in device memory: pages, heads and tokens, as offsets and contiguous runs. Numbers only.
//!
//! A *page* is what one block is in one layer: `[K|V][kv_head][token][dim]`. All sizes are checked once, when the layout is made; from
//! then on an offset of a block, layer and head that exist cannot overflow.

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Result, bail};
use crate::kv::BlockId;
use crate::store::DType;

/// More bytes than any device has, and few enough that sums of a few of them do not overflow.
const MOST_BYTES: u64 = 1 << 50;
/// Part of each fingerprint: changes when the meaning of a block's bytes does.
const PAGE_VERSION: u32 = 1;

/// How pages follow each other on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PageOrder {
    /// `[layer][block]`: one tensor a layer, as engines have them.
    #[default]
    LayerFirst,
    /// `[block][layer]`: one run a block. What copies to other tiers like best; a layer is a tensor with a stride.
    BlockFirst,
}

/// What a layout is made of.
#[derive(Clone, Debug)]
pub struct LayoutConfig {
    /// Blocks, the null block included: as many as the pool has.
    pub blocks: u32,
    /// Tokens of a block.
    pub block_size: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// The type of an element, of whole bytes.
    pub dtype: DType,
    /// Layers of each group, in the order of the cache's groups.
    pub layers: Vec<u32>,
    /// How pages follow each other.
    pub order: PageOrder,
    /// Names the model and its weights: blocks of layouts with different names are never taken for each other, in any tier.
    pub model: Vec<u8>,
}

/// A contiguous range of device memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// One half of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// Keys.
    K,
    /// Values.
    V,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Layout {
    config: LayoutConfig,
    element_bytes: u64,
    page_bytes: u64,
    planes: u64,
    fingerprint: u64,
}

impl Layout {
    /// Checks the sizes.
    ///
    /// # Errors
    /// `InvalidArgument` for a size of zero, elements that are not whole bytes, no groups or more than 255, and a total of more than 2^50
    /// bytes.
    pub fn new(config: LayoutConfig) -> Result<Self> {
        for (what, number) in [
            ("blocks", config.blocks),
            ("tokens a block", config.block_size),
            ("heads", config.kv_heads),
            ("elements a head", config.head_dim),
        ] {
            if number == 0 {
                bail!(InvalidArgument, "a layout with 0 {what} was asked for");
            }
        }
        let bits = u64::from(config.dtype.bits);
        if bits == 0 || !bits.is_multiple_of(8) {
            bail!(InvalidArgument, "elements of {bits} bits are not whole bytes");
        }
        if config.layers.is_empty() || config.layers.len() > 255 || config.layers.contains(&0) {
            bail!(
                InvalidArgument,
                "a layout has from 1 to 255 groups of at least one layer, not {:?}",
                config.layers
            );
        }
        let element_bytes = bits / 8;
        let planes = u64::from(config.layers.iter().copied().max().unwrap_or(0));
        let page_bytes = [config.kv_heads, config.block_size, config.head_dim]
            .iter()
            .try_fold(2 * element_bytes, |bytes, size| bytes.checked_mul(u64::from(*size)));
        let total = page_bytes
            .and_then(|page| page.checked_mul(planes))
            .and_then(|block| block.checked_mul(u64::from(config.blocks)));
        let (Some(page_bytes), Some(_)) = (page_bytes, total.filter(|total| *total <= MOST_BYTES)) else {
            bail!(
                InvalidArgument,
                "{} blocks of {planes} layers, {} heads, {} tokens and {} elements of {element_bytes} bytes are more than 2^50 bytes",
                config.blocks,
                config.kv_heads,
                config.block_size,
                config.head_dim
            );
        };
        Ok(Self {
            fingerprint: fingerprint(&config),
            config,
            element_bytes,
            page_bytes,
            planes,
        })
    }

    /// What it was made of.
    pub fn config(&self) -> &LayoutConfig {
        &self.config
    }

    /// Two layouts with the same fingerprint mean the same by the bytes of a block.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Bytes of device memory.
    pub fn total_bytes(&self) -> u64 {
        self.page_bytes * self.planes * u64::from(self.config.blocks)
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// Layers that a block has room for: those of the largest group.
    pub fn planes(&self) -> u32 {
        self.planes as u32
    }

    /// Bytes of a block with all its planes.
    pub fn whole_block_bytes(&self) -> u64 {
        self.page_bytes * self.planes
    }

    /// Bytes of a block of a group: the pages of its layers.
    ///
    /// # Errors
    /// `InvalidArgument` for a group that does not exist.
    pub fn block_bytes(&self, group: u8) -> Result<u64> {
        Ok(self.page_bytes * u64::from(self.layers_of(group)?))
    }

    /// Layers of a group.
    ///
    /// # Errors
    /// `InvalidArgument` for a group that does not exist.
    pub fn layers_of(&self, group: u8) -> Result<u32> {
        match self.config.layers.get(usize::from(group)) {
            Some(layers) => Ok(*layers),
            None => bail!(
                InvalidArgument,
                "there is no group {group}: there are {}",
                self.config.layers.len()
            ),
        }
    }

    /// Bytes from a page to that of the next block in the same layer, and to that of the same block in the next layer.
    pub fn strides(&self) -> (u64, u64) {
        match self.config.order {
            PageOrder::LayerFirst => (self.page_bytes, self.page_bytes * u64::from(self.config.blocks)),
            PageOrder::BlockFirst => (self.page_bytes * self.planes, self.page_bytes),
        }
    }

    /// The page of a block in a layer, counted within its group.
    ///
    /// # Errors
    /// `InvalidArgument` for a block or layer that does not exist.
    pub fn page(&self, block: BlockId, layer: u32) -> Result<Run> {
        self.check(block)?;
        if u64::from(layer) >= self.planes {
            bail!(InvalidArgument, "there is no layer {layer}: there are {}", self.planes);
        }
        Ok(Run {
            offset: self.page_offset(block, layer),
            len: self.page_bytes,
        })
    }

    /// The tokens of one head: what a kernel streams.
    ///
    /// # Errors
    /// `InvalidArgument` for a block, layer or head that does not exist.
    pub fn head(&self, block: BlockId, layer: u32, half: Half, head: u32) -> Result<Run> {
        let page = self.page(block, layer)?;
        if head >= self.config.kv_heads {
            bail!(
                InvalidArgument,
                "there is no head {head}: there are {}",
                self.config.kv_heads
            );
        }
        let len = self.page_bytes / (2 * u64::from(self.config.kv_heads));
        let nth = match half {
            Half::K => u64::from(head),
            Half::V => u64::from(self.config.kv_heads) + u64::from(head),
        };
        Ok(Run {
            offset: page.offset + nth * len,
            len,
        })
    }

    /// The elements of one token in one head.
    ///
    /// # Errors
    /// `InvalidArgument` for a block, layer, head or token that does not exist.
    pub fn token(&self, block: BlockId, layer: u32, half: Half, head: u32, token: u32) -> Result<Run> {
        let head = self.head(block, layer, half, head)?;
        if token >= self.config.block_size {
            bail!(
                InvalidArgument,
                "there is no token {token} in a block of {}",
                self.config.block_size
            );
        }
        let len = self.element_bytes * u64::from(self.config.head_dim);
        Ok(Run {
            offset: head.offset + u64::from(token) * len,
            len,
        })
    }

    /// Appends the pages of the first `layers` layers of a block, as few runs as they are.
    ///
    /// # Errors
    /// `InvalidArgument` for a block or layers that do not exist.
    pub fn runs(&self, block: BlockId, layers: u32, runs: &mut Vec<Run>) -> Result<()> {
        self.check(block)?;
        if layers == 0 || u64::from(layers) > self.planes {
            bail!(
                InvalidArgument,
                "{layers} layers of a block were asked for, and it has {}",
                self.planes
            );
        }
        match self.config.order {
            PageOrder::BlockFirst => runs.push(Run {
                offset: self.page_offset(block, 0),
                len: self.page_bytes * u64::from(layers),
            }),
            PageOrder::LayerFirst => runs.extend((0..layers).map(|layer| Run {
                offset: self.page_offset(block, layer),
                len: self.page_bytes,
            })),
        }
        Ok(())
    }

    fn check(&self, block: BlockId) -> Result<()> {
        if block.0 >= self.config.blocks {
            bail!(
                InvalidArgument,
                "there is no block {}: there are {}",
                block.0,
                self.config.blocks
            );
        }
        Ok(())
    }

    fn page_offset(&self, block: BlockId, layer: u32) -> u64 {
        let (by_block, by_layer) = self.strides();
        u64::from(block.0) * by_block + u64::from(layer) * by_layer
    }
}

/// Everything that the bytes of a block depend on besides tokens; not how many blocks there are, nor their order on the device.
fn fingerprint(config: &LayoutConfig) -> u64 {
    let mut text = Vec::with_capacity(64 + config.model.len());
    for number in [
        PAGE_VERSION,
        config.block_size,
        config.kv_heads,
        config.head_dim,
        u32::from(config.dtype.code),
        u32::from(config.dtype.bits),
        config.layers.len() as u32,
    ] {
        text.extend_from_slice(&number.to_le_bytes());
    }
    for layers in &config.layers {
        text.extend_from_slice(&layers.to_le_bytes());
    }
    text.extend_from_slice(&config.model);
    xxh3_64(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn config() -> LayoutConfig {
        LayoutConfig {
            blocks: 7,
            block_size: 4,
            kv_heads: 3,
            head_dim: 8,
            dtype: DType::new(2, 16).unwrap(),
            layers: vec![2],
            order: PageOrder::LayerFirst,
            model: b"m".to_vec(),
        }
    }

    #[test]
    fn offsets_are_those_of_the_array_with_that_shape() {
        for order in [PageOrder::LayerFirst, PageOrder::BlockFirst] {
            let layout = Layout::new(LayoutConfig { order, ..config() }).unwrap();
            let token = 8 * 2;
            let (head, page) = (4 * token, 2 * 3 * 4 * token);
            assert_eq!((layout.page_bytes(), layout.total_bytes()), (page, 7 * 2 * page));
            let base = match order {
                PageOrder::LayerFirst => (7 + 5) * page,
                PageOrder::BlockFirst => (5 * 2 + 1) * page,
            };
            let run = layout.token(BlockId(5), 1, Half::V, 2, 3).unwrap();
            assert_eq!((run.offset, run.len), (base + (3 + 2) * head + 3 * token, token));
            assert_eq!(layout.head(BlockId(5), 1, Half::K, 1).unwrap().offset, base + head);
        }
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let layout = Layout::new(config()).unwrap();
        let kind = |result: Result<Run>| result.unwrap_err().kind();
        assert_eq!(kind(layout.page(BlockId(7), 0)), ErrorKind::InvalidArgument);
        assert_eq!(kind(layout.page(BlockId(0), 2)), ErrorKind::InvalidArgument);
        assert_eq!(kind(layout.head(BlockId(0), 0, Half::K, 3)), ErrorKind::InvalidArgument);
        assert_eq!(
            kind(layout.token(BlockId(0), 0, Half::K, 0, 4)),
            ErrorKind::InvalidArgument
        );
        assert!(layout.runs(BlockId(0), 3, &mut Vec::new()).is_err());
        assert!(layout.block_bytes(1).is_err());
        for bad in [
            LayoutConfig { blocks: 0, ..config() },
            LayoutConfig {
                layers: vec![],
                ..config()
            },
            LayoutConfig {
                layers: vec![1, 0],
                ..config()
            },
            LayoutConfig {
                head_dim: u32::MAX,
                kv_heads: u32::MAX,
                block_size: u32::MAX,
                ..config()
            },
            LayoutConfig {
                blocks: u32::MAX,
                head_dim: 1 << 20,
                ..config()
            },
        ] {
            assert_eq!(Layout::new(bad).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn fingerprints_tell_layouts_apart_and_ignore_what_does_not_matter() {
        let of = |config| Layout::new(config).unwrap().fingerprint();
        let one = of(config());
        assert_eq!(
            one,
            of(LayoutConfig {
                blocks: 9,
                order: PageOrder::BlockFirst,
                ..config()
            })
        );
        for other in [
            LayoutConfig {
                model: b"n".to_vec(),
                ..config()
            },
            LayoutConfig {
                dtype: DType::new(4, 16).unwrap(),
                ..config()
            },
            LayoutConfig {
                layers: vec![2, 2],
                ..config()
            },
            LayoutConfig {
                kv_heads: 8,
                head_dim: 3,
                ..config()
            },
        ] {
            assert_ne!(one, of(other));
        }
    }

    proptest! {
        /// Pages cover the memory exactly, and the runs of a block are its pages.
        #[test]
        fn pages_tile_the_memory(blocks in 1u32..9, layers in 1u32..5, heads in 1u32..4, block_first: bool) {
            let order = if block_first { PageOrder::BlockFirst } else { PageOrder::LayerFirst };
            let layout = Layout::new(LayoutConfig { blocks, kv_heads: heads, layers: vec![layers], order, ..config() }).unwrap();
            let mut pages = Vec::new();
            for block in (0..blocks).map(BlockId) {
                let mut runs = Vec::new();
                layout.runs(block, layers, &mut runs).unwrap();
                let mut of_runs = runs.iter().flat_map(|run| (run.offset..run.offset + run.len).step_by(layout.page_bytes() as usize));
                for layer in 0..layers {
                    let page = layout.page(block, layer).unwrap();
                    prop_assert_eq!(of_runs.next(), Some(page.offset));
                    pages.push(page.offset);
                }
                prop_assert_eq!(of_runs.next(), None);
            }
            pages.sort_unstable();
            let expected: Vec<u64> = (0..u64::from(blocks * layers)).map(|n| n * layout.page_bytes()).collect();
            prop_assert_eq!(pages, expected);
        }
    }
}
