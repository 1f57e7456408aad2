//! Reservations: blocks that are free and that only one request may take.
//!
//! `sum of reserved <= free` holds for the pool, and `<= quota - held` for each tenant, at all times: a reservation is made only out of
//! what is not reserved, a request that takes a block out of its own reservation makes both sides one less, and one that takes more
//! takes it from what is not reserved.

use super::Scheduler;
use crate::error::{Result, bail};
use crate::kv::SequenceId;
use crate::kv::pool::TenantId;

/// Sums of what requests have reserved.
#[derive(Default)]
pub(super) struct Reserved {
    all: u32,
    by_tenant: Vec<u32>,
}

impl Reserved {
    /// What all have reserved.
    pub(super) fn all(&self) -> u32 {
        self.all
    }

    fn of(&self, tenant: TenantId) -> u32 {
        self.by_tenant.get(tenant.0 as usize).copied().unwrap_or(0)
    }

    fn change(&mut self, tenant: TenantId, from: u32, to: u32) {
        let at = tenant.0 as usize;
        if self.by_tenant.len() <= at {
            self.by_tenant.resize(at + 1, 0);
        }
        self.all = self.all - from + to;
        self.by_tenant[at] = self.by_tenant[at] - from + to;
    }
}

/// Why a request gets no block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Short {
    /// The pool has none.
    Pool,
    /// Its tenant holds all it may.
    Tenant,
}

impl Scheduler {
    /// Free blocks that a tenant may have and nobody has reserved.
    pub(super) fn unreserved(&self, tenant: TenantId) -> u32 {
        let pool = self.cache.pool();
        let free = pool.free_blocks().saturating_sub(self.reserved.all);
        let quota = pool
            .limit_of(tenant)
            .saturating_sub(pool.held_by(tenant) + self.reserved.of(tenant));
        free.min(quota)
    }

    /// Reserves blocks for a request, in place of what it had reserved.
    pub(super) fn reserve(&mut self, id: SequenceId, blocks: u32) -> Result<()> {
        let entry = self.entry_mut(id)?;
        let (tenant, before) = (entry.tenant, std::mem::replace(&mut entry.reserved, blocks));
        self.reserved.change(tenant, before, blocks);
        Ok(())
    }

    /// A request has nothing reserved any more.
    pub(super) fn unreserve(&mut self, id: SequenceId) -> Result<()> {
        self.reserve(id, 0)
    }

    /// Room for the first `tokens` tokens of a request, out of its reservation first; or why there is none. Blocks that a window leaves
    /// behind go into the reservation: the window moves on by as many.
    pub(super) fn grow(&mut self, id: SequenceId, tokens: u32) -> Result<std::result::Result<(), Short>> {
        let entry = self.entry(id)?;
        let (tenant, mut own) = (entry.tenant, entry.reserved);
        let free = self.cache.pool().free_blocks();
        self.cache.leave_behind(id)?;
        let left = self.cache.pool().free_blocks() - free;
        if left > 0 {
            own += left;
            self.reserve(id, own)?;
        }
        let needed = self.cache.blocks_to_grow(id, tokens)?;
        if needed == 0 {
            return Ok(Ok(()));
        }
        let pool = self.cache.pool();
        if needed > pool.free_blocks().saturating_sub(self.reserved.all - own) {
            return Ok(Err(Short::Pool));
        }
        let others = self.reserved.of(tenant) - own;
        if needed > pool.limit_of(tenant).saturating_sub(pool.held_by(tenant) + others) {
            return Ok(Err(Short::Tenant));
        }
        if !self.cache.grow(id, tokens, &mut self.plan.changes)? {
            bail!(Internal, "{needed} blocks were there and could not be taken");
        }
        self.reserve(id, own.saturating_sub(needed))?;
        Ok(Ok(()))
    }

    pub(super) fn audit_reserved(&self) -> Result<()> {
        let pool = self.cache.pool();
        let all: u32 = self.entries.values().map(|entry| entry.reserved).sum();
        if all != self.reserved.all || all > pool.free_blocks() {
            bail!(
                Corrupt,
                "{all} blocks are reserved, {} are counted, and {} are free",
                self.reserved.all,
                pool.free_blocks()
            );
        }
        for at in 0..self.reserved.by_tenant.len() {
            let tenant = TenantId(at as u16);
            let of = self.entries.values().filter(|entry| entry.tenant == tenant);
            let reserved: u32 = of.map(|entry| entry.reserved).sum();
            let room = pool.limit_of(tenant).saturating_sub(pool.held_by(tenant));
            if reserved != self.reserved.of(tenant) || reserved > room {
                bail!(
                    Corrupt,
                    "tenant {at} has {reserved} blocks reserved, {} are counted, and it may take {room}",
                    self.reserved.of(tenant)
                );
            }
        }
        Ok(())
    }
}
