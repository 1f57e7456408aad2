//! Memory of a CUDA device: physical memory behind addresses that stay, so that it can be given back in a sleep.
//!
//! A batch is put on a stream of this device's own, which is then waited for. Both orders are kept between that stream and the default one
//! (PyTorch's, unless a program chose another): what a kernel there wrote before is what is copied, and what it reads after has arrived.
//!
//! Copies to and from memory that was pinned go straight; others are staged by the driver. The store maps its arena twice, and only
//! the mapping for writing can be pinned everywhere, so an address of the other is looked up there: the bytes are the same.
#![allow(unsafe_code, reason = "copies between raw addresses and those of a device")]

mod driver;

use parking_lot::{Mutex, RwLock};

use self::driver::{Context, Entered, Memory, Space, Stream};
use super::{CopyIn, CopyOut, CopyWithin, Device, HostMemory};
use crate::error::{Result, bail};
use crate::kv::physical::Run;

/// See the module.
pub struct CudaDevice {
    context: Context,
    stream: Stream,
    space: Space,
    /// None while it is released.
    memory: Mutex<Option<Memory>>,
    pinned: RwLock<Vec<Pinned>>,
}

struct Pinned {
    memory: HostMemory,
    /// Not if another device of this process did it.
    by_this_device: bool,
}

// SAFETY: addresses that are compared and handed to the driver; nothing is reached through them here.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Where bytes that are read at `from` lie in memory that is pinned.
    fn at(&self, from: *const u8) -> Option<*const u8> {
        let offset = (from as usize).checked_sub(self.memory.readers as usize)?;
        ((offset as u64) < self.memory.len).then(|| self.memory.base.wrapping_add(offset).cast_const())
    }
}

impl CudaDevice {
    /// Memory of at least `bytes` bytes, zeros, on the device with this number.
    ///
    /// # Errors
    /// `Unsupported` without a CUDA driver or device, `InvalidArgument` for a device that there is not or for no bytes, `StoreFull` if
    /// the device does not have them, `Io` if it fails.
    pub fn new(ordinal: u32, bytes: u64) -> Result<Self> {
        if bytes == 0 {
            bail!(InvalidArgument, "a device of 0 bytes was asked for");
        }
        let context = Context::of_device(ordinal)?;
        let entered = context.enter()?;
        let stream = Stream::new(&entered)?;
        let space = match Space::reserve(&entered, bytes) {
            Ok(space) => space,
            Err(error) => {
                stream.destroy(&entered);
                return Err(error);
            }
        };
        drop(entered);
        let device = Self {
            context,
            stream,
            space,
            memory: Mutex::new(None),
            pinned: RwLock::default(),
        };
        device.acquire()?;
        Ok(device)
    }

    /// The address of a range, checked.
    fn at(&self, offset: u64, len: u64) -> Result<u64> {
        let size = self.space.bytes();
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(self.space.address() + offset),
            _ => bail!(
                InvalidArgument,
                "{len} bytes at offset {offset} are not in a device of {size} bytes"
            ),
        }
    }

    /// Puts a batch on the stream and waits for it, even if half of it was refused: host memory is lent for the time of the call.
    fn run(&self, batch: impl FnOnce(&Entered<'_>) -> Result<()>) -> Result<()> {
        let entered = self.context.enter()?;
        let queued = batch(&entered);
        let done = self.stream.finish(&entered);
        queued.and(done)
    }
}

impl Device for CudaDevice {
    fn bytes(&self) -> u64 {
        self.space.bytes()
    }

    fn base(&self) -> Option<*mut u8> {
        None
    }

    fn address(&self) -> u64 {
        self.space.address()
    }

    unsafe fn pin(&self, memory: HostMemory) -> Result<()> {
        let mut pinned = self.pinned.write();
        let entered = self.context.enter()?;
        // SAFETY: mapped as long as its owner, which is kept until `drop` has undone this.
        let by_this_device = unsafe { driver::pin(&entered, memory.base, memory.len)? };
        pinned.push(Pinned { memory, by_this_device });
        Ok(())
    }

    unsafe fn copy_out(&self, batch: &[CopyOut]) -> Result<()> {
        for copy in batch {
            self.at(copy.from, copy.len)?;
        }
        self.run(|entered| {
            batch.iter().try_for_each(|copy| {
                let from = self.at(copy.from, copy.len)?;
                // SAFETY: `from` was checked; the rest is the caller's promise, for this call, which waits.
                unsafe { self.stream.copy_out(entered, copy.to, from, copy.len) }
            })
        })
    }

    unsafe fn copy_in(&self, batch: &[CopyIn]) -> Result<()> {
        for copy in batch {
            self.at(copy.to, copy.len)?;
        }
        let pinned = self.pinned.read();
        self.run(|entered| {
            batch.iter().try_for_each(|copy| {
                let to = self.at(copy.to, copy.len)?;
                let from = pinned
                    .iter()
                    .find_map(|pinned| pinned.at(copy.from))
                    .unwrap_or(copy.from);
                // SAFETY: as in `copy_out`; the same bytes, wherever they are read.
                unsafe { self.stream.copy_in(entered, to, from, copy.len) }
            })
        })
    }

    unsafe fn copy_within(&self, batch: &[CopyWithin]) -> Result<()> {
        for copy in batch {
            self.at(copy.from, copy.len)?;
            self.at(copy.to, copy.len)?;
        }
        self.run(|entered| {
            batch.iter().try_for_each(|copy| {
                let (from, to) = (self.at(copy.from, copy.len)?, self.at(copy.to, copy.len)?);
                // SAFETY: as in `copy_out`.
                unsafe { self.stream.copy_within(entered, to, from, copy.len) }
            })
        })
    }

    unsafe fn zero(&self, runs: &[Run]) -> Result<()> {
        for run in runs {
            self.at(run.offset, run.len)?;
        }
        self.run(|entered| {
            runs.iter().try_for_each(|run| {
                let at = self.at(run.offset, run.len)?;
                // SAFETY: as in `copy_out`.
                unsafe { self.stream.zero(entered, at, run.len) }
            })
        })
    }

    fn release(&self) -> Result<()> {
        let Some(memory) = self.memory.lock().take() else {
            return Ok(());
        };
        let entered = self.context.enter()?;
        self.space.empty(&entered, memory)
    }

    fn acquire(&self) -> Result<()> {
        let mut memory = self.memory.lock();
        if memory.is_some() {
            return Ok(());
        }
        let entered = self.context.enter()?;
        *memory = Some(self.space.fill(&entered)?);
        drop(entered);
        let all = Run {
            offset: 0,
            len: self.space.bytes(),
        };
        // SAFETY: nobody has a range of memory that was not there.
        unsafe { self.zero(&[all]) }
    }

    fn resident(&self) -> Result<u64> {
        Ok(self.memory.lock().as_ref().map_or(0, |_| self.space.bytes()))
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        let Some(entered) = self.context.enter_to_drop() else {
            return;
        };
        for pinned in self.pinned.get_mut() {
            if pinned.by_this_device {
                driver::unpin(&entered, pinned.memory.base);
            }
        }
        let emptied = match self.memory.get_mut().take() {
            Some(memory) => self.space.empty(&entered, memory).is_ok(),
            None => true,
        };
        if emptied {
            self.space.give_back(&entered);
        }
        self.stream.destroy(&entered);
    }
}
