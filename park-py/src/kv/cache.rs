//! `Cache`: sequences over a pool of blocks, for engines that schedule by themselves.

use park_core::kv::{self, BlockId, Namespace, Retention, TenantId};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict};

use super::config::{self, CacheOptions, GroupArgument, MediaArgument};
use super::errors::{invalid, raise};
use super::events;
use super::numbers::{Whole, id_number, read_ids, read_u32};
use super::plan::{self, Changes};
use super::tables::Tables;

/// Which block holds which tokens' keys and values, who shares them, and what can be found again. It touches no memory: an engine asks
/// it for blocks, and says what it has computed. Owned by one thread at a time.
///
/// A sequence knows tokens (`known`), of which the first so many are `computed`. In a step, `prefill` and `decode` make room for what is
/// computed next, write the tables that kernels read (`Tables`), and return the copies that come first; `settle` ends the step.
///
/// `groups` lists the groups of layers: "full", or the tokens of a sliding window. `secret` is 32 bytes that keys depend on: caches that
/// are to find each other's blocks have the same; by default it is random. `eviction` is "lru", "tiny_lfu" or "retention"; `algorithm`
/// "xxh3", "sha256" or "blake3". `verify` compares a found block's tokens; `partial` uses the beginning of a block, by a copy; `events`
/// records what can be found, for `take_events`.
///
/// Raises InvalidArgumentError for a pool without a block, a block without a token, no groups, a window smaller than a block.
#[pyclass(frozen, module = "park.kv")]
pub(crate) struct Cache {
    cache: Mutex<kv::Cache>,
}

impl Cache {
    /// Runs a call on the core's cache. The lock is given back before an error becomes an exception: that may run Python.
    fn with<T>(&self, py: Python<'_>, call: impl FnOnce(&mut kv::Cache) -> park_core::Result<T>) -> PyResult<T> {
        let result = call(&mut self.cache.lock());
        result.map_err(|error| raise(py, &error))
    }
}

/// The namespace of a tenant, as schedulers have it.
pub(super) fn tenant_bytes(tenant: TenantId) -> [u8; 2] {
    tenant.0.to_le_bytes()
}

/// Numbers about a cache, by name.
pub(super) fn numbers(cache: &kv::Cache) -> Vec<(&'static str, u64)> {
    let (pool, counted) = (cache.pool(), cache.pool_stats());
    let tenants = (0..cache.tenants()).map(|tenant| cache.tenant_stats(TenantId(tenant as u16)));
    let (asked, hit) = tenants.fold((0, 0), |(asked, hit), tenant| (asked + tenant.asked, hit + tenant.hit));
    vec![
        ("sequences", cache.sequences() as u64),
        ("blocks", u64::from(pool.blocks())),
        ("free_blocks", u64::from(pool.free_blocks())),
        ("cached_blocks", u64::from(pool.cached_blocks())),
        ("allocated", counted.allocated),
        ("evicted", counted.evicted),
        ("registered", counted.registered),
        ("tokens_asked", asked),
        ("tokens_hit", hit),
        ("epoch", u64::from(cache.epoch())),
    ]
}

