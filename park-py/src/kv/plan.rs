//! `Plan` and `Changes`: what an engine is to do, as arrays.
//!
//! Each attribute makes its array when it is asked for: a `memoryview`, which numpy and torch take without a copy. It is the caller's.

use park_core::kv::{self, Filled, Preempted, SequenceId, Swap, Work};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView};

use super::numbers::id_number;

/// Numbers as arrays of Python have them.
trait Number: Copy {
    /// As the `struct` module calls the type.
    const FORMAT: &str;
    fn put(self, place: &mut [u8]);
}

impl Number for u32 {
    const FORMAT: &str = "i";
    fn put(self, place: &mut [u8]) {
        place.copy_from_slice(&self.to_ne_bytes());
    }
}

impl Number for i64 {
    const FORMAT: &str = "q";
    fn put(self, place: &mut [u8]) {
        place.copy_from_slice(&self.to_ne_bytes());
    }
}

impl Number for bool {
    const FORMAT: &str = "?";
    fn put(self, place: &mut [u8]) {
        place[0] = u8::from(self);
    }
}

/// An array of rows of `N` numbers; of one dimension if `N` is 1, or if there are none, as Python has no view of no rows.
fn rows<'py, T: Number, const N: usize>(
    py: Python<'py>,
    rows: impl ExactSizeIterator<Item = [T; N]>,
) -> PyResult<Bound<'py, PyAny>> {
    let (count, size) = (rows.len(), size_of::<T>());
    let bytes = PyByteArray::new_with(py, count * N * size, |bytes| {
        for (row, place) in rows.zip(bytes.chunks_exact_mut(N * size)) {
            for (number, place) in row.into_iter().zip(place.chunks_exact_mut(size)) {
                number.put(place);
            }
        }
        Ok(())
    })?;
    let view = PyMemoryView::from(&bytes)?;
    if N == 1 || count == 0 {
        view.call_method1("cast", (T::FORMAT,))
    } else {
        view.call_method1("cast", (T::FORMAT, (count, N)))
    }
}

fn list<'py, T: Number>(py: Python<'py>, numbers: impl ExactSizeIterator<Item = T>) -> PyResult<Bound<'py, PyAny>> {
    rows(py, numbers.map(|number| [number]))
}

/// Blocks of a table.
pub(super) fn blocks<'py>(py: Python<'py>, table: &[kv::BlockId]) -> PyResult<Bound<'py, PyAny>> {
    list(py, table.iter().map(|block| block.0))
}

fn ids<'py>(py: Python<'py>, sequences: &[SequenceId]) -> PyResult<Bound<'py, PyAny>> {
    list(py, sequences.iter().map(|id| id_number(*id)))
}

fn copies<'py>(py: Python<'py>, changes: &kv::Changes) -> PyResult<Bound<'py, PyAny>> {
    rows(py, changes.copies.iter().map(|copy| [copy.from.0, copy.to.0]))
}

fn placed<'py>(py: Python<'py>, changes: &kv::Changes) -> PyResult<Bound<'py, PyAny>> {
    let row = |placed: &kv::Placed| {
        let (group, position) = (i64::from(placed.group), i64::from(placed.position));
        [id_number(placed.sequence), group, position, i64::from(placed.block.0)]
    };
    rows(py, changes.placed.iter().map(row))
}

fn swaps<'py>(py: Python<'py>, swaps: &[Swap]) -> PyResult<Bound<'py, PyAny>> {
    rows(py, swaps.iter().map(|swap| [swap.block.0, swap.slot]))
}

/// What a call of `Cache` asks an engine to do to its memory, and how much of its tables it wrote.
#[pyclass(frozen, module = "park.kv")]
pub(crate) struct Changes {
    pub(super) changes: kv::Changes,
    pub(super) filled: Filled,
}

#[pymethods]
impl Changes {
    /// int32 `[k, 2]`: blocks whose contents are copied, from and to, before anything of the step is computed.
    #[getter]
    fn copies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        copies(py, &self.changes)
    }

    /// int64 `[k, 4]`: what block tables have got: sequence, group, position in blocks, block. For engines that keep tables of their own.
    #[getter]
    fn placed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        placed(py, &self.changes)
    }

    /// Tokens of the step: numbers that `slot_mapping` has got.
    #[getter]
    fn tokens(&self) -> usize {
        self.filled.tokens
    }

    /// Blocks up to the ends of all sequences of the step: numbers that `indices` has got.
    #[getter]
    fn pages(&self) -> usize {
        self.filled.pages
    }

    fn __repr__(&self) -> String {
        let (copies, placed) = (self.changes.copies.len(), self.changes.placed.len());
        format!("Changes({copies} copies, {placed} placed)")
    }
}

