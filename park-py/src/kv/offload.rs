//! `OffloadTable`: the core's table of offloaded chunks ([`kv::OffloadTable`]) for engines written in Python. Names are `bytes`; a call
//! takes a list of them. The lock is never held while Python runs.

use park_core::kv::{self, OffloadPolicy, OffloadRank, OffloadState};
use park_core::{Error, ErrorKind};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::gate::OrRaise;

/// A slot for each name, and the names that gave theirs up.
type Placed<'py> = (Vec<u32>, Vec<Bound<'py, PyBytes>>);

/// Names in order.
type Names<'py> = Vec<Bound<'py, PyBytes>>;

/// Which chunks of keys and values lie in which of a tier's slots, who reads them, and whose slot is used next: by `policy`, "lru" or
/// "arc". A rank is a pair of numbers; the least goes first.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct OffloadTable {
    table: Mutex<kv::OffloadTable>,
}

#[pymethods]
impl OffloadTable {
    #[new]
    #[pyo3(signature = (slots, policy="lru"))]
    fn new(py: Python<'_>, slots: u32, policy: &str) -> PyResult<Self> {
        let policy = match policy {
            "lru" => Ok(OffloadPolicy::Lru),
            "arc" => Ok(OffloadPolicy::Arc),
            other => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("a policy is 'lru' or 'arc', not '{other}'"),
            )),
        };
        Ok(Self {
            table: Mutex::new(kv::OffloadTable::new(slots, policy.or_raise(py)?)),
        })
    }

    /// How many slots nothing is in.
    fn free(&self) -> u32 {
        self.table.lock().free()
    }

    /// How many chunks are ready and not being read.
    fn evictable(&self) -> u32 {
        self.table.lock().evictable()
    }

    /// How many chunks are being written.
    fn writing(&self) -> u32 {
        self.table.lock().writing()
    }

    /// How many slots were ever used since the table was made or cleared.
    fn used(&self) -> u32 {
        self.table.lock().used()
    }

    /// The free slots among those, the next to be used last.
    fn freed(&self) -> Vec<u32> {
        self.table.lock().freed().to_vec()
    }

    /// Readers of a chunk, -1 while it is being written, `None` if it is not there.
    fn readers(&self, name: &[u8]) -> Option<i64> {
        self.table.lock().find(name).map(|(state, _)| readers(state))
    }

    /// The same for each of several.
    fn readers_of(&self, names: Vec<PyBackedBytes>) -> Vec<Option<i64>> {
        let table = self.table.lock();
        names
            .iter()
            .map(|name| table.find(name).map(|(state, _)| readers(state)))
            .collect()
    }

    /// The slot of a chunk.
    fn slot(&self, name: &[u8]) -> Option<u32> {
        self.table.lock().find(name).map(|(_, slot)| slot)
    }

    /// The rank of a chunk.
    fn rank_of(&self, name: &[u8]) -> Option<OffloadRank> {
        self.table.lock().rank_of(name)
    }

    /// A time later than every one before.
    fn tick(&self) -> u64 {
        self.table.lock().tick()
    }

    /// The chunks are wanted now, in order: the last one is the last to go. Each that is ready counts as wanted once more, and of one that
    /// is not there it is known that it is missed.
    fn touch(&self, names: Vec<PyBackedBytes>) {
        let mut table = self.table.lock();
        for name in names {
            match table.find(&name) {
                None => table.missed(&name),
                Some((state, _)) => {
                    table.wanted(&name, state != OffloadState::Writing);
                }
            }
        }
    }

    /// The same for those that are there, which count as wanted once more where `again` says so.
    fn wanted(&self, names: Vec<PyBackedBytes>, again: Vec<bool>) {
        let mut table = self.table.lock();
        for (name, again) in names.iter().zip(again) {
            table.wanted(name, again);
        }
    }

    /// These chunks are missed, in order, as far as they are not there.
    fn missed(&self, names: Vec<PyBackedBytes>) {
        let mut table = self.table.lock();
        for name in names {
            table.missed(&name);
        }
    }

    /// What the policy "arc" knows: chunks that were wanted once, and again, then the names that either list gave up, each in the order in
    /// which it goes; `None` with another policy.
    #[allow(clippy::type_complexity, reason = "four lists")]
    fn arc_lists<'py>(&self, py: Python<'py>) -> Option<(Names<'py>, Names<'py>, Names<'py>, Names<'py>)> {
        let lists = self.table.lock().arc_lists()?;
        let of = |list: Vec<std::sync::Arc<[u8]>>| list.iter().map(|name| PyBytes::new(py, name)).collect();
        Some((
            of(lists.recent),
            of(lists.frequent),
            of(lists.recent_ghosts),
            of(lists.frequent_ghosts),
        ))
    }

    /// How many chunks that were wanted once the policy "arc" means to keep; `None` with another policy.
    fn arc_target(&self) -> Option<f64> {
        self.table.lock().arc_lists().map(|lists| lists.target)
    }

    /// From now on it means to keep so many.
    fn set_arc_target(&self, py: Python<'_>, target: f64) -> PyResult<()> {
        self.table.lock().set_arc_target(target).or_raise(py)
    }

    /// Each chunk that is there gets its rank, unless the one that it has is not less.
    fn raise_ranks(&self, names: Vec<PyBackedBytes>, ranks: Vec<OffloadRank>) {
        let mut table = self.table.lock();
        for (name, rank) in names.iter().zip(ranks) {
            if table.rank_of(name).is_some_and(|before| before < rank) {
                table.rank(name, rank);
            }
        }
    }

    /// One more reader of each chunk; returns their slots.
    fn pin(&self, py: Python<'_>, names: Vec<PyBackedBytes>) -> PyResult<Vec<u32>> {
        let mut slots = Vec::with_capacity(names.len());
        let pinned = self.table.lock().pin(&slices(&names), &mut slots);
        pinned.or_raise(py)?;
        Ok(slots)
    }

    /// One reader less of each chunk.
    fn unpin(&self, py: Python<'_>, names: Vec<PyBackedBytes>) -> PyResult<()> {
        let unpinned = self.table.lock().unpin(&slices(&names));
        unpinned.or_raise(py)
    }

    /// A slot for each name, at its rank, and the names that gave theirs up; `None` if there are too few without those of `kept`.
    fn store<'py>(
        &self,
        py: Python<'py>,
        names: Vec<PyBackedBytes>,
        ranks: Vec<OffloadRank>,
        kept: Vec<PyBackedBytes>,
    ) -> PyResult<Option<Placed<'py>>> {
        let stored = self.table.lock().store(&slices(&names), &ranks, &slices(&kept));
        Ok(stored.or_raise(py)?.map(|stored| {
            let evicted = stored.evicted.iter().map(|name| PyBytes::new(py, name)).collect();
            (stored.slots, evicted)
        }))
    }

    /// Takes the first chunks that may go and are not kept out of the tier: their names and slots; `None` if there are not so many.
    fn evict<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        kept: Vec<PyBackedBytes>,
    ) -> Option<Vec<(Bound<'py, PyBytes>, u32)>> {
        let evicted = self.table.lock().evict(count, &slices(&kept));
        evicted.map(|gone| {
            gone.iter()
                .map(|(name, slot)| (PyBytes::new(py, name), *slot))
                .collect()
        })
    }

    /// The transfers that write these chunks are over; returns which of the list were being written, by index.
    fn finish(&self, names: Vec<PyBackedBytes>, succeeded: bool) -> Vec<usize> {
        let mut done = Vec::with_capacity(names.len());
        self.table.lock().finish(&slices(&names), succeeded, &mut done);
        done
    }

    /// Forgets a chunk whose content is lost; `False` if it is not there, or is being read or written.
    fn forget(&self, name: &[u8]) -> bool {
        self.table.lock().forget(name)
    }

    /// Forgets everything, transfers included.
    fn clear(&self) {
        self.table.lock().clear();
    }

    /// Raises if an invariant of the table does not hold.
    fn audit(&self, py: Python<'_>) -> PyResult<()> {
        let sound = self.table.lock().audit();
        sound.or_raise(py)
    }
}

fn readers(state: OffloadState) -> i64 {
    match state {
        OffloadState::Writing => -1,
        OffloadState::Ready { readers } => i64::from(readers),
    }
}

fn slices(names: &[PyBackedBytes]) -> Vec<&[u8]> {
    names.iter().map(AsRef::as_ref).collect()
}
