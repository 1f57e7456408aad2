//! Memory of the device tier, copied in batches: the trait; `cpu`, plain memory; `cuda`, memory of a GPU.
//!
//! A `Device` knows addresses and lengths, nothing of blocks: `arena` calls it with ranges that it has checked, and keeps two copies from
//! meeting in one block. A batch is one call, so that a device with a driver waits once for it.
#![allow(unsafe_code, reason = "declares copies between raw addresses")]

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use std::any::Any;
use std::sync::Arc;

pub use cpu::CpuDevice;
#[cfg(feature = "cuda")]
pub use cuda::CudaDevice;

use super::Run;
use crate::error::Result;

/// One copy from device memory to host memory.
#[derive(Clone, Copy, Debug)]
pub struct CopyOut {
    /// Offset on the device.
    pub from: u64,
    /// Host address.
    pub to: *mut u8,
    /// Bytes.
    pub len: u64,
}

/// One copy from host memory to device memory.
#[derive(Clone, Copy, Debug)]
pub struct CopyIn {
    /// Host address.
    pub from: *const u8,
    /// Offset on the device.
    pub to: u64,
    /// Bytes.
    pub len: u64,
}

/// One copy within device memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyWithin {
    /// Offset on the device.
    pub from: u64,
    /// Offset on the device.
    pub to: u64,
    /// Bytes.
    pub len: u64,
}

/// Memory of this process that copies come from and go to again and again, mapped twice: the arena of a store.
pub struct HostMemory {
    /// Where it is written to.
    pub base: *mut u8,
    /// Where the same bytes are read.
    pub readers: *const u8,
    /// Bytes.
    pub len: u64,
    /// What keeps both mapped.
    pub owner: Arc<dyn Any + Send + Sync>,
}

/// Memory that holds pages. Each call returns once all of its copies are done. Offsets out of range are `InvalidArgument`, and then
/// nothing was copied.
pub trait Device: Send + Sync {
    /// Bytes of it.
    fn bytes(&self) -> u64;

    /// Where it is mapped, if the processor can reach it.
    fn base(&self) -> Option<*mut u8>;

    /// Where it begins for the device's own kernels.
    fn address(&self) -> u64;

    /// Makes copies between the device and this memory as fast as they can be, from now on. What that takes of the machine, memory that
    /// cannot be paged for one, it takes until the device is dropped.
    ///
    /// # Errors
    /// `StoreFull` if the machine has not got the memory, `Io` if the device fails.
    ///
    /// # Safety
    /// Both addresses are of the same memory, which is mapped there for `len` bytes as long as `owner` lives.
    unsafe fn pin(&self, memory: HostMemory) -> Result<()>;

    /// Copies to host memory.
    ///
    /// # Errors
    /// `InvalidArgument` out of range; `Io` if the device fails.
    ///
    /// # Safety
    /// Each `to` is writable for its `len`, and nobody else uses that memory meanwhile. Nobody writes to the ranges that are read.
    unsafe fn copy_out(&self, batch: &[CopyOut]) -> Result<()>;

    /// Copies from host memory.
    ///
    /// # Errors
    /// As `copy_out`.
    ///
    /// # Safety
    /// Each `from` is readable for its `len`, and nobody writes to that memory meanwhile. Nobody else uses the ranges that are written,
    /// which do not overlap.
    unsafe fn copy_in(&self, batch: &[CopyIn]) -> Result<()>;

    /// Copies within the device.
    ///
    /// # Errors
    /// As `copy_out`.
    ///
    /// # Safety
    /// Nobody else uses the ranges that are written or writes to those that are read, and none of the former overlaps any other.
    unsafe fn copy_within(&self, batch: &[CopyWithin]) -> Result<()>;

    /// Writes zeros.
    ///
    /// # Errors
    /// As `copy_out`.
    ///
    /// # Safety
    /// Nobody else uses these ranges.
    unsafe fn zero(&self, runs: &[Run]) -> Result<()>;

    /// Gives the physical memory back and keeps the addresses. Contents are gone.
    ///
    /// # Errors
    /// `Io` if the system refuses.
    fn release(&self) -> Result<()>;

    /// Takes physical memory again, of zeros.
    ///
    /// # Errors
    /// `StoreFull` if there is none.
    fn acquire(&self) -> Result<()>;

    /// Bytes of physical memory that it takes now.
    ///
    /// # Errors
    /// `Io` if the system does not say.
    fn resident(&self) -> Result<u64>;
}
