//! `Scheduler`: requests over a cache, for engines that only compute.

use park_core::Error;
use park_core::kv::{self, Filled, Outcome, Request, Retention, SchedulerConfig, TenantId};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyInt};

use super::cache::numbers;
use super::config::{self, CacheOptions, GroupArgument, MediaArgument};
use super::errors::{invalid, out_of_range, raise};
use super::events;
use super::numbers::{Ranged, Whole, id_number, read_flags, read_rows, read_u32};
use super::plan::{self, Plan};
use super::tables::Tables;

/// Continuous batching over a paged KV cache: requests come, each `step` makes a plan within a budget of tokens, and the engine answers
/// with `commit`, or, if it failed, with `abandon`. It cannot deadlock: what can never fit is refused by `add`.
///
/// A step computes at most `step_tokens` tokens, of at most `running` requests, and at most `chunk` tokens of one prompt. `policy` says
/// who is admitted next: "fcfs", "priority", "longest_prefix", or "fair", which gives tenants turns of `quantum` tokens. `swap_slots` are
/// places in host memory for blocks of preempted requests; `reserve_output` tokens past its prompt an admitted request has room for;
/// `drafts` is how many drafts a decode has room for. The others are those of `Cache`.
///
/// Raises InvalidArgumentError for a budget, a chunk or a number of requests of zero, and for what `Cache` refuses.
#[pyclass(frozen, module = "park.kv")]
pub(crate) struct Scheduler {
    scheduler: Mutex<kv::Scheduler>,
}

impl Scheduler {
    /// Runs a call on the core's scheduler. The lock is given back before an error becomes an exception: that may run Python.
    fn with<T>(&self, py: Python<'_>, call: impl FnOnce(&mut kv::Scheduler) -> park_core::Result<T>) -> PyResult<T> {
        let result = call(&mut self.scheduler.lock());
        result.map_err(|error| raise(py, &error))
    }
}

/// A sampled token that is none: as it is in the caller's array, which has rows or is a list of numbers of any size.
fn sampled_badly(py: Python<'_>, tokens: &Bound<'_, PyAny>, at: usize, number: i64) -> PyErr {
    let value = match tokens.get_item(at) {
        Ok(value) if value.is_instance_of::<PyInt>() => value,
        _ => PyInt::new(py, number).into_any(),
    };
    out_of_range(py, "tokens", Some(at), &value, <u32 as Ranged>::RANGE)
}

