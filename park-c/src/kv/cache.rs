//! `park_kv_cache`: sequences over a pool of blocks, for engines that schedule by themselves.

use park_core::Result;
use park_core::kv::{Cache, Changes, Filled, Namespace, Retention, SequenceId, Span};
use parking_lot::Mutex;

use super::call::{self, Handle};
use super::events::{self, park_kv_events, park_kv_publisher};
use super::metrics::{self, park_kv_cache_metrics};
use super::options::{self, park_kv_cache_options};
use super::plan::{Lists, park_kv_changes};
use super::prompt::{self, park_kv_prompt};
use super::tables::{self, park_kv_tables};
use super::{park_kv_sequence, quota, sequences};
use crate::error::{free, park_error, park_status};
use crate::from_c::{FromC, Sized};
use crate::guard::guard;

/// Which block holds which tokens' keys and values, who shares them, and what can be found again; it touches no memory. A
/// sequence knows tokens, of which the first so many are computed. In a step, park_kv_cache_prefill() and park_kv_cache_decode()
/// make room for what is computed next and write block tables; park_kv_cache_settle() ends the step. Where a call fails, nothing
/// has changed. Movable. Free it with park_kv_cache_free().
pub struct park_kv_cache {
    state: Mutex<State>,
}

pub(super) struct State {
    cache: Cache,
    changes: Changes,
    lists: Lists,
}

impl Handle for park_kv_cache {
    type State = State;
    const NAME: &str = "cache";
    fn state(&self) -> &Mutex<State> {
        &self.state
    }
}

/// Numbers about a cache. Set struct_size to sizeof(park_kv_cache_stats) before the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_cache_stats {
    /// sizeof(park_kv_cache_stats).
    pub struct_size: usize,
    /// Sequences that have begun and not ended.
    pub sequences: u64,
    /// Blocks of the pool, the null block included.
    pub blocks: u64,
    /// Blocks that nobody uses, cached ones among them.
    pub free_blocks: u64,
    /// Blocks that can be found.
    pub cached_blocks: u64,
    /// Blocks handed out since the cache was made.
    pub allocated: u64,
    /// Of those, how many something could still have been found in.
    pub evicted: u64,
    /// Tokens that were looked up when a prefix was attached.
    pub tokens_asked: u64,
    /// Tokens of those that were cached.
    pub tokens_hit: u64,
    /// The weight version whose blocks are found.
    pub epoch: u64,
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_kv_cache_stats {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            sequences: 0,
            blocks: 0,
            free_blocks: 0,
            cached_blocks: 0,
            allocated: 0,
            evicted: 0,
            tokens_asked: 0,
            tokens_hit: 0,
            epoch: 0,
        }
    }
}

pub(super) fn stats(cache: &Cache) -> park_kv_cache_stats {
    let (pool, counted) = (cache.pool(), cache.pool_stats());
    let tenants = (0..cache.tenants()).map(|tenant| cache.tenant_stats(park_core::kv::TenantId(tenant as u16)));
    let (asked, hit) = tenants.fold((0, 0), |(asked, hit), tenant| (asked + tenant.asked, hit + tenant.hit));
    park_kv_cache_stats {
        struct_size: size_of::<park_kv_cache_stats>(),
        sequences: cache.sequences() as u64,
        blocks: u64::from(pool.blocks()),
        free_blocks: u64::from(pool.free_blocks()),
        cached_blocks: u64::from(pool.cached_blocks()),
        allocated: counted.allocated,
        evicted: counted.evicted,
        tokens_asked: asked,
        tokens_hit: hit,
        epoch: u64::from(cache.epoch()),
    }
}

/// One sequence. Set struct_size to sizeof(park_kv_sequence_info) before the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_sequence_info {
    /// sizeof(park_kv_sequence_info).
    pub struct_size: usize,
    /// Tokens that it knows.
    pub known: u32,
    /// Of those, how many are computed.
    pub computed: u32,
    /// Blocks of its tables in each group, null blocks included.
    pub positions: u32,
    /// Blocks that it holds in all groups.
    pub blocks_held: u32,
    /// The weight version that it computes in.
    pub epoch: u32,
    /// The tenant that it counts for.
    pub tenant: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_kv_sequence_info {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            known: 0,
            computed: 0,
            positions: 0,
            blocks_held: 0,
            epoch: 0,
            tenant: 0,
        }
    }
}

