//! Sequences of calls of the `park_kv_...` part of `park.h`, on one cache and one scheduler, each with arguments that a program gets wrong:
//! NULL and misaligned pointers, ids that are none, lengths that cannot be, tables that are too small or overlap, numbers at the ends of
//! their types. After each call both are audited: what was refused has changed nothing, and what was done adds up.
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "one argument holds for all calls: how the pointers are made"
)]

use std::ptr::{null, null_mut};

use park_c::error::*;
use park_c::kv::cache::*;
use park_c::kv::events::*;
use park_c::kv::metrics::*;
use park_c::kv::options::*;
use park_c::kv::park_kv_sequence;
use park_c::kv::plan::*;
use park_c::kv::prompt::*;
use park_c::kv::scheduler::*;
use park_c::kv::tables::*;

use super::input::Input;

/// A value of the caller's, or NULL, or a pointer that none can have.
fn value<T>(input: &mut Input<'_>, value: &mut T) -> *mut T {
    match input.byte() {
        0..=235 => value,
        236..=245 => null_mut(),
        // What may lie anywhere cannot be misaligned.
        _ if align_of::<T>() == 1 => null_mut(),
        _ => std::ptr::without_provenance_mut(1),
    }
}

/// The size of a struct, or that of an older one: what a program sets ends between two members, which none of these pointers straddles.
fn struct_size<T>(input: &mut Input<'_>) -> usize {
    match input.byte() {
        0..=245 => size_of::<T>(),
        _ => input.number() as usize % (size_of::<T>() / 8 + 1) * 8,
    }
}

/// A small number, mostly; or one at which things break.
fn number(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        small @ 0..=199 => u32::from(small) % 24,
        _ => input.number() as u32,
    }
}

/// Arrays for tables, one after the other in one piece of memory, so that a wrong length overlaps the next one and leaves none.
struct Arrays {
    small: [i32; 64],
    slots: [i64; 32],
}

fn tables(input: &mut Input<'_>, arrays: &mut Arrays) -> park_kv_tables {
    let odd = input.byte();
    let len = |input: &mut Input<'_>| usize::from(input.byte() % 9);
    // Places in the memory, of which every length stays inside.
    let start = arrays.small.as_mut_ptr();
    let place = |input: &mut Input<'_>, nth: usize| match input.byte() {
        0..=99 => null_mut(),
        100..=239 => start.wrapping_add(16 + 8 * nth),
        _ => start.wrapping_add(16 + 8 * (nth + 1) % 48),
    };
    park_kv_tables {
        struct_size: struct_size::<park_kv_tables>(input),
        group: if odd.is_multiple_of(16) {
            usize::from(input.byte())
        } else {
            0
        },
        block_table: if odd.is_multiple_of(2) { start } else { null_mut() },
        block_table_rows: if odd == 249 { usize::MAX } else { len(input) % 5 },
        block_table_width: 4,
        slot_mapping: if odd.is_multiple_of(3) {
            arrays.slots.as_mut_ptr()
        } else {
            null_mut()
        },
        slot_mapping_len: usize::from(input.byte() % 33),
        indptr: place(input, 0),
        indptr_len: len(input),
        indices: place(input, 1),
        indices_len: len(input),
        last_page_len: place(input, 2),
        last_page_len_len: len(input),
        cu_seqlens_q: place(input, 3),
        cu_seqlens_q_len: len(input),
        cu_seqlens_k: place(input, 4),
        cu_seqlens_k_len: len(input),
        seq_lens: null_mut(),
        seq_lens_len: len(input),
    }
}

fn options(input: &mut Input<'_>, windows: &[u32; 2]) -> park_kv_cache_options {
    let odd = input.byte();
    park_kv_cache_options {
        struct_size: struct_size::<park_kv_cache_options>(input),
        // Never a pool that takes real memory.
        blocks: if odd < 240 {
            2 + u32::from(odd) % 30
        } else {
            u32::MAX - u32::from(odd % 2)
        },
        block_size: 1 + u32::from(input.byte() % 5),
        windows: if odd.is_multiple_of(3) {
            windows.as_ptr()
        } else {
            null()
        },
        num_windows: if odd.is_multiple_of(3) {
            usize::from(input.byte() % 3)
        } else {
            0
        },
        secret: c"a secret of thirty-two bytes....".as_ptr().cast(),
        eviction: u32::from(input.byte() % 32) / 10,
        algorithm: u32::from(input.byte() % 32) / 10,
        flags: u32::from(input.byte() % 17),
        reserved: u32::from(odd == 239),
    }
}

/// The ids that were given, the latest last; and some that were not.
struct Ids([park_kv_sequence; 6]);

