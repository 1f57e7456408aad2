//! `park_tensor`: dense tensors, which numpy, torch, C, C++ and Rust read in place.

use std::ffi::c_void;
use std::ptr;

use park_core::store::never;
use park_core::{DType, Format, Result, TensorSpec, View};

use crate::error::{park_error, park_status};
use crate::from_c::{FromC, Sized, invalid};
use crate::guard::guard;
use crate::mutable_object::park_mutable_object;
use crate::object::park_object;
use crate::object_ref::park_object_ref;
use crate::session::park_session;

/// The element type of a tensor: DLPack's type code times 256, plus the bits of one element.
pub type park_dtype = u32;

/// Signed integer of 8 bits.
pub const PARK_INT8: park_dtype = 0x008;
/// Signed integer of 16 bits.
pub const PARK_INT16: park_dtype = 0x010;
/// Signed integer of 32 bits.
pub const PARK_INT32: park_dtype = 0x020;
/// Signed integer of 64 bits.
pub const PARK_INT64: park_dtype = 0x040;
/// Unsigned integer of 8 bits.
pub const PARK_UINT8: park_dtype = 0x108;
/// Unsigned integer of 16 bits.
pub const PARK_UINT16: park_dtype = 0x110;
/// Unsigned integer of 32 bits.
pub const PARK_UINT32: park_dtype = 0x120;
/// Unsigned integer of 64 bits.
pub const PARK_UINT64: park_dtype = 0x140;
/// IEEE half precision.
pub const PARK_FLOAT16: park_dtype = 0x210;
/// IEEE single precision.
pub const PARK_FLOAT32: park_dtype = 0x220;
/// IEEE double precision.
pub const PARK_FLOAT64: park_dtype = 0x240;
/// The upper half of a single precision number.
pub const PARK_BFLOAT16: park_dtype = 0x410;
/// Two single precision numbers.
pub const PARK_COMPLEX64: park_dtype = 0x540;
/// Two double precision numbers.
pub const PARK_COMPLEX128: park_dtype = 0x580;
/// One byte, 0 or 1.
pub const PARK_BOOL: park_dtype = 0x608;
/// Eight bits: 3 of exponent, 4 of mantissa, with infinities.
pub const PARK_FLOAT8_E3M4: park_dtype = 0x708;
/// Eight bits: 4 of exponent, 3 of mantissa, with infinities.
pub const PARK_FLOAT8_E4M3: park_dtype = 0x808;
/// Eight bits: 4 of exponent (bias 11), 3 of mantissa, finite, no negative zero.
pub const PARK_FLOAT8_E4M3B11FNUZ: park_dtype = 0x908;
/// Eight bits: 4 of exponent, 3 of mantissa, finite; the usual one for weights and activations.
pub const PARK_FLOAT8_E4M3FN: park_dtype = 0xa08;
/// Eight bits: 4 of exponent, 3 of mantissa, finite, no negative zero.
pub const PARK_FLOAT8_E4M3FNUZ: park_dtype = 0xb08;
/// Eight bits: 5 of exponent, 2 of mantissa, with infinities; the usual one for gradients.
pub const PARK_FLOAT8_E5M2: park_dtype = 0xc08;
/// Eight bits: 5 of exponent, 2 of mantissa, finite, no negative zero.
pub const PARK_FLOAT8_E5M2FNUZ: park_dtype = 0xd08;
/// Eight bits of exponent, a power of two: the scale of a block.
pub const PARK_FLOAT8_E8M0FNU: park_dtype = 0xe08;

/// The type that a tensor has in Python.
pub type park_view = u32;

/// numpy.ndarray.
pub const PARK_VIEW_NUMPY: park_view = 0;
/// torch.Tensor, on the CPU.
pub const PARK_VIEW_TORCH: park_view = 1;
/// park.store.TensorView: of neither library, for others to read through DLPack.
pub const PARK_VIEW_PLAIN: park_view = 2;

/// Most dimensions of a tensor.
pub const PARK_TENSOR_MAX_NDIM: usize = 8;

