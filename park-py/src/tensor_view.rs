//! `TensorView`: a stored tensor that belongs to no library, for any of them to read in place.
//!
//! It speaks DLPack, `__array_interface__` and the buffer protocol. Each export keeps the object alive; all of them are read-only.
#![allow(unsafe_code, reason = "fills Py_buffer by hand; the object behind it pins the bytes")]

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use park_core::{DType, TensorSpec};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::buffer::{Buffer, Pinned};
use crate::dlpack::{self, Request};

/// A tensor in the store, shared without a copy, read-only. numpy, torch, jax and others read it by their `from_dlpack`.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct TensorView {
    pinned: Pinned,
    /// Where in the pinned bytes the elements start.
    start: usize,
    spec: TensorSpec,
    /// In the types of `Py_buffer`; strides in bytes.
    shape: Vec<isize>,
    strides: Vec<isize>,
}

impl TensorView {
    /// The elements must lie inside what is pinned: the caller checked that.
    pub(crate) fn new(pinned: Pinned, start: usize, spec: TensorSpec) -> Self {
        let itemsize = spec.dtype.bytes().cast_signed() as isize;
        Self {
            shape: spec.shape.iter().map(|extent| extent.cast_signed() as isize).collect(),
            strides: spec
                .strides
                .iter()
                .map(|stride| stride.cast_signed() as isize * itemsize)
                .collect(),
            pinned,
            start,
            spec,
        }
    }

    fn len(&self) -> usize {
        usize::try_from(self.spec.nbytes()).unwrap_or(0)
    }

    fn address(&self) -> usize {
        self.pinned.bytes().as_ptr().addr() + self.start
    }

    /// Whether the elements are in C order, or with `reversed` in Fortran order.
    fn is_contiguous(&self, reversed: bool) -> bool {
        let mut step = self.spec.dtype.bytes().cast_signed() as isize;
        let mut dims: Vec<_> = self.shape.iter().zip(&self.strides).collect();
        if !reversed {
            dims.reverse();
        }
        self.shape.contains(&0)
            || dims.iter().all(|(extent, stride)| {
                let fits = **extent == 1 || **stride == step;
                step *= **extent;
                fits
            })
    }
}

/// The buffer protocol's code of a type; it has none for the narrow floats.
fn format_of(dtype: DType) -> Option<&'static CStr> {
    Some(match (dtype.code, dtype.bits) {
        (0, 8) => c"b",
        (0, 16) => c"h",
        (0, 32) => c"i",
        (0, 64) => c"q",
        (1, 8) => c"B",
        (1, 16) => c"H",
        (1, 32) => c"I",
        (1, 64) => c"Q",
        (2, 16) => c"e",
        (2, 32) => c"f",
        (2, 64) => c"d",
        (5, 64) => c"Zf",
        (5, 128) => c"Zd",
        (6, 8) => c"?",
        _ => return None,
    })
}

