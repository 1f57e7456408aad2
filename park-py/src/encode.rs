//! Python values to objects.
//!
//! Three ways, cheapest first: numbers, strings and small containers of them go through the C pickler directly; dense numpy arrays
//! and CPU tensors become TENSOR objects with one copy; everything else goes through cloudpickle (python/park/serialization.py)
//! with its large buffers out of band.
#![allow(
    unsafe_code,
    reason = "copies from buffers that Python keeps alive and in place during the call"
)]

use std::sync::Arc;

use park_core::ipc::Payload;
use park_core::{DType, Format, MutableObject, ObjectId, Spec, Store, TensorSpec, View};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple, PyType};

use crate::gate::{OrRaise, block};
use crate::object::collect_nested;

/// Arguments of up to this many bytes travel in the message itself.
const INLINE_ARGS: usize = 4 << 10;
/// From this size on, a copy lets other Python threads run meanwhile.
const LONG_COPY: usize = 1 << 20;
/// How much of a container is looked at before it is given to cloudpickle as a whole.
const PLAIN_ITEMS: usize = 64;

/// A value that is ready to be written into an object.
pub(crate) enum Encoded {
    /// A pickle and the buffers it refers to.
    Pickle {
        pickle: Py<PyBytes>,
        buffers: Vec<PyUntypedBuffer>,
        nested: Vec<park_core::ObjectRef>,
    },
    /// A dense tensor.
    Tensor {
        spec: TensorSpec,
        elements: PyUntypedBuffer,
    },
}

/// Turns a value into what `put` writes.
pub(crate) fn encode(value: &Bound<'_, PyAny>) -> PyResult<Encoded> {
    encode_with(value, "dumps")
}

/// As `encode`, for the `(args, kwargs)` of a call: what cannot be pickled is named as an argument.
pub(crate) fn encode_call(value: &Bound<'_, PyAny>) -> PyResult<Encoded> {
    encode_with(value, "dumps_call")
}

fn encode_with(value: &Bound<'_, PyAny>, dumps: &str) -> PyResult<Encoded> {
    let py = value.py();
    if is_plain(value, 3) {
        return Ok(Encoded::Pickle {
            pickle: plain_pickle(value)?,
            buffers: Vec::new(),
            nested: Vec::new(),
        });
    }
    if is_tensor_like(value)?
        && let Some(tensor) = describe(value)?
    {
        return Ok(tensor);
    }
    static PICKLING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let pickling = PICKLING.get_or_try_init(py, || py.import("park.serialization").map(Bound::unbind))?;
    let (pickled, nested) = collect_nested(|| pickling.bind(py).call_method1(dumps, (value,)))?;
    let (pickle, buffers): (Py<PyBytes>, Vec<Bound<'_, PyAny>>) = pickled.extract()?;
    let buffers = buffers.iter().map(PyUntypedBuffer::get).collect::<PyResult<_>>()?;
    Ok(Encoded::Pickle {
        pickle,
        buffers,
        nested,
    })
}

fn plain_pickle(value: &Bound<'_, PyAny>) -> PyResult<Py<PyBytes>> {
    static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let dumps = DUMPS.get_or_try_init(py, || py.import("pickle")?.getattr("dumps").map(Bound::unbind))?;
    Ok(dumps.bind(py).call1((value, 5))?.cast_into::<PyBytes>()?.unbind())
}

/// Whether the C pickler does the same as cloudpickle: builtin scalars, and small containers of them, of exactly those types.
fn is_plain(value: &Bound<'_, PyAny>, depth: u8) -> bool {
    if value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyNone>()
        || value.is_exact_instance_of::<PyBool>()
        || (value.is_exact_instance_of::<PyBytes>() && value.len().is_ok_and(|len| len < LONG_COPY))
    {
        return true;
    }
    if depth == 0 {
        return false;
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return tuple.len() <= PLAIN_ITEMS && tuple.iter().all(|item| is_plain(&item, depth - 1));
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return list.len() <= PLAIN_ITEMS && list.iter().all(|item| is_plain(&item, depth - 1));
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return dict.len() <= PLAIN_ITEMS
            && dict
                .iter()
                .all(|(key, item)| is_plain(&key, depth - 1) && is_plain(&item, depth - 1));
    }
    false
}

/// Whether the value is exactly a numpy array or a torch tensor. Neither library is imported for the question.
fn is_tensor_like(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    static NDARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static TENSOR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let kind = value.get_type();
    for (known, module, name) in [(&NDARRAY, "numpy", "ndarray"), (&TENSOR, "torch", "Tensor")] {
        if known.get(py).is_none() {
            let modules = py
                .import(intern!(py, "sys"))?
                .getattr(intern!(py, "modules"))?
                .cast_into::<PyDict>()?;
            // A module that is just being imported by another thread may lack the class: then it is not this value's yet.
            if let Some(class) = modules.get_item(module)?.and_then(|module| module.getattr(name).ok()) {
                let _ = known.set(py, class.cast_into::<PyType>()?.unbind());
            }
        }
        if known.get(py).is_some_and(|known| kind.is(known)) {
            return Ok(true);
        }
    }
    Ok(false)
}

type Description<'py> = (u8, u8, Vec<u64>, Vec<u64>, u8, Bound<'py, PyAny>);

