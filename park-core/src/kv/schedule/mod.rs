//! The scheduler: requests over a cache, continuous batching.
//!
//! Each step, [`Scheduler::step`] makes a [`Plan`] within a budget of tokens: running requests first (decodes before prefills, which go in
//! chunks), then those who wait, as long as there is room. The engine does what the plan says and answers with [`Scheduler::commit`], or,
//! if it failed, with [`Scheduler::abandon`].
//!
//! **It cannot deadlock.** Requests have an order (priority, then arrival). (1) A request that could not finish with the whole pool to
//! itself is refused when it comes. (2) A request that needs a block takes it, if none is free, from the last in order, which waits
//! again. So the first in order always gets on. (3) Whoever is admitted has blocks reserved for its whole prompt and for
//! `reserve_output` tokens more, and no other request may take them, so two half-done prefills never wait for each other. With
//! `reserve_output` at its largest nobody is ever preempted.
//!
//! Reservations are numbers, not blocks: the sum of what is reserved never exceeds what is free, for the pool and for each tenant.
//!
//! | file | what |
//! |---|---|
//! | `mod` | configuration; adding, forking, aborting requests; epochs; pause |
//! | `request`, `plan` | what comes in, what goes out |
//! | `step` | making a plan |
//! | `preempt` | taking blocks from the last in order |
//! | `commit` | what an engine answers |
//! | `reserve` | the arithmetic of reservations |
//! | `queue/` | who is admitted next |
//! | `transfer` | blocks that are copied to other memory and back |

mod commit;
mod plan;
mod preempt;
mod queue;
mod request;
mod reserve;
mod step;
mod transfer;

use slotmap::SecondaryMap;

pub use self::plan::{Outcome, Plan, Preempted, Swap, Work};
pub use self::queue::Policy;
pub use self::request::{OnEpoch, Request};

use self::queue::{Queue, Ticket};
use self::request::{Entry, State};
use self::reserve::Reserved;
use super::key::Namespace;
use super::metrics::{Histogram, SchedulerMetrics};
use super::pool::TenantId;
use super::{Cache, CacheConfig, Event, Group, Retention, SequenceId};
use crate::error::{Error, ErrorKind, Result, bail};

/// What a scheduler is made of.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// The cache below.
    pub cache: CacheConfig,
    /// Tokens that a step computes at most, drafts included.
    pub step_tokens: u32,
    /// Requests that run at a time at most.
    pub running: u32,
    /// Tokens of one prompt that a step computes at most.
    pub chunk: u32,
    /// Who is admitted next.
    pub policy: Policy,
    /// Places in host memory for blocks of preempted requests; with none, or none left, their tokens are computed again.
    pub swap_slots: u32,
    /// Tokens past the prompt for which an admitted request has blocks reserved.
    pub reserve_output: u32,
    /// Drafts for which a decode has room.
    pub drafts: u32,
}

impl Default for SchedulerConfig {
    /// 8,192 tokens and 256 requests a step, in order of arrival; no swapping, no drafts, nothing reserved past the prompt.
    fn default() -> Self {
        Self {
            cache: CacheConfig::default(),
            step_tokens: 8192,
            running: 256,
            chunk: 8192,
            policy: Policy::default(),
            swap_slots: 0,
            reserve_output: 0,
            drafts: 0,
        }
    }
}

/// What a scheduler has counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SchedulerStats {
    /// Plans that were made.
    pub steps: u64,
    /// Tokens of committed work.
    pub computed: u64,
    /// Admissions, those after a preemption included.
    pub admitted: u64,
    /// Steps that admitted requests had waited, summed.
    pub waited: u64,
    /// Preemptions after which tokens are computed again.
    pub recomputed: u64,
    /// Preemptions after which blocks come back from host memory.
    pub swapped: u64,
    /// Requests that came to their end.
    pub finished: u64,
    /// Requests that a new epoch ended.
    pub dropped: u64,
    /// Drafts for which there was room, and those that were accepted.
    pub drafts: u64,
    /// See `drafts`.
    pub accepted: u64,
}

/// See the module.
pub struct Scheduler {
    config: SchedulerConfig,
    cache: Cache,
    entries: SecondaryMap<SequenceId, Entry>,
    /// In order: the first is the last to be preempted.
    running: Vec<SequenceId>,
    queue: Box<dyn Queue>,
    /// Requests that wait.
    waiting: usize,
    reserved: Reserved,
    plan: Plan,
    in_flight: bool,
    paused: bool,
    /// The epoch for which running requests have been looked through.
    epoch: u32,
    /// Free places in host memory.
    slots: Vec<u32>,
    /// Places that are free once the plan in flight is committed.
    emptied: Vec<u32>,
    arrivals: u64,
    tickets: u64,
    stats: SchedulerStats,
    now: u64,
    queue_time: Histogram,
    queue_steps: Histogram,
}

