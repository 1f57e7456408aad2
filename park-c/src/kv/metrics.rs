//! `park_kv_cache_metrics` and `park_kv_scheduler_metrics`: what counts and sums do not say. How long blocks stayed and requests waited, and
//! what each tenant has.

use std::ptr;

use park_core::kv::{CacheMetrics, Histogram, SchedulerMetrics};

use crate::from_c::Sized;

/// Buckets of a park_kv_histogram.
pub const PARK_KV_BUCKETS: usize = 40;

/// How many values there were of each size: bucket 0 is for 0, bucket n for 2^(n - 1) to 2^n - 1, the last for all that are larger.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_histogram {
    /// How many values there were in each bucket, those of smaller ones not included.
    pub buckets: [u64; PARK_KV_BUCKETS],
    /// The sum of all values.
    pub sum: u64,
}

/// What a tenant has, and what its look-ups came to.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_tenant_metrics {
    /// The tenant.
    pub tenant: u32,
    /// Blocks that count for it now.
    pub held: u32,
    /// How many it may hold.
    pub limit: u32,
    /// 0.
    pub reserved: u32,
    /// Tokens that were looked up when a prefix was attached.
    pub tokens_asked: u64,
    /// Tokens of those that were cached.
    pub tokens_hit: u64,
}

/// What a cache has counted beside its park_kv_cache_stats. Set struct_size to sizeof(park_kv_cache_metrics) before the call. The list is
/// the handle's, valid until its next call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_cache_metrics {
    /// sizeof(park_kv_cache_metrics).
    pub struct_size: usize,
    /// Each tenant, by number.
    pub tenants: *const park_kv_tenant_metrics,
    /// How many.
    pub num_tenants: usize,
    /// Blocks that could be found from some time on.
    pub registered: u64,
    /// Events that were dropped, as nobody took them in time.
    pub lost_events: u64,
    /// How long blocks could be found before they were evicted, in the unit of ..._set_time(): of one block in 64.
    pub residency: park_kv_histogram,
}

/// What a scheduler has counted beside its park_kv_scheduler_stats. Set struct_size to sizeof(park_kv_scheduler_metrics) before the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct park_kv_scheduler_metrics {
    /// sizeof(park_kv_scheduler_metrics).
    pub struct_size: usize,
    /// Blocks that are free and kept for requests that run.
    pub reserved_blocks: u64,
    /// Places in host memory.
    pub swap_slots: u64,
    /// Those of them that are used.
    pub swap_slots_used: u64,
    /// How long admitted requests had waited, in the unit of park_kv_scheduler_set_time(): once for each admission.
    pub queue_time: park_kv_histogram,
    /// The same in steps.
    pub queue_steps: park_kv_histogram,
}

const NONE: park_kv_histogram = park_kv_histogram {
    buckets: [0; PARK_KV_BUCKETS],
    sum: 0,
};

// SAFETY: `repr(C)`, `struct_size` first, integers and a raw pointer only.
unsafe impl Sized for park_kv_cache_metrics {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            tenants: ptr::null(),
            num_tenants: 0,
            registered: 0,
            lost_events: 0,
            residency: NONE,
        }
    }
}

// SAFETY: `repr(C)`, `struct_size` first, integers only.
unsafe impl Sized for park_kv_scheduler_metrics {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            reserved_blocks: 0,
            swap_slots: 0,
            swap_slots_used: 0,
            queue_time: NONE,
            queue_steps: NONE,
        }
    }
}

impl From<&Histogram> for park_kv_histogram {
    fn from(histogram: &Histogram) -> Self {
        Self {
            buckets: *histogram.buckets(),
            sum: histogram.sum(),
        }
    }
}

/// A cache's metrics; `tenants` is the list that they lend.
pub(super) fn of_cache(metrics: &CacheMetrics, tenants: &mut Vec<park_kv_tenant_metrics>) -> park_kv_cache_metrics {
    tenants.clear();
    tenants.extend(metrics.tenants.iter().map(|tenant| park_kv_tenant_metrics {
        tenant: u32::from(tenant.tenant.0),
        held: tenant.held,
        limit: tenant.limit,
        reserved: 0,
        tokens_asked: tenant.asked,
        tokens_hit: tenant.hit,
    }));
    park_kv_cache_metrics {
        struct_size: size_of::<park_kv_cache_metrics>(),
        tenants: tenants.as_ptr(),
        num_tenants: tenants.len(),
        registered: metrics.pool.registered,
        lost_events: metrics.lost_events,
        residency: (&metrics.residency).into(),
    }
}

pub(super) fn of_scheduler(metrics: &SchedulerMetrics) -> park_kv_scheduler_metrics {
    park_kv_scheduler_metrics {
        struct_size: size_of::<park_kv_scheduler_metrics>(),
        reserved_blocks: u64::from(metrics.reserved),
        swap_slots: u64::from(metrics.host_places),
        swap_slots_used: u64::from(metrics.host_used),
        queue_time: (&metrics.queue_time).into(),
        queue_steps: (&metrics.queue_steps).into(),
    }
}
