//! What this module uses of the CUDA driver: contexts, streams, virtual memory, copies. Each handle gives back what it took when dropped.
//!
//! The driver is looked for when it is first asked for, by `Context::of_device`, and nothing here works before: no program needs CUDA to
//! start. Handles are of one process; a child that was forked has none of what they name, so there they drop nothing.
#![allow(unsafe_code, reason = "calls the CUDA driver")]

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr;

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdeviceptr, CUmemAccess_flags, CUmemAccessDesc, CUmemAllocationGranularity_flags,
    CUmemAllocationHandleType, CUmemAllocationProp, CUmemAllocationType, CUmemGenericAllocationHandle, CUmemLocation,
    CUmemLocationType, CUresult, CUstream, CUstream_flags,
};

use crate::error::{Error, ErrorKind, Result, bail};

/// The error of a call, by what it means for a caller.
fn check(result: CUresult, what: &str) -> Result<()> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let kind = match result {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => ErrorKind::StoreFull,
        CUresult::CUDA_ERROR_NO_DEVICE | CUresult::CUDA_ERROR_NOT_SUPPORTED => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    };
    Err(Error::new(kind, format!("CUDA could not {what}: {}", text_of(result))))
}

fn text_of(result: CUresult) -> String {
    let mut text = ptr::null();
    // SAFETY: writes the address of a constant string, or null for a number that this driver does not know.
    let known = unsafe { sys::cuGetErrorString(result, &raw mut text) };
    if known != CUresult::CUDA_SUCCESS || text.is_null() {
        return format!("{result:?}");
    }
    // SAFETY: the driver's strings end with a zero and are never freed.
    let text = unsafe { CStr::from_ptr(text) };
    format!("{} ({result:?})", text.to_string_lossy())
}

/// The primary context of a device, which PyTorch uses too.
pub(super) struct Context {
    device: CUdevice,
    raw: CUcontext,
    process: u32,
}

// SAFETY: a context is current on any number of threads, and the driver's calls may be made from each.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// That of the device with this number.
    ///
    /// # Errors
    /// `Unsupported` if there is no driver or no device, `InvalidArgument` for a device that there is not, `Io`.
    pub(super) fn of_device(ordinal: u32) -> Result<Self> {
        // SAFETY: loads a library and nothing else; asked first, because every other call panics without it.
        if !unsafe { sys::is_culib_present() } {
            bail!(
                Unsupported,
                "device cuda:{ordinal} was asked for, and there is no CUDA driver (libcuda.so) on this machine"
            );
        }
        // SAFETY: any thread may call it any number of times.
        check(unsafe { sys::cuInit(0) }, "start")?;
        let mut count = 0;
        // SAFETY: writes a number.
        check(unsafe { sys::cuDeviceGetCount(&raw mut count) }, "count its devices")?;
        let number = i32::try_from(ordinal).ok().filter(|number| *number < count);
        let Some(number) = number else {
            bail!(InvalidArgument, "there is no device cuda:{ordinal}: there are {count}");
        };
        let mut device = 0;
        // SAFETY: writes a number.
        check(unsafe { sys::cuDeviceGet(&raw mut device, number) }, "open the device")?;
        let mut raw = ptr::null_mut();
        // SAFETY: writes a handle, which `drop` gives back.
        let result = unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut raw, device) };
        check(result, "make a context")?;
        Ok(Self {
            device,
            raw,
            process: std::process::id(),
        })
    }

    /// Makes it the current one of this thread, until what is returned is dropped: the caller's own comes back then.
    pub(super) fn enter(&self) -> Result<Entered<'_>> {
        // SAFETY: the context is held.
        check(unsafe { sys::cuCtxPushCurrent_v2(self.raw) }, "enter its context")?;
        Ok(Entered {
            context: self,
            _of_this_thread: PhantomData,
        })
    }

    fn of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    fn location(&self) -> CUmemLocation {
        // SAFETY: plain numbers, for which zero is a value; a union of them that differs from one version of CUDA to another.
        let mut location: CUmemLocation = unsafe { std::mem::zeroed() };
        location.type_ = CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
        location.__bindgen_anon_1.id = self.device;
        location
    }

    fn memory_of_the_device(&self) -> CUmemAllocationProp {
        // SAFETY: plain numbers and a null pointer; the kind, whose 0 is named too, is set at once.
        let mut wanted: CUmemAllocationProp = unsafe { std::mem::zeroed() };
        wanted.type_ = CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        wanted.requestedHandleTypes = CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE;
        wanted.location = self.location();
        wanted
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.of_this_process() {
            // SAFETY: retained once by `of_device`.
            let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
        }
    }
}

/// A thread in a context.
pub(super) struct Entered<'a> {
    context: &'a Context,
    /// The stack of contexts is one thread's.
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut left = ptr::null_mut();
        // SAFETY: pushed by `enter` on this thread, which the type keeps it on.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut left) };
    }
}

/// A stream that waits for the default stream of the same context, and that one for it.
pub(super) struct Stream {
    raw: CUstream,
}