pub(super) fn sequence_info(cache: &Cache, sequence: park_kv_sequence) -> Result<park_kv_sequence_info> {
    let id = SequenceId::from_bits(sequence);
    Ok(park_kv_sequence_info {
        struct_size: size_of::<park_kv_sequence_info>(),
        known: cache.known(id)?,
        computed: cache.computed(id)?,
        positions: cache.positions(id)?,
        blocks_held: cache.blocks_held(id)?,
        epoch: cache.epoch_of(id)?,
        tenant: u32::from(cache.tenant_of(id)?.0),
    })
}

/// Makes a cache. NULL for `options` is the default; see park_kv_cache_defaults().
/// Ownership: `*out` is the caller's, for park_kv_cache_free(). Threads: shared. Errors: PARK_INVALID_ARGUMENT for a pool without
/// a block, a block without a token, no groups, a window smaller than a block; PARK_IO without randomness for a secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_open(
    options: *const park_kv_cache_options,
    out: *mut *mut park_kv_cache,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        let out = from_c.out(out, "out")?;
        let cache = Cache::new(options::cache_config(from_c, options)?)?;
        out.set_handle(park_kv_cache {
            state: Mutex::new(State {
                cache,
                changes: Changes::default(),
                lists: Lists::default(),
            }),
        });
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Frees a cache with all its sequences. NULL is fine.
/// Ownership: takes the handle, and the lists that it lent. Threads: movable. Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_free(cache: *mut park_kv_cache) {
    // SAFETY: NULL, or made by `set_handle` and freed once, by the rules at the head of park.h.
    unsafe { free(cache) };
}

/// One more tenant, with room for `quota` blocks at a time; UINT32_MAX is no quota. Tenants share no blocks.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT past 65536 tenants.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_add_tenant(
    cache: *mut park_kv_cache,
    quota: u32,
    out: *mut u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(u32::from(state.cache.add_tenant(self::quota(quota))?.0));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(cache, out, err, body) }
}

/// A new sequence that knows the prompt's tokens, of which nothing is computed.
/// Ownership: the prompt is copied. Threads: movable. Errors: PARK_INVALID_ARGUMENT without a token, or for a tenant that is
/// unknown.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_add(
    cache: *mut park_kv_cache,
    prompt: *const park_kv_prompt,
    out: *mut park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let prompt = prompt::read(from_c, prompt)?;
        let namespace = Namespace {
            tenant: &prompt.tenant.0.to_le_bytes(),
            salt: prompt.salt,
            adapter: prompt.adapter,
        };
        let id = state
            .cache
            .add(prompt.tenant, &namespace, prompt.tokens, &prompt.media)?;
        Ok(id.to_bits())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(cache, out, err, body) }
}

/// The sequence has got further tokens.
/// Ownership: the tokens are copied. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_extend(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    tokens: *const u32,
    num_tokens: usize,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let tokens = from_c.slice(tokens, num_tokens, "tokens")?;
        state.cache.append(SequenceId::from_bits(sequence), tokens)
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// A sequence that goes on from where this one is, with the same blocks. Constant time.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_fork(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    out: *mut park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(state.cache.fork(SequenceId::from_bits(sequence))?.to_bits());
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(cache, out, err, body) }
}

/// The sequence has ended: its blocks are free unless others use them, and what was computed can still be found.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_finish(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.finish(SequenceId::from_bits(sequence));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// The sequence keeps its tokens and loses its blocks, as if nothing had been computed: what preemption does.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_detach(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.detach(SequenceId::from_bits(sequence));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// The sequence starts again in the present epoch: its tokens are known, and nothing of them is computed.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_renew(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.renew(SequenceId::from_bits(sequence));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// Gives back blocks past those that known tokens need: room for drafts that were not accepted.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_trim(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.trim(SequenceId::from_bits(sequence));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// How many tokens of a sequence without blocks are cached: at most `limit`, and short of its last one, which has to be computed.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
/// PARK_INVALID_ARGUMENT for one that has blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_lookup(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    limit: u32,
    out: *mut u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(state.cache.lookup(SequenceId::from_bits(sequence), limit)?.tokens);
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(cache, out, err, body) }
}