#[pymethods]
impl Scheduler {
    #[new]
    #[pyo3(signature = (*, step_tokens=Whole::of(8192), running=Whole::of(256), chunk=Whole::of(8192), policy="fcfs", quantum=Whole::of(4096),
        swap_slots=Whole::of(0), reserve_output=Whole::of(0), drafts=Whole::of(0), blocks=Whole::of(1024), block_size=Whole::of(16), groups=None,
        caching=true, eviction="lru", algorithm="xxh3", secret=None, verify=false, partial=false, events=false),
        text_signature = "(*, step_tokens=8192, running=256, chunk=8192, policy='fcfs', quantum=4096, swap_slots=0, reserve_output=0, \
        drafts=0, blocks=1024, block_size=16, groups=None, caching=True, eviction='lru', algorithm='xxh3', secret=None, verify=False, \
        partial=False, events=False)")]
    #[allow(clippy::too_many_arguments, reason = "keywords, each of which has a default")]
    #[allow(clippy::fn_params_excessive_bools, reason = "as above")]
    fn new(
        py: Python<'_>,
        step_tokens: Whole,
        running: Whole,
        chunk: Whole,
        policy: &str,
        quantum: Whole,
        swap_slots: Whole,
        reserve_output: Whole,
        drafts: Whole,
        blocks: Whole,
        block_size: Whole,
        groups: Option<Vec<GroupArgument>>,
        caching: bool,
        eviction: &str,
        algorithm: &str,
        secret: Option<Bound<'_, PyAny>>,
        verify: bool,
        partial: bool,
        events: bool,
    ) -> PyResult<Self> {
        let cache = CacheOptions {
            blocks,
            block_size,
            groups,
            caching,
            eviction,
            algorithm,
            secret,
            verify,
            partial,
            events,
        };
        let config = SchedulerConfig {
            cache: cache.config(py)?,
            step_tokens: step_tokens.to(py, "step_tokens")?,
            running: running.to(py, "running")?,
            chunk: chunk.to(py, "chunk")?,
            policy: config::policy(py, policy, quantum)?,
            swap_slots: swap_slots.to(py, "swap_slots")?,
            reserve_output: reserve_output.to(py, "reserve_output")?,
            drafts: drafts.to(py, "drafts")?,
        };
        let scheduler = kv::Scheduler::new(config).map_err(|error| raise(py, &error))?;
        Ok(Self {
            scheduler: Mutex::new(scheduler),
        })
    }

    // --- requests -----------------------------------------------------------------------------------------------------------------

    /// One more tenant, with room for `quota` blocks at a time. Tenants share no blocks. Tenant 0 is there from the start.
    #[pyo3(signature = (quota=None))]
    fn add_tenant(&self, py: Python<'_>, quota: Option<Whole>) -> PyResult<u16> {
        let quota = quota.map(|quota| quota.to(py, "quota")).transpose()?;
        self.with(py, |scheduler| scheduler.add_tenant(quota))
            .map(|tenant| tenant.0)
    }

    /// A new request, which waits; returns the id of its sequence. It ends after `max_new` tokens at the latest.
    ///
    /// `tokens` is the prompt: an array of int32, uint32, int64 or uint64, or a list. `salt`, `adapter` and `media` are those of
    /// `Cache.add`. With `policy="priority"` a lower `priority` is sooner. `on_epoch` says what becomes of it when the weights change:
    /// "finish" over the old keys and values, "drop", or "draft": start again, with what was generated proposed to the new weights.
    ///
    /// Raises RequestTooLongError if it could not finish with the whole pool, or its tenant's quota, to itself; OutOfRangeError, with index
    /// and value, for a token that is negative or beyond 32 bits.
    #[pyo3(signature = (tokens, max_new, *, tenant=Whole::of(0), salt=None, adapter=None, media=None, priority=Whole::of(0), on_epoch="finish"),
        text_signature = "($self, /, tokens, max_new, *, tenant=0, salt=None, adapter=None, media=None, priority=0, on_epoch='finish')")]
    #[allow(clippy::too_many_arguments, reason = "keywords, each of which has a default")]
    fn add(
        &self,
        py: Python<'_>,
        tokens: &Bound<'_, PyAny>,
        max_new: Whole,
        tenant: Whole,
        salt: Option<&[u8]>,
        adapter: Option<&[u8]>,
        media: Option<Vec<MediaArgument<'_>>>,
        priority: Whole,
        on_epoch: &str,
    ) -> PyResult<i64> {
        let tokens = read_u32(tokens, "tokens")?;
        let media = config::media(py, media.unwrap_or_default())?;
        let request = Request {
            tokens: &tokens,
            media: &media,
            max_new: max_new.to(py, "max_new")?,
            tenant: TenantId(tenant.to(py, "tenant")?),
            salt: salt.unwrap_or_default(),
            adapter: adapter.unwrap_or_default(),
            priority: priority.to(py, "priority")?,
            on_epoch: config::on_epoch(py, on_epoch)?,
        };
        self.with(py, |scheduler| scheduler.add(&request)).map(id_number)
    }

    /// One more request that goes on from where this one is: another sample, another branch of a search. Returns the id of its sequence.
    /// Not while a plan is in flight.
    fn fork(&self, py: Python<'_>, sequence: Whole) -> PyResult<i64> {
        self.with(py, |scheduler| scheduler.fork(sequence.id())).map(id_number)
    }

    /// The request ends now. What it computed can still be found. Not while a plan is in flight.
    fn abort(&self, py: Python<'_>, sequence: Whole) -> PyResult<()> {
        self.with(py, |scheduler| scheduler.abort(sequence.id()))
    }

    // --- a step ---------------------------------------------------------------------------------------------------------------------

    /// Makes the plan of the next step, and writes its tables. It is empty if there is nothing to do, or the scheduler is paused.
    ///
    /// Raises InvalidArgumentError while the last plan is in flight; also for a table that is too small: then the plan is in flight, `plan`
    /// has it, and `fill` writes it to larger ones.
    #[pyo3(signature = (tables=None))]
    fn step(&self, py: Python<'_>, tables: Option<&Tables>) -> PyResult<Plan> {
        self.with(py, |scheduler| scheduler.step().map(drop))?;
        match tables {
            Some(tables) => self.written(py, tables),
            None => Ok(self.latest()),
        }
    }

    /// The plan in flight, or the last one.
    #[getter]
    fn plan(&self) -> Plan {
        self.latest()
    }

    /// Writes the tables of the plan in flight; those of another group, say.
    fn fill(&self, py: Python<'_>, tables: &Tables) -> PyResult<()> {
        self.written(py, tables).map(drop)
    }

    /// The plan in flight is done. `tokens` has what was sampled, in the order of the work: int `[n]`, one for each, of which those that
    /// did not sample are not looked at; or `[n, k]` with `counts` int `[n]`: accepted drafts in order, and one more. `finished`, bool
    /// `[n]`, says which requests end with that; those that have said all they may end by themselves.
    ///
    /// Raises InvalidArgumentError if that does not fit the plan, which is then still in flight.
    #[pyo3(signature = (tokens, counts=None, finished=None))]
    fn commit(
        &self,
        py: Python<'_>,
        tokens: &Bound<'_, PyAny>,
        counts: Option<&Bound<'_, PyAny>>,
        finished: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (numbers, shape) = read_rows(tokens, "tokens")?;
        let (works, width) = (shape[0], shape.get(1).copied());
        let finished = finished.map_or_else(|| Ok(vec![false; works]), |flags| read_flags(flags, "finished"))?;
        let counts = match counts {
            Some(counts) => read_u32(counts, "counts")?,
            None if width.is_some() => {
                return Err(invalid(
                    py,
                    "`tokens` has rows, and no `counts` say how many of each were sampled",
                ));
            }
            None => self.with(py, |scheduler| {
                let samples = |work: &kv::Work| u32::from(work.samples);
                Ok(scheduler.plan().work.iter().map(samples).collect())
            })?,
        };
        if counts.len() != works || finished.len() != works {
            let lens = (works, counts.len(), finished.len());
            return Err(invalid(
                py,
                format!("tokens, counts and finished have one row for each work, not {lens:?}"),
            ));
        }
        let width = width.unwrap_or(1);
        let mut sampled = Vec::with_capacity(numbers.len());
        let mut ends = Vec::with_capacity(works);
        for (row, count) in counts.iter().map(|count| *count as usize).enumerate() {
            if count > width {
                return Err(invalid(
                    py,
                    format!("`counts[{row}]` is {count}, and a row of `tokens` has {width}"),
                ));
            }
            for (at, number) in numbers.iter().enumerate().skip(row * width).take(count) {
                match u32::try_from(*number) {
                    Ok(token) => sampled.push(token),
                    Err(_) => return Err(sampled_badly(py, tokens, at, *number)),
                }
            }
            ends.push(sampled.len());
        }
        let mut start = 0;
        let outcomes: Vec<Outcome<'_>> = ends
            .iter()
            .zip(&finished)
            .map(|(end, finished)| Outcome {
                tokens: &sampled[std::mem::replace(&mut start, *end)..*end],
                finished: *finished,
            })
            .collect();
        self.with(py, |scheduler| scheduler.commit(&outcomes))
    }

    /// The plan in flight failed: nothing of its work is computed. Whoever it admitted waits again.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, kv::Scheduler::abandon)
    }

    // --- the whole engine -------------------------------------------------------------------------------------------------------------

    /// Steps make empty plans until `resume`; requests keep their blocks.
    fn pause(&self) {
        self.scheduler.lock().pause();
    }

    /// Steps make plans again.
    fn resume(&self) {
        self.scheduler.lock().resume();
    }

    /// Pauses and gives back every block, so that the engine can release its memory: what ran waits again, nothing is found any more.
    fn sleep(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, kv::Scheduler::sleep)
    }

    /// Nothing can be found any more. False, and nothing happens, while a request has blocks.
    fn reset(&self) -> bool {
        self.scheduler.lock().reset()
    }

    /// The weight version whose blocks are found now.
    #[getter]
    fn epoch(&self) -> u32 {
        self.scheduler.lock().cache().epoch()
    }

    /// The model has got new weights. Constant time; the next step treats each request as it asked for.
    ///
    /// Raises InvalidArgumentError unless the epoch is later than the present one, and while a plan is in flight.
    fn set_epoch(&self, py: Python<'_>, epoch: Whole) -> PyResult<()> {
        let epoch = epoch.to(py, "epoch")?;
        self.with(py, |scheduler| scheduler.set_epoch(epoch))
    }

    /// Checks every invariant. Raises CorruptError with the first thing that does not add up. Linear in blocks and requests.
    fn audit(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |scheduler| scheduler.audit())
    }

    /// What was counted since the scheduler was made, and what there is now: a dict of ints.
    ///
    /// Those of `Cache.stats`; `running` and `waiting` requests; `steps`, `tokens_computed`, `admitted`, `steps_waited` (before admission,
    /// summed), `recomputed` and `swapped` (preemptions), `finished`, `dropped`, `drafts` that there was room for and `drafts_accepted`.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let scheduler = self.scheduler.lock();
        let (stats, mut all) = (scheduler.stats(), numbers(scheduler.cache()));
        all.extend([
            ("running", scheduler.running().len() as u64),
            ("waiting", scheduler.waiting() as u64),
            ("steps", stats.steps),
            ("tokens_computed", stats.computed),
            ("admitted", stats.admitted),
            ("steps_waited", stats.waited),
            ("recomputed", stats.recomputed),
            ("swapped", stats.swapped),
            ("finished", stats.finished),
            ("dropped", stats.dropped),
            ("drafts", stats.drafts),
            ("drafts_accepted", stats.accepted),
        ]);
        drop(scheduler);
        all.into_py_dict(py)
    }

    /// What happened to what can be found since the last call, with `events=True`; see `Cache.take_events`.
    fn take_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let events = self.scheduler.lock().take_events();
        events::rows(py, events)
    }

    /// The same as one batch in vLLM's wire format; see `Cache.take_event_batch`.
    #[pyo3(signature = (time, *, medium="GPU", rank=Some(Whole::of(0)), hashes="int"),
        text_signature = "($self, /, time, *, medium='GPU', rank=0, hashes='int')")]
    fn take_event_batch<'py>(
        &self,
        py: Python<'py>,
        time: f64,
        medium: &str,
        rank: Option<Whole>,
        hashes: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let rank = rank.map(|rank| rank.to(py, "rank")).transpose()?;
        events::batch(py, time, medium, rank, hashes, || self.scheduler.lock().take_events())
    }

    /// From now on, this is how long the computed blocks of a request are worth keeping after it; see `Cache.retain`.
    #[pyo3(signature = (sequence, priority, until=Whole::of(0)), text_signature = "($self, /, sequence, priority, until=0)")]
    fn retain(&self, py: Python<'_>, sequence: Whole, priority: Whole, until: Whole) -> PyResult<()> {
        let (priority, until) = (priority.to(py, "priority")?, until.to(py, "until")?);
        self.with(py, |scheduler| {
            scheduler.retain(sequence.id(), Retention { priority, until })
        })
    }

    /// The cache's time, by which retention ends. Time that goes back changes nothing.
    fn set_time(&self, py: Python<'_>, now: Whole) -> PyResult<()> {
        let now = now.to(py, "now")?;
        self.scheduler.lock().set_time(now);
        Ok(())
    }

    // --- one request ------------------------------------------------------------------------------------------------------------------

    /// Tokens that a request knows: its prompt, and what was generated.
    fn known(&self, py: Python<'_>, sequence: Whole) -> PyResult<u32> {
        self.with(py, |scheduler| scheduler.cache().known(sequence.id()))
    }

    /// The blocks of a request in a group, from the first position on: an array of int32. 0 is the null block, behind a window.
    #[pyo3(signature = (sequence, group=Whole::of(0)), text_signature = "($self, /, sequence, group=0)")]
    fn table<'py>(&self, py: Python<'py>, sequence: Whole, group: Whole) -> PyResult<Bound<'py, PyAny>> {
        let group = group.to(py, "group")?;
        let table = self.with(py, |scheduler| scheduler.cache().table(sequence.id(), group))?;
        plan::blocks(py, &table)
    }

    fn __repr__(&self) -> String {
        let scheduler = self.scheduler.lock();
        format!(
            "Scheduler({} run, {} wait)",
            scheduler.running().len(),
            scheduler.waiting()
        )
    }
}

impl Scheduler {
    /// The plan in flight, with its tables written.
    fn written(&self, py: Python<'_>, tables: &Tables) -> PyResult<Plan> {
        let done = Tables::lend(Some(tables), py, |tables| {
            let scheduler = self.scheduler.lock();
            let plan = scheduler.plan();
            let filled = scheduler.cache().fill(&plan.spans(), tables)?;
            Ok(Plan {
                plan: plan.clone(),
                filled,
            })
        });
        done.map_err(|error: Error| raise(py, &error))
    }

    /// The plan as it is, also after its sequences have ended.
    fn latest(&self) -> Plan {
        let scheduler = self.scheduler.lock();
        let plan = scheduler.plan().clone();
        let block_size = scheduler.cache().config().block_size;
        let filled = Filled {
            sequences: plan.work.len(),
            tokens: plan.spans().iter().map(|span| span.count as usize).sum(),
            pages: plan
                .spans()
                .iter()
                .map(|span| (span.start + span.count).div_ceil(block_size) as usize)
                .sum(),
        };
        Plan { plan, filled }
    }
}
