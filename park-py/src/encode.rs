//! Python values to objects.
//!
//! Cheapest first: numbers, strings and small containers of them go through the C pickler directly; numpy arrays and CPU tensors
//! become TENSOR objects and pyarrow's tables ARROW ones, with one copy; everything else goes through cloudpickle
//! (python/park/serialization.py) with its large buffers out of band.

use std::sync::Arc;

use park_core::ipc::Payload;
use park_core::store::format::TENSOR_HEADER;
use park_core::{Format, MutableObject, ObjectId, Spec, Store, TensorSpec, View};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple, PyType};

use crate::described::Description;
use crate::gate::{self, OrRaise, block};
use crate::member;
use crate::object::{ObjectRef, collect_nested};
use crate::strided::Strided;
use crate::tensor_view::TensorView;

/// Arguments of up to this many bytes travel in the message itself.
const INLINE_ARGS: usize = 4 << 10;
/// From this size on, a copy lets other Python threads run meanwhile.
const LONG_COPY: usize = 1 << 20;
/// How much of a container is looked at before it is given to cloudpickle as a whole.
const PLAIN_ITEMS: usize = 64;

/// What is copied where.
pub(crate) type Parts = Vec<(u64, Strided)>;

/// Memory that a pickle refers to: its length, and what goes where in it.
pub(crate) struct Region {
    pub(crate) len: usize,
    pub(crate) parts: Parts,
}

/// A value that is ready to be written into an object.
pub(crate) enum Encoded {
    /// A pickle and the buffers it refers to.
    Pickle {
        pickle: Py<PyBytes>,
        regions: Vec<Region>,
        nested: Vec<park_core::ObjectRef>,
    },
    /// A dense tensor.
    Tensor { spec: TensorSpec, elements: Strided },
    /// An Arrow stream, in pieces.
    Arrow { len: usize, pieces: Parts },
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
            regions: Vec::new(),
            nested: Vec::new(),
        });
    }
    match known_kind(value)? {
        Some(Known::Tensor) => {
            static DESCRIBE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let described = function(py, &DESCRIBE, "park.tensors", "describe")?.call1((value,))?;
            if !described.is_none() {
                return Description::extract(&described)?.encoded(py);
            }
        }
        Some(Known::Arrow) => {
            static STREAM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            return arrow(&function(py, &STREAM, "park.arrow", "stream")?.call1((value,))?);
        }
        None => {}
    }
    static PICKLING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let pickling = PICKLING.get_or_try_init(py, || py.import("park.serialization").map(Bound::unbind))?;
    let (pickled, nested) = collect_nested(|| pickling.bind(py).call_method1(dumps, (value,)))?;
    let (pickle, buffers): (Py<PyBytes>, Vec<Bound<'_, PyAny>>) = pickled.extract()?;
    let region = |buffer: &Bound<'_, PyAny>| {
        let bytes = Strided::bytes(PyUntypedBuffer::get(buffer)?)?;
        Ok(Region {
            len: bytes.nbytes(),
            parts: vec![(0, bytes)],
        })
    };
    Ok(Encoded::Pickle {
        pickle,
        regions: buffers.iter().map(region).collect::<PyResult<_>>()?,
        nested,
    })
}

/// A function of a module of the package, looked up once.
fn function<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let found = cell.get_or_try_init(py, || py.import(module)?.getattr(name).map(Bound::unbind))?;
    Ok(found.bind(py))
}

