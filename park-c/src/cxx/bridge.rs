//! What crosses between Rust and C++: the abstract class that C++ implements, and the call that Rust lends it.

use std::ptr;

use park_core::sched::native::NativeCall;
use park_core::{DType, Error, ErrorKind, Object, Result, TensorSpec, View};

use crate::guard::catch;

pub use ffi::Actor;

#[cxx::bridge(namespace = "park::cxx")]
#[allow(
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    reason = "the macro's expansion"
)]
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "the macro's expansion; what is public is documented here and in actor.h"
)]
mod ffi {
    /// Type and layout of a tensor.
    struct TensorInfo {
        /// As park_dtype in park.h: DLPack's code times 256, plus the bits.
        dtype: u32,
        /// Extents.
        shape: Vec<u64>,
        /// Distances between neighbours, in elements.
        strides: Vec<u64>,
    }

    extern "Rust" {
        /// One call of an actor: its arguments to read, its returns to write. Valid while `Actor::call` runs, on its thread.
        type Call;

        /// How many arguments there are.
        fn num_args(self: &Call) -> usize;
        /// How many values have to be returned.
        fn num_returns(self: &Call) -> usize;
        /// An argument's bytes, in place.
        fn arg(self: &Call, index: usize) -> Result<&[u8]>;
        /// An argument's type and layout, if it is a tensor.
        fn tensor_info(self: &Call, index: usize) -> Result<TensorInfo>;
        /// An argument's elements, in place, if it is a tensor.
        fn tensor_bytes(self: &Call, index: usize) -> Result<&[u8]>;
        /// A return is a copy of these bytes.
        fn put(self: &mut Call, index: usize, bytes: &[u8]) -> Result<()>;
        /// A return is a row-major tensor with a copy of these elements; torch's if `torch`, else numpy's.
        fn put_tensor(
            self: &mut Call,
            index: usize,
            dtype: u32,
            shape: &[u64],
            elements: &[u8],
            torch: bool,
        ) -> Result<()>;
    }

    unsafe extern "C++" {
        include!("park-c/src/cxx/actor.h");

        /// A C++ class with methods that are called by name: see actor.h.
        type Actor;

        /// One call.
        fn call(self: Pin<&mut Actor>, method: &str, call: &mut Call) -> Result<()>;
    }

    impl UniquePtr<Actor> {}
}

/// What C++ sees of a call.
pub struct Call {
    call: *mut NativeCall<'static>,
}

impl Call {
    pub(super) fn new(call: &mut NativeCall<'_>) -> Self {
        Self {
            call: ptr::from_mut(call).cast(),
        }
    }

    fn get(&self) -> &NativeCall<'_> {
        // SAFETY: C++ gets this value by reference while the call runs, and cannot copy or keep it (the type is opaque to it).
        unsafe { &*self.call }
    }

    fn get_mut(&mut self) -> &mut NativeCall<'_> {
        // SAFETY: as above, and borrowed as mutable, so that nothing it lent is in use.
        unsafe { &mut *self.call.cast() }
    }

    fn num_args(&self) -> usize {
        self.get().args().len()
    }

    fn num_returns(&self) -> usize {
        self.get().returns()
    }

    fn arg(&self, index: usize) -> Result<&[u8]> {
        catch(|| self.get().arg(index).map(Object::bytes))
    }

    fn tensor_info(&self, index: usize) -> Result<ffi::TensorInfo> {
        catch(|| {
            let (spec, _) = self.get().arg(index)?.tensor()?;
            let dtype = u32::from(spec.dtype.code) << 8 | u32::from(spec.dtype.bits);
            Ok(ffi::TensorInfo {
                dtype,
                shape: spec.shape,
                strides: spec.strides,
            })
        })
    }

    fn tensor_bytes(&self, index: usize) -> Result<&[u8]> {
        catch(|| Ok(self.get().arg(index)?.tensor()?.1))
    }

    fn put(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        catch(|| self.get_mut().put(index, bytes))
    }

    fn put_tensor(&mut self, index: usize, dtype: u32, shape: &[u64], elements: &[u8], torch: bool) -> Result<()> {
        catch(|| {
            let [bits, code, 0, 0] = dtype.to_le_bytes() else {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("there is no dtype {dtype:#x}"),
                ));
            };
            let view = if torch { View::Torch } else { View::Numpy };
            let spec = TensorSpec::contiguous(DType::new(code, bits)?, shape, view)?;
            if spec.nbytes() != elements.len() as u64 {
                let text = format!(
                    "a tensor of shape {shape:?} has {} bytes, got {}",
                    spec.nbytes(),
                    elements.len()
                );
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
            let mut object = self.get_mut().create_tensor(index, &spec)?;
            let header = object.len() - spec.nbytes();
            object.write(header, elements)?;
            object.seal()?;
            Ok(())
        })
    }
}
