//! References that coroutines and futures wait for. What is done when one is there is Python (python/park/futures.py).

use park_core::store::WatchList;
use pyo3::prelude::*;

use crate::decode::decode;
use crate::gate::{self, OrRaise};
use crate::object::{ObjectRef, belongs};

/// A list of references, each with what is to be told once its object is there. One thread calls `next`.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Watch {
    list: WatchList<Py<PyAny>>,
}

#[pymethods]
impl Watch {
    /// An empty list, for references of the session that is open.
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            list: WatchList::new(&gate::store(py)?),
        })
    }

    /// Waits for one more reference. False if nothing is to be waited for, since its object is there.
    fn add(&self, object: &Bound<'_, ObjectRef>, token: Py<PyAny>) -> PyResult<bool> {
        let py = object.py();
        let object = object.get().object().or_raise(py)?;
        belongs(py, self.list.store(), object)?;
        Ok(self.list.add(object.clone(), token).or_raise(py)?.is_none())
    }

    /// Blocks until objects are there, and returns their references and tokens. Nothing once the list is closed and empty.
    fn next(&self, py: Python<'_>) -> PyResult<Vec<(Py<ObjectRef>, Py<PyAny>)>> {
        let over = py.detach(|| self.list.next());
        let wrap = |(object, token)| Ok((ObjectRef::wrap(py, object)?, token));
        over.into_iter().map(wrap).collect()
    }

    /// Ends `next`.
    fn close(&self) {
        self.list.close();
    }
}

/// The value of an object that is there, as `get` returns it.
#[pyfunction]
pub(crate) fn value_of(object: &Bound<'_, ObjectRef>) -> PyResult<Py<PyAny>> {
    let py = object.py();
    let object = object.get().object().or_raise(py)?;
    // One that is not there was waited for in a session that has ended.
    object.store().check_open().or_raise(py)?;
    decode(py, object)
}
