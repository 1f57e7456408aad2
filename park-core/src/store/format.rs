//! What an object's bytes mean, as far as every language must agree.
//!
//! ```text
//! RAW      the user's bytes
//! PICKLE5  u32 buffers, u32 pickle length, buffers x (u64 offset, u64 length), pickle bytes, 64-byte aligned buffers
//! TENSOR   192-byte header: u8 dtype code (DLPack), u8 bits, u16 zero, u32 ndim, 8 x i64 shape, 8 x i64 strides in elements;
//!          then the elements
//! ARROW    an Arrow IPC stream
//! ERROR    i32 kind, u32 message length, message (UTF-8), bytes that one language understands
//! ACTOR    the handle object of an actor (actor/README.md); not readable as data
//! CHANNEL  memory that is written over and over: a channel's slots (channel/README.md), or the directory of cache blocks
//!          (kv/physical/README.md); not readable as data, never moved or spilled
//! MAPPED   a TENSOR's header, and where in which file the elements are (mapped.rs)
//! ```
//! All integers are little-endian. Lengths read back are checked against the object's length.

pub use super::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};

/// In a slot's `meta`, above format and view: the object is never spilled.
pub(crate) const KEPT: u32 = 1 << 16;

/// The format of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// The user's bytes.
    Raw = 0,
    /// A pickle with out-of-band buffers.
    Pickle5 = 1,
    /// One dense tensor.
    Tensor = 2,
    /// An Arrow IPC stream.
    Arrow = 3,
    /// A failure that `get` raises.
    Error = 4,
    /// The handle of an actor.
    Actor = 5,
    /// The memory of a channel.
    Channel = 6,
    /// One dense tensor whose elements are a range of a file.
    Mapped = 7,
    /// A function or class, as the language that wrote it stores such.
    Code = 8,
}

impl Format {
    /// The format with this number.
    pub fn from_number(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Self::Raw,
            1 => Self::Pickle5,
            2 => Self::Tensor,
            3 => Self::Arrow,
            4 => Self::Error,
            5 => Self::Actor,
            6 => Self::Channel,
            7 => Self::Mapped,
            8 => Self::Code,
            _ => bail!(Corrupt, "object has format {number}"),
        })
    }
}

/// Which Python type a tensor comes back as; other languages ignore it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum View {
    /// `numpy.ndarray`.
    #[default]
    Numpy = 0,
    /// `torch.Tensor` on the CPU.
    Torch = 1,
    /// `park.store.TensorView`: of neither library; other libraries read it through DLPack.
    Plain = 2,
}

impl View {
    /// The view with this number; unknown numbers are numpy, the neutral choice.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Torch,
            2 => Self::Plain,
            _ => Self::Numpy,
        }
    }
}

/// Most dimensions a tensor may have.
pub const MAX_NDIM: usize = 8;
/// Bytes before the elements of a TENSOR object.
pub const TENSOR_HEADER: u64 = 192;

/// Type, shape and strides of a dense tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Element type.
    pub dtype: DType,
    /// Extent of each dimension.
    pub shape: Vec<u64>,
    /// Distance between neighbours in each dimension, in elements.
    pub strides: Vec<u64>,
    /// Type it has in Python.
    pub view: View,
}

