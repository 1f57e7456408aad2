//! DLPack 1.x, both ways: tensors of other libraries on their way into the store, and views of stored ones on their way out.
//!
//! The structs are those of dlpack.h, in the unversioned form (capsule "dltensor") and the versioned one ("dltensor_versioned").
//! A capsule owns its tensor until a consumer renames it to "used_...": from then on the consumer calls the deleter, once. A view
//! that is exported owns its object, and its deleter may run on any thread, with or without the interpreter: it touches no Python.
#![allow(
    unsafe_code,
    reason = "a C ABI of raw pointers; each is checked against the protocol before it is followed"
)]

use std::ffi::{CStr, c_void};
use std::mem::offset_of;
use std::ptr;

use park_core::{DType, Error, ErrorKind, TensorSpec};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::buffer::Pinned;
use crate::gate::{self, OrRaise};
use crate::strided::{Owner, Strided};

/// The version whose structs these are, and which is asked for and exported.
const VERSION: (u32, u32) = (1, 1);
const READ_ONLY: u64 = 1;
const IS_COPIED: u64 = 2;
/// `kDLCPU`.
pub(crate) const CPU: i32 = 1;

#[derive(Clone, Copy)]
#[repr(C)]
struct DlDevice {
    kind: i32,
    id: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct DlType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: DlDevice,
    ndim: i32,
    dtype: DlType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
struct Unversioned {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
}

/// `DLManagedTensorVersioned`. All up to `flags` is the same in every major version.
#[repr(C)]
struct Versioned {
    version: [u32; 2],
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
    flags: u64,
    tensor: DlTensor,
}

const _: () = {
    assert!(
        size_of::<DlTensor>() == 48 && offset_of!(DlTensor, dtype) == 20 && offset_of!(DlTensor, byte_offset) == 40
    );
    assert!(size_of::<Unversioned>() == 64 && offset_of!(Unversioned, deleter) == 56);
    assert!(size_of::<Versioned>() == 80 && offset_of!(Versioned, flags) == 24 && offset_of!(Versioned, tensor) == 32);
};

/// What differs between the two forms.
trait Managed: Sized {
    const FRESH: &CStr;
    const USED: &CStr;
    fn new(tensor: DlTensor, flags: u64) -> Self;
    fn tensor(&self) -> &DlTensor;
    fn context(&mut self) -> &mut *mut c_void;
    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)>;
}

impl Managed for Unversioned {
    const FRESH: &CStr = c"dltensor";
    const USED: &CStr = c"used_dltensor";

    fn new(tensor: DlTensor, _: u64) -> Self {
        Self {
            tensor,
            context: ptr::null_mut(),
            deleter: Some(delete::<Self>),
        }
    }

    fn tensor(&self) -> &DlTensor {
        &self.tensor
    }

    fn context(&mut self) -> &mut *mut c_void {
        &mut self.context
    }

    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)> {
        self.deleter
    }
}

impl Managed for Versioned {
    const FRESH: &CStr = c"dltensor_versioned";
    const USED: &CStr = c"used_dltensor_versioned";

    fn new(tensor: DlTensor, flags: u64) -> Self {
        Self {
            version: [VERSION.0, VERSION.1],
            context: ptr::null_mut(),
            deleter: Some(delete::<Self>),
            flags,
            tensor,
        }
    }

    fn tensor(&self) -> &DlTensor {
        &self.tensor
    }

    fn context(&mut self) -> &mut *mut c_void {
        &mut self.context
    }

    fn deleter(&self) -> Option<unsafe extern "C" fn(*mut Self)> {
        self.deleter
    }
}

/// The name of a device, for messages.
pub(crate) fn device_name(kind: i32, id: i32) -> String {
    let name = match kind {
        1 => "cpu",
        2 => "cuda",
        3 => "cuda host memory",
        4 => "opencl",
        7 => "vulkan",
        8 => "metal",
        9 => "vpi",
        10 => "rocm",
        11 => "rocm host memory",
        13 => "cuda managed memory",
        14 => "oneapi",
        15 => "webgpu",
        16 => "hexagon",
        17 => "maia",
        18 => "trainium",
        other => return format!("device type {other}, number {id}"),
    };
    format!("{name}:{id}")
}

