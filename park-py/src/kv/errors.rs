//! Errors of the core as exceptions of `park.kv.errors`.

use park_core::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The exception for an error; `park.kv.errors.from_kind` knows the classes.
pub(super) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    static FROM_KIND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = FROM_KIND
        .get_or_try_init(py, || {
            py.import("park.kv.errors")?.getattr("from_kind").map(Bound::unbind)
        })
        .and_then(|from_kind| from_kind.bind(py).call1((error.kind().name(), error.message())));
    made.map_or_else(|broken| broken, PyErr::from_value)
}

pub(super) fn invalid(py: Python<'_>, message: impl Into<String>) -> PyErr {
    raise(py, &Error::new(ErrorKind::InvalidArgument, message))
}

/// A number that is none of those which are possible there; `index` is its place if it is one of an array.
pub(super) fn out_of_range(
    py: Python<'_>,
    name: &str,
    index: Option<usize>,
    value: &Bound<'_, PyAny>,
    range: &str,
) -> PyErr {
    let made = py
        .import("park.kv.errors")
        .and_then(|errors| errors.getattr("OutOfRangeError")?.call1((name, index, value, range)));
    made.map_or_else(|broken| broken, PyErr::from_value)
}
