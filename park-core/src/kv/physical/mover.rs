//! Carries out what a plan says about memory: swaps and copies, at once, in the order that `schedule/plan.rs` demands.
//!
//! Swapped blocks are a preempted request's own: nobody finds them by key, so their places are plain memory of this process, numbered as
//! the scheduler numbers them. They are reserved as the mover is made: a preemption must not fail for want of memory.
#![allow(
    unsafe_code,
    reason = "hands out addresses of its places, each checked against their number"
)]

use std::sync::Arc;

use super::Arena;
use super::device::{CpuDevice, Device, HostMemory};
use crate::error::{Result, bail};
use crate::kv::{BlockId, Plan, Swap};

/// See the module. Owned by the thread that carries out plans.
pub struct Mover {
    arena: Arc<Arena>,
    /// Places of swapped blocks, one after another; none if there are no places.
    places: Option<Arc<CpuDevice>>,
    slots: u32,
}

impl Mover {
    /// With as many places as the scheduler has (`SchedulerConfig::swap_slots`).
    ///
    /// # Errors
    /// `StoreFull` if the machine does not have the memory, `InvalidArgument` for more than 2^50 bytes; what the device reports as it pins
    /// them.
    pub fn new(arena: Arc<Arena>, slots: u32) -> Result<Self> {
        let bytes = arena.layout().whole_block_bytes().checked_mul(u64::from(slots));
        let Some(bytes) = bytes.filter(|bytes| *bytes <= 1 << 50) else {
            bail!(InvalidArgument, "{slots} swapped blocks are more than 2^50 bytes");
        };
        let places = match bytes {
            0 => None,
            _ => Some(Arc::new(CpuDevice::new(bytes)?)),
        };
        if let Some((base, places)) = places.as_ref().and_then(|places| Some((places.base()?, places))) {
            let memory = HostMemory {
                base,
                readers: base.cast_const(),
                len: places.bytes(),
                owner: places.clone(),
            };
            // SAFETY: mapped as long as the places live.
            unsafe { arena.device().pin(memory)? };
        }
        Ok(Self { arena, places, slots })
    }

    /// Where the blocks are.
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Swaps out, copies, swaps in. When this returns, the plan's work may be computed.
    ///
    /// # Errors
    /// `InvalidArgument` for blocks or places that do not exist and for blocks that a transfer is using, `HandleClosed` while the arena
    /// sleeps, and what the device reports. The plan is to be abandoned then.
    pub fn run(&mut self, plan: &Plan) -> Result<()> {
        self.swap_out(&plan.swap_out)?;
        let copies: Vec<(BlockId, BlockId)> = plan.changes.copies.iter().map(|copy| (copy.from, copy.to)).collect();
        self.arena.copy_blocks(&copies)?;
        self.swap_in(&plan.swap_in)
    }

    /// Blocks to their places, in one batch.
    ///
    /// # Errors
    /// As [`run`](Self::run); also for a place that is named twice.
    pub fn swap_out(&mut self, swaps: &[Swap]) -> Result<()> {
        let mut slots: Vec<u32> = swaps.iter().map(|swap| swap.slot).collect();
        slots.sort_unstable();
        if let Some(twice) = slots.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!(InvalidArgument, "two blocks were to go to place {}", twice[0]);
        }
        let blocks: Result<Vec<(BlockId, *mut u8)>> = swaps
            .iter()
            .map(|swap| Ok((swap.block, self.place(swap.slot)?)))
            .collect();
        // SAFETY: each place is as long as a whole block, named once, and this value's alone, which is borrowed for writing.
        unsafe { self.arena.read_whole(&blocks?) }
    }

    /// Places back to blocks, in one batch.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn swap_in(&mut self, swaps: &[Swap]) -> Result<()> {
        let blocks: Result<Vec<(BlockId, *const u8)>> = swaps
            .iter()
            .map(|swap| Ok((swap.block, self.place(swap.slot)?.cast_const())))
            .collect();
        // SAFETY: as in `swap_out`; nothing is written to a place meanwhile.
        unsafe { self.arena.write_whole(&blocks?) }
    }

    fn place(&self, slot: u32) -> Result<*mut u8> {
        match self.places.as_ref().and_then(|places| places.base()) {
            Some(base) if slot < self.slots => {
                Ok(base.wrapping_add(slot as usize * self.arena.layout().whole_block_bytes() as usize))
            }
            _ => bail!(
                InvalidArgument,
                "there is no place {slot} for swapped blocks: there are {}",
                self.slots
            ),
        }
    }
}