fn refuse_device(py: Python<'_>, kind: i32, id: i32) -> PyResult<()> {
    if kind == CPU {
        return Ok(());
    }
    let text = format!(
        "the store holds tensors of the CPU only, this one is on {}: copy it to the CPU first",
        device_name(kind, id)
    );
    Err(gate::raise(py, &Error::new(ErrorKind::Unsupported, text)))
}

// --- in ---------------------------------------------------------------------------------------------------------------------------

/// A tensor of another library that is ours to give back.
pub(crate) struct Imported {
    managed: usize,
    give_back: unsafe fn(usize),
}

impl Drop for Imported {
    fn drop(&mut self) {
        // SAFETY: `take` made the pair of the same form, from a capsule that it renamed: nobody else calls the deleter.
        unsafe { (self.give_back)(self.managed) };
    }
}

/// # Safety
/// `managed` is the address of a tensor in form `M` whose deleter was not called.
unsafe fn give_back<M: Managed>(managed: usize) {
    let managed = managed as *mut M;
    // SAFETY: the caller's.
    if let Some(deleter) = unsafe { &*managed }.deleter() {
        // SAFETY: the protocol's: a consumer calls it once.
        unsafe { deleter(managed) };
    }
}

/// Takes a tensor out of its capsule, if that is fresh and of form `M`.
fn take<M: Managed>(capsule: &Bound<'_, PyAny>) -> PyResult<Option<(*mut M, Imported)>> {
    // SAFETY: any object may be asked.
    if unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), M::FRESH.as_ptr()) } == 0 {
        return Ok(None);
    }
    // SAFETY: just found to be a capsule of this name.
    let managed = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), M::FRESH.as_ptr()) }.cast::<M>();
    // SAFETY: as above; the new name is static.
    if unsafe { ffi::PyCapsule_SetName(capsule.as_ptr(), M::USED.as_ptr()) } != 0 {
        return Err(PyErr::fetch(capsule.py()));
    }
    let imported = Imported {
        managed: managed.expose_provenance(),
        give_back: give_back::<M>,
    };
    Ok(Some((managed, imported)))
}

/// The elements of anything that has `__dlpack__` and `__dlpack_device__`. Other devices than the CPU are refused.
pub(crate) fn import(exporter: &Bound<'_, PyAny>) -> PyResult<(DType, Strided)> {
    import_with_flags(exporter).map(|(dtype, elements, _)| (dtype, elements))
}

/// As [`import`], and whether the exporter says that the elements are only to be read (which the older form of DLPack cannot say).
pub(crate) fn import_with_flags(exporter: &Bound<'_, PyAny>) -> PyResult<(DType, Strided, bool)> {
    let py = exporter.py();
    let (kind, id): (i32, i32) = exporter.call_method0("__dlpack_device__")?.extract()?;
    refuse_device(py, kind, id)?;
    let options = PyDict::new(py);
    options.set_item("max_version", VERSION)?;
    let capsule = match exporter.call_method("__dlpack__", (), Some(&options)) {
        // Exporters from before the versions do not know the keyword.
        Err(error) if error.is_instance_of::<PyTypeError>(py) => exporter.call_method0("__dlpack__")?,
        other => other?,
    };
    if let Some((managed, imported)) = take::<Versioned>(&capsule)? {
        // SAFETY: a capsule of this name points to this struct, whose head no version changes.
        let [major, minor] = unsafe { (*managed).version };
        if major != VERSION.0 {
            return Err(PyBufferError::new_err(format!(
                "the tensor comes as DLPack {major}.{minor}, park reads {}.x",
                VERSION.0
            )));
        }
        // SAFETY: as above, and the major version is ours; `imported` keeps it.
        let managed = unsafe { &*managed };
        let read_only = managed.flags & READ_ONLY != 0;
        return read(py, managed.tensor(), imported).map(|(dtype, elements)| (dtype, elements, read_only));
    }
    if let Some((managed, imported)) = take::<Unversioned>(&capsule)? {
        // SAFETY: a capsule of this name points to this struct; `imported` keeps it.
        return read(py, unsafe { &*managed }.tensor(), imported).map(|(dtype, elements)| (dtype, elements, false));
    }
    Err(PyBufferError::new_err(format!(
        "__dlpack__ returned {}, not a fresh capsule of a tensor",
        capsule.repr()?
    )))
}

