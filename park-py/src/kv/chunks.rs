//! `KvChunks`: bytes by key in host memory that every process of the session reads in place, and on disk
//! ([`park_core::kv::physical::Chunks`]). For engines that keep the table of what is where themselves.

use std::path::PathBuf;

use park_core::kv::physical::{Chunks, DiskConfig, HostBlock};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::buffers::Lent;
use super::errors::invalid;
use super::memory::{HEAD, key_of};
use crate::buffer::{Buffer, Pinned};
use crate::gate::{self, OrRaise};
use crate::object::ObjectRef;

/// Copies that are longer let other threads run meanwhile.
const LONG: usize = 64 << 10;

/// Chunks by keys of 16 bytes, which must say everything that a chunk's content depends on. Nothing is given up here: what `put`, `find`
/// and `fetch` return keeps the chunk in memory, for every process; when nobody has it any more it is gone from there.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct KvChunks {
    chunks: Chunks,
}

#[pymethods]
impl KvChunks {
    /// In a directory with room for `room` chunks that is made, or in the one that another process made; and on `disk`, a directory of at
    /// most `disk_bytes` bytes that a restart finds again.
    #[new]
    #[pyo3(signature = (*, room=0, directory=None, disk=None, disk_bytes=0))]
    fn new(
        py: Python<'_>,
        room: u64,
        directory: Option<&ObjectRef>,
        disk: Option<PathBuf>,
        disk_bytes: u64,
    ) -> PyResult<Self> {
        let store = gate::store(py)?;
        let directory = directory.map(ObjectRef::id);
        let open = move || {
            let disk = disk.map(|folder| DiskConfig::new(folder, disk_bytes));
            match directory {
                Some(directory) => Chunks::open(&store, directory, disk.as_ref()),
                None => Chunks::create(&store, room, disk.as_ref()),
            }
        };
        let chunks = py.detach(open).or_raise(py)?;
        Ok(Self { chunks })
    }

    /// The object by which other processes open the directory.
    fn directory(&self, py: Python<'_>) -> PyResult<Py<ObjectRef>> {
        ObjectRef::wrap(py, self.chunks.directory().clone())
    }

    /// Stores the bytes of `parts` one behind the other, unless the key is there, and returns the chunk. Nobody may write to them meanwhile.
    fn put(&self, py: Python<'_>, key: &[u8], parts: Vec<Bound<'_, PyAny>>) -> PyResult<Buffer> {
        let key = key_of(key).or_raise(py)?;
        let mut lent = Vec::with_capacity(parts.len());
        for part in &parts {
            let bytes = Lent::get(part, "parts", false)?;
            lent.push(bytes.ok_or_else(|| invalid(py, "`parts` has an object that lends no memory"))?);
        }
        let mut slices = Vec::with_capacity(lent.len());
        for part in &lent {
            let bytes = part.elements::<u8>();
            slices.push(bytes.ok_or_else(|| {
                let kind = part.kind().name();
                invalid(py, format!("`parts` has elements of type {kind}, not bytes"))
            })?);
        }
        let put = || self.chunks.put(key, &slices);
        let long = slices.iter().map(|part| part.len()).sum::<usize>() >= LONG;
        let stored = if long { py.detach(put) } else { put() };
        Ok(buffer(&stored.or_raise(py)?))
    }

    /// A chunk that any process has in memory, in place and read-only; None if none has.
    fn find(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Buffer>> {
        let key = key_of(key).or_raise(py)?;
        Ok(self.chunks.find(key).as_ref().map(buffer))
    }

    /// The same, or brought from disk; None too for one that was damaged there.
    fn fetch(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Buffer>> {
        let key = key_of(key).or_raise(py)?;
        let fetched = py.detach(|| self.chunks.fetch(key)).or_raise(py)?;
        Ok(fetched.as_ref().map(buffer))
    }

    /// Whether the disk has a chunk. Its content is checked when it is fetched.
    fn on_disk(&self, py: Python<'_>, key: &[u8]) -> PyResult<bool> {
        let key = key_of(key).or_raise(py)?;
        Ok(self.chunks.on_disk(key))
    }

    /// Writes a chunk of memory to disk, unless it is there.
    fn persist(&self, py: Python<'_>, key: &[u8]) -> PyResult<()> {
        let key = key_of(key).or_raise(py)?;
        py.detach(|| self.chunks.persist(key)).or_raise(py)
    }

    /// Waits until everything that was written is on the disk itself.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.chunks.flush()).or_raise(py)
    }

    /// What the disk has counted.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let disk = self.chunks.stats();
        let stats = PyDict::new(py);
        for (name, number) in [
            ("disk_records", disk.records),
            ("disk_bytes", disk.bytes),
            ("disk_reloaded", disk.reloaded),
            ("disk_corrupt", disk.corrupt),
            ("disk_torn", disk.torn),
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

fn buffer(chunk: &HostBlock) -> Buffer {
    let len = chunk.bytes().len();
    Buffer::new(Pinned::Object(chunk.object().clone()), HEAD, len)
}