impl Scheduler {
    /// A scheduler without requests.
    ///
    /// # Errors
    /// `InvalidArgument` for a budget, a chunk, a number of running requests or a tenant's turn of zero, and for what the cache refuses.
    pub fn new(config: SchedulerConfig) -> Result<Self> {
        for (what, number) in [
            ("tokens a step", config.step_tokens),
            ("running requests", config.running),
            ("tokens a chunk", config.chunk),
        ] {
            if number == 0 {
                bail!(InvalidArgument, "with 0 {what} nothing would ever be computed");
            }
        }
        if config.policy == (Policy::Fair { quantum: 0 }) {
            bail!(InvalidArgument, "in turns of 0 tokens no tenant would ever be admitted");
        }
        let cache = Cache::new(config.cache.clone())?;
        Ok(Self {
            queue: queue::queue(config.policy),
            cache,
            entries: SecondaryMap::new(),
            running: Vec::new(),
            waiting: 0,
            reserved: Reserved::default(),
            plan: Plan::default(),
            in_flight: false,
            paused: false,
            epoch: 0,
            slots: (0..config.swap_slots).rev().collect(),
            emptied: Vec::new(),
            arrivals: 0,
            tickets: 0,
            stats: SchedulerStats::default(),
            now: 0,
            queue_time: Histogram::default(),
            queue_steps: Histogram::default(),
            config,
        })
    }

    /// The cache below, to look at: tables, tenants, the pool.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What was counted.
    pub fn stats(&self) -> SchedulerStats {
        self.stats
    }

    /// What it has now, and what it has counted.
    pub fn metrics(&self) -> SchedulerMetrics {
        SchedulerMetrics {
            cache: self.cache.metrics(),
            counts: self.stats,
            running: self.running.len(),
            waiting: self.waiting,
            reserved: self.reserved.all(),
            host_places: self.config.swap_slots,
            host_used: self.config.swap_slots - self.slots.len() as u32,
            queue_time: self.queue_time,
            queue_steps: self.queue_steps,
        }
    }

    /// The scheduler's time, in the caller's unit, by which retention ends and waiting is measured. Time that goes back changes nothing.
    pub fn set_time(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.cache.set_time(now);
    }

