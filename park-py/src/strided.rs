//! `Strided`: elements anywhere in this process's memory, on their way into the store.
//!
//! What numpy, torch, DLPack and `__array_interface__` describe is the same thing: an address, extents, and strides that may be
//! negative, zero or full of gaps. Dense layouts (C, Fortran, any other order of the dimensions) are copied as they lie; all others
//! are gathered in C order, straight into the store, so no layout costs a copy on top of the one that every `put` makes.
#![allow(
    unsafe_code,
    reason = "reads memory that an exporter described and its owner keeps in place"
)]

use park_core::channel::Draft;
use park_core::{MutableObject, Result};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;

use crate::dlpack::Imported;

/// Gathered elements go to the store in chunks of this many bytes; longer runs go by themselves.
const CHUNK: usize = 16 << 10;

/// Where elements are written to.
pub(crate) trait Room {
    /// Copies bytes to an offset.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Copies `len` bytes from an address to an offset.
    ///
    /// # Safety
    /// `source` is readable for `len` bytes.
    unsafe fn write_from(&mut self, offset: u64, source: *const u8, len: usize) -> Result<()>;
}

impl Room for MutableObject {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        Self::write(self, offset, bytes)
    }

    unsafe fn write_from(&mut self, offset: u64, source: *const u8, len: usize) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { Self::write_from(self, offset, source, len) }
    }
}

impl Room for Draft<'_> {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        Self::write(self, offset, bytes)
    }

    unsafe fn write_from(&mut self, offset: u64, source: *const u8, len: usize) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { Self::write_from(self, offset, source, len) }
    }
}

/// Who keeps the elements in place.
#[allow(dead_code, reason = "held, never looked at")]
pub(crate) enum Owner {
    Buffer(PyUntypedBuffer),
    Object(Py<PyAny>),
    Dlpack(Imported),
}

/// See the module's documentation.
pub(crate) struct Strided {
    address: usize,
    itemsize: usize,
    shape: Vec<u64>,
    /// In bytes.
    strides: Vec<i64>,
    /// Width of the parts of an element whose bytes are in the other order; 0 if none are.
    swapped: usize,
    owner: Owner,
}

impl Strided {
    /// Elements that the caller vouches for: `owner` keeps each of them readable.
    pub(crate) fn new(
        address: usize,
        itemsize: usize,
        shape: Vec<u64>,
        strides: Vec<i64>,
        swapped: usize,
        owner: Owner,
    ) -> PyResult<Self> {
        let whole = swapped == 0 || (swapped <= itemsize && itemsize.is_multiple_of(swapped));
        let nowhere = address == 0 && !shape.contains(&0);
        if shape.len() != strides.len() || !matches!(itemsize, 1 | 2 | 4 | 8 | 16) || !whole || nowhere {
            return Err(PyValueError::new_err(format!(
                "elements of {itemsize} bytes at {address:#x}, shape {shape:?} and strides {strides:?} describe no array"
            )));
        }
        Ok(Self {
            address,
            itemsize,
            shape,
            strides,
            swapped,
            owner,
        })
    }

    /// What a buffer exporter says about itself.
    pub(crate) fn from_buffer(buffer: PyUntypedBuffer) -> PyResult<Self> {
        if buffer.suboffsets().is_some() {
            return Err(PyBufferError::new_err("a buffer of pointers to rows cannot be stored"));
        }
        Self::new(
            buffer.buf_ptr().addr(),
            buffer.item_size(),
            buffer.shape().iter().map(|extent| *extent as u64).collect(),
            buffer.strides().iter().map(|stride| *stride as i64).collect(),
            0,
            Owner::Buffer(buffer),
        )
    }

    /// The bytes of a contiguous buffer.
    pub(crate) fn bytes(buffer: PyUntypedBuffer) -> PyResult<Self> {
        if !(buffer.is_c_contiguous() || buffer.is_fortran_contiguous()) {
            return Err(PyBufferError::new_err("the buffer is not contiguous"));
        }
        let (address, len) = (buffer.buf_ptr().addr(), buffer.len_bytes() as u64);
        Self::new(address, 1, vec![len], vec![1], 0, Owner::Buffer(buffer))
    }

    pub(crate) fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Whether the elements lie one after the other in C order and in this machine's byte order.
    pub(crate) fn is_c_contiguous(&self) -> bool {
        let mut step = self.itemsize as i64;
        let mut dims = self.shape.iter().zip(&self.strides).rev();
        self.swapped <= 1
            && (self.shape.contains(&0)
                || dims.all(|(extent, stride)| {
                    let fits = *extent == 1 || *stride == step;
                    step = step.saturating_mul(*extent as i64);
                    fits
                }))
    }

    /// Where the elements begin, and who keeps them there.
    pub(crate) fn into_parts(self) -> (usize, Owner) {
        (self.address, self.owner)
    }

    pub(crate) fn itemsize(&self) -> usize {
        self.itemsize
    }