/// What tensor to make. Set struct_size to sizeof(park_tensor_spec).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_tensor_spec {
    /// sizeof(park_tensor_spec).
    pub struct_size: usize,
    /// Element type: one of PARK_INT8 ... PARK_FLOAT8_E8M0FNU.
    pub dtype: park_dtype,
    /// PARK_VIEW_NUMPY, PARK_VIEW_TORCH or PARK_VIEW_PLAIN.
    pub view: park_view,
    /// Number of dimensions, up to PARK_TENSOR_MAX_NDIM.
    pub ndim: usize,
    /// `ndim` extents. May be NULL if there are none.
    pub shape: *const i64,
    /// `ndim` distances between neighbours, in elements, of a dense layout; NULL for row-major order.
    pub strides: *const i64,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and raw pointers only.
unsafe impl Sized for park_tensor_spec {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            dtype: 0,
            view: PARK_VIEW_NUMPY,
            ndim: 0,
            shape: ptr::null(),
            strides: ptr::null(),
        }
    }
}

/// A tensor that can be read in place. Set struct_size to sizeof(park_tensor) before the call that fills it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_tensor {
    /// sizeof(park_tensor).
    pub struct_size: usize,
    /// Element type.
    pub dtype: park_dtype,
    /// PARK_VIEW_NUMPY, PARK_VIEW_TORCH or PARK_VIEW_PLAIN.
    pub view: park_view,
    /// Number of dimensions.
    pub ndim: usize,
    /// Extents; 0 beyond `ndim`.
    pub shape: [i64; PARK_TENSOR_MAX_NDIM],
    /// Distances between neighbours, in elements; 0 beyond `ndim`.
    pub strides: [i64; PARK_TENSOR_MAX_NDIM],
    /// The elements, aligned to 64 bytes, or if they lie in a file (PARK_FORMAT_MAPPED) to the size of one. Read-only; valid while
    /// the object's view is.
    pub data: *const c_void,
    /// Bytes of all elements.
    pub nbytes: usize,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and raw pointers only.
unsafe impl Sized for park_tensor {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            dtype: 0,
            view: 0,
            ndim: 0,
            shape: [0; 8],
            strides: [0; 8],
            data: ptr::null(),
            nbytes: 0,
        }
    }
}

/// A dtype as C has it.
fn number(dtype: DType) -> park_dtype {
    u32::from(dtype.code) << 8 | u32::from(dtype.bits)
}

fn extents(values: &[i64], what: &str) -> Result<Vec<u64>> {
    let negative = |_| invalid(format!("a tensor cannot have {what} {values:?}: negative"));
    values
        .iter()
        .map(|value| u64::try_from(*value).map_err(negative))
        .collect()
}

/// Checks a caller's description of a tensor.
pub(crate) fn read_spec(from_c: &FromC, spec: *const park_tensor_spec) -> Result<TensorSpec> {
    let spec = from_c.sized(spec, "spec")?;
    let [bits, code, 0, 0] = spec.dtype.to_le_bytes() else {
        return Err(invalid(format!("there is no dtype {:#x}", spec.dtype)));
    };
    let dtype = DType::new(code, bits)?;
    let view = match spec.view {
        PARK_VIEW_NUMPY => View::Numpy,
        PARK_VIEW_TORCH => View::Torch,
        PARK_VIEW_PLAIN => View::Plain,
        other => return Err(invalid(format!("there is no view {other}"))),
    };
    if spec.ndim > PARK_TENSOR_MAX_NDIM {
        return Err(invalid(format!(
            "a tensor has at most {PARK_TENSOR_MAX_NDIM} dimensions, got {}",
            spec.ndim
        )));
    }
    let shape = extents(from_c.slice(spec.shape, spec.ndim, "spec->shape")?, "the shape")?;
    if spec.strides.is_null() {
        return TensorSpec::contiguous(dtype, &shape, view);
    }
    let strides = extents(from_c.slice(spec.strides, spec.ndim, "spec->strides")?, "the strides")?;
    TensorSpec::strided(dtype, &shape, &strides, view)
}

/// What C sees of a tensor.
pub(crate) fn describe(spec: &TensorSpec, elements: &[u8]) -> park_tensor {
    let mut tensor = park_tensor {
        dtype: number(spec.dtype),
        view: spec.view as park_view,
        ndim: spec.shape.len(),
        data: elements.as_ptr().cast(),
        nbytes: elements.len(),
        ..park_tensor::defaults()
    };
    let signed = |value: &u64| i64::try_from(*value).unwrap_or(i64::MAX);
    tensor
        .shape
        .iter_mut()
        .zip(spec.shape.iter().map(signed))
        .for_each(|(place, value)| *place = value);
    tensor
        .strides
        .iter_mut()
        .zip(spec.strides.iter().map(signed))
        .for_each(|(place, value)| *place = value);
    tensor
}

