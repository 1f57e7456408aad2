//! A plan: what an engine does in one step, and what it answers.
//!
//! In this order: `swap_out`, `changes.copies`, `swap_in`, `work`. A block that was swapped out may be written to by a later list of the
//! same plan, so the order is part of the contract; within a list any order will do.

use crate::kv::{BlockId, Changes, SequenceId, Span};

/// A block that goes to host memory or comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Swap {
    /// The block.
    pub block: BlockId,
    /// The place in host memory, below the number that the scheduler was made with.
    pub slot: u32,
}

/// Tokens of one sequence to compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Work {
    /// The sequence.
    pub sequence: SequenceId,
    /// The position of the first token.
    pub start: u32,
    /// How many tokens, all known.
    pub count: u32,
    /// Room for so many drafts after them.
    pub drafts: u32,
    /// Of the drafts, those that the plan itself proposes: `Plan::proposed[first..first + count]`.
    pub proposed: (u32, u32),
    /// Whether a token is sampled after the last one. Otherwise more of the prompt follows in a later step.
    pub samples: bool,
}

/// How a request lost its blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preempted {
    /// They are free; its tokens will be computed again, unless they are found.
    Recompute(SequenceId),
    /// They are in host memory.
    Swap(SequenceId),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Plans are numbered from 1.
    pub number: u64,
    /// Blocks that go to host memory, before anything else.
    pub swap_out: Vec<Swap>,
    /// Contents to copy, and what block tables have got.
    pub changes: Changes,
    /// Blocks that come back from host memory.
    pub swap_in: Vec<Swap>,
    /// What is computed.
    pub work: Vec<Work>,
    /// Tokens that older weights generated, as drafts; see [`Work::proposed`].
    pub proposed: Vec<u32>,
    /// Requests that began, or began again, with this plan.
    pub admitted: Vec<SequenceId>,
    /// Requests that lost their blocks and wait again.
    pub preempted: Vec<Preempted>,
    /// Requests that ended because the weights changed.
    pub dropped: Vec<SequenceId>,
}

impl Plan {
    /// Tokens that the plan computes, drafts not counted.
    pub fn tokens(&self) -> u32 {
        self.work.iter().map(|work| work.count).sum()
    }

    /// The plan's work as [`Cache::fill`](crate::kv::Cache::fill) takes it, drafts included.
    pub fn spans(&self) -> Vec<Span> {
        let span = |work: &Work| Span {
            sequence: work.sequence,
            start: work.start,
            count: work.count + work.drafts,
        };
        self.work.iter().map(span).collect()
    }

    pub(super) fn begin(&mut self) {
        self.number += 1;
        self.swap_out.clear();
        self.changes.clear();
        self.swap_in.clear();
        self.work.clear();
        self.proposed.clear();
        self.admitted.clear();
        self.preempted.clear();
        self.dropped.clear();
    }
}

/// What came of one piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome<'a> {
    /// The tokens that were sampled: none if the work did not sample; else accepted drafts in order, and one more.
    pub tokens: &'a [u32],
    /// The sequence ends with them.
    pub finished: bool,
}
