//! Making a plan.

use super::request::State;
use super::{OnEpoch, Plan, Policy, Scheduler, Swap, Work};
use crate::error::Result;
use crate::kv::SequenceId;

/// Which of the running requests a round is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    Decode,
    Prefill,
}

impl Scheduler {
    /// Makes the plan of the next step. It is empty if there is nothing to do, or the scheduler is paused.
    ///
    /// # Errors
    /// `InvalidArgument` while the last plan is in flight.
    pub fn step(&mut self) -> Result<&Plan> {
        self.settled()?;
        self.plan.begin();
        self.stats.steps += 1;
        self.in_flight = true;
        if self.paused {
            return Ok(&self.plan);
        }
        if self.epoch != self.cache.epoch() {
            self.renew_running()?;
            self.epoch = self.cache.epoch();
        }
        let mut budget = self.config.step_tokens;
        self.plan_running(Round::Decode, &mut budget)?;
        self.plan_running(Round::Prefill, &mut budget)?;
        if self.plan.preempted.is_empty() {
            self.admit(&mut budget)?;
        }
        Ok(&self.plan)
    }

    /// The plan in flight, or the last one.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Work for running requests, in order.
    fn plan_running(&mut self, round: Round, budget: &mut u32) -> Result<()> {
        let mut at = 0;
        while at < self.running.len() && *budget > 0 {
            let id = self.running[at];
            let (known, computed) = (self.cache.known(id)?, self.cache.computed(id)?);
            let left = known - computed;
            let due = self.entry(id)?.work.is_none() && (left == 1) == (round == Round::Decode);
            if !due {
                at += 1;
                continue;
            }
            let count = left.min(*budget).min(self.config.chunk);
            let mut drafts = match count == left {
                true => self.drafts_for(id, known)?.min(*budget - count),
                false => 0,
            };
            let fits = loop {
                let Err(short) = self.grow(id, computed + count + drafts)? else {
                    break true;
                };
                if drafts > 0 {
                    drafts = 0; // nobody waits for the sake of a guess
                    continue;
                }
                let tenant = self.entry(id)?.tenant;
                let victim = self.victim(short, tenant).unwrap_or(id);
                *budget += self.planned(victim);
                self.preempt(victim)?;
                if victim == id {
                    break false;
                }
            };
            if fits {
                self.assign(id, computed, count, drafts, count == left)?;
                *budget -= count + drafts;
                // Victims come after it in order, so it still is where it was.
                at += 1;
            }
        }
        Ok(())
    }

    /// Tokens of the plan that are a request's.
    fn planned(&self, id: SequenceId) -> u32 {
        let work = self.entries.get(id).and_then(|entry| entry.work);
        work.map_or(0, |at| self.plan.work[at].count + self.plan.work[at].drafts)
    }

    /// How many drafts a request has use for after its known tokens: what it may generate besides the token that follows anyway.
    fn drafts_for(&self, id: SequenceId, known: u32) -> Result<u32> {
        let entry = self.entry(id)?;
        let wanted = self.config.drafts.max(entry.proposed.len() as u32);
        Ok(wanted.min((entry.most - known).saturating_sub(1)))
    }

    /// Puts work into the plan. From now on its blocks can be found: whoever is admitted in this step may use them, as all of a step's
    /// keys and values are written before they are read.
    fn assign(&mut self, id: SequenceId, start: u32, count: u32, drafts: u32, samples: bool) -> Result<()> {
        let at = self.plan.work.len();
        let first = self.plan.proposed.len() as u32;
        let entry = self.entries.get_mut(id).ok_or_else(|| super::ended(id))?;
        entry.work = Some(at);
        entry.begun = true;
        let proposed = if samples {
            drafts.min(entry.proposed.len() as u32)
        } else {
            0
        };
        self.plan
            .proposed
            .extend_from_slice(&entry.proposed[..proposed as usize]);
        self.plan.work.push(Work {
            sequence: id,
            start,
            count,
            drafts,
            proposed: (first, proposed),
            samples,
        });
        self.cache.advance(id, start + count)
    }

    /// Admits those who wait, as long as there is room.
    fn admit(&mut self, budget: &mut u32) -> Result<()> {
        while *budget > 0 && self.running.len() < self.config.running as usize {
            let (entries, cache) = (&self.entries, &self.cache);
            let by_prefix = self.config.policy == Policy::LongestPrefix;
            let ticket = self.queue.pop(&mut |ticket| {
                let good = entries
                    .get(ticket.id)
                    .is_some_and(|entry| entry.ticket == ticket.number && entry.state == State::Waiting);
                good.then(|| match by_prefix {
                    true => cache.lookup(ticket.id, u32::MAX).map_or(0, |hit| hit.tokens),
                    false => 0,
                })
            });
            let Some(ticket) = ticket else { break };
            if self.renew_waiting(ticket.id)? {
                continue;
            }
            if !self.try_admit(ticket.id, budget)? {
                self.queue.put_back(ticket);
                break;
            }
        }
        Ok(())
    }

