//! What `park.tensors.describe` says about an array or tensor, and putting such a description into the store.

use park_core::{DType, TensorSpec, View};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use crate::dlpack;
use crate::encode::Encoded;
use crate::gate::{self, OrRaise};
use crate::object::ObjectRef;
use crate::strided::{Owner, Strided};

/// Address, shape, strides in bytes, width of swapped parts, owner.
type Described<'py> = (usize, Vec<u64>, Vec<i64>, usize, Bound<'py, PyAny>);

/// A description of a tensor: DLPack code, bits, `View`, and where its elements are.
pub(crate) struct Description {
    dtype: DType,
    view: View,
    pub(crate) elements: Strided,
}

impl Description {
    /// `(code, bits, view, source)`; the source is an exporter of a buffer, or a tuple of what one would say.
    pub(crate) fn extract(description: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = description.py();
        let (code, bits, view, source): (u8, u8, u8, Bound<'_, PyAny>) = description.extract()?;
        let dtype = DType::new(code, bits).or_raise(py)?;
        let elements = if source.is_instance_of::<pyo3::types::PyTuple>() {
            let (address, shape, strides, swapped, owner): Described<'_> = source.extract()?;
            let owner = Owner::Object(owner.unbind());
            Strided::new(address, usize::from(bits) / 8, shape, strides, swapped, owner)?
        } else {
            Strided::from_buffer(PyUntypedBuffer::get(&source)?)?
        };
        if elements.itemsize() as u64 != dtype.bytes() {
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "the buffer has elements of {} bytes, {dtype} has {}",
                elements.itemsize(),
                dtype.bytes()
            )));
        }
        Ok(Self {
            dtype,
            view: View::from_number(view),
            elements,
        })
    }

    /// The tensor as it will be stored: dense layouts stay, others become C order.
    pub(crate) fn encoded(self, py: Python<'_>) -> PyResult<Encoded> {
        let spec = self.spec().or_raise(py)?;
        Ok(Encoded::Tensor {
            spec,
            elements: self.elements,
        })
    }

    fn spec(&self) -> park_core::Result<TensorSpec> {
        let shape = self.elements.shape();
        match self.elements.dense() {
            Some(strides) => TensorSpec::strided(self.dtype, shape, &strides, self.view),
            None => TensorSpec::contiguous(self.dtype, shape, self.view),
        }
    }
}

/// Every element type of the store: `(name, DLPack code, bits)`.
#[pyfunction]
pub(crate) fn dtypes() -> Vec<(&'static str, u8, u8)> {
    DType::ALL
        .iter()
        .map(|(dtype, name)| (*name, dtype.code, dtype.bits))
        .collect()
}

/// Stores the tensor that a description of `park.tensors` speaks of. It is trusted: whoever made it vouches for the address.
#[pyfunction]
pub(crate) fn put_described(description: &Bound<'_, PyAny>) -> PyResult<ObjectRef> {
    let py = description.py();
    let store = gate::store(py)?;
    let inner = Description::extract(description)?.encoded(py)?.put(py, &store)?;
    Ok(inner.into())
}

/// Stores a copy of a tensor of any library that speaks DLPack; `get` gives a `TensorView` of it.
#[pyfunction]
pub(crate) fn put_dlpack(exporter: &Bound<'_, PyAny>) -> PyResult<ObjectRef> {
    let py = exporter.py();
    let store = gate::store(py)?;
    let (dtype, elements) = dlpack::import(exporter)?;
    let description = Description {
        dtype,
        view: View::Plain,
        elements,
    };
    let inner = description.encoded(py)?.put(py, &store)?;
    Ok(inner.into())
}

/// The strides, in elements, that a described tensor has once it is stored.
#[pyfunction]
pub(crate) fn stored_strides(description: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    Ok(Description::extract(description)?
        .spec()
        .or_raise(description.py())?
        .strides)
}
