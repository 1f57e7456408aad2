//! `Lent`: memory that a Python object lends, by the buffer protocol (numpy, array, memoryview) or by DLPack (torch, jax).
//!
//! What is lent stays where it is while its owner lives here: both protocols promise it. It is read and written only while this thread
//! holds the interpreter. A program that lets another library write to the same memory at that time has a race of its own making.
#![allow(
    unsafe_code,
    reason = "reads and writes memory that an exporter described and its owner keeps in place"
)]

use std::ffi::CStr;

use pyo3::buffer::{ElementType, PyUntypedBuffer};
use pyo3::ffi;
use pyo3::prelude::*;

use super::errors::invalid;
use crate::dlpack;
use crate::strided::Owner;

/// The element types that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    I32,
    U32,
    I64,
    U64,
    /// Bytes of 0 or 1: `bool`, `int8`, `uint8`.
    Flags,
}

impl Kind {
    /// As numpy and torch call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::I64 => "int64",
            Self::U64 => "uint64",
            Self::Flags => "bool or bytes",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::I32 | Self::U32 => 4,
            Self::I64 | Self::U64 => 8,
            Self::Flags => 1,
        }
    }
}

/// Element types of Rust of which any bytes are a value.
pub(super) trait Element: Copy {
    const KIND: Kind;
}

impl Element for i32 {
    const KIND: Kind = Kind::I32;
}

impl Element for i64 {
    const KIND: Kind = Kind::I64;
}

impl Element for u32 {
    const KIND: Kind = Kind::U32;
}

impl Element for u64 {
    const KIND: Kind = Kind::U64;
}

impl Element for u8 {
    const KIND: Kind = Kind::Flags;
}

/// The type of a format of the `struct` module; unknown if its bytes are in the other order.
fn element_type(format: &CStr) -> ElementType {
    let other = if cfg!(target_endian = "little") { b">!" } else { b"<<" };
    match format.to_bytes() {
        [order, _] if other.contains(order) => ElementType::Unknown,
        _ => ElementType::from_format(format),
    }
}

/// See the module's documentation. Contiguous in C order, aligned, of a known type.
pub(super) struct Lent {
    address: usize,
    count: usize,
    shape: Vec<usize>,
    kind: Kind,
    _owner: Owner,
}