/// `(length, [(offset, contiguous buffer), ...])` as `park.arrow.stream` returns it.
pub(crate) fn arrow(stream: &Bound<'_, PyAny>) -> PyResult<Encoded> {
    let (len, pieces): (usize, Vec<(u64, Bound<'_, PyAny>)>) = stream.extract()?;
    let piece = |(at, buffer): (u64, Bound<'_, PyAny>)| Ok((at, Strided::bytes(PyUntypedBuffer::get(&buffer)?)?));
    Ok(Encoded::Arrow {
        len,
        pieces: pieces.into_iter().map(piece).collect::<PyResult<_>>()?,
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

/// What is stored in a format that other languages read.
#[derive(Clone, Copy)]
enum Known {
    Tensor,
    Arrow,
}

/// Whether the value is exactly a numpy array, a torch tensor, a `TensorView`, or a table or batch of pyarrow. None of the libraries
/// is imported for the question.
fn known_kind(value: &Bound<'_, PyAny>) -> PyResult<Option<Known>> {
    const KNOWN: [(&str, &str, Known); 4] = [
        ("numpy", "ndarray", Known::Tensor),
        ("torch", "Tensor", Known::Tensor),
        ("pyarrow", "Table", Known::Arrow),
        ("pyarrow", "RecordBatch", Known::Arrow),
    ];
    static CLASSES: [PyOnceLock<Py<PyType>>; KNOWN.len()] = [const { PyOnceLock::new() }; KNOWN.len()];
    let py = value.py();
    let class = value.get_type();
    if value.is_exact_instance_of::<TensorView>() {
        return Ok(Some(Known::Tensor));
    }
    let mut modules = None;
    for (known, (module, name, kind)) in CLASSES.iter().zip(KNOWN) {
        if known.get(py).is_none() {
            if modules.is_none() {
                let found = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
                modules = Some(found.cast_into::<PyDict>()?);
            }
            let Some(modules) = &modules else { continue };
            // A module that is just being imported by another thread may lack the class: then it is not this value's yet.
            if let Some(class) = modules.get_item(module)?.and_then(|module| module.getattr(name).ok()) {
                let _ = known.set(py, class.cast_into::<PyType>()?.unbind());
            }
        }
        if known.get(py).is_some_and(|known| class.is(known)) {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// One copy to do: offset in the object, and what goes there.
pub(crate) type Copy<'a> = (u64, &'a Strided);

fn aligned(offset: usize) -> usize {
    offset.next_multiple_of(64)
}

impl Encoded {
    fn nested_ids(&self) -> Vec<ObjectId> {
        match self {
            Self::Pickle { nested, .. } => nested.iter().map(park_core::ObjectRef::id).collect(),
            Self::Tensor { .. } | Self::Arrow { .. } => Vec::new(),
        }
    }

    /// What the object starts with, the copies that fill the rest, and its length (store/format.rs).
    pub(crate) fn layout(&self, py: Python<'_>) -> (Vec<u8>, Vec<Copy<'_>>, usize) {
        match self {
            Self::Tensor { spec, elements } => {
                let header = spec.header().to_vec();
                let total = header.len() + elements.nbytes();
                (header, vec![(TENSOR_HEADER, elements)], total)
            }
            Self::Arrow { len, pieces } => {
                let copies = pieces.iter().map(|(at, piece)| (*at, piece)).collect();
                (Vec::new(), copies, *len)
            }
            Self::Pickle { pickle, regions, .. } => {
                let pickle = pickle.as_bytes(py);
                let start = 8 + 16 * regions.len();
                let mut header = Vec::with_capacity(start + pickle.len());
                let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                header.extend_from_slice(&small(regions.len()).to_le_bytes());
                header.extend_from_slice(&small(pickle.len()).to_le_bytes());
                let mut end = start + pickle.len();
                let mut copies = Vec::with_capacity(regions.len());
                for region in regions {
                    let at = aligned(end);
                    end = at + region.len;
                    header.extend_from_slice(&(at as u64).to_le_bytes());
                    header.extend_from_slice(&(region.len as u64).to_le_bytes());
                    copies.extend(region.parts.iter().map(|(offset, part)| (at as u64 + offset, part)));
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
            Self::Arrow { .. } => Spec {
                len: len as u64,
                format: Format::Arrow,
                view: View::Plain,
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
        member::step(|| {
            if let Some(object) = block(py, |interrupt| store.fulfil(id, spec, interrupt))? {
                write(py, object, &header, &copies)?;
            }
            Ok(())
        })
    }

    /// The arguments of a task or call: in the message if they are small, else as an object on which the message owns a hold.
    /// Also returns the references that an inline payload contains, each with a hold.
    pub(crate) fn into_payload(self, py: Python<'_>, store: &Arc<Store>) -> PyResult<(Payload, Vec<ObjectId>)> {
        if let Self::Pickle { .. } = &self {
            let (mut bytes, copies, len) = self.layout(py);
            if len <= INLINE_ARGS {
                bytes.resize(len, 0);
                let dense = copies.iter().all(|(at, elements)| {
                    let at = usize::try_from(*at).unwrap_or(len);
                    elements.copy_dense(&mut bytes[at..at + elements.nbytes()])
                });
                if dense {
                    let nested = self.nested_ids();
                    nested.iter().try_for_each(|id| store.hold(*id)).or_raise(py)?;
                    return Ok((Payload::Inline(bytes), nested));
                }
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

fn write(
    py: Python<'_>,
    mut object: MutableObject,
    header: &[u8],
    copies: &[Copy<'_>],
) -> PyResult<park_core::ObjectRef> {
    let mut fill = || {
        object.write(0, header)?;
        copies
            .iter()
            .try_for_each(|(at, elements)| elements.write(&mut object, *at))
    };
    if copies.iter().map(|(_, elements)| elements.nbytes()).sum::<usize>() >= LONG_COPY {
        py.detach(fill).or_raise(py)?;
    } else {
        fill().or_raise(py)?;
    }
    object.seal().or_raise(py)
}

/// Stores an Arrow stream: see `arrow`.
#[pyfunction]
pub(crate) fn put_arrow(stream: &Bound<'_, PyAny>) -> PyResult<ObjectRef> {
    let py = stream.py();
    let store = gate::store(py)?;
    let inner = arrow(stream)?.put(py, &store)?;
    Ok(inner.into())
}

/// Stores a pickle whose tensors lie side by side in one region of the object. `pickled()` returns the pickle, the region's length
/// and `[(offset, description), ...]`; references that it contains live as long as the object.
#[pyfunction]
pub(crate) fn put_state(pickled: &Bound<'_, PyAny>) -> PyResult<ObjectRef> {
    type State<'py> = (Py<PyBytes>, usize, Vec<(u64, Bound<'py, PyAny>)>);
    let py = pickled.py();
    let store = gate::store(py)?;
    let (state, nested) = collect_nested(|| pickled.call0())?;
    let (pickle, len, parts): State<'_> = state.extract()?;
    let part = |(at, description): (u64, Bound<'_, PyAny>)| Ok((at, Description::extract(&description)?.elements));
    let parts = parts.into_iter().map(part).collect::<PyResult<_>>()?;
    let encoded = Encoded::Pickle {
        pickle,
        regions: vec![Region { len, parts }],
        nested,
    };
    let inner = encoded.put(py, &store)?;
    Ok(inner.into())
}
