//! What an engine answers.

use super::{OnEpoch, Outcome, Preempted, Scheduler};
use crate::error::{Result, bail};

impl Scheduler {
    /// The plan in flight is done; `outcomes` are those of its work, in order. Requests that have said all they may end by themselves.
    ///
    /// # Errors
    /// `InvalidArgument` without a plan in flight, or if the outcomes do not fit it: not as many, tokens where none were sampled, none or
    /// more than drafts and one where they were. Then the plan is still in flight.
    pub fn commit(&mut self, outcomes: &[Outcome<'_>]) -> Result<()> {
        self.check(outcomes)?;
        self.in_flight = false;
        self.cache.settle()?;
        self.slots.append(&mut self.emptied);
        let mut over = false;
        for (at, outcome) in outcomes.iter().enumerate() {
            let work = self.plan.work[at];
            let id = work.sequence;
            self.stats.computed += u64::from(work.count);
            let entry = self.entries.get_mut(id).ok_or_else(|| super::ended(id))?;
            entry.work = None;
            let known = self.cache.known(id)?;
            let tokens = &outcome.tokens[..outcome.tokens.len().min((entry.most - known) as usize)];
            if let [accepted @ .., _] = tokens {
                self.stats.drafts += u64::from(work.drafts);
                self.stats.accepted += accepted.len() as u64;
                if entry.on_epoch == OnEpoch::Draft {
                    entry.generated.extend_from_slice(tokens);
                    let same = tokens
                        .iter()
                        .zip(&entry.proposed)
                        .take_while(|(new, old)| new == old)
                        .count();
                    if same == tokens.len() {
                        entry.proposed.drain(..same);
                    } else {
                        entry.proposed.clear(); // what follows a token that was not accepted is of no use
                    }
                }
                self.cache.append(id, tokens)?;
                // Accepted drafts were computed in the room that was made for them.
                self.cache.advance(id, known + accepted.len() as u32)?;
            }
            if outcome.finished || known as usize + tokens.len() >= self.entry(id)?.most as usize {
                self.stats.finished += 1;
                over = true;
                self.unreserve(id)?;
                self.entries.remove(id);
                self.cache.finish(id)?;
            }
        }
        if over {
            let entries = &self.entries;
            self.running.retain(|id| entries.contains_key(*id));
        }
        Ok(())
    }

    /// The plan in flight failed: nothing of its work is computed. Whoever it admitted waits again, and what it said could be found cannot.
    /// What it moved to host memory is lost, too, and is computed again.
    ///
    /// # Errors
    /// `InvalidArgument` without a plan in flight.
    pub fn abandon(&mut self) -> Result<()> {
        if !self.in_flight {
            bail!(InvalidArgument, "no plan is in flight");
        }
        self.in_flight = false;
        let work = std::mem::take(&mut self.plan.work);
        for work in &work {
            self.entry_mut(work.sequence)?.work = None;
        }
        for id in self.plan.admitted.clone().into_iter().rev() {
            // Forgets first: it may have been the first to compute what others were admitted with.
            self.cache.forget_from(id, 0)?;
            self.recompute(id)?;
        }
        for work in work.iter().rev() {
            if self.plan.admitted.contains(&work.sequence) {
                continue;
            }
            if self
                .plan
                .changes
                .copies
                .iter()
                .any(|copy| copy.sequence == work.sequence)
            {
                // The copy it was to start from was not made.
                self.cache.forget_from(work.sequence, work.start)?;
                self.recompute(work.sequence)?;
            } else {
                // The blocks that it gives back stay reserved for it.
                let free = self.cache.pool().free_blocks();
                self.cache.rewind(work.sequence, work.start)?;
                let back = self.cache.pool().free_blocks() - free;
                let reserved = self.entry(work.sequence)?.reserved;
                self.reserve(work.sequence, reserved + back)?;
            }
        }
        for preempted in std::mem::take(&mut self.plan.preempted) {
            if let Preempted::Swap(id) = preempted {
                self.leave_host(id)?;
            }
        }
        self.slots.append(&mut self.emptied);
        self.cache.settle()
    }

    fn check(&self, outcomes: &[Outcome<'_>]) -> Result<()> {
        if !self.in_flight {
            bail!(InvalidArgument, "no plan is in flight");
        }
        if outcomes.len() != self.plan.work.len() {
            bail!(
                InvalidArgument,
                "plan {} has {} pieces of work, and {} outcomes came",
                self.plan.number,
                self.plan.work.len(),
                outcomes.len()
            );
        }
        for (work, outcome) in self.plan.work.iter().zip(outcomes) {
            let most = if work.samples { 1 + work.drafts as usize } else { 0 };
            // Who ends may do so without a last token.
            let least = usize::from(work.samples && !outcome.finished);
            if !(least..=most).contains(&outcome.tokens.len()) {
                bail!(
                    InvalidArgument,
                    "the work of {:?} gives from {least} to {most} tokens, and {} came",
                    work.sequence,
                    outcome.tokens.len()
                );
            }
        }
        Ok(())
    }
}