fn read(py: Python<'_>, tensor: &DlTensor, imported: Imported) -> PyResult<(DType, Strided)> {
    refuse_device(py, tensor.device.kind, tensor.device.id)?;
    let malformed = |what: &str| PyBufferError::new_err(format!("the DLPack tensor has {what}"));
    if tensor.dtype.lanes != 1 {
        return Err(malformed(
            "vectors of several lanes as elements, which the store has no type for",
        ));
    }
    let dtype = DType::new(tensor.dtype.code, tensor.dtype.bits).or_raise(py)?;
    let ndim = usize::try_from(tensor.ndim).map_err(|_| malformed("a negative number of dimensions"))?;
    let list = |start: *const i64| -> &[i64] {
        if ndim == 0 {
            return &[];
        }
        // SAFETY: not NULL (checked by the callers), and `ndim` long by the protocol; alive while `imported` is.
        unsafe { std::slice::from_raw_parts(start, ndim) }
    };
    if ndim > 0 && tensor.shape.is_null() {
        return Err(malformed("no shape"));
    }
    let shape = list(tensor.shape)
        .iter()
        .map(|extent| u64::try_from(*extent).map_err(|_| malformed("a negative extent")))
        .collect::<PyResult<Vec<u64>>>()?;
    let itemsize = i64::from(dtype.bits) / 8;
    let mut strides = vec![0; ndim];
    if tensor.strides.is_null() {
        // Until DLPack 1.2, no strides means C order.
        let mut step = itemsize;
        for (stride, extent) in strides.iter_mut().zip(&shape).rev() {
            *stride = step;
            step = step.saturating_mul(i64::try_from(*extent).unwrap_or(i64::MAX).max(1));
        }
    } else {
        let given = list(tensor.strides).iter();
        strides = given.map(|stride| stride.saturating_mul(itemsize)).collect();
    }
    if tensor.data.is_null() && !shape.contains(&0) {
        return Err(malformed("no data"));
    }
    let address = tensor
        .data
        .expose_provenance()
        .wrapping_add(usize::try_from(tensor.byte_offset).unwrap_or(0));
    let elements = Strided::new(address, itemsize as usize, shape, strides, 0, Owner::Dlpack(imported))?;
    Ok((dtype, elements))
}

// --- out --------------------------------------------------------------------------------------------------------------------------

/// What an exported tensor's memory is.
enum Memory {
    /// The store's, read-only.
    Shared(Pinned),
    /// A copy, the consumer's to write to. In words, so that it is aligned for every type.
    Copied(Vec<u128>),
}

/// An exported tensor with all that it points to; freed by its deleter.
#[allow(dead_code, reason = "what is not read by us is pointed to")]
struct Exported<M> {
    managed: M,
    shape: Vec<i64>,
    strides: Vec<i64>,
    memory: Memory,
}

/// What a consumer asked `__dlpack__` for.
pub(crate) struct Request {
    pub(crate) max_version: Option<(u32, u32)>,
    pub(crate) copy: Option<bool>,
}