#[pymethods]
impl TensorView {
    /// The name of the element type, as numpy and torch spell it.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.spec.dtype.name()
    }

    /// The extents.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.spec.shape)
    }

    /// The distances between neighbours, in elements.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.spec.strides)
    }

    /// Bytes of all elements.
    #[getter]
    fn nbytes(&self) -> usize {
        self.len()
    }

    /// The elements as bytes, in the order in which they lie in memory.
    #[getter]
    fn raw(&self) -> Buffer {
        Buffer::new(self.pinned.clone(), self.start, self.len())
    }

    fn __repr__(&self) -> String {
        format!("TensorView({}, shape {:?})", self.spec.dtype, self.spec.shape)
    }

    /// Refused: a view is of this process's memory. What travels is a reference.
    fn __reduce__(&self) -> PyResult<Py<PyAny>> {
        Err(PyTypeError::new_err(
            "a TensorView cannot be pickled, as part of a value or as an argument: pass its ObjectRef instead",
        ))
    }

    /// `(kDLCPU, 0)`.
    fn __dlpack_device__(&self) -> (i32, i32) {
        (dlpack::CPU, 0)
    }

    /// A DLPack capsule. Without `copy` it is read-only, which needs `max_version=(1, 0)` or higher: BufferError otherwise.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<i64>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if stream.is_some_and(|stream| stream != -1) {
            return Err(PyBufferError::new_err("a tensor of the CPU has no stream"));
        }
        if dl_device.is_some_and(|device| device != (dlpack::CPU, 0)) {
            return Err(PyBufferError::new_err(
                "the tensor is on the CPU, and exported to no other device",
            ));
        }
        dlpack::export(py, &self.pinned, self.start, &self.spec, &Request { max_version, copy })
    }

    /// numpy's array interface, version 3. A type that numpy has no code for is raw bytes ("V") here.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let kind = match self.spec.dtype.code {
            0 => 'i',
            1 => 'u',
            2 => 'f',
            5 => 'c',
            6 => 'b',
            _ => 'V',
        };
        let bytes = self.spec.dtype.bytes();
        let order = if bytes == 1 || kind == 'V' {
            '|'
        } else if cfg!(target_endian = "little") {
            '<'
        } else {
            '>'
        };
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", format!("{order}{kind}{bytes}"))?;
        interface.set_item("shape", PyTuple::new(py, &self.shape)?)?;
        interface.set_item("strides", PyTuple::new(py, &self.strides)?)?;
        interface.set_item("data", (self.address(), true))?;
        Ok(interface)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let asks = |flag: c_int| flags & flag == flag;
        let refuse = |text: String| Err(PyBufferError::new_err(text));
        if view.is_null() {
            return refuse("view is null".to_owned());
        }
        if asks(ffi::PyBUF_WRITABLE) {
            return refuse("objects in the store are read-only: copy them to write".to_owned());
        }
        let Some(format) = format_of(this.spec.dtype) else {
            return refuse(format!(
                "the buffer protocol has no code for {}: read it through DLPack, or its bytes as `raw`",
                this.spec.dtype
            ));
        };
        let (c, fortran) = (this.is_contiguous(false), this.is_contiguous(true));
        let order = [
            (ffi::PyBUF_C_CONTIGUOUS, c),
            (ffi::PyBUF_F_CONTIGUOUS, fortran),
            (ffi::PyBUF_ANY_CONTIGUOUS, c || fortran),
        ];
        // Who asks for no strides reads in C order.
        let fits = (c || asks(ffi::PyBUF_STRIDES)) && order.iter().all(|(flag, kept)| *kept || !asks(*flag));
        if !fits {
            return refuse(format!(
                "the tensor of strides {:?} is not contiguous in the way that was asked for",
                this.spec.strides
            ));
        }
        // SAFETY: CPython passes a valid view to fill. What it points to outlives it: the view owns a reference to this object.
        let view = unsafe { &mut *view };
        let bytes = this.pinned.bytes();
        view.buf = bytes.as_ptr().wrapping_add(this.start).cast_mut().cast::<c_void>();
        view.len = this.len().cast_signed();
        view.readonly = 1;
        view.itemsize = this.spec.dtype.bytes().cast_signed() as isize;
        view.format = if asks(ffi::PyBUF_FORMAT) {
            format.as_ptr().cast_mut()
        } else {
            ptr::null_mut()
        };
        let list = |wanted: bool, values: &[isize]| {
            if wanted {
                values.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            }
        };
        let shaped = asks(ffi::PyBUF_ND);
        view.ndim = if shaped { this.shape.len() as c_int } else { 1 };
        view.shape = list(shaped, &this.shape);
        view.strides = list(asks(ffi::PyBUF_STRIDES), &this.strides);
        view.suboffsets = ptr::null_mut();
        view.internal = ptr::null_mut();
        view.obj = slf.into_ptr();
        Ok(())
    }
}