impl Ids {
    fn any(&self, input: &mut Input<'_>) -> park_kv_sequence {
        match input.byte() {
            known @ 0..=229 => self.0[usize::from(known) % 6],
            _ => input.word(),
        }
    }

    fn keep(&mut self, id: park_kv_sequence) {
        if id != 0 {
            self.0.rotate_left(1);
            self.0[5] = id;
        }
    }
}

pub(crate) fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let windows = [u32::from(input.byte() % 2) * 6, u32::from(input.byte() % 12)];
    let (mut cache, mut scheduler) = (null_mut(), null_mut());
    let below = options(&mut input, &windows);
    let requests = park_kv_scheduler_options {
        struct_size: size_of::<park_kv_scheduler_options>(),
        cache: &below,
        step_tokens: u32::from(input.byte() % 40),
        running: u32::from(input.byte() % 5),
        chunk: u32::from(input.byte() % 20),
        policy: u32::from(input.byte() % 5),
        quantum: number(&mut input),
        swap_slots: u32::from(input.byte() % 9),
        reserve_output: number(&mut input),
        drafts: u32::from(input.byte() % 4),
    };
    // SAFETY: live values, and places for the handles.
    unsafe {
        park_kv_cache_open(&below, &mut cache, null_mut());
        park_kv_scheduler_open(&requests, &mut scheduler, null_mut());
    }
    let (mut ids, mut asked) = (Ids([0; 6]), Ids([0; 6]));
    for _ in 0..96 {
        if input.is_empty() {
            break;
        }
        // SAFETY: both handles are live or NULL, and the other pointers as `step` makes them.
        unsafe {
            if input.byte() < 128 {
                step(&mut input, cache, &mut ids);
            } else {
                request(&mut input, scheduler, &mut asked);
            }
            assert!(cache.is_null() || park_kv_cache_audit(cache, null_mut()) == PARK_OK);
            assert!(scheduler.is_null() || park_kv_scheduler_audit(scheduler, null_mut()) == PARK_OK);
        }
    }
    // SAFETY: freed once, and not used after.
    unsafe {
        park_kv_cache_free(cache);
        park_kv_scheduler_free(scheduler);
    }
}

fn prompt(input: &mut Input<'_>, tokens: &[u32; 32], media: &park_kv_media) -> park_kv_prompt {
    let odd = input.byte();
    let count = usize::from(input.byte() % 33);
    park_kv_prompt {
        struct_size: struct_size::<park_kv_prompt>(input),
        tokens: if odd % 32 == 1 { null() } else { tokens.as_ptr() },
        num_tokens: if odd % 32 == 2 {
            usize::MAX - usize::from(odd)
        } else {
            count
        },
        salt: tokens.as_ptr().cast(),
        salt_len: usize::from(odd % 8 == 3) * 4,
        adapter: null(),
        adapter_len: usize::from(odd % 64 == 4),
        media,
        num_media: usize::from(odd % 8 == 5),
        tenant: if odd % 16 == 6 { number(input) } else { 0 },
        max_new: number(input),
        priority: input.byte().into(),
        on_epoch: u32::from(odd % 31) / 10,
    }
}

fn publisher(input: &mut Input<'_>) -> park_kv_publisher {
    park_kv_publisher {
        struct_size: struct_size::<park_kv_publisher>(input),
        time: f64::from_bits(input.word()),
        medium: match input.byte() % 4 {
            0 => null(),
            1 => c"\xff is no text".as_ptr(),
            _ => c"CPU".as_ptr(),
        },
        rank: number(input),
        hashes: u32::from(input.byte() % 32) / 15,
    }
}

fn events(input: &mut Input<'_>) -> park_kv_events {
    park_kv_events {
        struct_size: struct_size::<park_kv_events>(input),
        bytes: null(),
        num_bytes: 0,
        num_events: 0,
    }
}

/// # Safety
/// What the call lent is as it said.
unsafe fn check_events(done: park_status, told: &park_kv_events) {
    if done == PARK_OK && told.num_bytes > 0 {
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(told.bytes, told.num_bytes) };
        assert_eq!(bytes[..2], [0x93, 0xcb], "an array of three, and the time");
        assert_eq!(
            bytes[10] == 0x90,
            told.num_events == 0 || told.struct_size < size_of::<park_kv_events>()
        );
    }
}

/// # Safety
/// As above.
unsafe fn check_tenants(done: park_status, metrics: &park_kv_cache_metrics) {
    if done == PARK_OK {
        for at in 0..metrics.num_tenants {
            // SAFETY: the caller's promise.
            let tenant = unsafe { metrics.tenants.add(at).read() };
            assert_eq!(tenant.tenant as usize, at);
            assert!(tenant.tokens_hit <= tenant.tokens_asked);
        }
    }
}

