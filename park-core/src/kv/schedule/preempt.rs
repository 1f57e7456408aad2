//! Taking blocks from the last in order.
//!
//! Requests are preempted only while those that run are planned, before anyone is admitted: nobody admitted in a step can have found
//! blocks that a victim of the same step was to compute.

use super::plan::Preempted;
use super::request::Swapped;
use super::reserve::Short;
use super::{Scheduler, Swap};
use crate::error::Result;
use crate::kv::SequenceId;
use crate::kv::pool::TenantId;

impl Scheduler {
    /// Who gives up its blocks for a request of `tenant`: the last in order, of that tenant if it is its quota that is short.
    pub(super) fn victim(&self, short: Short, tenant: TenantId) -> Option<SequenceId> {
        match short {
            Short::Pool => self.running.last().copied(),
            Short::Tenant => self
                .running
                .iter()
                .rev()
                .find(|id| self.entries.get(**id).is_some_and(|entry| entry.tenant == tenant))
                .copied(),
        }
    }

    /// A running request loses its blocks and waits again: into host memory if there is room, else to be computed again.
    pub(super) fn preempt(&mut self, id: SequenceId) -> Result<()> {
        let planned = self.unplan(id)?;
        // A block that it got by a copy of this very step holds nothing yet.
        let copied = self.plan.changes.copies.iter().any(|copy| copy.sequence == id);
        self.plan.changes.copies.retain(|copy| copy.sequence != id);
        self.plan.changes.placed.retain(|placed| placed.sequence != id);
        debug_assert!(planned || !copied, "copies are made for work");
        if !copied && self.swap_out(id)? {
            self.stats.swapped += 1;
            self.plan.preempted.push(Preempted::Swap(id));
        } else {
            self.stats.recomputed += 1;
            self.plan.preempted.push(Preempted::Recompute(id));
        }
        self.wait_again(id)
    }

    /// A running request waits again, with nothing computed.
    pub(super) fn recompute(&mut self, id: SequenceId) -> Result<()> {
        self.stats.recomputed += 1;
        self.wait_again(id)
    }

    fn wait_again(&mut self, id: SequenceId) -> Result<()> {
        self.unreserve(id)?;
        self.running.retain(|other| *other != id);
        self.cache.detach(id)?;
        let ticket = self.ticket(id)?;
        self.queue.push_front(ticket);
        Ok(())
    }

    /// Takes a request's work out of the plan. False if it had none.
    fn unplan(&mut self, id: SequenceId) -> Result<bool> {
        let Some(at) = self.entry_mut(id)?.work.take() else {
            return Ok(false);
        };
        let work = self.plan.work.remove(at);
        for later in &self.plan.work[at..] {
            if let Some(place) = self
                .entries
                .get_mut(later.sequence)
                .and_then(|entry| entry.work.as_mut())
            {
                *place -= 1;
            }
        }
        // Before it is detached: what was registered for this step's work must not be found.
        self.cache.rewind(id, work.start)?;
        Ok(true)
    }

    /// Plans the way of all of a request's computed blocks into host memory. False, and nothing is planned, without room for them.
    fn swap_out(&mut self, id: SequenceId) -> Result<bool> {
        let computed = self.cache.computed(id)?;
        let positions = computed.div_ceil(self.config.cache.block_size);
        // What windows have left behind goes nowhere.
        self.cache.leave_behind(id)?;
        let mut tables = Vec::new();
        for group in 0..self.groups() as u8 {
            let table = self.cache.table(id, group)?;
            let blocks = (0..positions).zip(table).filter(|(_, block)| !block.is_null());
            tables.extend(blocks.map(|(position, block)| (group, position, block)));
        }
        if tables.is_empty() || self.slots.len() < tables.len() {
            return Ok(false);
        }
        let mut swapped = Vec::with_capacity(tables.len());
        for (group, position, block) in tables {
            let slot = self.slots.pop().expect("there are as many as wanted");
            self.plan.swap_out.push(Swap { block, slot });
            swapped.push(Swapped { group, position, slot });
        }
        let entry = self.entry_mut(id)?;
        entry.swapped = swapped;
        entry.swapped_tokens = computed;
        Ok(true)
    }

    /// A request's blocks in host memory are not needed any more.
    pub(super) fn leave_host(&mut self, id: SequenceId) -> Result<()> {
        let entry = self.entry_mut(id)?;
        entry.swapped_tokens = 0;
        let swapped = std::mem::take(&mut entry.swapped);
        self.slots.extend(swapped.iter().map(|swapped| swapped.slot));
        Ok(())
    }
}
