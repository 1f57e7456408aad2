//! `Tables`: arrays of the caller's that steps write to.
#![allow(
    unsafe_code,
    reason = "writes to memory of Python objects that were checked when this was made"
)]

use park_core::kv::{self, Kept, Rows};
use parking_lot::Mutex;
use pyo3::prelude::*;

use super::buffers::{Element, Lent};
use super::errors::invalid;
use super::numbers::Whole;

/// Arrays that a step writes its block tables to, in place: numpy arrays, torch tensors on the CPU, or whatever else lends its memory
/// by the buffer protocol or DLPack.
///
/// For `n` sequences with `t` tokens to compute, whose keys and values lie in `p` blocks:
///
/// * `block_table`, int32 `[n, width]`: the blocks of each sequence, padded with block 0 (vLLM, FlashAttention).
/// * `slot_mapping`, int64 `[t]`: `block * block_size + offset` of each token (vLLM's cache writes).
/// * `indptr`, int32 `[n + 1]`; `indices`, int32 `[p]`; `last_page_len`, int32 `[n]`: FlashInfer's page table.
/// * `cu_seqlens_q`, int32 `[n + 1]`: sums of the tokens to compute (FlashAttention, FlashInfer's `qo_indptr`).
/// * `cu_seqlens_k`, int32 `[n + 1]`: sums of the tokens that are attended to.
/// * `seq_lens`, int32 `[n]`: tokens that are attended to.
///
/// The arrays are made once, for the largest step: a step writes the beginning of each and leaves the rest as it is. They are kept, and
/// kept in place, as long as this object lives. `group` is the group of layers whose blocks are written.
///
/// With `keep_rows` the rows of `block_table` that a step wrote are the steps' until the next one has written its own: nobody else writes
/// to them, and a step writes to them what has changed since, which for long sequences is next to nothing. Without, it writes them whole.
///
/// Raises InvalidArgumentError for an array of another type or number of dimensions, one that is read-only, not contiguous, or on another
/// device, and for two that share memory.
#[pyclass(frozen, module = "park.kv")]
pub(crate) struct Tables {
    group: u8,
    block_table: Option<Lent>,
    slot_mapping: Option<Lent>,
    indptr: Option<Lent>,
    indices: Option<Lent>,
    last_page_len: Option<Lent>,
    cu_seqlens_q: Option<Lent>,
    cu_seqlens_k: Option<Lent>,
    seq_lens: Option<Lent>,
    /// Of each row of `block_table`, what the last step wrote; none unless it is kept.
    rows: Mutex<Vec<Kept>>,
}

/// An array to write to, of one type and number of dimensions.
fn lend<T: Element>(object: Option<Bound<'_, PyAny>>, name: &str, dimensions: usize) -> PyResult<Option<Lent>> {
    let Some(object) = object else { return Ok(None) };
    let py = object.py();
    let Some(lent) = Lent::get(&object, name, true)? else {
        let class = object.get_type().name()?;
        return Err(invalid(
            py,
            format!("`{name}` is a {class}, which lends no memory to write to"),
        ));
    };
    if lent.kind() != T::KIND || lent.shape().len() != dimensions {
        return Err(invalid(
            py,
            format!(
                "`{name}` is an array of {} of {dimensions} dimensions, not of {} of shape {:?}",
                T::KIND.name(),
                lent.kind().name(),
                lent.shape()
            ),
        ));
    }
    Ok(Some(lent))
}