/// # Safety
/// The handle is live or NULL.
unsafe fn step(input: &mut Input<'_>, cache: *mut park_kv_cache, ids: &mut Ids) {
    let tokens: [u32; 32] = std::array::from_fn(|at| (at as u32) % 3);
    let media = park_kv_media {
        start: number(input),
        length: number(input),
        digest: [1; 32],
    };
    let mut arrays = Arrays {
        small: [-1; 64],
        slots: [-1; 32],
    };
    let mut given = tables(input, &mut arrays);
    let mut changes = park_kv_changes {
        struct_size: struct_size::<park_kv_changes>(input),
        copies: null(),
        num_copies: 0,
        placed: null(),
        num_placed: 0,
        num_tokens: 0,
        num_pages: 0,
    };
    let (mut id, mut count, mut flag, mut err) = (0, 0, false, null_mut());
    let sequence = ids.any(input);
    let batch = [sequence, ids.any(input), ids.any(input)];
    let numbers = [number(input), number(input), number(input)];
    let many = match input.byte() {
        250.. => usize::MAX / 2,
        some => usize::from(some % 4),
    };
    let e: *mut *mut park_error = value(input, &mut err);
    // SAFETY: as this function's caller promises; all pointers are local values, NULL or misaligned, and lengths are theirs or cannot be.
    unsafe {
        let done = match input.byte() % 24 {
            0..=3 => {
                let mut prompt = prompt(input, &tokens, &media);
                park_kv_cache_add(cache, value(input, &mut prompt), value(input, &mut id), e)
            }
            4 => park_kv_cache_extend(cache, sequence, tokens.as_ptr(), usize::from(input.byte() % 33), e),
            5 => park_kv_cache_fork(cache, sequence, value(input, &mut id), e),
            6 => park_kv_cache_finish(cache, sequence, e),
            7 => park_kv_cache_detach(cache, sequence, e),
            8 => park_kv_cache_renew(cache, sequence, e),
            9 => park_kv_cache_trim(cache, sequence, e),
            10 => park_kv_cache_lookup(cache, sequence, numbers[0], value(input, &mut count), e),
            11 | 12 => park_kv_cache_attach(cache, sequence, numbers[0], value(input, &mut count), e),
            13 | 14 => {
                let (given, out) = (value(input, &mut given), value(input, &mut changes));
                park_kv_cache_prefill(cache, batch.as_ptr(), numbers.as_ptr(), many, given, out, e)
            }
            15 | 16 => {
                let (given, out) = (value(input, &mut given), value(input, &mut changes));
                park_kv_cache_decode(cache, batch.as_ptr(), tokens.as_ptr(), many, given, out, e)
            }
            17 => {
                let starts = if input.byte() < 128 { null() } else { tokens.as_ptr() };
                let given = value(input, &mut given);
                park_kv_cache_fill(cache, batch.as_ptr(), starts, numbers.as_ptr(), many, given, e)
            }
            18 => park_kv_cache_grow(cache, sequence, numbers[0], value(input, &mut changes), e),
            19 => park_kv_cache_advance(cache, sequence, numbers[0], e),
            20 => park_kv_cache_rewind(cache, sequence, numbers[0], e),
            21 => park_kv_cache_settle(cache, e),
            22 => match input.byte() % 8 {
                4 | 5 => {
                    let (mut said, mut told) = (publisher(input), events(input));
                    let out = value(input, &mut told);
                    let done = park_kv_cache_take_events(cache, value(input, &mut said), out, e);
                    check_events(done, &told);
                    done
                }
                6 => {
                    let mut metrics: park_kv_cache_metrics = std::mem::zeroed();
                    metrics.struct_size = struct_size::<park_kv_cache_metrics>(input);
                    let done = park_kv_cache_read_metrics(cache, value(input, &mut metrics), e);
                    check_tenants(done, &metrics);
                    done
                }
                0 => park_kv_cache_set_epoch(cache, numbers[0], e),
                1 => park_kv_cache_reset(cache, value(input, &mut flag), e),
                2 => park_kv_cache_retain(cache, sequence, input.byte(), input.number(), e),
                _ => park_kv_cache_set_time(cache, input.number(), e),
            },
            _ => park_kv_cache_add_tenant(cache, numbers[0], value(input, &mut count), e),
        };
        assert!(done != PARK_CORRUPT && done != PARK_INTERNAL, "{done}");
        if done == PARK_OK {
            // What was lent can be read.
            for at in 0..changes.num_copies {
                assert_ne!(changes.copies.add(at).read().to, 0);
            }
            for at in 0..changes.num_placed {
                assert_ne!(changes.placed.add(at).read().block, 0);
            }
        }
        park_error_free(err);
    }
    ids.keep(id);
}