/// Gives a sequence without blocks its longest cached prefix, as park_kv_cache_lookup() finds it: so many tokens are computed
/// now.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
/// PARK_INVALID_ARGUMENT for one that has blocks; PARK_STORE_FULL if the tenant's quota has no room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_attach(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    limit: u32,
    out: *mut u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        let id = SequenceId::from_bits(sequence);
        let hit = state.cache.lookup(id, limit)?;
        state.cache.attach(id, &hit)?;
        Ok(hit.tokens)
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(cache, out, err, body) }
}

/// Computes the next tokens of each sequence, up to its first `ends[i]`, all of which it knows: makes room, writes the tables,
/// and lets others find what is computed. NULL for `tables` is none.
/// Ownership: the lists of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_STORE_FULL if the
/// pool or a tenant is short of blocks; PARK_NOT_FOUND for a sequence that has ended; PARK_INVALID_ARGUMENT for what does not
/// fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_prefill(
    cache: *mut park_kv_cache,
    sequences: *const park_kv_sequence,
    ends: *const u32,
    count: usize,
    tables: *const park_kv_tables,
    out: *mut park_kv_changes,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let ends = from_c.slice(ends, count, "ends")?.to_vec();
        let ids = self::sequences(from_c, sequences, count)?;
        let mut tables = tables::read(from_c, tables)?;
        state.changes.clear();
        let filled = state.cache.prefill(&ids, &ends, &mut tables, &mut state.changes)?;
        Ok(state.lists.changes(&state.changes, filled))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(cache, out, err, body) }
}

/// Computes one more token of each sequence, the one that was sampled from its last: as park_kv_cache_extend() by that token, and
/// park_kv_cache_prefill() to the end. One call for all sequences that decode.
/// Ownership: the lists of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_STORE_FULL if the
/// pool or a tenant is short of blocks; PARK_NOT_FOUND for a sequence that has ended; PARK_INVALID_ARGUMENT for what does not
/// fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_decode(
    cache: *mut park_kv_cache,
    sequences: *const park_kv_sequence,
    tokens: *const u32,
    count: usize,
    tables: *const park_kv_tables,
    out: *mut park_kv_changes,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let tokens = from_c.slice(tokens, count, "tokens")?.to_vec();
        let ids = self::sequences(from_c, sequences, count)?;
        let mut tables = tables::read(from_c, tables)?;
        state.changes.clear();
        let filled = state.cache.decode(&ids, &tokens, &mut tables, &mut state.changes)?;
        Ok(state.lists.changes(&state.changes, filled))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(cache, out, err, body) }
}

/// Writes the tables of tokens `starts[i]` to `ends[i]` of each sequence, all of which have room, and changes nothing. NULL for
/// `starts` is the first tokens.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
/// PARK_INVALID_ARGUMENT for what does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_fill(
    cache: *mut park_kv_cache,
    sequences: *const park_kv_sequence,
    starts: *const u32,
    ends: *const u32,
    count: usize,
    tables: *const park_kv_tables,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let ends = from_c.slice(ends, count, "ends")?;
        let starts = if starts.is_null() {
            vec![0; count]
        } else {
            from_c.slice(starts, count, "starts")?.to_vec()
        };
        let ids = self::sequences(from_c, sequences, count)?;
        let span = |(sequence, (start, end)): (SequenceId, (u32, &u32))| Span {
            sequence,
            start,
            count: end.saturating_sub(start),
        };
        let spans: Vec<Span> = ids.into_iter().zip(starts.into_iter().zip(ends)).map(span).collect();
        let mut tables = tables::read(from_c, tables)?;
        state.cache.fill(&spans, &mut tables).map(|_| ())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// The step is over: its copies are done, its tokens are computed.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_settle(cache: *mut park_kv_cache, err: *mut *mut park_error) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.settle();
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// Makes room for the first `tokens` tokens of a sequence, known or to come.
/// Ownership: the lists of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_STORE_FULL if the
/// pool or the tenant is short of blocks; PARK_NOT_FOUND for a sequence that has ended; PARK_INVALID_ARGUMENT for fewer tokens
/// than are computed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_grow(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    tokens: u32,
    out: *mut park_kv_changes,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        state.changes.clear();
        state
            .cache
            .require(SequenceId::from_bits(sequence), tokens, &mut state.changes)?;
        Ok(state.lists.changes(&state.changes, Filled::default()))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(cache, out, err, body) }
}