impl TensorSpec {
    /// A row-major (C order) tensor. Refuses more than eight dimensions and sizes beyond 2^48 bytes.
    pub fn contiguous(dtype: DType, shape: &[u64], view: View) -> Result<Self> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1u64;
        for (stride, extent) in strides.iter_mut().zip(shape).rev() {
            *stride = step;
            step = step.saturating_mul((*extent).max(1));
        }
        Self::strided(dtype, shape, &strides, view)
    }

    /// A tensor whose strides are a permutation of a contiguous layout (C or Fortran order, say).
    pub fn strided(dtype: DType, shape: &[u64], strides: &[u64], view: View) -> Result<Self> {
        DType::new(dtype.code, dtype.bits)?;
        if shape.len() > MAX_NDIM || strides.len() != shape.len() {
            bail!(
                InvalidArgument,
                "a tensor has at most {MAX_NDIM} dimensions and one stride each, got {} and {}",
                shape.len(),
                strides.len()
            );
        }
        let spec = Self {
            dtype,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
            view,
        };
        let elements = spec.elements()?;
        // Dense: sorted by stride, each stride is the product of the extents below it. So every element lies inside.
        let mut order: Vec<_> = shape.iter().zip(strides).filter(|(extent, _)| **extent > 1).collect();
        order.sort_by_key(|(_, stride)| **stride);
        let mut step = 1u64;
        for (extent, stride) in order {
            if elements != 0 && *stride != step {
                bail!(
                    InvalidArgument,
                    "tensor of shape {shape:?} and strides {strides:?} is not dense"
                );
            }
            step = step.saturating_mul(*extent);
        }
        Ok(spec)
    }

    fn elements(&self) -> Result<u64> {
        let product = self.shape.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent));
        match product {
            Some(n) if n.checked_mul(16).is_some_and(|bytes| bytes <= 1 << 48) => Ok(n),
            _ => bail!(InvalidArgument, "a tensor of shape {:?} is too large", self.shape),
        }
    }

    /// Bytes of all elements.
    pub fn nbytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.dtype.bytes()
    }

    /// The object's header.
    pub fn header(&self) -> [u8; TENSOR_HEADER as usize] {
        let mut header = [0; TENSOR_HEADER as usize];
        header[0] = self.dtype.code;
        header[1] = self.dtype.bits;
        header[4] = u8::try_from(self.shape.len()).unwrap_or(0);
        for (at, value) in self.shape.iter().enumerate() {
            header[8 + at * 8..16 + at * 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in self.strides.iter().enumerate() {
            header[72 + at * 8..80 + at * 8].copy_from_slice(&value.to_le_bytes());
        }
        header
    }

    /// Reads the header of a TENSOR object and checks it against the object's length.
    pub fn parse(object: &[u8], view: View) -> Result<Self> {
        let spec = Self::parse_header(object, view)?;
        if spec.nbytes() + TENSOR_HEADER != object.len() as u64 {
            bail!(
                Corrupt,
                "tensor object of {} bytes has a header that asks for {}",
                object.len(),
                spec.nbytes() + TENSOR_HEADER
            );
        }
        Ok(spec)
    }

    /// Reads the header that an object starts with.
    pub(super) fn parse_header(object: &[u8], view: View) -> Result<Self> {
        let Some(header) = object.first_chunk::<{ TENSOR_HEADER as usize }>() else {
            bail!(Corrupt, "tensor object of {} bytes has no header", object.len());
        };
        let ndim = usize::from(header[4]);
        if ndim > MAX_NDIM {
            bail!(Corrupt, "tensor object has {ndim} dimensions");
        }
        let read = |from: usize| -> Vec<u64> {
            header[from..from + ndim * 8]
                .chunks_exact(8)
                .filter_map(|c| c.try_into().ok().map(u64::from_le_bytes))
                .collect()
        };
        let corrupt = |error: Error| Error::new(ErrorKind::Corrupt, format!("tensor object: {error}"));
        let dtype = DType::new(header[0], header[1]).map_err(corrupt)?;
        Self::strided(dtype, &read(8), &read(72), view).map_err(corrupt)
    }
}

/// The bytes of an ERROR object.
pub fn encode_error(error: &Error) -> Vec<u8> {
    let message = error.message().as_bytes();
    let mut bytes = Vec::with_capacity(8 + message.len() + error.detail().len());
    bytes.extend_from_slice(&(error.kind() as i32).to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(message);
    bytes.extend_from_slice(error.detail());
    bytes
}

/// The error in an ERROR object.
pub fn decode_error(bytes: &[u8]) -> Error {
    let parsed = || {
        let (kind, rest) = bytes.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (message, detail) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        let kind = ErrorKind::from_number(i32::from_le_bytes(*kind))?;
        // Copied before it is checked: what lies in shared memory may change between the two.
        let message = message.to_vec();
        Some(Error::new(kind, String::from_utf8_lossy(&message)).with_detail(detail.to_vec()))
    };
    parsed().unwrap_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!("error object of {} bytes is malformed", bytes.len()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const F32: DType = DType { code: 2, bits: 32 };

    #[test]
    fn tensors_round_trip_in_both_orders() {
        for spec in [
            TensorSpec::contiguous(F32, &[2, 3, 4], View::Torch).unwrap(),
            TensorSpec::strided(F32, &[3, 4], &[1, 3], View::Numpy).unwrap(),
            TensorSpec::contiguous(F32, &[], View::Numpy).unwrap(),
            TensorSpec::contiguous(F32, &[0, 5], View::Numpy).unwrap(),
        ] {
            let mut object = spec.header().to_vec();
            object.resize(object.len() + usize::try_from(spec.nbytes()).unwrap(), 0);
            assert_eq!(TensorSpec::parse(&object, spec.view).unwrap(), spec);
            object.push(0);
            assert_eq!(
                TensorSpec::parse(&object, spec.view).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }

    #[test]
    fn gaps_overlaps_and_bad_dtypes_are_refused() {
        for strides in [[4u64, 1], [0, 1], [1, 1], [u64::MAX, 1]] {
            assert!(
                TensorSpec::strided(F32, &[3, 3], &strides, View::Numpy).is_err(),
                "{strides:?}"
            );
        }
        assert!(TensorSpec::contiguous(F32, &[u64::MAX, 2], View::Numpy).is_err());
        assert!(TensorSpec::contiguous(F32, &[1; 9], View::Numpy).is_err());
        assert!(DType::new(2, 8).is_err() && DType::new(3, 64).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = TensorSpec::parse(&bytes, View::Numpy);
            let _ = decode_error(&bytes);
        }
    }
}
