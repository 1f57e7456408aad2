//! What was counted, as plain numbers. Nothing here is formatted or sent: a program's metrics library does that with what it gets.
//!
//! Counting costs an addition where something happens, and no clock is asked: times are differences of what the owner last said the time
//! is ([`Cache::set_time`](super::Cache::set_time), [`Scheduler::set_time`](super::Scheduler::set_time)), in its unit. Who never says it
//! has histograms of zeros.

use super::pool::{PoolStats, TenantId};
use super::schedule::SchedulerStats;

/// How many values there were of each size, by powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Histogram {
    buckets: [u64; Self::BUCKETS],
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [0; Self::BUCKETS],
            sum: 0,
        }
    }
}

impl Histogram {
    /// Values of 2^38 and more, an hour in nanoseconds, are in the last bucket.
    pub const BUCKETS: usize = 40;

    /// The largest value of a bucket: 0, 1, 3, 7, and so on; none for the last one, which is for all that are larger.
    pub fn bound(bucket: usize) -> Option<u64> {
        (bucket + 1 < Self::BUCKETS).then(|| (1 << bucket) - 1)
    }

    /// How many values there were in each bucket, those of smaller ones not included.
    pub fn buckets(&self) -> &[u64; Self::BUCKETS] {
        &self.buckets
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// A value that `part` (0 to 1) of the values do not exceed: the largest of its bucket. None without values.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let count = self.count();
        let wanted = (part.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|values| {
            seen += values;
            seen >= wanted
        });
        at.filter(|_| count > 0).map(|at| Self::bound(at).unwrap_or(u64::MAX))
    }

    pub(super) fn add(&mut self, value: u64) {
        let at = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[at.min(Self::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(value);
    }
}

/// What a tenant has, and what its look-ups came to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TenantMetrics {
    /// The tenant.
    pub tenant: TenantId,
    /// Blocks that count for it now.
    pub held: u32,
    /// How many it may hold.
    pub limit: u32,
    /// Tokens that were looked up when a sequence was attached.
    pub asked: u64,
    /// Tokens of those that were cached.
    pub hit: u64,
}

impl TenantMetrics {
    /// Which part of the tokens that were looked up was cached; 0 if none was looked up.
    pub fn hit_rate(&self) -> f64 {
        if self.asked == 0 {
            return 0.0;
        }
        self.hit as f64 / self.asked as f64
    }
}

/// What a cache has now, and what it has counted since it was made.
#[derive(Clone, PartialEq, Debug)]
pub struct CacheMetrics {
    /// Blocks of the pool, the null block not included.
    pub blocks: u32,
    /// Those that nobody uses, cached ones among them.
    pub free: u32,
    /// Those that a look-up can find, used or not.
    pub cached: u32,
    /// Sequences that have begun and not ended.
    pub sequences: usize,
    /// Blocks handed out, evicted, registered.
    pub pool: PoolStats,
    /// How long blocks could be found before they were evicted, in the cache's time: of one block in 64.
    pub residency: Histogram,
    /// Each tenant, by number.
    pub tenants: Vec<TenantMetrics>,
    /// Events that were dropped, as nobody took them in time.
    pub lost_events: u64,
}

impl CacheMetrics {
    /// Which part of the blocks is used.
    pub fn usage(&self) -> f64 {
        f64::from(self.blocks - self.free) / f64::from(self.blocks)
    }

    /// Which part of the tokens that all tenants looked up was cached; 0 if none was looked up.
    pub fn hit_rate(&self) -> f64 {
        let (asked, hit) = self
            .tenants
            .iter()
            .fold((0, 0), |(asked, hit), tenant| (asked + tenant.asked, hit + tenant.hit));
        if asked == 0 { 0.0 } else { hit as f64 / asked as f64 }
    }
}

/// What a scheduler has now, and what it has counted since it was made.
#[derive(Clone, PartialEq, Debug)]
pub struct SchedulerMetrics {
    /// The cache below.
    pub cache: CacheMetrics,
    /// Steps, tokens, admissions, preemptions (recomputed, swapped), ends, drafts.
    pub counts: SchedulerStats,
    /// Requests that run.
    pub running: usize,
    /// Requests that wait, those in host memory among them.
    pub waiting: usize,
    /// Blocks that are free and kept for requests that run.
    pub reserved: u32,
    /// Places in host memory, and those that are used.
    pub host_places: u32,
    /// See `host_places`.
    pub host_used: u32,
    /// How long admitted requests had waited, in the scheduler's time: once for each admission.
    pub queue_time: Histogram,
    /// The same in steps.
    pub queue_steps: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_has_room_for_it() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 7, 8, 1 << 37, (1 << 38) - 1, 1 << 38, u64::MAX] {
            let before = *histogram.buckets();
            histogram.add(value);
            let at = (0..Histogram::BUCKETS)
                .find(|at| before[*at] != histogram.buckets()[*at])
                .unwrap();
            assert!(Histogram::bound(at).is_none_or(|bound| value <= bound), "{value}");
            assert!(at == 0 || Histogram::bound(at - 1).unwrap() < value, "{value}");
        }
        assert_eq!((histogram.count(), histogram.sum()), (11, u64::MAX));
    }

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (0..100).for_each(|value| histogram.add(value));
        assert_eq!(histogram.quantile(0.0), Some(0));
        assert_eq!(histogram.quantile(0.5), Some(63));
        assert_eq!(histogram.quantile(1.0), Some(127));
        assert_eq!(histogram.sum(), 4950);
    }
}