/// The first `computed` tokens of a sequence are computed, or will be by work that is given out: they can be found from now on.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
/// PARK_INVALID_ARGUMENT for fewer than before, or more than there is room for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_advance(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    computed: u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.advance(SequenceId::from_bits(sequence), computed);
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// Work that was given out has failed: only the first `computed` tokens are computed, and the others can no longer be found.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended;
/// PARK_INVALID_ARGUMENT for more than are computed, or fewer than a fork shares.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_rewind(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    computed: u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.rewind(SequenceId::from_bits(sequence), computed);
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// The model has got new weights: from now on no look-up finds what was computed before. Constant time.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_INVALID_ARGUMENT unless the epoch is later than the present
/// one: that would be an update that nobody noticed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_set_epoch(
    cache: *mut park_kv_cache,
    epoch: u32,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.set_epoch(epoch);
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_reset(
    cache: *mut park_kv_cache,
    out: *mut bool,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(state.cache.reset());
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::give(cache, out, err, body) }
}

/// From now on, this is how long the computed blocks of a sequence are worth keeping after it: those of a lower priority go
/// first, until the time is `until` (0: for ever). With PARK_KV_RETENTION.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_retain(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    priority: u8,
    until: u64,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        state
            .cache
            .retain(SequenceId::from_bits(sequence), Retention { priority, until })
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// The time, by which retention ends. Time that goes back changes nothing.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_set_time(
    cache: *mut park_kv_cache,
    now: u64,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| {
        state.cache.set_time(now);
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// Checks every invariant. Linear in blocks and sequences.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_CORRUPT with the first thing that does not add up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_audit(cache: *mut park_kv_cache, err: *mut *mut park_error) -> park_status {
    let body = |_: &FromC, state: &mut State| state.cache.audit();
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::with(cache, err, body) }
}

/// What there is to know about one sequence.
/// Ownership: takes and gives nothing. Threads: movable. Errors: PARK_NOT_FOUND for a sequence that has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_read_sequence(
    cache: *mut park_kv_cache,
    sequence: park_kv_sequence,
    out: *mut park_kv_sequence_info,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| sequence_info(&state.cache, sequence);
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(cache, out, err, body) }
}

/// Numbers about the cache.
/// Ownership: takes and gives nothing. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_read_stats(
    cache: *mut park_kv_cache,
    out: *mut park_kv_cache_stats,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(stats(&state.cache));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(cache, out, err, body) }
}

/// What happened to what can be found since the last call, with PARK_KV_EVENTS: one message in vLLM 0.33's wire format, as its routers
/// read it. Where the call fails the events are still there.
/// Ownership: the bytes of `*out` are the cache's, valid until its next call. Threads: movable. Errors: PARK_INVALID_ARGUMENT for
/// a medium that is no UTF-8, and for hashes that are none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_take_events(
    cache: *mut park_kv_cache,
    publisher: *const park_kv_publisher,
    out: *mut park_kv_events,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC, state: &mut State| {
        let (time, wire) = events::read(from_c, publisher)?;
        let taken = state.cache.take_events();
        Ok(events::batch(time, &wire, &taken, &mut state.lists.message))
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(cache, out, err, body) }
}

/// What the cache has counted beside its numbers: each tenant, how long blocks stay.
/// Ownership: the list of `*out` is the cache's, valid until its next call. Threads: movable. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_read_metrics(
    cache: *mut park_kv_cache,
    out: *mut park_kv_cache_metrics,
    err: *mut *mut park_error,
) -> park_status {
    let body = |_: &FromC, state: &mut State| Ok(metrics::of_cache(&state.cache.metrics(), &mut state.lists.tenants));
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { call::fill(cache, out, err, body) }
}