/// # Safety
/// The handle is live or NULL.
unsafe fn request(input: &mut Input<'_>, scheduler: *mut park_kv_scheduler, ids: &mut Ids) {
    let tokens: [u32; 32] = std::array::from_fn(|at| (at as u32) % 2);
    let media = park_kv_media {
        start: 0,
        length: number(input),
        digest: [2; 32],
    };
    let mut arrays = Arrays {
        small: [-1; 64],
        slots: [-1; 32],
    };
    let mut given = tables(input, &mut arrays);
    // SAFETY: any bytes, zeros too, are a value of a C struct of integers and pointers.
    let mut plan: park_kv_plan = unsafe { std::mem::zeroed() };
    plan.struct_size = struct_size::<park_kv_plan>(input);
    let (mut id, mut count, mut flag, mut err) = (0, 0, false, null_mut());
    let sequence = ids.any(input);
    let e: *mut *mut park_error = value(input, &mut err);
    // SAFETY: as in `step`.
    unsafe {
        let done = match input.byte() % 20 {
            0..=4 => {
                let mut prompt = prompt(input, &tokens, &media);
                park_kv_scheduler_add(scheduler, value(input, &mut prompt), value(input, &mut id), e)
            }
            5..=8 => park_kv_scheduler_step(scheduler, value(input, &mut given), value(input, &mut plan), e),
            9 => park_kv_scheduler_fill(scheduler, value(input, &mut given), value(input, &mut plan), e),
            10..=13 => {
                // What the plan samples, or what it does not.
                let (mut counts, mut all) = ([0; 8], 0);
                let plan_works = if park_kv_scheduler_fill(scheduler, null(), &mut plan, null_mut()) == PARK_OK {
                    plan.num_work.min(8)
                } else {
                    0
                };
                for (at, count) in counts.iter_mut().enumerate().take(plan_works) {
                    let work = plan.work.add(at).read();
                    *count = if input.byte() < 240 {
                        work.samples * (1 + u32::from(input.byte()) % (1 + work.drafts))
                    } else {
                        number(input)
                    };
                    all += *count as usize;
                }
                let finished: [u8; 8] = std::array::from_fn(|_| u8::from(input.byte() > 200));
                let len = if all <= 32 { all } else { 32 };
                park_kv_scheduler_commit(
                    scheduler,
                    tokens.as_ptr(),
                    len,
                    counts.as_ptr(),
                    finished.as_ptr(),
                    plan_works,
                    e,
                )
            }
            14 => park_kv_scheduler_commit(
                scheduler,
                tokens.as_ptr(),
                usize::from(input.byte() % 9),
                null(),
                null(),
                0,
                e,
            ),
            15 => park_kv_scheduler_abandon(scheduler, e),
            16 => park_kv_scheduler_fork(scheduler, sequence, value(input, &mut id), e),
            17 => park_kv_scheduler_abort(scheduler, sequence, e),
            18 => match input.byte() % 16 {
                8 | 9 => {
                    let (mut said, mut told) = (publisher(input), events(input));
                    let out = value(input, &mut told);
                    let done = park_kv_scheduler_take_events(scheduler, value(input, &mut said), out, e);
                    check_events(done, &told);
                    done
                }
                10 => {
                    let mut metrics: park_kv_cache_metrics = std::mem::zeroed();
                    metrics.struct_size = struct_size::<park_kv_cache_metrics>(input);
                    let done = park_kv_scheduler_read_cache_metrics(scheduler, value(input, &mut metrics), e);
                    check_tenants(done, &metrics);
                    done
                }
                11 => {
                    let mut metrics: park_kv_scheduler_metrics = std::mem::zeroed();
                    metrics.struct_size = struct_size::<park_kv_scheduler_metrics>(input);
                    park_kv_scheduler_read_metrics(scheduler, value(input, &mut metrics), e)
                }
                0 => park_kv_scheduler_pause(scheduler, e),
                1..=3 => park_kv_scheduler_resume(scheduler, e),
                4 => park_kv_scheduler_sleep(scheduler, e),
                5 => park_kv_scheduler_reset(scheduler, value(input, &mut flag), e),
                6 => park_kv_scheduler_retain(scheduler, sequence, input.byte(), input.number(), e),
                _ => park_kv_scheduler_set_time(scheduler, input.number(), e),
            },
            _ if input.byte() < 128 => park_kv_scheduler_set_epoch(scheduler, number(input), e),
            _ => park_kv_scheduler_add_tenant(scheduler, number(input), value(input, &mut count), e),
        };
        assert!(done != PARK_CORRUPT && done != PARK_INTERNAL, "{done}");
        park_error_free(err);
    }
    ids.keep(id);
}
