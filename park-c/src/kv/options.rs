//! `park_kv_cache_options` and `park_kv_scheduler_options`: what caches and schedulers are made of.

use std::fs::File;
use std::io::Read;
use std::ptr;

use park_core::Result;
use park_core::kv::{Algorithm, CacheConfig, Eviction, Group, Policy, SchedulerConfig};

use crate::error::{park_error, park_status};
use crate::from_c::{FromC, Sized, invalid};
use crate::guard::guard;

/// Nothing that was computed is found again.
pub const PARK_KV_NO_CACHING: u32 = 1;
/// A found block's tokens are compared with those asked for. Costs 4 bytes a token.
pub const PARK_KV_VERIFY: u32 = 2;
/// The beginning of a cached block is used, by a copy. One full group only.
pub const PARK_KV_PARTIAL: u32 = 4;
/// Changes of what can be found are recorded, for park_kv_cache_take_events(). Costs 4 bytes a token.
pub const PARK_KV_EVENTS: u32 = 8;

/// Least recently used blocks are given up first.
pub const PARK_KV_LRU: u32 = 0;
/// Frequency decides among the least recently used.
pub const PARK_KV_TINY_LFU: u32 = 1;
/// Priority and time to live decide (park_kv_cache_retain()), then the least recent use.
pub const PARK_KV_RETENTION: u32 = 2;

/// xxh3-128 with a secret: the fastest, not a cryptographic hash.
pub const PARK_KV_XXH3: u32 = 0;
/// SHA-256, cut to 128 bits.
pub const PARK_KV_SHA256: u32 = 1;
/// BLAKE3 in keyed mode, cut to 128 bits.
pub const PARK_KV_BLAKE3: u32 = 2;

/// First come, first served.
pub const PARK_KV_FCFS: u32 = 0;
/// By priority, then first come.
pub const PARK_KV_PRIORITY: u32 = 1;
/// Whose prefix is cached farthest, then first come.
pub const PARK_KV_LONGEST_PREFIX: u32 = 2;
/// Tenants in turns of `quantum` tokens.
pub const PARK_KV_FAIR: u32 = 3;

/// What a cache is made of. park_kv_cache_defaults() fills it in; a 0 afterwards means 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_cache_options {
    /// sizeof(park_kv_cache_options).
    pub struct_size: usize,
    /// Blocks of the pool; block 0 is the null block, which holds nothing. Default: 1024.
    pub blocks: u32,
    /// Tokens of a block. Default: 16.
    pub block_size: u32,
    /// For each group of layers the tokens of its sliding window, or 0 for full attention. NULL: one full group.
    pub windows: *const u32,
    /// How many groups `windows` has.
    pub num_windows: usize,
    /// 32 bytes that keys depend on: caches that are to find each other's blocks have the same. NULL: random ones.
    pub secret: *const u8,
    /// PARK_KV_LRU, PARK_KV_TINY_LFU or PARK_KV_RETENTION.
    pub eviction: u32,
    /// PARK_KV_XXH3, PARK_KV_SHA256 or PARK_KV_BLAKE3.
    pub algorithm: u32,
    /// Any of PARK_KV_NO_CACHING, PARK_KV_VERIFY, PARK_KV_PARTIAL and PARK_KV_EVENTS.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and raw pointers only.
unsafe impl Sized for park_kv_cache_options {
    fn defaults() -> Self {
        let config = CacheConfig::default();
        Self {
            struct_size: size_of::<Self>(),
            blocks: config.blocks,
            block_size: config.block_size,
            windows: ptr::null(),
            num_windows: 0,
            secret: ptr::null(),
            eviction: PARK_KV_LRU,
            algorithm: PARK_KV_XXH3,
            flags: 0,
            reserved: 0,
        }
    }
}

/// What a scheduler is made of. park_kv_scheduler_defaults() fills it in; a 0 afterwards means 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_scheduler_options {
    /// sizeof(park_kv_scheduler_options).
    pub struct_size: usize,
    /// The cache below. NULL: one of the default.
    pub cache: *const park_kv_cache_options,
    /// Tokens that a step computes at most, drafts included. Default: 8192.
    pub step_tokens: u32,
    /// Requests that run at a time at most. Default: 256.
    pub running: u32,
    /// Tokens of one prompt that a step computes at most. Default: 8192.
    pub chunk: u32,
    /// PARK_KV_FCFS, PARK_KV_PRIORITY, PARK_KV_LONGEST_PREFIX or PARK_KV_FAIR.
    pub policy: u32,
    /// Tokens of a tenant's turn with PARK_KV_FAIR. Default: 4096.
    pub quantum: u32,
    /// Places in host memory for blocks of preempted requests.
    pub swap_slots: u32,
    /// Tokens past the prompt for which an admitted request has blocks reserved.
    pub reserve_output: u32,
    /// Drafts for which a decode has room.
    pub drafts: u32,
}

