//! `park_kv_scheduler`: requests over a cache, for engines that only compute.

use park_core::kv::{Outcome, Request, Retention, Scheduler, SequenceId};
use parking_lot::Mutex;

use super::cache::{park_kv_cache_stats, park_kv_sequence_info, sequence_info, stats};
use super::call::{self, Handle};
use super::events::{self, park_kv_events, park_kv_publisher};
use super::metrics::{self, park_kv_cache_metrics, park_kv_scheduler_metrics};
use super::options::{self, park_kv_scheduler_options};
use super::plan::{Lists, park_kv_plan};
use super::prompt::{self, park_kv_prompt};
use super::tables::{self, park_kv_tables};
use super::{park_kv_sequence, quota};
use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, Sized, invalid};
use crate::guard::guard;

/// Continuous batching over a paged KV cache: requests come, each park_kv_scheduler_step() makes a plan within a budget of
/// tokens, and the engine answers with park_kv_scheduler_commit(), or, if it failed, with park_kv_scheduler_abandon(). It cannot
/// deadlock: what can never fit is refused. Where a call fails, nothing has changed. Movable. Free it with
/// park_kv_scheduler_free().
pub struct park_kv_scheduler {
    state: Mutex<State>,
}

pub(super) struct State {
    scheduler: Scheduler,
    lists: Lists,
}

impl Handle for park_kv_scheduler {
    type State = State;
    const NAME: &str = "scheduler";
    fn state(&self) -> &Mutex<State> {
        &self.state
    }
}

/// What a scheduler has counted. Set struct_size to sizeof(park_kv_scheduler_stats) before the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_scheduler_stats {
    /// sizeof(park_kv_scheduler_stats).
    pub struct_size: usize,
    /// Requests that run.
    pub running: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// Plans that were made.
    pub steps: u64,
    /// Tokens of committed work.
    pub tokens_computed: u64,
    /// Admissions, those after a preemption included.
    pub admitted: u64,
    /// Steps that admitted requests had waited, summed.
    pub steps_waited: u64,
    /// Preemptions after which tokens are computed again.
    pub recomputed: u64,
    /// Preemptions after which blocks come back from host memory.
    pub swapped: u64,
    /// Requests that came to their end.
    pub finished: u64,
    /// Requests that a new epoch ended.
    pub dropped: u64,
    /// Drafts for which there was room.
    pub drafts: u64,
    /// Drafts that were accepted.
    pub drafts_accepted: u64,
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_kv_scheduler_stats {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            running: 0,
            waiting: 0,
            steps: 0,
            tokens_computed: 0,
            admitted: 0,
            steps_waited: 0,
            recomputed: 0,
            swapped: 0,
            finished: 0,
            dropped: 0,
            drafts: 0,
            drafts_accepted: 0,
        }
    }
}

/// Makes a scheduler without requests. NULL for `options` is the default; see park_kv_scheduler_defaults().
/// Ownership: `*out` is the caller's, for park_kv_scheduler_free(). Threads: shared. Errors: PARK_INVALID_ARGUMENT for a budget,
/// a chunk or a number of requests of 0, and for what park_kv_cache_open() refuses; PARK_IO without randomness for a secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_open(
    options: *const park_kv_scheduler_options,
    out: *mut *mut park_kv_scheduler,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let scheduler = Scheduler::new(options::scheduler_config(from_c, options)?)?;
        out.set_handle(park_kv_scheduler {
            state: Mutex::new(State {
                scheduler,
                lists: Lists::default(),
            }),
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees a scheduler with all its requests. NULL is fine.
/// Ownership: takes the handle, and the lists that it lent. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_free(scheduler: *mut park_kv_scheduler) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(scheduler) };
}

/// One more tenant, with room for `quota` blocks at a time; UINT32_MAX is no quota. Tenants share no blocks.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT past 65536 tenants.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_add_tenant(
    scheduler: *mut park_kv_scheduler,
    quota: u32,
    out: *mut u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(u32::from(state.scheduler.add_tenant(self::quota(quota))?.0));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(scheduler, out, err, body) }
}

