//! Handles that do not keep their actor alive: what `get_actor` and an actor itself get. In any process to which one is passed it is
//! weak, too.

use park_core::ObjectId;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::object::{ObjectRef, id_of};

/// The id of an actor, without a part in keeping it alive.
#[pyclass(frozen, eq, hash, module = "park._park", weakref)]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct WeakActor {
    id: ObjectId,
}

#[pymethods]
impl WeakActor {
    #[new]
    fn new(id: &[u8]) -> PyResult<Self> {
        id_of(id).map(|id| Self { id })
    }

    /// The id in hexadecimal digits, as of a reference.
    fn hex(&self) -> String {
        self.id.to_string()
    }

    /// The id as bytes, as of a reference.
    fn binary<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.id.to_bytes())
    }

    fn __repr__(&self) -> String {
        format!("WeakActor({})", self.id)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (Bound<'py, PyBytes>,)) {
        let py = slf.py();
        (slf.get_type().into_any(), (slf.get().binary(py),))
    }
}

/// The actor that a handle's reference means, weak or not.
pub(crate) fn actor_of(handle: &Bound<'_, PyAny>) -> PyResult<ObjectId> {
    if let Ok(strong) = handle.cast::<ObjectRef>() {
        return Ok(strong.get().id());
    }
    match handle.cast::<WeakActor>() {
        Ok(weak) => Ok(weak.get().id),
        Err(_) => Err(PyTypeError::new_err(format!(
            "no actor is named by {}",
            handle.get_type()
        ))),
    }
}