/// Lends room for a tensor: write its elements in place (park_mutable_object_data()), then seal it.
/// Ownership: `*out` is the caller's, for park_mutable_object_free(); `spec` is copied. Threads: shared. Errors: PARK_STORE_FULL,
/// PARK_TABLE_FULL, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_tensor_create(
    session: *const park_session,
    spec: *const park_tensor_spec,
    out: *mut *mut park_mutable_object,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        let object = session.store().create_tensor(&read_spec(from_c, spec)?, &mut never)?;
        out.set_handle(park_mutable_object::new(object).past_header(Format::Tensor));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Stores a copy of a tensor's elements, which are `nbytes` long and laid out as `spec` says.
/// Ownership: `*out` is the caller's, for park_object_ref_free(); `spec` and `data` are copied. Threads: shared. Errors:
/// PARK_STORE_FULL, PARK_TABLE_FULL, PARK_PERMISSION_DENIED, PARK_SESSION_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_tensor_put(
    session: *const park_session,
    spec: *const park_tensor_spec,
    data: *const c_void,
    nbytes: usize,
    out: *mut *mut park_object_ref,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let session = from_c.borrow(session, "session")?.open()?;
        let spec = read_spec(from_c, spec)?;
        let elements = from_c.slice(data.cast::<u8>(), nbytes, "data")?;
        if spec.nbytes() != nbytes as u64 {
            return Err(invalid(format!(
                "a tensor of shape {:?} has {} bytes, got {nbytes}",
                spec.shape,
                spec.nbytes()
            )));
        }
        let mut object = session.store().create_tensor(&spec, &mut never)?;
        object.write(object.len() - spec.nbytes(), elements)?;
        out.set_handle(park_object_ref::new(object.seal()?));
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Describes the tensor that an object is, for reading in place. PARK_WRONG_FORMAT if it is none.
/// Ownership: `out->data` stays the object's. Threads: shared. Errors: PARK_WRONG_FORMAT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_tensor_read(
    object: *const park_object,
    out: *mut park_tensor,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out_sized(out, "out")?;
        out(from_c
            .borrow(object, "object")?
            .with(|object| object.tensor().map(|(spec, elements)| describe(&spec, elements)))?);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use park_core::{Config, Store};

    #[test]
    fn every_dtype_constant_is_one_and_no_other_is() {
        let source = include_str!("tensor.rs");
        let constants: Vec<(String, u32)> = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub const PARK_")?.split_once(": park_dtype = 0x"))
            .filter_map(|(name, hex)| {
                let number = u32::from_str_radix(hex.trim_end_matches(';'), 16).ok()?;
                Some((name.to_lowercase(), number))
            })
            .collect();
        let valid: Vec<(String, u32)> = DType::ALL
            .iter()
            .map(|(dtype, name)| ((*name).to_owned(), number(*dtype)))
            .collect();
        assert_eq!(constants, valid);
    }

    #[test]
    fn a_tensor_that_stays_in_its_file_is_read_in_place() {
        let store = std::sync::Arc::new(Store::open(&Config::default().capacity(1 << 20), 3).unwrap());
        let path = std::env::temp_dir().join(format!("park-c-tensor-{}", std::process::id()));
        std::fs::write(&path, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]).unwrap();
        // SAFETY: nobody else knows this file, and it is removed below, not rewritten.
        let file = unsafe { store.map_file(&path) }.unwrap();
        std::fs::remove_file(&path).unwrap();
        let spec = TensorSpec::contiguous(DType::from_name("int32").unwrap(), &[2], View::Plain).unwrap();
        let object = store.put_mapped(&file, 4, &spec).unwrap().open().unwrap();
        assert_eq!(object.format() as u32, crate::object::PARK_FORMAT_MAPPED);
        let (found, elements) = object.tensor().unwrap();
        let read = describe(&found, elements);
        assert_eq!(
            (read.dtype, read.view, read.ndim, read.nbytes),
            (PARK_INT32, PARK_VIEW_PLAIN, 1, 8)
        );
        assert_eq!(read.data.addr(), file.bytes().as_ptr().addr() + 4);
        assert_eq!(object.bytes(), [2, 0, 0, 0, 3, 0, 0, 0]);
    }
}