/// A new request, which waits. It ends after `prompt->max_new` tokens at the latest.
/// Ownership: the prompt is copied. Threads: movable. Errors: PARK_UNSCHEDULABLE if it could not finish with the whole pool, or
/// its tenant's quota, to itself; PARK_INVALID_ARGUMENT without a token, without one to generate, or for a tenant that is
/// unknown.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_add(
    scheduler: *mut park_kv_scheduler,
    prompt: *const park_kv_prompt,
    out: *mut park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let prompt = prompt::read(from_c, prompt)?;
        let id = state.scheduler.add(&Request {
            tokens: prompt.tokens,
            media: &prompt.media,
            max_new: prompt.max_new,
            tenant: prompt.tenant,
            salt: prompt.salt,
            adapter: prompt.adapter,
            priority: prompt.priority,
            on_epoch: prompt.on_epoch,
        })?;
        Ok(id.to_bits())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(scheduler, out, err, body) }
}

/// One more request that goes on from where this one is: another sample, another branch of a search.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
/// PARK_INVALID_ARGUMENT while a plan is in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_fork(
    scheduler: *mut park_kv_scheduler,
    sequence: park_kv_sequence,
    out: *mut park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(state.scheduler.fork(SequenceId::from_bits(sequence))?.to_bits());
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(scheduler, out, err, body) }
}

/// The request ends now. What it computed can still be found.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
/// PARK_INVALID_ARGUMENT while a plan is in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_abort(
    scheduler: *mut park_kv_scheduler,
    sequence: park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.scheduler.abort(SequenceId::from_bits(sequence));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// Makes the plan of the next step, and writes its tables; NULL for `tables` is none. It is empty if there is nothing to do, or
/// the scheduler is paused. If a table is too small, the plan is in flight, and park_kv_scheduler_fill() gives it and writes it
/// to larger ones.
/// Ownership: the lists of `*out` are the scheduler's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT
/// while the last plan is in flight, and for a table that is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_step(
    scheduler: *mut park_kv_scheduler,
    tables: *const park_kv_tables,
    out: *mut park_kv_plan,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let mut tables = tables::read(from_c, tables)?;
        state.scheduler.step()?;
        let plan = state.scheduler.plan();
        let filled = state.scheduler.cache().fill(&plan.spans(), &mut tables)?;
        Ok(state.lists.plan(plan, filled))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}

/// Gives the plan in flight again, and writes its tables; those of another group, say.
/// Ownership: the lists of `*out` are the scheduler's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT
/// for a table that is too small; PARK_NOT_FOUND once the plan is committed and a sequence of it has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_fill(
    scheduler: *mut park_kv_scheduler,
    tables: *const park_kv_tables,
    out: *mut park_kv_plan,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let mut tables = tables::read(from_c, tables)?;
        let plan = state.scheduler.plan();
        let filled = state.scheduler.cache().fill(&plan.spans(), &mut tables)?;
        Ok(state.lists.plan(plan, filled))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}

/// The plan in flight is done. `counts[i]` says how many tokens were sampled for its i-th work: accepted drafts in order, and one
/// more; NULL for `counts` is one for each work that samples. `tokens` has them one work after the other. `finished[i]`, unless
/// 0, ends the request; NULL is none. Those that have said all they may end by themselves.
/// Ownership: the tokens are copied. Threads: movable. Errors: PARK_INVALID_ARGUMENT if that does not fit the plan, which is then
/// still in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_commit(
    scheduler: *mut park_kv_scheduler,
    tokens: *const u32,
    num_tokens: usize,
    counts: *const u32,
    finished: *const u8,
    count: usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let tokens = from_c.slice(tokens, num_tokens, "tokens")?;
        let work = &state.scheduler.plan().work;
        let counts = if counts.is_null() {
            work.iter().map(|work| u32::from(work.samples)).collect()
        } else {
            from_c.slice(counts, count, "counts")?.to_vec()
        };
        let finished = if finished.is_null() {
            vec![0; counts.len()]
        } else {
            from_c.slice(finished, count, "finished")?.to_vec()
        };
        let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        if all != num_tokens as u64 || counts.len() != finished.len() {
            return Err(invalid(format!(
                "the work has {} outcomes of {all} tokens, and {} ends of {num_tokens} tokens came",
                counts.len(),
                finished.len()
            )));
        }
        let mut rest = tokens;
        let outcome = |(count, finished): (&u32, &u8)| {
            let (tokens, after) = rest.split_at(*count as usize);
            rest = after;
            Outcome {
                tokens,
                finished: *finished != 0,
            }
        };
        let outcomes: Vec<Outcome<'_>> = counts.iter().zip(&finished).map(outcome).collect();
        state.scheduler.commit(&outcomes)
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// The plan in flight failed: nothing of its work is computed. Whoever it admitted waits again.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT without a plan in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_abandon(
    scheduler: *mut park_kv_scheduler,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.scheduler.abandon();
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// Steps make empty plans until park_kv_scheduler_resume(); requests keep their blocks.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_pause(
    scheduler: *mut park_kv_scheduler,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        state.scheduler.pause();
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// Steps make plans again.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_resume(
    scheduler: *mut park_kv_scheduler,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        state.scheduler.resume();
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// Pauses and gives back every block, so that the engine can release its memory: what ran waits again, nothing is found any more.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT while a plan is in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_sleep(
    scheduler: *mut park_kv_scheduler,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.scheduler.sleep();
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// The model has got new weights: from now on no look-up finds what was computed before. Constant time.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT unless the epoch is later than the present
/// one: that would be an update that nobody noticed, and while a plan is in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_set_epoch(
    scheduler: *mut park_kv_scheduler,
    epoch: u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.scheduler.set_epoch(epoch);
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_reset(
    scheduler: *mut park_kv_scheduler,
    out: *mut bool,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(state.scheduler.reset());
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(scheduler, out, err, body) }
}

