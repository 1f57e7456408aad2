//! Objects to Python values. Arrays, tensors and out-of-band buffers become views that pin their object; errors are raised.

use std::sync::Arc;

use park_core::channel::Message;
use park_core::{Format, Object, ObjectRef, TensorSpec, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList};

use crate::buffer::{Buffer, Pinned};
use crate::gate::{self, OrRaise};
use crate::tensor_view::TensorView;

/// Buffers shorter than this are copied: a view costs more than the copy and would pin the whole object.
const SMALL: usize = 1 << 10;

/// The value of a sealed object.
pub(crate) fn decode(py: Python<'_>, object: &ObjectRef) -> PyResult<Py<PyAny>> {
    gate::bring_in(py, object, None)?;
    let sealed = object.sealed().or_raise(py)?;
    match sealed.format {
        Format::Pickle5 => unpickle(py, sealed.bytes, Some(Pin::Object(object))),
        Format::Raw => {
            object.store().count_copied(sealed.bytes.len() as u64);
            Ok(PyBytes::new(py, sealed.bytes).into_any().unbind())
        }
        Format::Tensor | Format::Mapped => tensor(py, object.open().or_raise(py)?),
        Format::Arrow => {
            let opened = object.open().or_raise(py)?;
            let len = opened.bytes().len();
            let buffer = Py::new(py, Buffer::new(Pinned::Object(opened), 0, len))?;
            arrow(py, buffer.into_any())
        }
        Format::Error => Err(gate::raise(py, &park_core::store::format::decode_error(sealed.bytes))),
        Format::Actor => Err(PyValueError::new_err(format!(
            "object {} is an actor's handle, not a value",
            object.id()
        ))),
        Format::Code => Err(PyValueError::new_err(format!(
            "object {} is a function or class that work is made with, not a value",
            object.id()
        ))),
        Format::Channel => Err(PyValueError::new_err(format!(
            "object {} is a channel, not a value",
            object.id()
        ))),
    }
}

/// The tensor that an object is, as a value of no library, whichever put it.
pub(crate) fn view(py: Python<'_>, object: &ObjectRef) -> PyResult<TensorView> {
    let object = object.open().or_raise(py)?;
    let (spec, elements) = object.tensor().or_raise(py)?;
    let start = object.bytes().len() - elements.len();
    Ok(TensorView::new(Pinned::Object(object.clone()), start, spec))
}

/// What was put as an Arrow stream, over the bytes of a buffer.
pub(crate) fn arrow(py: Python<'_>, buffer: Py<PyAny>) -> PyResult<Py<PyAny>> {
    static READ: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let read = READ.get_or_try_init(py, || py.import("park.arrow")?.getattr("read").map(Bound::unbind))?;
    read.call1(py, (buffer,))
}

fn tensor(py: Python<'_>, object: Object) -> PyResult<Py<PyAny>> {
    let (spec, elements) = object.tensor().or_raise(py)?;
    let len = elements.len();
    tensor_view(py, Pinned::Object(object.clone()), &spec, len)
}

/// An array or tensor over the last `len` of the pinned bytes.
pub(crate) fn tensor_view(py: Python<'_>, pinned: Pinned, spec: &TensorSpec, len: usize) -> PyResult<Py<PyAny>> {
    static VIEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let view = VIEW.get_or_try_init(py, || py.import("park.tensors")?.getattr("view").map(Bound::unbind))?;
    let start = pinned.bytes().len() - len;
    if spec.view == View::Plain {
        return Ok(Py::new(py, TensorView::new(pinned, start, spec.clone()))?.into_any());
    }
    let buffer = Py::new(py, Buffer::new(pinned, start, len))?;
    view.call1(
        py,
        (
            buffer,
            spec.dtype.code,
            spec.dtype.bits,
            spec.shape.as_slice(),
            spec.strides.as_slice(),
            spec.view as u8,
        ),
    )
}

/// What a payload lies in, should a view of it have to keep it there.
#[derive(Clone, Copy)]
pub(crate) enum Pin<'a> {
    Object(&'a ObjectRef),
    Message(&'a Arc<Message>),
}

impl Pin<'_> {
    fn pinned(self) -> park_core::Result<Pinned> {
        match self {
            Self::Object(object) => object.open().map(Pinned::Object),
            Self::Message(message) => Ok(Pinned::Message(message.clone())),
        }
    }
}

fn malformed(len: usize) -> PyErr {
    PyValueError::new_err(format!("a pickle object of {len} bytes is malformed"))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<usize> {
    let (word, _) = bytes.get(at..)?.split_first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*word)).ok()
}

/// Unpickles a PICKLE5 payload. With something to pin, large buffers are views of it; without, they are copies.
pub(crate) fn unpickle(py: Python<'_>, bytes: &[u8], pin: Option<Pin<'_>>) -> PyResult<Py<PyAny>> {
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
    if let Some(Pin::Object(object)) = pin {
        object.store().count_copied(length as u64);
    }
    let pickle = PyBytes::new(py, pickle);
    if count == 0 {
        return Ok(loads.call1((pickle,))?.unbind());
    }
    let pinned = pin.map(Pin::pinned).transpose().or_raise(py)?;
    let buffers = PyList::empty(py);
    for at in 0..count {
        let offset = u64_at(bytes, 8 + 16 * at).ok_or_else(bad)?;
        let len = u64_at(bytes, 16 + 16 * at).ok_or_else(bad)?;
        let range = offset
            .checked_add(len)
            .and_then(|end| bytes.get(offset..end))
            .ok_or_else(bad)?;
        match &pinned {
            Some(pinned) if len >= SMALL => buffers.append(Py::new(py, Buffer::new(pinned.clone(), offset, len))?)?,
            _ => buffers.append(PyBytes::new(py, range))?,
        }
    }
    static KEYWORD: PyOnceLock<Py<pyo3::types::PyString>> = PyOnceLock::new();
    let keyword = KEYWORD.get_or_init(py, || pyo3::types::PyString::intern(py, "buffers").unbind());
    let kwargs = pyo3::types::PyDict::new(py);
    kwargs.set_item(keyword, buffers)?;
    Ok(loads.call((pickle,), Some(&kwargs))?.unbind())
}
