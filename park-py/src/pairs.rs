//! The session's table of keys and values, behind `ray.experimental.internal_kv`.

use park_core::ipc::PairsRequest;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gate::{self, block};

fn ask(py: Python<'_>, request: PairsRequest) -> PyResult<Vec<Bound<'_, PyBytes>>> {
    let session = gate::session(py)?;
    let found = block(py, |interrupt| session.pairs(request, interrupt))?;
    Ok(found.iter().map(|bytes| PyBytes::new(py, bytes)).collect())
}

/// The value of this key; None if it has none.
#[pyfunction]
pub(crate) fn get_pair<'py>(py: Python<'py>, key: &[u8]) -> PyResult<Option<Bound<'py, PyBytes>>> {
    Ok(ask(py, PairsRequest::Get { key: key.to_vec() })?.pop())
}

/// Gives this key a value; one that it has stays, unless it is to be overwritten. Returns what it had before.
#[pyfunction]
pub(crate) fn put_pair<'py>(
    py: Python<'py>,
    key: &[u8],
    value: &[u8],
    overwrite: bool,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let (key, value) = (key.to_vec(), value.to_vec());
    Ok(ask(py, PairsRequest::Put { key, value, overwrite })?.pop())
}

/// Forgets this key. Returns whether it was there.
#[pyfunction]
pub(crate) fn remove_pair(py: Python<'_>, key: &[u8]) -> PyResult<bool> {
    Ok(!ask(py, PairsRequest::Remove { key: key.to_vec() })?.is_empty())
}

/// The keys that begin so, in order.
#[pyfunction]
pub(crate) fn pair_keys<'py>(py: Python<'py>, prefix: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    ask(
        py,
        PairsRequest::Keys {
            prefix: prefix.to_vec(),
        },
    )
}