    /// What happened to what can be found since the last call, if the cache records it.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.cache.take_events()
    }

    /// Requests that run.
    pub fn running(&self) -> &[SequenceId] {
        &self.running
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// One more tenant, with room for `quota` blocks at a time.
    ///
    /// # Errors
    /// `InvalidArgument` past 65,536 tenants.
    pub fn add_tenant(&mut self, quota: Option<u32>) -> Result<TenantId> {
        self.cache.add_tenant(quota)
    }

    /// A new request. It waits.
    ///
    /// # Errors
    /// `Unschedulable` if it could not finish with the whole pool, or its tenant's quota, to itself; `InvalidArgument` for no tokens, no
    /// tokens to generate, more than 2^31 - 1 of both, or a tenant that is unknown.
    pub fn add(&mut self, request: &Request<'_>) -> Result<SequenceId> {
        let prompt = request.tokens.len();
        let most = prompt as u64 + u64::from(request.max_new);
        if request.max_new == 0 || most > i32::MAX as u64 {
            bail!(
                InvalidArgument,
                "a request generates from 1 token to {} of prompt and output together; its prompt has {prompt}, and {} were asked for",
                i32::MAX,
                request.max_new
            );
        }
        self.cache.pool().check_tenant(request.tenant)?;
        let most = most as u32;
        let limit = self.cache.pool().limit_of(request.tenant);
        // The last token is sampled, and nothing is ever computed of it.
        let blocks = self.blocks_of(most - 1);
        if blocks > u64::from(limit) {
            bail!(
                Unschedulable,
                "a request of {prompt} tokens and {} more needs {blocks} blocks to finish, and tenant {} may hold {limit}",
                request.max_new,
                request.tenant.0
            );
        }
        let tenant = request.tenant.0.to_le_bytes();
        let namespace = Namespace {
            tenant: &tenant,
            salt: request.salt,
            adapter: request.adapter,
        };
        let id = self
            .cache
            .add(request.tenant, &namespace, request.tokens, request.media)?;
        let tail = prompt - prompt % self.config.cache.block_size as usize;
        self.arrivals += 1;
        self.entries.insert(
            id,
            Entry {
                tenant: request.tenant,
                priority: request.priority,
                arrival: self.arrivals,
                prompt: prompt as u32,
                most,
                on_epoch: request.on_epoch,
                state: State::Waiting,
                ticket: 0,
                reserved: 0,
                work: None,
                begun: false,
                swapped: Vec::new(),
                swapped_tokens: 0,
                prompt_tail: match request.on_epoch {
                    OnEpoch::Draft => request.tokens[tail..].to_vec(),
                    OnEpoch::Finish | OnEpoch::Drop => Vec::new(),
                },
                generated: Vec::new(),
                proposed: Vec::new(),
                since: self.stats.steps,
                since_time: self.now,
            },
        );
        let ticket = self.ticket(id)?;
        self.queue.push(ticket);
        Ok(id)
    }

    /// One more request that goes on from where this one is: another sample of the same prompt, another branch of a search. It runs if
    /// this one does, even past the number of running requests, and is last in order.
    ///
    /// # Errors
    /// `NotFound` for a request that has ended; `InvalidArgument` while a plan is in flight, or for a request in host memory.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId> {
        self.settled()?;
        self.arrivals += 1;
        let entry = self.entry(id)?;
        if !entry.swapped.is_empty() {
            bail!(
                InvalidArgument,
                "{id:?} is in host memory: it can be forked when it runs again"
            );
        }
        let (tenant, state) = (entry.tenant, entry.state);
        let entry = Entry {
            arrival: self.arrivals,
            prompt_tail: entry.prompt_tail.clone(),
            generated: entry.generated.clone(),
            proposed: entry.proposed.clone(),
            swapped: Vec::new(),
            reserved: 0,
            work: None,
            ticket: 0,
            since: self.stats.steps,
            since_time: self.now,
            ..*entry
        };
        let fork = self.cache.fork(id)?;
        self.entries.insert(fork, entry);
        match state {
            State::Running => {
                // It shares what there is, and needs room for a copy of the last block and for what is reserved past it.
                let wanted = self.blocks_of(self.with_reserve(fork)?);
                let more = (wanted as u32).saturating_sub(self.cache.blocks_held(fork)?) + self.groups();
                let reserved = more.min(self.unreserved(tenant));
                self.reserve(fork, reserved)?;
                self.insert_running(fork)?;
            }
            State::Waiting => {
                let ticket = self.ticket(fork)?;
                self.queue.push(ticket);
            }
        }
        Ok(fork)
    }

    /// The request ends now. What it computed can still be found.
    ///
    /// # Errors
    /// `NotFound` for a request that has ended; `InvalidArgument` while a plan is in flight.
    pub fn abort(&mut self, id: SequenceId) -> Result<()> {
        self.settled()?;
        self.entry(id)?;
        self.end(id)
    }

    /// The model has got new weights. Constant time; the next step looks through what runs, and treats each request as it asked for.
    ///
    /// # Errors
    /// `InvalidArgument` unless the epoch is later than the present one, and while a plan is in flight.
    pub fn set_epoch(&mut self, epoch: u32) -> Result<()> {
        self.settled()?;
        self.cache.set_epoch(epoch)
    }

    /// Steps make empty plans until [`resume`](Self::resume); requests keep their blocks.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Steps make plans again.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Pauses and gives back every block, so that the engine can release its memory: what ran waits again, and nothing is found any more.
    ///
    /// # Errors
    /// `InvalidArgument` while a plan is in flight or a transfer uses blocks.
    pub fn sleep(&mut self) -> Result<()> {
        self.settled()?;
        if self.cache.pinned() > 0 {
            bail!(
                InvalidArgument,
                "{} blocks are being copied: end the transfers first",
                self.cache.pinned()
            );
        }
        self.pause();
        while let Some(last) = self.running.last().copied() {
            self.recompute(last)?;
        }
        let waiting: Vec<SequenceId> = self.entries.keys().collect();
        for id in waiting {
            self.leave_host(id)?;
            self.cache.detach(id)?;
        }
        if !self.cache.reset() {
            bail!(Internal, "all requests wait, and blocks are in use");
        }
        Ok(())
    }

    /// Nothing can be found any more. False, and nothing happens, while a request has blocks.
    pub fn reset(&mut self) -> bool {
        self.cache.reset()
    }

    /// From now on, this is how long the computed blocks of a request are worth keeping after it.
    ///
    /// # Errors
    /// `NotFound` for a request that has ended.
    pub fn retain(&mut self, id: SequenceId, retention: Retention) -> Result<()> {
        self.cache.retain(id, retention)
    }

    /// Checks every invariant of scheduler, cache and pool.
    ///
    /// # Errors
    /// `Corrupt`, with the first thing that does not add up.
    pub fn audit(&self) -> Result<()> {
        self.cache.audit()?;
        let running = self
            .entries
            .values()
            .filter(|entry| entry.state == State::Running)
            .count();
        if running != self.running.len() || self.entries.len() - running != self.waiting {
            bail!(
                Corrupt,
                "{running} requests of {} run, {} are in order, and {} wait",
                self.entries.len(),
                self.running.len(),
                self.waiting
            );
        }
        if !self.running.is_sorted_by_key(|id| self.rank(*id)) {
            bail!(Corrupt, "the running requests are not in order");
        }
        let held: usize = self.entries.values().map(|entry| entry.swapped.len()).sum();
        if held + self.slots.len() + self.emptied.len() != self.config.swap_slots as usize {
            bail!(
                Corrupt,
                "{held} places in host memory are used, and {} are free",
                self.slots.len()
            );
        }
        self.audit_reserved()
    }

    fn groups(&self) -> u32 {
        self.config.cache.groups.len() as u32
    }

    /// Blocks that a sequence holds at most on its way to so many tokens. With a window that is the window, and the chunk that is being
    /// computed past it.
    fn blocks_of(&self, tokens: u32) -> u64 {
        let block_size = self.config.cache.block_size;
        let all = u64::from(tokens.div_ceil(block_size));
        let blocks = |group: &Group| match group {
            Group::Full => all,
            Group::Window(window) => {
                let chunk = self.config.chunk.min(self.config.step_tokens);
                let within = u64::from(*window) + u64::from(chunk) + u64::from(self.config.drafts);
                all.min(within.div_ceil(u64::from(block_size)) + 1)
            }
        };
        self.config.cache.groups.iter().map(blocks).sum()
    }

    /// Tokens that a request's blocks hold once what is reserved for it is used: all but the last that it may generate are computed.
    fn with_reserve(&self, id: SequenceId) -> Result<u32> {
        let known = self.cache.known(id)?;
        let computed = self.entry(id)?.most - 1;
        Ok(known + self.config.reserve_output.min(computed.saturating_sub(known)))
    }

    fn entry(&self, id: SequenceId) -> Result<&Entry> {
        self.entries.get(id).ok_or_else(|| ended(id))
    }

    fn entry_mut(&mut self, id: SequenceId) -> Result<&mut Entry> {
        self.entries.get_mut(id).ok_or_else(|| ended(id))
    }

    fn settled(&self) -> Result<()> {
        if self.in_flight {
            bail!(
                InvalidArgument,
                "plan {} is in flight: commit or abandon it first",
                self.plan.number
            );
        }
        Ok(())
    }

    /// Who comes first: lower is sooner.
    fn rank(&self, id: SequenceId) -> (i32, u64) {
        let by_priority = self.config.policy == Policy::Priority;
        self.entries
            .get(id)
            .map_or((i32::MAX, u64::MAX), |entry| entry.rank(by_priority))
    }

    /// Puts a request among the running ones, in order.
    fn insert_running(&mut self, id: SequenceId) -> Result<()> {
        self.entry_mut(id)?.state = State::Running;
        let rank = self.rank(id);
        let at = self.running.partition_point(|other| self.rank(*other) < rank);
        self.running.insert(at, id);
        Ok(())
    }

    /// A new place in the queue for a request, which waits from now on. Its older places are no good any more.
    fn ticket(&mut self, id: SequenceId) -> Result<Ticket> {
        self.tickets += 1;
        self.waiting += 1;
        let (number, since, now) = (self.tickets, self.stats.steps, self.now);
        let known = self.cache.known(id)?;
        let cached = match self.config.policy {
            Policy::LongestPrefix if self.cache.positions(id)? == 0 => self.cache.lookup(id, known)?.tokens,
            _ => 0,
        };
        let entry = self.entry_mut(id)?;
        entry.ticket = number;
        entry.state = State::Waiting;
        (entry.since, entry.since_time) = (since, now);
        Ok(Ticket {
            id,
            number,
            tenant: entry.tenant,
            priority: entry.priority,
            arrival: entry.arrival,
            cost: known,
            cached,
        })
    }

    /// A request is over, wherever it was.
    fn end(&mut self, id: SequenceId) -> Result<()> {
        self.leave_host(id)?;
        self.unreserve(id)?;
        match self.entry(id)?.state {
            State::Running => self.running.retain(|other| *other != id),
            State::Waiting => self.waiting -= 1,
        }
        self.entries.remove(id);
        self.cache.finish(id)
    }
}

fn ended(id: SequenceId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("request {id:?} has ended, or is of another scheduler"),
    )
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
