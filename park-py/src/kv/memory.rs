//! The native half of `park.kv.memory`: a device arena, the host tier of this process's session, a disk tier, and transfers between them.
//!
//! Blocks are named by keys of 16 bytes, which must say everything that a block's content depends on: they are never looked into here.
#![allow(
    unsafe_code,
    reason = "fills Py_buffer by hand; the arena behind it keeps the memory mapped"
)]

use std::ffi::{CStr, c_int, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use park_core::kv::physical::{
    Arena, CpuDevice, CudaDevice, Device, DiskConfig, DiskTier, HostConfig, HostTier, Layout, LayoutConfig, PageOrder,
    Place, Sleep, Ticket, Tiers, TiersConfig,
};
use park_core::kv::{BlockId, Eviction, Key, Label};
use park_core::{DType, Error, ErrorKind};
use pyo3::exceptions::{PyAttributeError, PyBufferError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::numbers::{Whole, read_u32};
use crate::buffer::{Buffer, Pinned};
use crate::gate::{self, OrRaise};
use crate::object::{ObjectRef, timeout_of};

const BYTES: &CStr = c"B";
/// How long a wait goes on before it looks whether a signal came.
const TICK: Duration = Duration::from_millis(50);
/// Where a host block's pages begin in its object.
pub(super) const HEAD: usize = 64;

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

pub(super) fn key_of(bytes: &[u8]) -> park_core::Result<Key> {
    match bytes.as_array() {
        Some(key) => Ok(Key::new(u128::from_le_bytes(*key))),
        None => Err(invalid(format!("a key has 16 bytes, not {}", bytes.len()))),
    }
}

fn keys_of(keys: &[Vec<u8>]) -> park_core::Result<Vec<Key>> {
    keys.iter().map(|key| key_of(key)).collect()
}

/// Memory of a paged KV cache. Use `park.kv.memory.Memory`.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct KvMemory {
    tiers: Tiers,
}

impl KvMemory {
    fn rows(
        py: Python<'_>,
        keys: &[Vec<u8>],
        blocks: &Bound<'_, PyAny>,
        epoch: &Whole,
        group: &Whole,
    ) -> PyResult<Vec<(Label, BlockId)>> {
        let blocks = read_u32(blocks, "blocks")?;
        let (epoch, group) = (epoch.to(py, "epoch")?, group.to(py, "group")?);
        if keys.len() != blocks.len() {
            let text = format!("{} keys were given for {} blocks", keys.len(), blocks.len());
            return Err(invalid(text)).or_raise(py);
        }
        let row = |(key, block): (&Key, u32)| {
            (
                Label {
                    key: *key,
                    epoch,
                    group,
                },
                BlockId(block),
            )
        };
        Ok(keys_of(keys).or_raise(py)?.iter().zip(blocks).map(row).collect())
    }
}

#[pymethods]
impl KvMemory {
    #[new]
    #[pyo3(signature = (*, blocks, block_size, kv_heads, head_dim, dtype, layers, block_first, model, cuda, host_blocks, directory,
        disk, disk_bytes, discard_other_layouts, write_through, queue))]
    #[allow(
        clippy::too_many_arguments,
        reason = "named in Python, where `Memory` has defaults for most"
    )]
    fn new(
        py: Python<'_>,
        blocks: Whole,
        block_size: Whole,
        kv_heads: Whole,
        head_dim: Whole,
        dtype: &str,
        layers: &Bound<'_, PyAny>,
        block_first: bool,
        model: Vec<u8>,
        cuda: Option<u32>,
        host_blocks: Whole,
        directory: Option<&ObjectRef>,
        disk: Option<PathBuf>,
        disk_bytes: Whole,
        discard_other_layouts: bool,
        write_through: bool,
        queue: Whole,
    ) -> PyResult<Self> {
        let number = |number: &Whole, name| number.to::<u32>(py, name);
        let (blocks, block_size) = (number(&blocks, "blocks")?, number(&block_size, "block_size")?);
        let (kv_heads, head_dim) = (number(&kv_heads, "kv_heads")?, number(&head_dim, "head_dim")?);
        let (layers, host_blocks) = (read_u32(layers, "layers")?, number(&host_blocks, "host_blocks")?);
        let disk_bytes = disk_bytes.to(py, "disk_bytes")?;
        let queue = number(&queue, "queue")? as usize;
        let store = gate::store(py)?;
        let directory = directory.map(ObjectRef::id);
        let dtype = DType::from_name(dtype).or_raise(py)?;
        let open = move || {
            let layout = Layout::new(LayoutConfig {
                blocks,
                block_size,
                kv_heads,
                head_dim,
                dtype,
                layers,
                order: if block_first {
                    PageOrder::BlockFirst
                } else {
                    PageOrder::LayerFirst
                },
                model,
            })?;
            let device: Box<dyn Device> = match cuda {
                Some(ordinal) => Box::new(CudaDevice::new(ordinal, layout.total_bytes())?),
                None => Box::new(CpuDevice::new(layout.total_bytes())?),
            };
            let config = HostConfig {
                blocks: host_blocks,
                eviction: Eviction::Lru,
            };
            let host = match directory {
                Some(directory) => HostTier::open(&store, &layout, config, directory)?,
                None => HostTier::create(&store, &layout, config)?,
            };
            let disk = match disk {
                Some(folder) => {
                    let config = DiskConfig {
                        discard_other_layouts,
                        ..DiskConfig::new(folder, disk_bytes)
                    };
                    Some(DiskTier::open(&config, &layout)?)
                }
                None => None,
            };
            let arena = Arc::new(Arena::new(layout, device)?);
            let config = TiersConfig { queue, write_through };
            Tiers::new(arena, host, disk, config)
        };
        let tiers = py.detach(open).or_raise(py)?;
        Ok(Self { tiers })
    }

    /// The object by which other processes open the host tier.
    fn directory(&self, py: Python<'_>) -> PyResult<Py<ObjectRef>> {
        ObjectRef::wrap(py, self.tiers.host().directory_reference().clone())
    }

    /// Device memory as a buffer that can be written to.
    fn device(&self) -> KvDevice {
        KvDevice {
            arena: self.tiers.arena().clone(),
        }
    }

    /// Bytes from a page to that of the next block, and of the next layer.
    fn strides(&self) -> (u64, u64) {
        self.tiers.arena().layout().strides()
    }

    /// How many of the first keys lower tiers have, and how many of those on disk only.
    fn lookup(&self, py: Python<'_>, keys: Vec<Vec<u8>>, epoch: Whole) -> PyResult<(u32, u32)> {
        let (keys, epoch) = (keys_of(&keys).or_raise(py)?, epoch.to(py, "epoch")?);
        let lead = py.detach(|| self.tiers.lookup(&keys, epoch));
        Ok((lead.blocks, lead.on_disk))
    }

    /// A block's pages in host memory, in place; None if they are not there.
    fn find(&self, py: Python<'_>, key: &[u8], epoch: Whole) -> PyResult<Option<Buffer>> {
        let (key, epoch) = (key_of(key).or_raise(py)?, epoch.to(py, "epoch")?);
        Ok(self.tiers.host().find(key, epoch).map(|block| {
            let len = block.bytes().len();
            Buffer::new(Pinned::Object(block.object().clone()), HEAD, len)
        }))
    }

    /// Copies device blocks to host memory.
    fn write_back(
        &self,
        py: Python<'_>,
        keys: Vec<Vec<u8>>,
        blocks: &Bound<'_, PyAny>,
        epoch: Whole,
        group: Whole,
    ) -> PyResult<KvTicket> {
        let rows = Self::rows(py, &keys, blocks, &epoch, &group)?;
        KvTicket::of(py, self.tiers.write_back(&rows))
    }

    /// Copies blocks of host memory or disk to the device.
    fn load(
        &self,
        py: Python<'_>,
        keys: Vec<Vec<u8>>,
        blocks: &Bound<'_, PyAny>,
        epoch: Whole,
        group: Whole,
    ) -> PyResult<KvTicket> {
        let rows = Self::rows(py, &keys, blocks, &epoch, &group)?;
        KvTicket::of(py, self.tiers.load(&rows))
    }

    /// Brings blocks from disk to host memory.
    fn prefetch(&self, py: Python<'_>, keys: Vec<Vec<u8>>, epoch: Whole) -> PyResult<KvTicket> {
        let epoch = epoch.to(py, "epoch")?;
        KvTicket::of(py, keys_of(&keys).and_then(|keys| self.tiers.prefetch(&keys, epoch)))
    }

    /// Writes blocks of host memory to disk.
    fn persist(&self, py: Python<'_>, keys: Vec<Vec<u8>>, epoch: Whole) -> PyResult<KvTicket> {
        let epoch = epoch.to(py, "epoch")?;
        KvTicket::of(py, keys_of(&keys).and_then(|keys| self.tiers.persist(&keys, epoch)))
    }

    /// Everything that was asked for before is done, and on the disk itself.
    fn flush(&self, py: Python<'_>) -> PyResult<KvTicket> {
        KvTicket::of(py, self.tiers.flush())
    }

    /// Copies whole blocks of the device to others.
    fn copy_blocks(&self, py: Python<'_>, copies: Vec<(Whole, Whole)>) -> PyResult<()> {
        let block = |block: &Whole, at| block.of_array(py, "copies", at).map(BlockId);
        let copies = (0..)
            .zip(&copies)
            .map(|(at, (from, to))| Ok((block(from, at)?, block(to, at)?)))
            .collect::<PyResult<Vec<_>>>()?;
        py.detach(|| self.tiers.arena().copy_blocks(&copies)).or_raise(py)
    }

    /// A copy of a device block's pages.
    fn read_block<'py>(
        &self,
        py: Python<'py>,
        block: Whole,
        group: Whole,
    ) -> PyResult<Bound<'py, pyo3::types::PyByteArray>> {
        let (block, group) = (block.to(py, "block")?, group.to(py, "group")?);
        let bytes = self.tiers.arena().layout().block_bytes(group).or_raise(py)?;
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let place = Place {
            block: BlockId(block),
            group,
        };
        self.tiers.arena().read_block(place, &mut content).or_raise(py)?;
        Ok(pyo3::types::PyByteArray::new(py, &content))
    }

    /// Holds what other processes stored, as far as there is room.
    fn adopt(&self, py: Python<'_>) -> u32 {
        py.detach(|| self.tiers.host().adopt())
    }

    /// Gives up blocks of other epochs: how many in host memory, and on disk.
    fn retire(&self, py: Python<'_>, epoch: Whole) -> PyResult<(u32, u64)> {
        let epoch = epoch.to(py, "epoch")?;
        Ok(py.detach(|| self.tiers.retire(epoch)))
    }

    /// Gives the device's memory back; content of the blocks in `keep` comes back with `wake`.
    fn sleep(&self, py: Python<'_>, keep: &Bound<'_, PyAny>) -> PyResult<()> {
        let keep: Vec<BlockId> = read_u32(keep, "keep")?.into_iter().map(BlockId).collect();
        py.detach(|| match &keep[..] {
            [] => self.tiers.sleep(Sleep::Drop),
            blocks => self.tiers.sleep(Sleep::Keep(self.tiers.host().store(), blocks)),
        })
        .or_raise(py)
    }

    /// Takes the device's memory again.
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.tiers.wake()).or_raise(py)
    }

    /// What host and disk tier have counted.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (host, disk) = self.tiers.stats();
        let stats = PyDict::new(py);
        for (name, number) in [
            ("host_blocks", u64::from(host.blocks)),
            ("host_stored", host.stored),
            ("host_found", host.found),
            ("host_evicted", host.evicted),
            ("host_refused", host.refused),
            ("disk_records", disk.records),
            ("disk_bytes", disk.bytes),
            ("disk_reloaded", disk.reloaded),
            ("disk_corrupt", disk.corrupt),
            ("disk_torn", disk.torn),
            ("disk_discarded", disk.discarded),
            ("disk_written", disk.written),
            ("disk_read", disk.read),
            ("disk_evicted", disk.evicted),
            ("disk_refused", disk.refused),
        ] {
            stats.set_item(name, number)?;
        }
        Ok(stats)
    }
}

