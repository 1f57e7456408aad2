//! `park_kv_changes` and `park_kv_plan`: what an engine is to do, as lists that stay the handle's.

use std::ptr;

use park_core::kv::{Changes, Filled, Plan, Preempted, SequenceId};

use super::metrics::park_kv_tenant_metrics;
use super::park_kv_sequence;
use crate::from_c::Sized;

/// A block's content is to be copied before anything of the step is computed.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_copy {
    /// From this block,
    pub from: u32,
    /// to this one.
    pub to: u32,
}

/// A sequence has got a block.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_placed {
    /// The sequence.
    pub sequence: park_kv_sequence,
    /// The group.
    pub group: u32,
    /// Where in the sequence's table, counted in blocks.
    pub position: u32,
    /// The block.
    pub block: u32,
    /// 0.
    pub reserved: u32,
}

/// A block that goes to host memory or comes back.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_swap {
    /// The block.
    pub block: u32,
    /// The place in host memory.
    pub slot: u32,
}

/// Tokens of one sequence to compute.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_work {
    /// The sequence.
    pub sequence: park_kv_sequence,
    /// The position of the first token.
    pub start: u32,
    /// How many tokens, all known.
    pub count: u32,
    /// Room for so many drafts after them.
    pub drafts: u32,
    /// Of the drafts, those that the plan proposes begin here in `proposed`,
    pub first_proposed: u32,
    /// and are so many.
    pub num_proposed: u32,
    /// 1: a token is sampled after the last one. 0: more of the prompt follows in a later step.
    pub samples: u32,
}

/// What a call asks an engine to do to its memory. Set struct_size to sizeof(park_kv_changes) before the call. The lists are the cache's,
/// valid until its next call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_changes {
    /// sizeof(park_kv_changes).
    pub struct_size: usize,
    /// Contents to copy, all before the first token is written.
    pub copies: *const park_kv_copy,
    /// How many.
    pub num_copies: usize,
    /// What block tables have got, for engines that keep tables of their own.
    pub placed: *const park_kv_placed,
    /// How many.
    pub num_placed: usize,
    /// Tokens of the step: numbers that `slot_mapping` has got.
    pub num_tokens: usize,
    /// Pages of the step: numbers that `indices` has got.
    pub num_pages: usize,
}

/// What an engine does in one step, in this order: swap_out, copies, swap_in, work. Set struct_size to sizeof(park_kv_plan) before the
/// call. The lists are the scheduler's, valid until its next call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_plan {
    /// sizeof(park_kv_plan).
    pub struct_size: usize,
    /// Plans are numbered from 1.
    pub number: u64,
    /// What is computed.
    pub work: *const park_kv_work,
    /// How many sequences that are.
    pub num_work: usize,
    /// Tokens of the step, room for drafts included: numbers that `slot_mapping` has got.
    pub num_tokens: usize,
    /// Pages of the step: numbers that `indices` has got.
    pub num_pages: usize,
    /// Contents to copy.
    pub copies: *const park_kv_copy,
    /// How many.
    pub num_copies: usize,
    /// What block tables have got, for engines that keep tables of their own.
    pub placed: *const park_kv_placed,
    /// How many.
    pub num_placed: usize,
    /// Blocks that go to host memory, before anything else.
    pub swap_out: *const park_kv_swap,
    /// How many.
    pub num_swap_out: usize,
    /// Blocks that come back from host memory, after the copies.
    pub swap_in: *const park_kv_swap,
    /// How many.
    pub num_swap_in: usize,
    /// Tokens that older weights generated, as drafts.
    pub proposed: *const u32,
    /// How many.
    pub num_proposed: usize,
    /// Requests that began, or began again, with this plan.
    pub admitted: *const park_kv_sequence,
    /// How many.
    pub num_admitted: usize,
    /// Requests that lost their blocks and wait again, to be computed again.
    pub preempted: *const park_kv_sequence,
    /// How many.
    pub num_preempted: usize,
    /// Requests whose blocks went to host memory and that wait again.
    pub swapped: *const park_kv_sequence,
    /// How many.
    pub num_swapped: usize,
    /// Requests that ended because the weights changed.
    pub dropped: *const park_kv_sequence,
    /// How many.
    pub num_dropped: usize,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and raw pointers only.
unsafe impl Sized for park_kv_changes {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            copies: ptr::null(),
            num_copies: 0,
            placed: ptr::null(),
            num_placed: 0,
            num_tokens: 0,
            num_pages: 0,
        }
    }
}