// SAFETY: `repr(C)`, `struct_size` first, integers and a raw pointer only.
unsafe impl Sized for park_kv_scheduler_options {
    fn defaults() -> Self {
        let config = SchedulerConfig::default();
        Self {
            struct_size: size_of::<Self>(),
            cache: ptr::null(),
            step_tokens: config.step_tokens,
            running: config.running,
            chunk: config.chunk,
            policy: PARK_KV_FCFS,
            quantum: 4096,
            swap_slots: config.swap_slots,
            reserve_output: config.reserve_output,
            drafts: config.drafts,
        }
    }
}

fn choose<T: Copy>(what: &str, number: u32, choices: &[T]) -> Result<T> {
    let choice = choices.get(number as usize).copied();
    choice.ok_or_else(|| invalid(format!("there is no {what} {number}")))
}

fn random() -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

pub(super) fn cache_config(from_c: &FromC, options: *const park_kv_cache_options) -> Result<CacheConfig> {
    let options = if options.is_null() {
        park_kv_cache_options::defaults()
    } else {
        from_c.sized(options, "options")?
    };
    let flags = options.flags;
    if flags > PARK_KV_NO_CACHING | PARK_KV_VERIFY | PARK_KV_PARTIAL | PARK_KV_EVENTS || options.reserved != 0 {
        return Err(invalid(format!(
            "there are no flags {flags:#x}, and `reserved` is 0, not {}",
            options.reserved
        )));
    }
    let groups = if options.windows.is_null() && options.num_windows == 0 {
        vec![Group::Full]
    } else {
        let windows = from_c.slice(options.windows, options.num_windows, "options->windows")?;
        let group = |tokens: &u32| {
            if *tokens == 0 {
                Group::Full
            } else {
                Group::Window(*tokens)
            }
        };
        windows.iter().map(group).collect()
    };
    let secret = if options.secret.is_null() {
        random()?
    } else {
        from_c.read(options.secret.cast::<[u8; 32]>(), "options->secret")?
    };
    Ok(CacheConfig {
        blocks: options.blocks,
        block_size: options.block_size,
        groups,
        caching: flags & PARK_KV_NO_CACHING == 0,
        eviction: choose(
            "eviction",
            options.eviction,
            &[Eviction::Lru, Eviction::TinyLfu, Eviction::Retention],
        )?,
        algorithm: choose(
            "algorithm",
            options.algorithm,
            &[Algorithm::Xxh3, Algorithm::Sha256, Algorithm::Blake3],
        )?,
        secret,
        verify: flags & PARK_KV_VERIFY != 0,
        partial: flags & PARK_KV_PARTIAL != 0,
        events: flags & PARK_KV_EVENTS != 0,
    })
}

pub(super) fn scheduler_config(from_c: &FromC, options: *const park_kv_scheduler_options) -> Result<SchedulerConfig> {
    let options = if options.is_null() {
        park_kv_scheduler_options::defaults()
    } else {
        from_c.sized(options, "options")?
    };
    let fair = Policy::Fair {
        quantum: options.quantum,
    };
    Ok(SchedulerConfig {
        cache: cache_config(from_c, options.cache)?,
        step_tokens: options.step_tokens,
        running: options.running,
        chunk: options.chunk,
        policy: choose(
            "policy",
            options.policy,
            &[Policy::Fcfs, Policy::Priority, Policy::LongestPrefix, fair],
        )?,
        swap_slots: options.swap_slots,
        reserve_output: options.reserve_output,
        drafts: options.drafts,
    })
}

/// Fills in the options of a cache, whose struct_size is set.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_cache_defaults(
    out: *mut park_kv_cache_options,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        from_c.out_sized(out, "out")?(park_kv_cache_options::defaults());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}

/// Fills in the options of a scheduler, whose struct_size is set.
/// Ownership: takes and gives nothing. Threads: shared. Errors: none of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn park_kv_scheduler_defaults(
    out: *mut park_kv_scheduler_options,
    err: *mut *mut park_error,
) -> park_status {
    let body = |from_c: &FromC| {
        from_c.out_sized(out, "out")?(park_kv_scheduler_options::defaults());
        Ok(())
    };
    // SAFETY: the pointers are the caller's, under the rules at the head of park.h.
    unsafe { guard(err, body) }
}