/// A transfer under way.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct KvTicket {
    ticket: Ticket,
}

impl KvTicket {
    fn of(py: Python<'_>, ticket: park_core::Result<Ticket>) -> PyResult<Self> {
        Ok(Self {
            ticket: ticket.or_raise(py)?,
        })
    }
}

#[pymethods]
impl KvTicket {
    /// How many blocks arrived; None while it is under way. Raises what the transfer failed with.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        self.ticket.poll().transpose().or_raise(py)
    }

    /// Waits until it is over: how many blocks arrived. Raises what the transfer failed with.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u32> {
        let deadline = timeout_of(timeout, "wait")?.and_then(|timeout| Instant::now().checked_add(timeout));
        gate::block(py, |interrupt| {
            loop {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let piece = left.map_or(TICK, |left| left.min(TICK));
                match self.ticket.wait(Some(piece)) {
                    Err(late) if late.kind() == ErrorKind::Timeout && left.is_none_or(|left| left > piece) => {
                        interrupt()?
                    }
                    other => return other,
                }
            }
        })
    }
}

/// Device memory of a paged KV cache as a Python buffer. Its blocks are written to by whoever has them from a cache.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct KvDevice {
    arena: Arc<Arena>,
}

#[pymethods]
impl KvDevice {
    fn __len__(&self) -> usize {
        usize::try_from(self.arena.layout().total_bytes()).unwrap_or(usize::MAX)
    }