/// From now on, this is how long the computed blocks of a sequence are worth keeping after it: those of a lower priority go
/// first, until the time is `until` (0: for ever). With PARK_KV_RETENTION.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_retain(
    scheduler: *mut park_kv_scheduler,
    sequence: park_kv_sequence,
    priority: u8,
    until: u64,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        state
            .scheduler
            .retain(SequenceId::from_bits(sequence), Retention { priority, until })
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// The time, by which retention ends. Time that goes back changes nothing.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_set_time(
    scheduler: *mut park_kv_scheduler,
    now: u64,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        state.scheduler.set_time(now);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// Checks every invariant. Linear in blocks and sequences.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_CORRUPT with the first thing that does not add up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_audit(
    scheduler: *mut park_kv_scheduler,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.scheduler.audit();
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(scheduler, err, body) }
}

/// What there is to know about one sequence.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_read_sequence(
    scheduler: *mut park_kv_scheduler,
    sequence: park_kv_sequence,
    out: *mut park_kv_sequence_info,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| sequence_info(state.scheduler.cache(), sequence);
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}

/// Numbers about the cache below.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_read_cache_stats(
    scheduler: *mut park_kv_scheduler,
    out: *mut park_kv_cache_stats,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(stats(state.scheduler.cache()));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}

/// Numbers about the scheduler.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_read_stats(
    scheduler: *mut park_kv_scheduler,
    out: *mut park_kv_scheduler_stats,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        let counted = state.scheduler.stats();
        Ok(park_kv_scheduler_stats {
            struct_size: size_of::<park_kv_scheduler_stats>(),
            running: state.scheduler.running().len() as u64,
            waiting: state.scheduler.waiting() as u64,
            steps: counted.steps,
            tokens_computed: counted.computed,
            admitted: counted.admitted,
            steps_waited: counted.waited,
            recomputed: counted.recomputed,
            swapped: counted.swapped,
            finished: counted.finished,
            dropped: counted.dropped,
            drafts: counted.drafts,
            drafts_accepted: counted.accepted,
        })
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}

/// What happened to what can be found since the last call, with PARK_KV_EVENTS: one message in vLLM 0.33's wire format, as its routers
/// read it. Where the call fails the events are still there.
/// Ownership: the bytes of `*out` are the scheduler's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT for
/// a medium that is no UTF-8, and for hashes that are none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_take_events(
    scheduler: *mut park_kv_scheduler,
    publisher: *const park_kv_publisher,
    out: *mut park_kv_events,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let (time, wire) = events::read(from_c, publisher)?;
        let taken = state.scheduler.take_events();
        Ok(events::batch(time, &wire, &taken, &mut state.lists.message))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}

/// What the cache below has counted beside its numbers: each tenant, how long blocks stay.
/// Ownership: the list of `*out` is the scheduler's, valid until its next call. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_read_cache_metrics(
    scheduler: *mut park_kv_scheduler,
    out: *mut park_kv_cache_metrics,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        let counted = state.scheduler.cache().metrics();
        Ok(metrics::of_cache(&counted, &mut state.lists.tenants))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}

/// What the scheduler has counted beside its numbers: reservations, places in host memory, how long requests wait.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_read_metrics(
    scheduler: *mut park_kv_scheduler,
    out: *mut park_kv_scheduler_metrics,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(metrics::of_scheduler(&state.scheduler.metrics()));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(scheduler, out, err, body) }
}