/// A capsule with the tensor whose elements start at `start` of what is pinned.
pub(crate) fn export<'py>(
    py: Python<'py>,
    pinned: &Pinned,
    start: usize,
    spec: &TensorSpec,
    request: &Request,
) -> PyResult<Bound<'py, PyAny>> {
    let versioned = request.max_version.is_some_and(|(major, _)| major >= 1);
    if !versioned && request.copy != Some(true) {
        // The rule of the Python array API: what cannot be said must not be hidden.
        return Err(PyBufferError::new_err(
            "objects in the store are read-only, which only the versioned DLPack protocol can say: pass max_version=(1, 0), \
             or copy=True",
        ));
    }
    let elements = &pinned.bytes()[start..start + usize::try_from(spec.nbytes()).unwrap_or(0)];
    let memory = if request.copy == Some(true) {
        let words = elements.chunks(16).map(|chunk| {
            let mut word = [0; 16];
            word[..chunk.len()].copy_from_slice(chunk);
            u128::from_ne_bytes(word)
        });
        Memory::Copied(words.collect())
    } else {
        Memory::Shared(pinned.clone())
    };
    if versioned {
        capsule::<Versioned>(py, memory, start, spec)
    } else {
        capsule::<Unversioned>(py, memory, start, spec)
    }
}

fn capsule<'py, M: Managed>(
    py: Python<'py>,
    mut memory: Memory,
    start: usize,
    spec: &TensorSpec,
) -> PyResult<Bound<'py, PyAny>> {
    let signed = |values: &[u64]| -> Vec<i64> { values.iter().map(|value| value.cast_signed()).collect() };
    let (mut shape, mut strides) = (signed(&spec.shape), signed(&spec.strides));
    let (data, flags) = match &mut memory {
        Memory::Shared(pinned) => (pinned.bytes()[start..].as_ptr().cast_mut().cast::<c_void>(), READ_ONLY),
        Memory::Copied(words) => (words.as_mut_ptr().cast::<c_void>(), IS_COPIED),
    };
    let tensor = DlTensor {
        // The protocol wants no address for no elements.
        data: if spec.nbytes() == 0 { ptr::null_mut() } else { data },
        device: DlDevice { kind: CPU, id: 0 },
        ndim: shape.len() as i32,
        dtype: DlType {
            code: spec.dtype.code,
            bits: spec.dtype.bits,
            lanes: 1,
        },
        shape: shape.as_mut_ptr(),
        strides: strides.as_mut_ptr(),
        byte_offset: 0,
    };
    let exported = Box::into_raw(Box::new(Exported {
        managed: M::new(tensor, flags),
        shape,
        strides,
        memory,
    }));
    // SAFETY: just made, and nobody else's yet.
    let managed = unsafe { &raw mut (*exported).managed };
    // SAFETY: as above. The context is what the deleter frees.
    *unsafe { &mut *managed }.context() = exported.cast();
    // SAFETY: the name is static; the destructor is that of this form.
    let made = unsafe { ffi::PyCapsule_New(managed.cast(), M::FRESH.as_ptr(), Some(destroy::<M>)) };
    if made.is_null() {
        // SAFETY: no capsule took it over.
        drop(unsafe { Box::from_raw(exported) });
        return Err(PyErr::fetch(py));
    }
    // SAFETY: a new reference, checked for NULL.
    Ok(unsafe { Bound::from_owned_ptr(py, made) })
}

/// The deleter of what `capsule` exported.
unsafe extern "C" fn delete<M: Managed>(managed: *mut M) {
    // SAFETY: the consumer, or the capsule, passes the pointer that it got, once; the context is the box around it.
    let exported = *unsafe { &mut *managed }.context();
    // SAFETY: as above.
    drop(unsafe { Box::from_raw(exported.cast::<Exported<M>>()) });
}

/// The capsule's own end: a tensor that nobody took is still its to free.
unsafe extern "C" fn destroy<M: Managed>(capsule: *mut ffi::PyObject) {
    // SAFETY: Python passes the capsule that dies.
    let managed = unsafe { ffi::PyCapsule_IsValid(capsule, M::FRESH.as_ptr()) != 0 }.then(|| {
        // SAFETY: just found to be a capsule of this name.
        unsafe { ffi::PyCapsule_GetPointer(capsule, M::FRESH.as_ptr()) }
    });
    if let Some(managed) = managed {
        // SAFETY: a capsule that was not renamed still owns its tensor.
        unsafe { delete(managed.cast::<M>()) };
    }
}