/// What an engine does in one step, in this order: `swap_out`, `copies`, `swap_in`, then the work. Made by `Scheduler.step`, answered by
/// `commit` or `abandon`.
///
/// Work has `len(plan)` pieces, one a sequence; `sequences`, `starts`, `counts`, `drafts`, `samples` and `proposed_counts` have one number
/// for each.
#[pyclass(frozen, module = "park.kv")]
pub(crate) struct Plan {
    pub(super) plan: kv::Plan,
    pub(super) filled: Filled,
}

impl Plan {
    fn work<'py, T: Number>(&self, py: Python<'py>, of: impl Fn(&Work) -> T) -> PyResult<Bound<'py, PyAny>> {
        list(py, self.plan.work.iter().map(of))
    }
}

#[pymethods]
impl Plan {
    fn __len__(&self) -> usize {
        self.plan.work.len()
    }

    /// Plans are numbered from 1.
    #[getter]
    fn number(&self) -> u64 {
        self.plan.number
    }

    /// Tokens that the step computes, room for drafts included: numbers that `slot_mapping` has got.
    #[getter]
    fn tokens(&self) -> usize {
        self.filled.tokens
    }

    /// Blocks up to the ends of all sequences of the step: numbers that `indices` has got.
    #[getter]
    fn pages(&self) -> usize {
        self.filled.pages
    }

    /// int64 `[n]`: the sequences.
    #[getter]
    fn sequences<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |work| id_number(work.sequence))
    }

    /// int32 `[n]`: the position of the first token that is computed.
    #[getter]
    fn starts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |work| work.start)
    }

    /// int32 `[n]`: how many known tokens are computed.
    #[getter]
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |work| work.count)
    }

    /// int32 `[n]`: how many drafts there is room for after them.
    #[getter]
    fn drafts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |work| work.drafts)
    }

    /// bool `[n]`: whether a token is sampled after the last one; otherwise more of the prompt follows in a later step.
    #[getter]
    fn samples<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |work| work.samples)
    }

    /// int64 `[sum of proposed_counts]`: tokens that older weights generated, as drafts for the new ones, in the order of the work.
    #[getter]
    fn proposed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        list(py, self.plan.proposed.iter().map(|token| i64::from(*token)))
    }

    /// int32 `[n]`: how many of the drafts the plan itself proposes.
    #[getter]
    fn proposed_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |work| work.proposed.1)
    }

    /// int32 `[k, 2]`: blocks whose contents are copied, from and to.
    #[getter]
    fn copies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        copies(py, &self.plan.changes)
    }

    /// int64 `[k, 4]`: what block tables have got: sequence, group, position in blocks, block. For engines that keep tables of their own.
    #[getter]
    fn placed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        placed(py, &self.plan.changes)
    }

    /// int32 `[k, 2]`: blocks that go to host memory before anything else, and the places they go to.
    #[getter]
    fn swap_out<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        swaps(py, &self.plan.swap_out)
    }

    /// int32 `[k, 2]`: blocks that come back from host memory after the copies, and the places they come from.
    #[getter]
    fn swap_in<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        swaps(py, &self.plan.swap_in)
    }

    /// int64: requests that began, or began again, with this plan.
    #[getter]
    fn admitted<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ids(py, &self.plan.admitted)
    }

    /// int64: requests that lost their blocks and wait again; their tokens will be computed again, unless they are found.
    #[getter]
    fn preempted<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found: Vec<SequenceId> = self.lost(|lost| match lost {
            Preempted::Recompute(id) => Some(id),
            Preempted::Swap(_) => None,
        });
        ids(py, &found)
    }

    /// int64: requests whose blocks went to host memory and that wait again.
    #[getter]
    fn swapped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let found: Vec<SequenceId> = self.lost(|lost| match lost {
            Preempted::Swap(id) => Some(id),
            Preempted::Recompute(_) => None,
        });
        ids(py, &found)
    }

    /// int64: requests that ended because the weights changed.
    #[getter]
    fn dropped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ids(py, &self.plan.dropped)
    }

    fn __repr__(&self) -> String {
        let (number, work, tokens) = (self.plan.number, self.plan.work.len(), self.filled.tokens);
        format!("Plan({number}: {work} sequences, {tokens} tokens)")
    }
}

impl Plan {
    fn lost(&self, which: impl Fn(Preempted) -> Option<SequenceId>) -> Vec<SequenceId> {
        self.plan.preempted.iter().copied().filter_map(which).collect()
    }
}
