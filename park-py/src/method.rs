//! Which function a call to an actor means.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The method of this name. As in Ray, methods are the class's: an attribute that the instance gave itself does not hide one.
pub(crate) fn method_of<'py>(instance: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let py = instance.py();
    let own = instance.getattr(intern!(py, "__dict__")).ok();
    let own = own.as_ref().and_then(|own| own.cast::<PyDict>().ok());
    if own.is_some_and(|own| own.contains(name).unwrap_or(false)) {
        let class = instance.get_type();
        for base in class.mro() {
            let Ok(function) = base.getattr(intern!(py, "__dict__"))?.get_item(name) else {
                continue;
            };
            return function.call_method1(intern!(py, "__get__"), PyTuple::new(py, [instance, class.as_any()])?);
        }
    }
    instance.getattr(name)
}