// SAFETY: a stream takes work from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    pub(super) fn new(_: &Entered<'_>) -> Result<Self> {
        let mut raw = ptr::null_mut();
        let flags = CUstream_flags::CU_STREAM_DEFAULT as u32;
        // SAFETY: writes a handle of the current context, which the proof of it says there is.
        check(unsafe { sys::cuStreamCreate(&raw mut raw, flags) }, "make a stream")?;
        Ok(Self { raw })
    }

    /// Everything that was put on it is done.
    pub(super) fn finish(&self, _: &Entered<'_>) -> Result<()> {
        // SAFETY: a stream of this context.
        check(unsafe { sys::cuStreamSynchronize(self.raw) }, "finish its copies")
    }

    /// Gives it back.
    pub(super) fn destroy(&self, _: &Entered<'_>) {
        // SAFETY: made by `new`; the owner calls this once, as it is dropped itself.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
    }

    /// # Safety
    /// `to` and `from` are of `len` bytes each, and stay so until `finish`.
    pub(super) unsafe fn copy_out(&self, _: &Entered<'_>, to: *mut u8, from: u64, len: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        let result = unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast::<c_void>(), from, len as usize, self.raw) };
        check(result, "copy to host memory")
    }

    /// # Safety
    /// As of `copy_out`.
    pub(super) unsafe fn copy_in(&self, _: &Entered<'_>, to: u64, from: *const u8, len: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        let result = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast::<c_void>(), len as usize, self.raw) };
        check(result, "copy from host memory")
    }

    /// # Safety
    /// As of `copy_out`.
    pub(super) unsafe fn copy_within(&self, _: &Entered<'_>, to: u64, from: u64, len: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        let result = unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, len as usize, self.raw) };
        check(result, "copy within the device")
    }

    /// # Safety
    /// `at` is of `len` bytes, and stays so until `finish`.
    pub(super) unsafe fn zero(&self, _: &Entered<'_>, at: u64, len: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        let result = unsafe { sys::cuMemsetD8Async(at, 0, len as usize, self.raw) };
        check(result, "clear memory")
    }
}

/// Addresses of a device, with or without memory behind them.
pub(super) struct Space {
    address: CUdeviceptr,
    bytes: usize,
}

impl Space {
    /// Addresses for at least so many bytes: as many as memory is handed out in whole pieces.
    pub(super) fn reserve(entered: &Entered<'_>, bytes: u64) -> Result<Self> {
        let wanted = entered.context.memory_of_the_device();
        let mut piece = 0;
        let recommended = CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_RECOMMENDED;
        // SAFETY: reads a description and writes a number.
        let result = unsafe { sys::cuMemGetAllocationGranularity(&raw mut piece, &raw const wanted, recommended) };
        check(result, "say how it hands out memory")?;
        let bytes = (bytes as usize).next_multiple_of(piece.max(1));
        let mut address = 0;
        // SAFETY: writes a number; nothing is mapped there yet.
        let result = unsafe { sys::cuMemAddressReserve(&raw mut address, bytes, 0, 0, 0) };
        check(result, &format!("reserve addresses for {bytes} bytes"))?;
        Ok(Self { address, bytes })
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Puts memory behind all of the addresses.
    pub(super) fn fill(&self, entered: &Entered<'_>) -> Result<Memory> {
        let wanted = entered.context.memory_of_the_device();
        let mut raw = 0;
        // SAFETY: reads a description and writes a handle.
        let result = unsafe { sys::cuMemCreate(&raw mut raw, self.bytes, &raw const wanted, 0) };
        check(result, &format!("take {} bytes", self.bytes))?;
        // SAFETY: the addresses are reserved, and the owner has nothing mapped there while it asks for memory.
        let mapped = check(
            unsafe { sys::cuMemMap(self.address, self.bytes, 0, raw, 0) },
            "map memory",
        );
        if let Err(error) = mapped {
            // SAFETY: made above, and mapped nowhere.
            let _ = unsafe { sys::cuMemRelease(raw) };
            return Err(error);
        }
        let memory = Memory { raw };
        let access = CUmemAccessDesc {
            location: entered.context.location(),
            flags: CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        // SAFETY: mapped above.
        let result = unsafe { sys::cuMemSetAccess(self.address, self.bytes, &raw const access, 1) };
        if let Err(error) = check(result, "open memory to the device") {
            let _ = self.empty(entered, memory);
            return Err(error);
        }
        Ok(memory)
    }

    /// Takes the memory away and keeps the addresses. Nothing may be using it.
    pub(super) fn empty(&self, _: &Entered<'_>, memory: Memory) -> Result<()> {
        // SAFETY: mapped by `fill`.
        check(unsafe { sys::cuMemUnmap(self.address, self.bytes) }, "unmap memory")?;
        // SAFETY: made by `fill`, mapped nowhere any more; taking it by value makes this once.
        check(unsafe { sys::cuMemRelease(memory.raw) }, "give memory back")
    }

    /// Gives the addresses back.
    pub(super) fn give_back(&self, _: &Entered<'_>) {
        // SAFETY: reserved by `reserve`; the owner has emptied it, and calls this once, as it is dropped itself.
        let _ = unsafe { sys::cuMemAddressFree(self.address, self.bytes) };
    }
}

/// Physical memory of a device.
pub(super) struct Memory {
    raw: CUmemGenericAllocationHandle,
}

/// Pins host memory. False if somebody in this process has done so already.
///
/// # Safety
/// It is mapped, and stays so until [`unpin`].
pub(super) unsafe fn pin(_: &Entered<'_>, base: *mut u8, len: u64) -> Result<bool> {
    // SAFETY: the caller's promise. Portable: pinned for every context.
    match unsafe { sys::cuMemHostRegister_v2(base.cast::<c_void>(), len as usize, sys::CU_MEMHOSTREGISTER_PORTABLE) } {
        CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED => Ok(false),
        result => check(result, &format!("pin the {len} bytes of the store")).map(|()| true),
    }
}

/// Undoes [`pin`].
pub(super) fn unpin(_: &Entered<'_>, base: *mut u8) {
    // SAFETY: registered by `pin`, or else the driver refuses.
    let _ = unsafe { sys::cuMemHostUnregister(base.cast::<c_void>()) };
}

impl Context {
    /// Enters it to give things back; not in a process that was forked, nor when the driver is past its end.
    pub(super) fn enter_to_drop(&self) -> Option<Entered<'_>> {
        self.of_this_process().then(|| self.enter().ok()).flatten()
    }
}
