#![doc = include_str!("README.md")]

mod arena;
mod device;
mod disk;
mod host;
mod layout;
mod mover;
mod shape;
mod tiers;
mod transfer;

pub use arena::{Arena, Place, Sleep};
#[cfg(feature = "cuda")]
pub use device::CudaDevice;
pub use device::{CopyIn, CopyOut, CopyWithin, CpuDevice, Device, HostMemory};
pub use disk::{DiskConfig, DiskStats, DiskTier};
pub use host::{Chunks, HostBlock, HostConfig, HostStats, HostTier};
pub use layout::{Half, Layout, LayoutConfig, PageOrder, Run};
pub use mover::Mover;
use shape::Shape;
pub use tiers::{Lead, Tiers, TiersConfig};
pub use transfer::Ticket;

#[cfg(all(test, not(any(loom, shuttle))))]
mod kit;