impl Lent {
    /// What an object lends; None if it speaks neither protocol. `writes` is whether it will be written to.
    pub(super) fn get(object: &Bound<'_, PyAny>, name: &str, writes: bool) -> PyResult<Option<Self>> {
        // SAFETY: any object may be asked.
        let has_buffer = unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) } != 0;
        if has_buffer {
            Self::from_buffer(object, name, writes).map(Some)
        } else if object.hasattr("__dlpack__")? {
            Self::from_dlpack(object, name, writes).map(Some)
        } else {
            Ok(None)
        }
    }

    fn from_buffer(object: &Bound<'_, PyAny>, name: &str, writes: bool) -> PyResult<Self> {
        let py = object.py();
        let buffer =
            PyUntypedBuffer::get(object).map_err(|error| invalid(py, format!("`{name}` lends no array: {error}")))?;
        let kind = match (element_type(buffer.format()), buffer.item_size()) {
            (ElementType::SignedInteger { bytes: 4 }, 4) => Kind::I32,
            (ElementType::UnsignedInteger { bytes: 4 }, 4) => Kind::U32,
            (ElementType::SignedInteger { bytes: 8 }, 8) => Kind::I64,
            (ElementType::UnsignedInteger { bytes: 8 }, 8) => Kind::U64,
            (
                ElementType::Bool | ElementType::SignedInteger { bytes: 1 } | ElementType::UnsignedInteger { bytes: 1 },
                1,
            ) => Kind::Flags,
            _ => {
                let format = buffer.format().to_string_lossy();
                return Err(invalid(
                    py,
                    format!(
                        "`{name}` has elements of format '{format}', not integers of 32 or 64 bits in this machine's byte order"
                    ),
                ));
            }
        };
        if writes && buffer.readonly() {
            return Err(invalid(
                py,
                format!("`{name}` is read-only, and results are written to it"),
            ));
        }
        if !buffer.is_c_contiguous() {
            return Err(invalid(py, format!("`{name}` is not contiguous in C order")));
        }
        let shape = buffer.shape().to_vec();
        let address = buffer.buf_ptr().expose_provenance();
        Self::new(py, name, address, shape, kind, Owner::Buffer(buffer))
    }

    fn from_dlpack(object: &Bound<'_, PyAny>, name: &str, writes: bool) -> PyResult<Self> {
        let py = object.py();
        let (device, number): (i32, i32) = object.call_method0("__dlpack_device__")?.extract()?;
        if device != dlpack::CPU {
            let device = dlpack::device_name(device, number);
            return Err(invalid(
                py,
                format!("`{name}` is on {device}, and tables are written on the CPU"),
            ));
        }
        let (dtype, elements, read_only) = dlpack::import_with_flags(object)?;
        let kind = match (dtype.code, dtype.bits) {
            (0, 32) => Kind::I32,
            (1, 32) => Kind::U32,
            (0, 64) => Kind::I64,
            (1, 64) => Kind::U64,
            (0 | 1 | 6, 8) => Kind::Flags,
            _ => {
                return Err(invalid(
                    py,
                    format!("`{name}` has elements of type {dtype}, not integers of 32 or 64 bits"),
                ));
            }
        };
        if writes && read_only {
            return Err(invalid(
                py,
                format!("`{name}` is read-only, and results are written to it"),
            ));
        }
        if !elements.is_c_contiguous() {
            return Err(invalid(py, format!("`{name}` is not contiguous in C order")));
        }
        let shape = elements.shape().iter().map(|extent| *extent as usize).collect();
        let (address, owner) = elements.into_parts();
        Self::new(py, name, address, shape, kind, owner)
    }

    fn new(py: Python<'_>, name: &str, address: usize, shape: Vec<usize>, kind: Kind, owner: Owner) -> PyResult<Self> {
        let align = kind.bytes();
        let count = shape.iter().product();
        if count > 0 && (address == 0 || !address.is_multiple_of(align)) {
            return Err(invalid(
                py,
                format!("`{name}` lies at {address:#x}, which is not aligned to its elements of {align} bytes"),
            ));
        }
        Ok(Self {
            address,
            count,
            shape,
            kind,
            _owner: owner,
        })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, if they are of this type.
    pub(super) fn elements<T: Element>(&self) -> Option<&[T]> {
        (self.kind == T::KIND).then(|| self.read())
    }

    /// The bits of elements of 64 of them.
    pub(super) fn numbers_64(&self) -> Option<&[u64]> {
        matches!(self.kind, Kind::I64 | Kind::U64).then(|| self.read())
    }

    /// The elements, whose size is that of `T`.
    fn read<T: Element>(&self) -> &[T] {
        debug_assert_eq!(self.kind.bytes(), size_of::<T>());
        if self.count == 0 {
            return &[];
        }
        // SAFETY: aligned, not NULL and `count` elements of this size (checked in `new` by what the exporter said); its owner, which is
        // held, keeps them in place; nobody writes to them while this thread holds the interpreter and this borrow lives.
        unsafe { std::slice::from_raw_parts(self.address as *const T, self.count) }
    }

    /// Where the elements lie, in bytes.
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.address..self.address + self.count * self.kind.bytes()
    }

    /// The elements, to be written to, if they are of this type.
    ///
    /// # Safety
    /// The memory was asked for with `writes`, the thread holds the interpreter while the slice lives, and no other slice of it lives.
    #[allow(
        clippy::mut_from_ref,
        reason = "the memory is not this value's; the caller vouches for it"
    )]
    pub(super) unsafe fn elements_mut<T: Element>(&self) -> Option<&mut [T]> {
        if self.kind != T::KIND {
            return None;
        }
        if self.count == 0 {
            return Some(&mut []);
        }
        // SAFETY: as in `elements`, and the caller's promise.
        Some(unsafe { std::slice::from_raw_parts_mut(self.address as *mut T, self.count) })
    }
}