    /// How CUDA libraries take it, PyTorch among them; AttributeError if the processor's own memory is meant.
    #[getter(__cuda_array_interface__)]
    fn cuda_array_interface<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let device = self.arena.device();
        if device.base().is_some() {
            return Err(PyAttributeError::new_err("this memory is not of a CUDA device"));
        }
        let interface = PyDict::new(py);
        interface.set_item("shape", (self.__len__(),))?;
        interface.set_item("typestr", "|u1")?;
        interface.set_item("data", (device.address(), false))?;
        interface.set_item("version", 3)?;
        Ok(interface)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        if view.is_null() {
            return Err(PyBufferError::new_err("view is null"));
        }
        let Some(base) = this.arena.device().base() else {
            return Err(PyBufferError::new_err(
                "the processor cannot reach the memory of this device",
            ));
        };
        let len = this.__len__().cast_signed();
        // SAFETY: CPython passes a valid view to fill. The memory outlives it: the view owns a reference to this object.
        let view = unsafe { &mut *view };
        view.buf = base.cast::<c_void>();
        view.len = len;
        view.readonly = 0;
        view.itemsize = 1;
        view.format = if flags & ffi::PyBUF_FORMAT == ffi::PyBUF_FORMAT {
            BYTES.as_ptr().cast_mut()
        } else {
            ptr::null_mut()
        };
        view.ndim = 1;
        view.shape = if flags & ffi::PyBUF_ND == ffi::PyBUF_ND {
            &raw mut view.len
        } else {
            ptr::null_mut()
        };
        view.strides = if flags & ffi::PyBUF_STRIDES == ffi::PyBUF_STRIDES {
            &raw mut view.itemsize
        } else {
            ptr::null_mut()
        };
        view.suboffsets = ptr::null_mut();
        view.internal = ptr::null_mut();
        view.obj = slf.into_ptr();
        Ok(())
    }
}