    /// Admits one request if its whole prompt, and what is reserved past it, has room.
    fn try_admit(&mut self, id: SequenceId, budget: &mut u32) -> Result<bool> {
        let known = self.cache.known(id)?;
        let entry = self.entry(id)?;
        let (tenant, in_host) = (entry.tenant, entry.swapped_tokens);
        let (since, since_time) = (entry.since, entry.since_time);
        let groups = self.groups();
        let target = self.blocks_of(self.with_reserve(id)?) as u32;

        let mut hit = self.cache.lookup(id, u32::MAX)?;
        if in_host > hit.tokens {
            self.cache.move_on(&mut hit, in_host);
        }
        let room = self.unreserved(tenant);
        let needed = loop {
            let copied = if hit.ends_within_block() { groups } else { 0 };
            let needed = hit.free + target.saturating_sub(hit.blocks_held()) + copied;
            if needed <= room || copied == 0 {
                break needed;
            }
            // The copy would take one block more than it could otherwise have.
            hit.leave_part();
        };
        if needed > room {
            return Ok(false);
        }
        self.cache.attach(id, &hit)?;
        self.reserve(id, needed - hit.free)?;
        self.waiting -= 1;
        self.insert_running(id)?;
        self.stats.admitted += 1;
        self.stats.waited += self.stats.steps - since;
        self.queue_steps.add(self.stats.steps - since);
        self.queue_time.add(self.now - since_time);
        self.plan.admitted.push(id);

        let mut computed = self.cache.computed(id)?;
        if in_host > computed {
            computed = self.swap_in(id, in_host)?;
        }
        self.leave_host_later(id)?;
        let left = known - computed;
        let count = left.min(*budget).min(self.config.chunk);
        let drafts = match count == left {
            true => self.drafts_for(id, known)?.min(*budget - count),
            false => 0,
        };
        let drafts = match self.grow(id, computed + count + drafts)? {
            Ok(()) => drafts,
            Err(_) => {
                let room = self.grow(id, computed + count)?;
                debug_assert!(room.is_ok(), "the prompt is reserved");
                0
            }
        };
        self.assign(id, computed, count, drafts, count == left)?;
        *budget -= count + drafts;
        Ok(true)
    }

    /// Plans the way back of what was not found in the cache. Returns how many tokens are computed then.
    fn swap_in(&mut self, id: SequenceId, tokens: u32) -> Result<u32> {
        let found = self.cache.computed(id)? / self.config.cache.block_size;
        let room = self.grow(id, tokens)?;
        debug_assert!(room.is_ok(), "what it had is reserved");
        let swapped = std::mem::take(&mut self.entry_mut(id)?.swapped);
        let mut tables = Vec::new();
        for group in 0..self.groups() as u8 {
            tables.push(self.cache.table(id, group)?);
        }
        for from in swapped.iter().filter(|from| from.position >= found) {
            self.plan.swap_in.push(Swap {
                block: tables[from.group as usize][from.position as usize],
                slot: from.slot,
            });
        }
        debug_assert!(
            self.plan.swap_in.iter().all(|swap| !swap.block.is_null()),
            "a window moves on by what is computed"
        );
        self.entry_mut(id)?.swapped = swapped;
        // Copies of a partly found block would come before the swap: it is overwritten whole.
        self.cache.advance(id, tokens)?;
        Ok(tokens)
    }

    /// A request's places in host memory are read by this plan: free once it is committed.
    fn leave_host_later(&mut self, id: SequenceId) -> Result<()> {
        let entry = self.entry_mut(id)?;
        entry.swapped_tokens = 0;
        let swapped = std::mem::take(&mut entry.swapped);
        self.emptied.extend(swapped.iter().map(|swapped| swapped.slot));
        Ok(())
    }

    /// The weights have changed: running requests do as they asked for.
    fn renew_running(&mut self) -> Result<()> {
        for id in self.running.clone().into_iter().rev() {
            match self.entry(id)?.on_epoch {
                OnEpoch::Finish => {}
                OnEpoch::Drop => self.drop_request(id)?,
                OnEpoch::Draft => {
                    self.recompute(id)?;
                    self.propose_again(id)?;
                }
            }
        }
        Ok(())
    }

    /// Lets a request that is about to be admitted do as it asked for if the weights have changed since it came. True if that ended it.
    fn renew_waiting(&mut self, id: SequenceId) -> Result<bool> {
        if self.cache.epoch_of(id)? == self.cache.epoch() {
            return Ok(false);
        }
        let entry = self.entry(id)?;
        let (begun, in_host) = (entry.begun, !entry.swapped.is_empty());
        match entry.on_epoch {
            OnEpoch::Drop if begun => {
                self.drop_request(id)?;
                return Ok(true);
            }
            // Its keys and values are those of the old weights, as it asked for.
            OnEpoch::Finish if in_host => {}
            OnEpoch::Draft if begun => {
                self.leave_host(id)?;
                self.propose_again(id)?;
            }
            OnEpoch::Finish | OnEpoch::Drop | OnEpoch::Draft => self.cache.renew(id)?,
        }
        Ok(false)
    }

    fn drop_request(&mut self, id: SequenceId) -> Result<()> {
        self.stats.dropped += 1;
        self.plan.dropped.push(id);
        self.end(id)
    }

    /// A request is back at its prompt, in the present epoch; what it had generated is proposed as drafts.
    fn propose_again(&mut self, id: SequenceId) -> Result<()> {
        let entry = self.entries.get_mut(id).ok_or_else(|| super::ended(id))?;
        let mut proposed = std::mem::take(&mut entry.generated);
        proposed.append(&mut entry.proposed);
        entry.proposed = proposed;
        self.cache.restart(id, entry.prompt, &entry.prompt_tail)
    }
}