fn describe(value: &Bound<'_, PyAny>) -> PyResult<Option<Encoded>> {
    static DESCRIBE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let describe =
        DESCRIBE.get_or_try_init(py, || py.import("park.tensors")?.getattr("describe").map(Bound::unbind))?;
    let Some((code, bits, shape, strides, view, elements)) = describe
        .bind(py)
        .call1((value,))?
        .extract::<Option<Description<'_>>>()?
    else {
        return Ok(None);
    };
    let dtype = DType::new(code, bits).or_raise(py)?;
    let spec = TensorSpec::strided(dtype, &shape, &strides, View::from_number(view)).or_raise(py)?;
    let elements = PyUntypedBuffer::get(&elements)?;
    if elements.len_bytes() as u64 != spec.nbytes() || !(elements.is_c_contiguous() || elements.is_fortran_contiguous())
    {
        return Ok(None);
    }
    Ok(Some(Encoded::Tensor { spec, elements }))
}

/// One memory copy to do: offset in the object, address, length.
pub(crate) type Copy = (u64, usize, usize);

fn aligned(offset: usize) -> usize {
    offset.next_multiple_of(64)
}

impl Encoded {
    fn nested_ids(&self) -> Vec<ObjectId> {
        match self {
            Self::Pickle { nested, .. } => nested.iter().map(park_core::ObjectRef::id).collect(),
            Self::Tensor { .. } => Vec::new(),
        }
    }

    /// Header, copies and total length of a pickle object (store/format.rs).
    pub(crate) fn layout(&self, py: Python<'_>) -> (Vec<u8>, Vec<Copy>, usize) {
        match self {
            Self::Tensor { spec, elements } => {
                let header = spec.header().to_vec();
                let copy = (header.len() as u64, elements.buf_ptr().addr(), elements.len_bytes());
                let total = header.len() + elements.len_bytes();
                (header, vec![copy], total)
            }
            Self::Pickle { pickle, buffers, .. } => {
                let pickle = pickle.as_bytes(py);
                let start = 8 + 16 * buffers.len();
                let mut header = Vec::with_capacity(start + pickle.len());
                let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                header.extend_from_slice(&small(buffers.len()).to_le_bytes());
                header.extend_from_slice(&small(pickle.len()).to_le_bytes());
                let mut end = start + pickle.len();
                let mut copies = Vec::with_capacity(buffers.len());
                for buffer in buffers {
                    let at = aligned(end);
                    end = at + buffer.len_bytes();
                    header.extend_from_slice(&(at as u64).to_le_bytes());
                    header.extend_from_slice(&(buffer.len_bytes() as u64).to_le_bytes());
                    copies.push((at as u64, buffer.buf_ptr().addr(), buffer.len_bytes()));
                }
                header.extend_from_slice(pickle);
                (header, copies, end)
            }
        }
    }

