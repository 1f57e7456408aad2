//! Does everything add up? Every slot, reference, ledger, journal and block of the arena, checked against each other.
//!
//! What is true when nothing moves:
//!
//! * the count of each PENDING, WRITING or SEALED slot is the sum of all ledgers' references to it, of the references inside other
//!   objects, and of those that records in rings own;
//! * no ledger of a process that is gone holds anything, and no journal of it is open;
//! * the free list holds every FREE slot once and nothing else;
//! * the arena's blocks cover it without a hole, each lent block is owned by exactly one slot, and each slot's block is lent.
//!
//! While others work, a pair of words can be seen between its two halves. So the caller looks again before it believes a complaint:
//! what is wrong stays wrong (`Session::audit`).

use std::collections::HashMap;

use super::Store;
use super::journal::references;
use super::slot::Phase;
use crate::id::ParticipantId;
use crate::shm::alloc::HEADER;
use crate::shm::participant;
use crate::sync::atomic::Ordering;

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Slots that are sealed, promised or being written.
    pub objects: u64,
    /// References of all kinds.
    pub references: u64,
    /// Bytes of the arena that objects own, block headers included.
    pub lent: u64,
    /// What does not add up; empty if all is well.
    pub complaints: Vec<String>,
}

impl Store {
    /// Checks everything once. `carried` says how many references to each slot the records in rings own.
    pub(crate) fn audit(&self, carried: &HashMap<u32, u64>) -> Audit {
        let mut audit = Audit::default();
        let nested = self.audit_slots(&mut audit);
        self.audit_counts(&nested, carried, &mut audit);
        self.audit_participants(&mut audit);
        self.audit_free_list(&mut audit);
        self.audit_arena(&mut audit);
        audit
    }

    /// Phases, and what each object holds inside: how many references to each slot.
    fn audit_slots(&self, audit: &mut Audit) -> HashMap<u32, u64> {
        let mut nested: HashMap<u32, u64> = HashMap::new();
        for index in 0..self.slots_used() {
            let slot = self.slot(index);
            let seen = match slot.state() {
                Ok(seen) => seen,
                Err(error) => {
                    audit.complaints.push(format!("slot {index}: {error}"));
                    continue;
                }
            };
            let has_block = slot.offset.load(Ordering::Relaxed) != 0;
            match seen.phase {
                Phase::Free if has_block => audit.complaints.push(format!("slot {index} is free and owns a block")),
                Phase::Spilled if has_block => audit
                    .complaints
                    .push(format!("slot {index} is on disk and owns a block")),
                Phase::Cached | Phase::Writing | Phase::Freeing
                    if self.participant(seen.owner).state.load(Ordering::Acquire) != participant::LIVE =>
                {
                    audit.complaints.push(format!(
                        "slot {index} is {:?} by {}, who is gone",
                        seen.phase, seen.owner.0
                    ));
                }
                _ => {}
            }
            if matches!(seen.phase, Phase::Pending | Phase::Writing) || self.is_whole(seen.phase) {
                audit.objects += 1;
                for id in self.nested_ids(slot) {
                    *nested.entry(id.index).or_default() += 1;
                }
            }
        }
        nested
    }

    fn audit_counts(&self, nested: &HashMap<u32, u64>, carried: &HashMap<u32, u64>, audit: &mut Audit) {
        for index in 0..self.slots_used() {
            let Ok(seen) = self.slot(index).state() else { continue };
            let ledgers: u64 = (0..self.participants_used())
                .map(|who| {
                    u64::from(references(
                        self.ledger(ParticipantId(who), index).load(Ordering::Relaxed),
                    ))
                })
                .sum();
            let inside = nested.get(&index).copied().unwrap_or(0);
            let travelling = carried.get(&index).copied().unwrap_or(0);
            let count = u64::from(self.count(index).get());
            let alive = matches!(seen.phase, Phase::Pending | Phase::Writing) || self.is_whole(seen.phase);
            if !alive {
                if ledgers + inside + travelling != 0 {
                    audit.complaints.push(format!(
                        "slot {index} is {:?}, yet ledgers hold {ledgers}, objects {inside}, records {travelling} references",
                        seen.phase
                    ));
                }
                continue;
            }
            audit.references += count;
            if count != ledgers + inside + travelling || count == 0 {
                audit.complaints.push(format!(
                    "slot {index} ({:?}, made by {}) counts {count} references: ledgers hold {ledgers}, objects {inside}, records {travelling}",
                    seen.phase, seen.owner.0
                ));
            }
        }
    }

    fn audit_participants(&self, audit: &mut Audit) {
        for number in 0..self.participants_used() {
            let who = ParticipantId(number);
            if self.participant(who).state.load(Ordering::Acquire) == participant::LIVE {
                continue;
            }
            if !self.is_quiet(who) {
                audit
                    .complaints
                    .push(format!("participant {number} is gone and its journal is open"));
            }
            let held = (0..self.slots_used()).filter(|index| self.ledger(who, *index).load(Ordering::Relaxed) != 0);
            let held = held.count();
            if held != 0 {
                audit.complaints.push(format!(
                    "participant {number} is gone and its ledger names {held} objects"
                ));
            }
        }
    }

    fn audit_free_list(&self, audit: &mut Audit) {
        let free = self.listed_slots();
        let mut listed = vec![false; self.slots_used() as usize];
        for index in &free {
            match listed.get_mut(*index as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => audit
                    .complaints
                    .push(format!("the free list names slot {index} twice, or out of range")),
            }
        }
        for (index, listed) in (0..).zip(listed) {
            let is_free = self.slot(index).state().is_ok_and(|seen| seen.phase == Phase::Free);
            if is_free != listed {
                let verb = if listed { "is" } else { "is not" };
                audit
                    .complaints
                    .push(format!("slot {index} {verb} in the free list (free: {is_free})"));
            }
        }
    }

    fn audit_arena(&self, audit: &mut Audit) {
        let walked = self.allocator(self.me()).walk(|| {
            // Under the allocator's lock, so that no block moves from one slot to another meanwhile.
            self.live_allocations()
        });
        match walked {
            Ok(walk) => {
                let warm = (0..self.slots_used()).filter(|index| self.warm_state(*index).is_some());
                let warm: u64 = warm.map(|index| self.slot(index).block_bytes() + HEADER).sum();
                audit.lent = walk.lent.saturating_sub(warm);
                audit.complaints.extend(walk.complaints);
            }
            Err(error) => audit.complaints.push(format!("arena: {error}")),
        }
    }
}
