//! `Buffer`: a range of a sealed object as a Python buffer. Whoever looks at it keeps the object alive.
#![allow(unsafe_code, reason = "fills Py_buffer by hand; the object behind it pins the bytes")]

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use park_core::channel::Message;
use park_core::{DType, Object, TensorSpec, View};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::gate::OrRaise;
use crate::tensor_view::TensorView;

const BYTES: &CStr = c"B";

/// What keeps the bytes of a buffer where they are.
#[derive(Clone, Debug)]
pub(crate) enum Pinned {
    /// A sealed object.
    Object(Object),
    /// A message of a channel.
    Message(Arc<Message>),
}

impl Pinned {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Object(object) => object.bytes(),
            Self::Message(message) => message.bytes(),
        }
    }
}

/// Bytes of a sealed object, or of a message of a channel, shared without a copy. Supports the buffer protocol, read-only.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct Buffer {
    pinned: Pinned,
    start: usize,
    len: usize,
    /// PyTorch warns about every read-only buffer, although it has no read-only tensors; for it alone the view says "writable".
    /// The pages are mapped read-only: a write faults.
    for_torch: bool,
}

impl Buffer {
    /// The range must lie inside what is pinned; a range that does not is cut.
    pub(crate) fn new(pinned: Pinned, start: usize, len: usize) -> Self {
        let end = pinned.bytes().len();
        let start = start.min(end);
        Self {
            pinned,
            start,
            len: len.min(end - start),
            for_torch: false,
        }
    }
}

#[pymethods]
impl Buffer {
    /// The same bytes, for `torch.frombuffer`.
    fn for_torch(&self) -> Self {
        Self {
            pinned: self.pinned.clone(),
            start: self.start,
            len: self.len,
            for_torch: true,
        }
    }

    /// The dense tensor whose elements start at `offset` of these bytes. Strides are in elements.
    fn tensor(
        &self,
        py: Python<'_>,
        offset: usize,
        code: u8,
        bits: u8,
        shape: Vec<u64>,
        strides: Vec<u64>,
    ) -> PyResult<TensorView> {
        let dtype = DType::new(code, bits).or_raise(py)?;
        let spec = TensorSpec::strided(dtype, &shape, &strides, View::Plain).or_raise(py)?;
        if offset as u64 > self.len as u64 || spec.nbytes() > (self.len - offset) as u64 {
            return Err(PyBufferError::new_err(format!(
                "a tensor of {} bytes at {offset} is not inside a buffer of {}",
                spec.nbytes(),
                self.len
            )));
        }
        Ok(TensorView::new(self.pinned.clone(), self.start + offset, spec))
    }

    fn __len__(&self) -> usize {
        self.len
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        if view.is_null() {
            return Err(PyBufferError::new_err("view is null"));
        }
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE && !this.for_torch {
            return Err(PyBufferError::new_err(
                "objects in the store are read-only: copy them to write",
            ));
        }
        let bytes = this.pinned.bytes();
        let address = bytes.as_ptr().wrapping_add(this.start);
        let len = this.len.cast_signed();
        // SAFETY: CPython passes a valid view to fill. The bytes outlive it: the view owns a reference to this object.
        let view = unsafe { &mut *view };
        view.buf = address.cast_mut().cast::<c_void>();
        view.len = len;
        view.readonly = c_int::from(!this.for_torch);
        view.itemsize = 1;
        view.format = if flags & ffi::PyBUF_FORMAT == ffi::PyBUF_FORMAT {
            BYTES.as_ptr().cast_mut()
        } else {
            ptr::null_mut()
        };
        view.ndim = 1;
        view.shape = if flags & ffi::PyBUF_ND == ffi::PyBUF_ND {
            &raw mut view.len
        } else {
            ptr::null_mut()
        };
        view.strides = if flags & ffi::PyBUF_STRIDES == ffi::PyBUF_STRIDES {
            &raw mut view.itemsize
        } else {
            ptr::null_mut()
        };
        view.suboffsets = ptr::null_mut();
        view.internal = ptr::null_mut();
        view.obj = slf.into_ptr();
        Ok(())
    }
}