    fn spec<'a>(&self, len: usize, nested: &'a [ObjectId]) -> Spec<'a> {
        match self {
            Self::Pickle { .. } => Spec {
                len: len as u64,
                format: Format::Pickle5,
                view: View::Numpy,
                nested,
            },
            Self::Tensor { spec, .. } => Spec {
                len: len as u64,
                format: Format::Tensor,
                view: spec.view,
                nested,
            },
        }
    }

    /// Writes the value into a new object.
    pub(crate) fn put(&self, py: Python<'_>, store: &Arc<Store>) -> PyResult<park_core::ObjectRef> {
        let nested = self.nested_ids();
        let (header, copies, len) = self.layout(py);
        let spec = self.spec(len, &nested);
        // Room may have to be waited for; the common case has it at once.
        let object = match store.create(spec, &mut never_wait) {
            Err(error) if error.kind() == park_core::ErrorKind::Interrupted => {
                // Views in reference cycles (exception frames, mostly) may be all that fills the store.
                py.import("gc")?.call_method0("collect")?;
                block(py, |interrupt| store.create(spec, interrupt))?
            }
            other => other.or_raise(py)?,
        };
        write(py, object, &header, &copies)
    }

    /// Writes the value into a promised object. Nothing happens if somebody else did so first.
    pub(crate) fn fulfil(&self, py: Python<'_>, store: &Arc<Store>, id: ObjectId) -> PyResult<()> {
        let nested = self.nested_ids();
        let (header, copies, len) = self.layout(py);
        let spec = self.spec(len, &nested);
        if let Some(object) = block(py, |interrupt| store.fulfil(id, spec, interrupt))? {
            write(py, object, &header, &copies)?;
        }
        Ok(())
    }

    /// The arguments of a task or call: in the message if they are small, else as an object on which the message owns a hold.
    /// Also returns the references that an inline payload contains, each with a hold.
    pub(crate) fn into_payload(self, py: Python<'_>, store: &Arc<Store>) -> PyResult<(Payload, Vec<ObjectId>)> {
        if let Self::Pickle { .. } = &self {
            let (mut bytes, copies, len) = self.layout(py);
            if len <= INLINE_ARGS {
                bytes.resize(len, 0);
                for (at, source, length) in copies {
                    let at = usize::try_from(at).unwrap_or(0);
                    // SAFETY: Python keeps the buffer in place while we hold it; the destination was just sized for it.
                    unsafe {
                        std::ptr::copy_nonoverlapping(source as *const u8, bytes[at..at + length].as_mut_ptr(), length)
                    };
                }
                let nested = self.nested_ids();
                nested.iter().try_for_each(|id| store.hold(*id)).or_raise(py)?;
                return Ok((Payload::Inline(bytes), nested));
            }
        }
        let object = self.put(py, store)?;
        object.hold().or_raise(py)?;
        Ok((Payload::Stored(object.id()), Vec::new()))
    }
}

/// An interrupt that refuses to wait at all: the caller then waits without holding the interpreter.
fn never_wait() -> park_core::Result<()> {
    Err(park_core::Error::new(park_core::ErrorKind::Interrupted, "would wait"))
}

fn write(py: Python<'_>, mut object: MutableObject, header: &[u8], copies: &[Copy]) -> PyResult<park_core::ObjectRef> {
    let mut fill = || {
        object.write(0, header)?;
        for (at, source, len) in copies {
            // SAFETY: the buffers are held by the `Encoded` behind `copies`, so Python keeps them alive and in place.
            unsafe { object.write_from(*at, *source as *const u8, *len) }?;
        }
        Ok(())
    };
    if copies.iter().map(|(_, _, len)| len).sum::<usize>() >= LONG_COPY {
        py.detach(fill).or_raise(py)?;
    } else {
        fill().or_raise(py)?;
    }
    object.seal().or_raise(py)
}