// SAFETY: as above.
unsafe impl Sized for park_kv_plan {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            number: 0,
            work: ptr::null(),
            num_work: 0,
            num_tokens: 0,
            num_pages: 0,
            copies: ptr::null(),
            num_copies: 0,
            placed: ptr::null(),
            num_placed: 0,
            swap_out: ptr::null(),
            num_swap_out: 0,
            swap_in: ptr::null(),
            num_swap_in: 0,
            proposed: ptr::null(),
            num_proposed: 0,
            admitted: ptr::null(),
            num_admitted: 0,
            preempted: ptr::null(),
            num_preempted: 0,
            swapped: ptr::null(),
            num_swapped: 0,
            dropped: ptr::null(),
            num_dropped: 0,
        }
    }
}

/// The lists that C sees, kept for their memory.
#[derive(Debug, Default)]
pub(super) struct Lists {
    work: Vec<park_kv_work>,
    copies: Vec<park_kv_copy>,
    placed: Vec<park_kv_placed>,
    swap_out: Vec<park_kv_swap>,
    swap_in: Vec<park_kv_swap>,
    proposed: Vec<u32>,
    admitted: Vec<park_kv_sequence>,
    preempted: Vec<park_kv_sequence>,
    swapped: Vec<park_kv_sequence>,
    dropped: Vec<park_kv_sequence>,
    pub(super) tenants: Vec<park_kv_tenant_metrics>,
    pub(super) message: Vec<u8>,
}

/// Fills a list anew.
fn refill<T, U>(list: &mut Vec<T>, from: &[U], one: impl Fn(&U) -> T) {
    list.clear();
    list.extend(from.iter().map(one));
}

/// Where a list begins; NULL for an empty one.
fn start<T>(list: &[T]) -> *const T {
    if list.is_empty() { ptr::null() } else { list.as_ptr() }
}

fn number(id: &SequenceId) -> park_kv_sequence {
    id.to_bits()
}

impl Lists {
    fn take_changes(&mut self, changes: &Changes) {
        refill(&mut self.copies, &changes.copies, |copy| park_kv_copy {
            from: copy.from.0,
            to: copy.to.0,
        });
        refill(&mut self.placed, &changes.placed, |placed| park_kv_placed {
            sequence: placed.sequence.to_bits(),
            group: u32::from(placed.group),
            position: placed.position,
            block: placed.block.0,
            reserved: 0,
        });
    }

    pub(super) fn changes(&mut self, changes: &Changes, filled: Filled) -> park_kv_changes {
        self.take_changes(changes);
        park_kv_changes {
            copies: start(&self.copies),
            num_copies: self.copies.len(),
            placed: start(&self.placed),
            num_placed: self.placed.len(),
            num_tokens: filled.tokens,
            num_pages: filled.pages,
            ..park_kv_changes::defaults()
        }
    }

    pub(super) fn plan(&mut self, plan: &Plan, filled: Filled) -> park_kv_plan {
        self.take_changes(&plan.changes);
        let swap = |swap: &park_core::kv::Swap| park_kv_swap {
            block: swap.block.0,
            slot: swap.slot,
        };
        refill(&mut self.work, &plan.work, |work| park_kv_work {
            sequence: work.sequence.to_bits(),
            start: work.start,
            count: work.count,
            drafts: work.drafts,
            first_proposed: work.proposed.0,
            num_proposed: work.proposed.1,
            samples: u32::from(work.samples),
        });
        refill(&mut self.swap_out, &plan.swap_out, swap);
        refill(&mut self.swap_in, &plan.swap_in, swap);
        self.proposed.clone_from(&plan.proposed);
        refill(&mut self.admitted, &plan.admitted, number);
        refill(&mut self.dropped, &plan.dropped, number);
        self.preempted.clear();
        self.swapped.clear();
        for lost in &plan.preempted {
            match lost {
                Preempted::Recompute(id) => self.preempted.push(id.to_bits()),
                Preempted::Swap(id) => self.swapped.push(id.to_bits()),
            }
        }
        park_kv_plan {
            struct_size: size_of::<park_kv_plan>(),
            number: plan.number,
            work: start(&self.work),
            num_work: self.work.len(),
            num_tokens: filled.tokens,
            num_pages: filled.pages,
            copies: start(&self.copies),
            num_copies: self.copies.len(),
            placed: start(&self.placed),
            num_placed: self.placed.len(),
            swap_out: start(&self.swap_out),
            num_swap_out: self.swap_out.len(),
            swap_in: start(&self.swap_in),
            num_swap_in: self.swap_in.len(),
            proposed: start(&self.proposed),
            num_proposed: self.proposed.len(),
            admitted: start(&self.admitted),
            num_admitted: self.admitted.len(),
            preempted: start(&self.preempted),
            num_preempted: self.preempted.len(),
            swapped: start(&self.swapped),
            num_swapped: self.swapped.len(),
            dropped: start(&self.dropped),
            num_dropped: self.dropped.len(),
        }
    }
}