#[pymethods]
impl Tables {
    #[new]
    #[pyo3(signature = (*, group=Whole::of(0), block_table=None, slot_mapping=None, indptr=None, indices=None, last_page_len=None,
        cu_seqlens_q=None, cu_seqlens_k=None, seq_lens=None, keep_rows=false),
        text_signature = "(*, group=0, block_table=None, slot_mapping=None, indptr=None, indices=None, last_page_len=None, \
        cu_seqlens_q=None, cu_seqlens_k=None, seq_lens=None, keep_rows=False)")]
    #[allow(clippy::too_many_arguments, reason = "keywords, each of which has a default")]
    fn new(
        py: Python<'_>,
        group: Whole,
        block_table: Option<Bound<'_, PyAny>>,
        slot_mapping: Option<Bound<'_, PyAny>>,
        indptr: Option<Bound<'_, PyAny>>,
        indices: Option<Bound<'_, PyAny>>,
        last_page_len: Option<Bound<'_, PyAny>>,
        cu_seqlens_q: Option<Bound<'_, PyAny>>,
        cu_seqlens_k: Option<Bound<'_, PyAny>>,
        seq_lens: Option<Bound<'_, PyAny>>,
        keep_rows: bool,
    ) -> PyResult<Self> {
        let block_table = lend::<i32>(block_table, "block_table", 2)?;
        let rows = block_table
            .as_ref()
            .filter(|_| keep_rows)
            .map_or(0, |lent| lent.shape()[0]);
        let tables = Self {
            group: group.to(py, "group")?,
            block_table,
            rows: Mutex::new(vec![Kept::default(); rows]),
            slot_mapping: lend::<i64>(slot_mapping, "slot_mapping", 1)?,
            indptr: lend::<i32>(indptr, "indptr", 1)?,
            indices: lend::<i32>(indices, "indices", 1)?,
            last_page_len: lend::<i32>(last_page_len, "last_page_len", 1)?,
            cu_seqlens_q: lend::<i32>(cu_seqlens_q, "cu_seqlens_q", 1)?,
            cu_seqlens_k: lend::<i32>(cu_seqlens_k, "cu_seqlens_k", 1)?,
            seq_lens: lend::<i32>(seq_lens, "seq_lens", 1)?,
        };
        let mut ranges: Vec<_> = tables.all().map(|(name, lent)| (lent.range(), name)).collect();
        ranges.retain(|(range, _)| !range.is_empty());
        ranges.sort_by_key(|(range, _)| range.start);
        for pair in ranges.windows(2) {
            let ((before, first), (after, second)) = (&pair[0], &pair[1]);
            if after.start < before.end {
                return Err(invalid(py, format!("`{first}` and `{second}` share memory")));
            }
        }
        Ok(tables)
    }

    /// The group of layers whose blocks are written.
    #[getter]
    fn group(&self) -> u8 {
        self.group
    }

    fn __repr__(&self) -> String {
        let arrays: Vec<String> = self
            .all()
            .map(|(name, lent)| format!("{name}={:?}", lent.shape()))
            .collect();
        format!("Tables(group={}, {})", self.group, arrays.join(", "))
    }
}

impl Tables {
    fn all(&self) -> impl Iterator<Item = (&'static str, &Lent)> {
        [
            ("block_table", &self.block_table),
            ("slot_mapping", &self.slot_mapping),
            ("indptr", &self.indptr),
            ("indices", &self.indices),
            ("last_page_len", &self.last_page_len),
            ("cu_seqlens_q", &self.cu_seqlens_q),
            ("cu_seqlens_k", &self.cu_seqlens_k),
            ("seq_lens", &self.seq_lens),
        ]
        .into_iter()
        .filter_map(|(name, lent)| lent.as_ref().map(|lent| (name, lent)))
    }

    /// Runs a call that writes to the arrays. The interpreter is held all the time, so nobody else writes through this object.
    pub(super) fn lend<T>(tables: Option<&Self>, _py: Python<'_>, call: impl FnOnce(&mut kv::Tables<'_>) -> T) -> T {
        let Some(tables) = tables else {
            return call(&mut kv::Tables::default());
        };
        #[allow(
            clippy::mut_from_ref,
            reason = "the array is the caller's; what holds it here is not what is borrowed"
        )]
        fn out<T: Element>(lent: &Option<Lent>) -> Option<&mut [T]> {
            // SAFETY: asked for to be written to, and apart from each other (`new`); `_py` says that the interpreter is held, and
            // `call`, which cannot reach Python, has the only borrow of each.
            lent.as_ref().and_then(|lent| unsafe { lent.elements_mut() })
        }
        let mut rows = tables.rows.lock();
        call(&mut kv::Tables {
            group: tables.group,
            block_table: tables
                .block_table
                .as_ref()
                .zip(out(&tables.block_table))
                .map(|(lent, blocks)| Rows {
                    width: lent.shape()[1],
                    blocks,
                    kept: &mut rows,
                }),
            slot_mapping: out(&tables.slot_mapping),
            indptr: out(&tables.indptr),
            indices: out(&tables.indices),
            last_page_len: out(&tables.last_page_len),
            cu_seqlens_q: out(&tables.cu_seqlens_q),
            cu_seqlens_k: out(&tables.cu_seqlens_k),
            seq_lens: out(&tables.seq_lens),
        })
    }
}