    pub(crate) fn nbytes(&self) -> usize {
        let elements = self
            .shape
            .iter()
            .try_fold(self.itemsize as u64, |n, extent| n.checked_mul(*extent));
        elements
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(usize::MAX)
    }

    /// The strides in elements, if the elements fill one run of memory without gaps and in this machine's byte order.
    pub(crate) fn dense(&self) -> Option<Vec<u64>> {
        if self.swapped > 1 {
            return None;
        }
        let mut order: Vec<usize> = (0..self.shape.len()).filter(|at| self.shape[*at] != 1).collect();
        order.sort_by_key(|at| self.strides[*at]);
        // Where an extent is 1, the stride says nothing.
        let mut dense = vec![1; self.shape.len()];
        let mut step = 1u64;
        let empty = self.shape.contains(&0);
        for at in order {
            let expected = i64::try_from(step).ok()?.checked_mul(self.itemsize as i64)?;
            if !empty && self.strides[at] != expected {
                return None;
            }
            dense[at] = step;
            step = step.saturating_mul(self.shape[at].max(1));
        }
        Some(dense)
    }

    /// Copies the elements to `offset` of an object or message: as they lie if they are dense, else in C order.
    pub(crate) fn write<R: Room>(&self, room: &mut R, offset: u64) -> Result<()> {
        let nbytes = self.nbytes();
        if nbytes == 0 {
            return Ok(());
        }
        if self.dense().is_some() {
            // SAFETY: dense elements are one run of `nbytes`, which the exporter vouched for and the owner keeps in place.
            return unsafe { room.write_from(offset, self.address as *const u8, nbytes) };
        }
        let mut dims: Vec<(u64, i64)> = Vec::with_capacity(self.shape.len());
        for (extent, stride) in self.shape.iter().zip(&self.strides).filter(|(extent, _)| **extent != 1) {
            match dims.last_mut() {
                // Two dimensions that run on into each other are one.
                Some((outer, step)) if *step == stride.saturating_mul(*extent as i64) => {
                    *outer *= extent;
                    *step = *stride;
                }
                _ => dims.push((*extent, *stride)),
            }
        }
        let mut sink = Sink {
            room,
            offset,
            chunk: Vec::with_capacity(CHUNK),
            swapped: self.swapped,
        };
        match self.itemsize {
            1 => sink.walk::<1>(self.address, &dims)?,
            2 => sink.walk::<2>(self.address, &dims)?,
            4 => sink.walk::<4>(self.address, &dims)?,
            8 => sink.walk::<8>(self.address, &dims)?,
            _ => sink.walk::<16>(self.address, &dims)?,
        }
        sink.flush()
    }
}

impl Strided {
    /// Copies dense elements into `out`, which has their length. False if they are not dense.
    pub(crate) fn copy_dense(&self, out: &mut [u8]) -> bool {
        if self.dense().is_none() || out.len() != self.nbytes() {
            return false;
        }
        // SAFETY: dense elements are one run of `nbytes`, which the owner keeps in place; `out` is as long, and ours alone.
        unsafe { std::ptr::copy_nonoverlapping(self.address as *const u8, out.as_mut_ptr(), out.len()) };
        true
    }
}

/// Where gathered elements go.
struct Sink<'a, R> {
    room: &'a mut R,
    offset: u64,
    chunk: Vec<u8>,
    swapped: usize,
}

impl<R: Room> Sink<'_, R> {
    fn walk<const N: usize>(&mut self, at: usize, dims: &[(u64, i64)]) -> Result<()> {
        let place = |index: u64, step: i64| at.wrapping_add_signed((index as i64).wrapping_mul(step) as isize);
        match dims {
            [] => self.element::<N>(at),
            [(extent, step)] if *step == N as i64 && self.swapped <= 1 => self.run(at, *extent as usize * N),
            [(extent, step)] => (0..*extent).try_for_each(|index| self.element::<N>(place(index, *step))),
            [(extent, step), inner @ ..] => {
                (0..*extent).try_for_each(|index| self.walk::<N>(place(index, *step), inner))
            }
        }
    }

    #[inline]
    fn element<const N: usize>(&mut self, at: usize) -> Result<()> {
        // SAFETY: `walk` stays inside the shape and strides that the exporter vouched for; the owner keeps them readable.
        let mut bytes: [u8; N] = unsafe { (at as *const [u8; N]).read_unaligned() };
        if self.swapped > 1 {
            bytes.chunks_mut(self.swapped).for_each(<[u8]>::reverse);
        }
        self.chunk.extend_from_slice(&bytes);
        if self.chunk.len() >= CHUNK {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn run(&mut self, at: usize, len: usize) -> Result<()> {
        if self.chunk.len() + len > CHUNK {
            self.flush()?;
            // SAFETY: as in `element`: a run is neighbouring elements.
            unsafe { self.room.write_from(self.offset, at as *const u8, len) }?;
            self.offset += len as u64;
        } else {
            // SAFETY: as in `element`.
            self.chunk
                .extend_from_slice(unsafe { std::slice::from_raw_parts(at as *const u8, len) });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.room.write(self.offset, &self.chunk)?;
        self.offset += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }
}
