//! Plain memory of this process: the device tier of a machine without a device.
#![allow(unsafe_code, reason = "copies between raw addresses")]

use std::os::fd::OwnedFd;

use super::{CopyIn, CopyOut, CopyWithin, Device, HostMemory};
use crate::error::{Result, bail};
use crate::kv::physical::Run;
use crate::sys::memfd;
use crate::sys::mmap::Mapping;

/// See the module. Reserved when it is made, so no later write can fail.
#[derive(Debug)]
pub struct CpuDevice {
    fd: OwnedFd,
    map: Mapping,
}

// SAFETY: the mapping is reached through `base` alone, whose users answer for what they do there (`Device`'s contracts).
unsafe impl Send for CpuDevice {}
// SAFETY: as above.
unsafe impl Sync for CpuDevice {}

impl CpuDevice {
    /// Memory of at least `bytes` bytes, zeros.
    ///
    /// # Errors
    /// `InvalidArgument` for no bytes, `StoreFull` if the machine does not have them, `Io` if the system refuses.
    pub fn new(bytes: u64) -> Result<Self> {
        if bytes == 0 {
            bail!(InvalidArgument, "a device of 0 bytes was asked for");
        }
        // Whole pages: only those are given back in a sleep.
        let bytes = bytes.next_multiple_of(4096);
        let fd = memfd::create("park-kv", bytes)?;
        let map = Mapping::read_write(&fd, bytes)?;
        memfd::reserve(&fd, 0, bytes)?;
        Ok(Self { fd, map })
    }

    /// The address of a range, checked.
    fn at(&self, offset: u64, len: u64) -> Result<*mut u8> {
        let size = self.map.size() as u64;
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(self.map.base().wrapping_add(offset as usize)),
            _ => bail!(
                InvalidArgument,
                "{len} bytes at offset {offset} are not in a device of {size} bytes"
            ),
        }
    }
}

impl Device for CpuDevice {
    fn bytes(&self) -> u64 {
        self.map.size() as u64
    }

    fn base(&self) -> Option<*mut u8> {
        Some(self.map.base())
    }

    fn address(&self) -> u64 {
        self.map.base() as u64
    }

    unsafe fn pin(&self, _: HostMemory) -> Result<()> {
        Ok(()) // The processor copies from anywhere.
    }

    unsafe fn copy_out(&self, batch: &[CopyOut]) -> Result<()> {
        for copy in batch {
            self.at(copy.from, copy.len)?;
        }
        for copy in batch {
            let from = self.at(copy.from, copy.len)?;
            // SAFETY: `from` was checked; the rest is the caller's promise. Device and host memory are different mappings.
            unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), copy.to, copy.len as usize) };
        }
        Ok(())
    }

    unsafe fn copy_in(&self, batch: &[CopyIn]) -> Result<()> {
        for copy in batch {
            self.at(copy.to, copy.len)?;
        }
        for copy in batch {
            let to = self.at(copy.to, copy.len)?;
            // SAFETY: as in `copy_out`.
            unsafe { std::ptr::copy_nonoverlapping(copy.from, to, copy.len as usize) };
        }
        Ok(())
    }

    unsafe fn copy_within(&self, batch: &[CopyWithin]) -> Result<()> {
        for copy in batch {
            self.at(copy.from, copy.len)?;
            self.at(copy.to, copy.len)?;
        }
        for copy in batch {
            let (from, to) = (self.at(copy.from, copy.len)?, self.at(copy.to, copy.len)?);
            // SAFETY: both were checked; that they do not overlap is the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), to, copy.len as usize) };
        }
        Ok(())
    }

    unsafe fn zero(&self, runs: &[Run]) -> Result<()> {
        for run in runs {
            self.at(run.offset, run.len)?;
        }
        for run in runs {
            let at = self.at(run.offset, run.len)?;
            // SAFETY: checked; that nobody else uses it is the caller's promise.
            unsafe { std::ptr::write_bytes(at, 0, run.len as usize) };
        }
        Ok(())
    }

    fn release(&self) -> Result<()> {
        memfd::give_back(&self.fd, 0, self.bytes())
    }

    fn acquire(&self) -> Result<()> {
        memfd::reserve(&self.fd, 0, self.bytes())
    }

    fn resident(&self) -> Result<u64> {
        memfd::resident(&self.fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn copy_in(device: &CpuDevice, bytes: &[u8], places: &[u64]) -> Result<()> {
        let copy = |to: &u64| CopyIn {
            from: bytes.as_ptr(),
            to: *to,
            len: bytes.len() as u64,
        };
        let batch: Vec<CopyIn> = places.iter().map(copy).collect();
        // SAFETY: `bytes` is borrowed meanwhile, and nobody else has the device.
        unsafe { device.copy_in(&batch) }
    }

    fn copy_out(device: &CpuDevice, from: u64) -> Result<[u8; 100]> {
        let mut bytes = [1; 100];
        let batch = [CopyOut {
            from,
            to: bytes.as_mut_ptr(),
            len: 100,
        }];
        // SAFETY: `bytes` has as many, and nobody else has the device.
        unsafe { device.copy_out(&batch)? };
        Ok(bytes)
    }

    #[test]
    fn a_batch_is_done_whole_or_not_at_all() {
        let device = CpuDevice::new(8192).unwrap();
        let error = copy_in(&device, &[7; 100], &[0, 8093]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            copy_out(&device, 0).unwrap(),
            [0; 100],
            "the first copy of a refused batch was made"
        );
        copy_in(&device, &[7; 100], &[0, 8092]).unwrap();
        let within = [CopyWithin {
            from: 8092,
            to: 1000,
            len: 100,
        }];
        // SAFETY: nobody else has the device.
        unsafe { device.copy_within(&within).unwrap() };
        assert_eq!(copy_out(&device, 1000).unwrap(), [7; 100]);
        let run = [Run { offset: 1000, len: 100 }];
        // SAFETY: nobody else has the device.
        unsafe { device.zero(&run).unwrap() };
        assert_eq!(copy_out(&device, 1000).unwrap(), [0; 100]);
        assert!(copy_out(&device, u64::MAX).is_err());
    }

    #[test]
    fn released_memory_is_given_back_and_reads_as_zeros() {
        let device = CpuDevice::new(1 << 20).unwrap();
        assert_eq!(device.resident().unwrap(), 1 << 20);
        device.release().unwrap();
        assert_eq!(device.resident().unwrap(), 0);
        device.acquire().unwrap();
        assert_eq!(device.resident().unwrap(), 1 << 20);
        assert_eq!(CpuDevice::new(0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