#[pymethods]
impl Cache {
    #[new]
    #[pyo3(signature = (*, blocks=Whole::of(1024), block_size=Whole::of(16), groups=None, caching=true, eviction="lru", algorithm="xxh3",
        secret=None, verify=false, partial=false, events=false),
        text_signature = "(*, blocks=1024, block_size=16, groups=None, caching=True, eviction='lru', algorithm='xxh3', secret=None, \
        verify=False, partial=False, events=False)")]
    #[allow(clippy::too_many_arguments, reason = "keywords, each of which has a default")]
    #[allow(clippy::fn_params_excessive_bools, reason = "as above")]
    fn new(
        py: Python<'_>,
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
        let options = CacheOptions {
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
        let cache = kv::Cache::new(options.config(py)?).map_err(|error| raise(py, &error))?;
        Ok(Self {
            cache: Mutex::new(cache),
        })
    }

    // --- sequences ----------------------------------------------------------------------------------------------------------------

    /// One more tenant, with room for `quota` blocks at a time. Tenants share no blocks. Tenant 0 is there from the start.
    #[pyo3(signature = (quota=None))]
    fn add_tenant(&self, py: Python<'_>, quota: Option<Whole>) -> PyResult<u16> {
        let quota = quota.map(|quota| quota.to(py, "quota")).transpose()?;
        self.with(py, |cache| cache.add_tenant(quota)).map(|tenant| tenant.0)
    }

    /// A new sequence that knows these tokens, of which nothing is computed; returns its id. Ids are never used twice.
    ///
    /// `tokens` is an array of int32, uint32, int64 or uint64, or a list. `salt` and `adapter` divide the tenant's cache; `media` lists
    /// `(start, length, digest of 32 bytes)` of tokens that stand for something else.
    ///
    /// Raises OutOfRangeError, with index and value, for a token that is negative or beyond 32 bits.
    #[pyo3(signature = (tokens, *, tenant=Whole::of(0), salt=None, adapter=None, media=None),
        text_signature = "($self, /, tokens, *, tenant=0, salt=None, adapter=None, media=None)")]
    fn add(
        &self,
        py: Python<'_>,
        tokens: &Bound<'_, PyAny>,
        tenant: Whole,
        salt: Option<&[u8]>,
        adapter: Option<&[u8]>,
        media: Option<Vec<MediaArgument<'_>>>,
    ) -> PyResult<i64> {
        let tenant = TenantId(tenant.to(py, "tenant")?);
        let tokens = read_u32(tokens, "tokens")?;
        let media = config::media(py, media.unwrap_or_default())?;
        let namespace = Namespace {
            tenant: &tenant_bytes(tenant),
            salt: salt.unwrap_or_default(),
            adapter: adapter.unwrap_or_default(),
        };
        self.with(py, |cache| cache.add(tenant, &namespace, &tokens, &media))
            .map(id_number)
    }

    /// The sequence has got further tokens.
    fn extend(&self, py: Python<'_>, sequence: Whole, tokens: &Bound<'_, PyAny>) -> PyResult<()> {
        let tokens = read_u32(tokens, "tokens")?;
        self.with(py, |cache| cache.append(sequence.id(), &tokens))
    }

    /// A sequence that goes on from where this one is, with the same blocks; returns its id. Constant time.
    fn fork(&self, py: Python<'_>, sequence: Whole) -> PyResult<i64> {
        self.with(py, |cache| cache.fork(sequence.id())).map(id_number)
    }

    /// The sequence has ended: its blocks are free unless others use them, and what was computed can still be found.
    fn finish(&self, py: Python<'_>, sequence: Whole) -> PyResult<()> {
        self.with(py, |cache| cache.finish(sequence.id()))
    }

    /// The sequence keeps its tokens and loses its blocks, as if nothing had been computed: what preemption does.
    fn detach(&self, py: Python<'_>, sequence: Whole) -> PyResult<()> {
        self.with(py, |cache| cache.detach(sequence.id()))
    }

    /// The sequence starts again in the present epoch: its tokens are known, and nothing of them is computed.
    fn renew(&self, py: Python<'_>, sequence: Whole) -> PyResult<()> {
        self.with(py, |cache| cache.renew(sequence.id()))
    }

    // --- prefixes -----------------------------------------------------------------------------------------------------------------

    /// How many tokens of a sequence without blocks are cached: at most `limit`, and short of its last one, which has to be computed.
    #[pyo3(signature = (sequence, limit=None))]
    fn lookup(&self, py: Python<'_>, sequence: Whole, limit: Option<Whole>) -> PyResult<u32> {
        let limit = limit.map_or(Ok(u32::MAX), |limit| limit.to(py, "limit"))?;
        self.with(py, |cache| cache.lookup(sequence.id(), limit))
            .map(|hit| hit.tokens)
    }

    /// Gives a sequence without blocks its longest cached prefix, as `lookup` finds it; returns how many of its tokens are computed now.
    ///
    /// Raises NoFreeBlocksError if the tenant's quota has no room for it.
    #[pyo3(signature = (sequence, limit=None))]
    fn attach(&self, py: Python<'_>, sequence: Whole, limit: Option<Whole>) -> PyResult<u32> {
        let limit = limit.map_or(Ok(u32::MAX), |limit| limit.to(py, "limit"))?;
        self.with(py, |cache| {
            let hit = cache.lookup(sequence.id(), limit)?;
            cache.attach(sequence.id(), &hit)?;
            Ok(hit.tokens)
        })
    }

    // --- a step, in one call --------------------------------------------------------------------------------------------------------

    /// Computes the next tokens of each sequence, up to its first `ends[i]`, all of which it knows: makes room, writes the tables, and
    /// lets others find what is computed. `sequences` is int64, `ends` any array of integers. All or nothing.
    ///
    /// Raises NoFreeBlocksError, NotFoundError, or InvalidArgumentError; then nothing has changed.
    #[pyo3(signature = (sequences, ends, tables=None))]
    fn prefill(
        &self,
        py: Python<'_>,
        sequences: &Bound<'_, PyAny>,
        ends: &Bound<'_, PyAny>,
        tables: Option<&Tables>,
    ) -> PyResult<Changes> {
        let (sequences, ends) = (read_ids(sequences, "sequences")?, read_u32(ends, "ends")?);
        let mut changes = kv::Changes::default();
        let done = Tables::lend(tables, py, |tables| {
            self.cache.lock().prefill(&sequences, &ends, tables, &mut changes)
        });
        let filled = done.map_err(|error| raise(py, &error))?;
        Ok(Changes { changes, filled })
    }

    /// Computes one more token of each sequence, the one that was sampled from its last: as `extend` by that token, and `prefill` to the
    /// end. One call for all sequences that decode; `tokens` has one token for each. All or nothing.
    ///
    /// Raises NoFreeBlocksError, NotFoundError, or InvalidArgumentError; then nothing has changed.
    #[pyo3(signature = (sequences, tokens, tables=None))]
    fn decode(
        &self,
        py: Python<'_>,
        sequences: &Bound<'_, PyAny>,
        tokens: &Bound<'_, PyAny>,
        tables: Option<&Tables>,
    ) -> PyResult<Changes> {
        let (sequences, tokens) = (read_ids(sequences, "sequences")?, read_u32(tokens, "tokens")?);
        let mut changes = kv::Changes::default();
        let done = Tables::lend(tables, py, |tables| {
            self.cache.lock().decode(&sequences, &tokens, tables, &mut changes)
        });
        let filled = done.map_err(|error| raise(py, &error))?;
        Ok(Changes { changes, filled })
    }

    /// Writes the tables of tokens `starts[i]` to `ends[i]` of each sequence, all of which have room, and changes nothing. Without `starts`
    /// they are the first ones. Returns how many tokens and how many pages that are.
    #[pyo3(signature = (sequences, ends, tables, starts=None))]
    fn fill(
        &self,
        py: Python<'_>,
        sequences: &Bound<'_, PyAny>,
        ends: &Bound<'_, PyAny>,
        tables: &Tables,
        starts: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(usize, usize)> {
        let (sequences, ends) = (read_ids(sequences, "sequences")?, read_u32(ends, "ends")?);
        let starts = starts.map_or_else(|| Ok(vec![0; ends.len()]), |starts| read_u32(starts, "starts"))?;
        if sequences.len() != ends.len() || starts.len() != ends.len() {
            let counts = (sequences.len(), starts.len(), ends.len());
            let text = format!("sequences, starts and ends are as many, not {counts:?}");
            return Err(invalid(py, text));
        }
        let spans: Vec<kv::Span> = sequences
            .iter()
            .zip(starts.iter().zip(&ends))
            .map(|(sequence, (start, end))| kv::Span {
                sequence: *sequence,
                start: *start,
                count: end.saturating_sub(*start),
            })
            .collect();
        let done = Tables::lend(Some(tables), py, |tables| self.cache.lock().fill(&spans, tables));
        let filled = done.map_err(|error| raise(py, &error))?;
        Ok((filled.tokens, filled.pages))
    }

    /// The step is over: its copies are done, its tokens are computed.
    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, kv::Cache::settle)
    }

    // --- a step, sequence by sequence -------------------------------------------------------------------------------------------------

    /// Makes room for the first `tokens` tokens of a sequence, known or to come.
    ///
    /// Raises NoFreeBlocksError if there are not enough free blocks, or the tenant may not have them.
    fn grow(&self, py: Python<'_>, sequence: Whole, tokens: Whole) -> PyResult<Changes> {
        let tokens = tokens.to(py, "tokens")?;
        let mut changes = kv::Changes::default();
        self.with(py, |cache| cache.require(sequence.id(), tokens, &mut changes))?;
        let filled = kv::Filled::default();
        Ok(Changes { changes, filled })
    }

    /// The first `computed` tokens of a sequence are computed, or will be by work that is given out: they can be found from now on.
    fn advance(&self, py: Python<'_>, sequence: Whole, computed: Whole) -> PyResult<()> {
        let computed = computed.to(py, "computed")?;
        self.with(py, |cache| cache.advance(sequence.id(), computed))
    }

    /// Work that was given out has failed: only the first `computed` tokens are computed, and the others can no longer be found.
    fn rewind(&self, py: Python<'_>, sequence: Whole, computed: Whole) -> PyResult<()> {
        let computed = computed.to(py, "computed")?;
        self.with(py, |cache| cache.rewind(sequence.id(), computed))
    }

    /// Gives back blocks past those that known tokens need: room for drafts that were not accepted.
    fn trim(&self, py: Python<'_>, sequence: Whole) -> PyResult<()> {
        self.with(py, |cache| cache.trim(sequence.id()))
    }

    // --- the whole cache ----------------------------------------------------------------------------------------------------------------

    /// The weight version whose blocks are found now.
    #[getter]
    fn epoch(&self) -> u32 {
        self.cache.lock().epoch()
    }

    /// The model has got new weights: from now on no look-up finds what was computed before. Constant time.
    ///
    /// Raises InvalidArgumentError unless the epoch is later than the present one: that would be an update that nobody noticed.
    fn set_epoch(&self, py: Python<'_>, epoch: Whole) -> PyResult<()> {
        let epoch = epoch.to(py, "epoch")?;
        self.with(py, |cache| cache.set_epoch(epoch))
    }

    /// Nothing can be found any more. False, and nothing happens, while a sequence has blocks.
    fn reset(&self) -> bool {
        self.cache.lock().reset()
    }

    /// From now on, this is how long the computed blocks of a sequence are worth keeping after it: those of a lower priority (0 to 255)
    /// go first, until the cache's time is `until` (0: for ever). With `eviction="retention"`.
    #[pyo3(signature = (sequence, priority, until=Whole::of(0)), text_signature = "($self, /, sequence, priority, until=0)")]
    fn retain(&self, py: Python<'_>, sequence: Whole, priority: Whole, until: Whole) -> PyResult<()> {
        let (priority, until) = (priority.to(py, "priority")?, until.to(py, "until")?);
        self.with(py, |cache| cache.retain(sequence.id(), Retention { priority, until }))
    }

    /// The cache's time, by which retention ends. Time that goes back changes nothing.
    fn set_time(&self, py: Python<'_>, now: Whole) -> PyResult<()> {
        let now = now.to(py, "now")?;
        self.cache.lock().set_time(now);
        Ok(())
    }

    /// Checks every invariant. Raises CorruptError with the first thing that does not add up. Linear in blocks and sequences.
    fn audit(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |cache| cache.audit())
    }

    /// What was counted since the cache was made, and what there is now: a dict of ints.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let numbers = numbers(&self.cache.lock());
        numbers.into_py_dict(py)
    }

    /// What happened to what can be found since the last call, with `events=True`: dicts with a "type" of "stored", "removed" or "cleared".
    fn take_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let events = self.cache.lock().take_events();
        events::rows(py, events)
    }

    /// The same as one batch in vLLM 0.33's wire format (MessagePack), as its routers read it. `time` is in seconds since 1970, `medium` is
    /// where the blocks are ("GPU", "CPU", "STORAGE"), `rank` the publisher's among data parallel replicas or None; `hashes` "int" writes
    /// the low 64 bits of keys, "bytes" all of them.
    ///
    /// Raises InvalidArgumentError for another word in `hashes`; then the events are still there.
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
        events::batch(py, time, medium, rank, hashes, || self.cache.lock().take_events())
    }

    // --- one sequence -----------------------------------------------------------------------------------------------------------------

    /// Tokens that a sequence knows.
    fn known(&self, py: Python<'_>, sequence: Whole) -> PyResult<u32> {
        self.with(py, |cache| cache.known(sequence.id()))
    }

    /// Tokens of a sequence that are computed.
    fn computed(&self, py: Python<'_>, sequence: Whole) -> PyResult<u32> {
        self.with(py, |cache| cache.computed(sequence.id()))
    }

    /// How many blocks a sequence holds, in all groups.
    fn blocks_held(&self, py: Python<'_>, sequence: Whole) -> PyResult<u32> {
        self.with(py, |cache| cache.blocks_held(sequence.id()))
    }

    /// The blocks of a sequence in a group, from the first position on: an array of int32. 0 is the null block, behind a window.
    #[pyo3(signature = (sequence, group=Whole::of(0)), text_signature = "($self, /, sequence, group=0)")]
    fn table<'py>(&self, py: Python<'py>, sequence: Whole, group: Whole) -> PyResult<Bound<'py, PyAny>> {
        let group = group.to(py, "group")?;
        let table: Vec<BlockId> = self.with(py, |cache| cache.table(sequence.id(), group))?;
        plan::blocks(py, &table)
    }

    fn __repr__(&self) -> String {
        let cache = self.cache.lock();
        let (free, blocks) = (cache.pool().free_blocks(), cache.pool().blocks());
        format!("Cache({} sequences, {free} of {blocks} blocks free)", cache.sequences())
    }
}
