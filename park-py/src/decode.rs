//! Objects to Python values. Arrays, tensors and out-of-band buffers become views that pin their object; errors are raised.

use park_core::{Format, Object, ObjectRef, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList};

use crate::buffer::Buffer;
use crate::gate::{self, OrRaise};
use crate::tensor_view::TensorView;

/// Buffers shorter than this are copied: a view costs more than the copy and would pin the whole object.
const SMALL: usize = 1 << 10;

/// The value of a sealed object.
pub(crate) fn decode(py: Python<'_>, object: &ObjectRef) -> PyResult<Py<PyAny>> {
    let sealed = object.sealed().or_raise(py)?;
    match sealed.format {
        Format::Pickle5 => unpickle(py, sealed.bytes, Some(object)),
        Format::Raw => {
            object.store().count_copied(sealed.bytes.len() as u64);
            Ok(PyBytes::new(py, sealed.bytes).into_any().unbind())
        }
        Format::Tensor | Format::Mapped => tensor(py, object.open().or_raise(py)?),
        Format::Arrow => {
            static READ: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let read = READ.get_or_try_init(py, || py.import("park.arrow")?.getattr("read").map(Bound::unbind))?;
            let opened = object.open().or_raise(py)?;
            let len = opened.bytes().len();
            read.call1(py, (Buffer::new(opened, 0, len),))
        }
        Format::Error => Err(gate::raise(py, &park_core::store::format::decode_error(sealed.bytes))),
        Format::Actor => Err(PyValueError::new_err(format!(
            "object {} is an actor's handle, not a value",
            object.id()
        ))),
    }
}

/// The tensor that an object is, as a value of no library, whichever put it.
pub(crate) fn view(py: Python<'_>, object: &ObjectRef) -> PyResult<TensorView> {
    let object = object.open().or_raise(py)?;
    let (spec, elements) = object.tensor().or_raise(py)?;
    let start = object.bytes().len() - elements.len();
    Ok(TensorView::new(object.clone(), start, spec))
}

fn tensor(py: Python<'_>, object: Object) -> PyResult<Py<PyAny>> {
    static VIEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let view = VIEW.get_or_try_init(py, || py.import("park.tensors")?.getattr("view").map(Bound::unbind))?;
    let (spec, elements) = object.tensor().or_raise(py)?;
    let (len, start) = (elements.len(), object.bytes().len() - elements.len());
    if spec.view == View::Plain {
        return Ok(Py::new(py, TensorView::new(object.clone(), start, spec))?.into_any());
    }
    let buffer = Py::new(py, Buffer::new(object.clone(), start, len))?;
    view.call1(
        py,
        (
            buffer,
            spec.dtype.code,
            spec.dtype.bits,
            spec.shape,
            spec.strides,
            spec.view as u8,
        ),
    )
}

fn malformed(len: usize) -> PyErr {
    PyValueError::new_err(format!("a pickle object of {len} bytes is malformed"))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<usize> {
    let (word, _) = bytes.get(at..)?.split_first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*word)).ok()
}

/// Unpickles a PICKLE5 payload. With `object`, large buffers are views of it; without, they are copies.
pub(crate) fn unpickle(py: Python<'_>, bytes: &[u8], object: Option<&ObjectRef>) -> PyResult<Py<PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS
        .get_or_try_init(py, || py.import("pickle")?.getattr("loads").map(Bound::unbind))?
        .bind(py);
    let bad = || malformed(bytes.len());
    let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
    let (length, _) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
    let (count, length) = (
        u32::from_le_bytes(*count) as usize,
        u32::from_le_bytes(*length) as usize,
    );
    let start = count
        .checked_mul(16)
        .and_then(|table| table.checked_add(8))
        .ok_or_else(bad)?;
    let pickle = start
        .checked_add(length)
        .and_then(|end| bytes.get(start..end))
        .ok_or_else(bad)?;
    if let Some(object) = object {
        object.store().count_copied(length as u64);
    }
    let pickle = PyBytes::new(py, pickle);
    if count == 0 {
        return Ok(loads.call1((pickle,))?.unbind());
    }
    let opened = object.map(ObjectRef::open).transpose().or_raise(py)?;
    let buffers = PyList::empty(py);
    for at in 0..count {
        let offset = u64_at(bytes, 8 + 16 * at).ok_or_else(bad)?;
        let len = u64_at(bytes, 16 + 16 * at).ok_or_else(bad)?;
        let range = offset
            .checked_add(len)
            .and_then(|end| bytes.get(offset..end))
            .ok_or_else(bad)?;
        match &opened {
            Some(opened) if len >= SMALL => buffers.append(Py::new(py, Buffer::new(opened.clone(), offset, len))?)?,
            _ => buffers.append(PyBytes::new(py, range))?,
        }
    }
    static KEYWORD: PyOnceLock<Py<pyo3::types::PyString>> = PyOnceLock::new();
    let keyword = KEYWORD.get_or_init(py, || pyo3::types::PyString::intern(py, "buffers").unbind());
    let kwargs = pyo3::types::PyDict::new(py);
    kwargs.set_item(keyword, buffers)?;
    Ok(loads.call((pickle,), Some(&kwargs))?.unbind())
}
