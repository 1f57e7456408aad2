"""`OffloadingManager`: which chunks vLLM has offloaded to host memory, kept by park.

```python
kv_connector="OffloadingConnector",
kv_connector_extra_config={"spec_name": "OffloadingSpec", "spec_module_path": "park.interop.vllm.offloading", ...}
```

The manager runs in vLLM's scheduler. Names, slots, readers and the order of eviction are a table in Rust
(`park_core::kv::OffloadTable`): one call a batch of chunks, an error instead of an assertion, and a store that cannot be had changes
nothing. What belongs to requests (which chunks one has seen, when it counts as a use) and metrics are vLLM's own, inherited.

The memory is vLLM's, too: its spec makes the region and its worker copies (`shared` has park's memory instead). Eviction is `lru` or `arc`,
each in vLLM's order (`policies`); policies from elsewhere are refused by name.

What this relies on in vLLM is recorded (`offloading_surface`) and compared when this module is imported: another vLLM is refused with
the differences.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

from park._park import OffloadTable
from park.interop.vllm import offloading_surface

__all__ = ["OffloadingManager", "OffloadingSpec"]

offloading_surface.check()

from vllm.v1.kv_offload.base import (  # noqa: E402 (only a vLLM that fits is imported from)
    LookupResult,
    Medium,
    OffloadingEvent,
    OffloadKey,
    PrepareStoreOutput,
    ReqContext,
)
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec, CPUOffloadingInfo  # noqa: E402
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager  # noqa: E402
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec  # noqa: E402

from park.interop.vllm.policies import POLICIES  # noqa: E402


class OffloadingManager(CPUOffloadingManager):
    """See the module. Takes what vLLM's `CPUOffloadingManager` takes.

    Raises:
        NotImplementedError: another order of eviction than ``lru`` and ``arc`` is asked for.
    """

    def __init__(
        self,
        num_chunks: int,
        cache_policy: str = "lru",
        cache_policy_module_path: str | None = None,
        enable_events: bool = False,
        store_threshold: int = 1,
        max_tracker_size: int = 64_000,
        info: CPUOffloadingInfo | None = None,
    ):
        if cache_policy not in POLICIES or cache_policy_module_path is not None:
            where = "" if cache_policy_module_path is None else f" of {cache_policy_module_path}"
            raise NotImplementedError(
                f"park's offloading manager evicts by 'lru' or 'arc', not by {cache_policy!r}{where}: use vLLM's own for that"
            )
        # Not the inherited one: it makes the state that the table has instead.
        self.medium = Medium.CPU
        self._num_chunks = num_chunks
        self._config_info = info.as_config_info() if info is not None else {}
        self._table = OffloadTable(num_chunks, cache_policy)
        self._policy = POLICIES[cache_policy](self._table, num_chunks)
        self.events: list[OffloadingEvent] | None = [] if enable_events else None
        self.store_threshold = store_threshold
        self.max_tracker_size = max_tracker_size
        self.stores_skipped_in_current_batch = 0
        self.allocation_sizes_in_current_batch: list[int] = []
        self._cache_generation = 0
        self.counts: OrderedDict[OffloadKey, int] | None = OrderedDict() if store_threshold >= 2 else None

    # What the inherited metrics ask.

    @property
    def _num_allocated_chunks(self) -> int:
        return self._table.used()

    @property
    def _free_list(self) -> list[int]:
        return self._table.freed()

    @property
    def _num_evictable_cache_chunks(self) -> int:
        return self._table.evictable()

    @property
    def _num_write_pending_chunks(self) -> int:
        return self._table.writing()

    # What the scheduler calls.

    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        """Whether a chunk can be read now, later, or not at all."""
        readers = self._table.readers(key)
        if readers is None:
            return LookupResult.MISS
        return LookupResult.HIT if readers >= 0 else LookupResult.HIT_PENDING

    def _prepare_load(
        self, keys: Collection[OffloadKey], req_context: ReqContext, *, record_access: bool
    ) -> CPULoadStoreSpec:
        slots = self._table.pin(list(keys))
        if record_access:
            self._record_request_cache_access(keys, req_context, reused_keys=keys)
        return self._slots(keys, slots)

    def complete_load(self, keys: Collection[OffloadKey], req_context: ReqContext) -> None:
        """Transfers that read these chunks are over."""
        self._table.unpin(list(keys))

    def prepare_store(self, keys: Collection[OffloadKey], req_context: ReqContext) -> PrepareStoreOutput | None:
        """Slots for those chunks that are not there, `None` if there are too few; chunks that are offered keep theirs."""
        keys = list(dict.fromkeys(keys))
        if self.counts is not None:
            self._record_accesses(keys)
        known = dict(zip(keys, self._table.readers_of(keys), strict=True))
        wanted = self._admitted([key for key, readers in known.items() if readers is None])
        ready = [key for key, readers in known.items() if readers is not None and readers >= 0]
        state = self._get_request_cache_access(req_context)
        if missed := [key for key in wanted if key not in state.store_miss_keys]:
            self._policy.on_store_miss(missed, req_context)
            state.store_miss_keys.update(missed)
        seen = {*wanted, *ready}
        self._record_request_cache_access([key for key in keys if key in seen], req_context, reused_keys=ready)
        if not wanted:
            return PrepareStoreOutput([], self._slots([], []), [])
        self.allocation_sizes_in_current_batch.append(len(wanted))
        stored = self._table.store(wanted, self._policy.ranks(wanted, req_context), keys)
        if stored is None:
            return None
        slots, evicted = stored
        if evicted:
            self._tell(evicted, removed=True)
        state.inserted_keys.update(wanted)
        return PrepareStoreOutput(wanted, self._slots(wanted, slots), evicted)

    def complete_store(self, keys: Collection[OffloadKey], req_context: ReqContext, success: bool = True) -> None:
        """Transfers that wrote these chunks are over: they can be read, or are gone."""
        keys = list(keys)
        done = [keys[at] for at in self._table.finish(keys, success)]
        if done:
            self._tell(done, removed=not success, metadata_only=not success)

    def reset_cache(self) -> None:
        """Forget every chunk, transfers included: vLLM completes none that began before."""
        self._policy.clear()
        self._cache_generation += 1

    def _slots(self, keys: Collection[OffloadKey], slots: Sequence[int]) -> CPULoadStoreSpec:
        """What tells a worker where chunks lie."""
        return CPULoadStoreSpec(slots)

    def _admitted(self, keys: list[OffloadKey]) -> list[OffloadKey]:
        """Those that were offered often enough to be stored."""
        if self.counts is None:
            return keys
        often = [key for key in keys if self.counts.get(key, 0) >= self.store_threshold]
        self.stores_skipped_in_current_batch += len(keys) - len(often)
        return often

    def _tell(self, keys: list[OffloadKey], **what: bool) -> None:
        if self.events is not None:
            self.events.append(OffloadingEvent(keys=keys, medium=self.medium, **what))


class OffloadingSpec(CPUOffloadingSpec):
    """vLLM's spec of host memory with park's manager. Takes the same options."""

    def get_manager(self) -> OffloadingManager:
        """The manager of this spec, one for all calls."""
        if self._manager is None:
            self._manager = self._make_manager(
                num_chunks=self.num_chunks,
                cache_policy=self.eviction_policy,
                cache_policy_module_path=self.cache_policy_module_path,
                enable_events=self.kv_events_config.enable_kv_cache_events,
                store_threshold=int(self.extra_config.get("store_threshold", 0)),
                max_tracker_size=int(self.extra_config.get("max_tracker_size", 64_000)),
                info=self.cpu_info,
            )
        return self._manager

    def _make_manager(self, **options: Any) -> OffloadingManager:
        return OffloadingManager(**options)
