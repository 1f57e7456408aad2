"""`OffloadingManager`: which chunks vLLM has offloaded to host memory, kept by park.

```python
kv_connector="OffloadingConnector",
kv_connector_extra_config={"spec_name": "OffloadingSpec", "spec_module_path": "park.interop.vllm.offloading", ...}
```

The manager runs in vLLM's scheduler. Names, slots, readers and the order of eviction are a table in Rust
(`park_core::kv::OffloadTable`): one call a batch of chunks, an error instead of an assertion, and a store that cannot be had changes
nothing. What belongs to requests (which chunks one has seen, when it counts as a use) and metrics are vLLM's own, inherited.

The memory is vLLM's, too: its spec makes the region and its worker copies. Eviction is least recently used, in vLLM's order; `arc` and
policies from elsewhere are refused by name.

What this relies on in vLLM is recorded (`offloading_surface`) and compared when this module is imported: another vLLM is refused with
the differences.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
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
from vllm.v1.kv_offload.cpu.policies.base import CachePolicy, order_request_keys  # noqa: E402
from vllm.v1.kv_offload.cpu.spec import CPUOffloadingSpec  # noqa: E402


class Chunk:
    """What there is to know of a chunk, by vLLM's names."""

    __slots__ = ("_key", "_table", "chunk_id")

    def __init__(self, table: OffloadTable, key: OffloadKey, slot: int):
        self._table, self._key, self.chunk_id = table, key, slot

    @property
    def ref_cnt(self) -> int:
        """Transfers that read it; -1 while it is written, and once it has gone."""
        readers = self._table.readers(self._key)
        return -1 if readers is None else readers

    @property
    def is_ready(self) -> bool:
        """Whether it can be read."""
        return self.ref_cnt >= 0


@dataclass(slots=True)
class _Turn:
    """The time at which a request's chunks count as wanted until it ends."""

    owner: object
    generation: int
    time: int


class Order(CachePolicy):
    """The table as vLLM's cache policy: what the manager's inherited parts tell of requests becomes ranks."""

    def __init__(self, table: OffloadTable, slots: int):
        super().__init__(cache_capacity=slots)
        self._table = table
        self._generation = 0

    def get(self, key: OffloadKey) -> Chunk | None:
        """A chunk that is there."""
        slot = self._table.slot(key)
        return None if slot is None else Chunk(self._table, key, slot)

    def insert(self, key: OffloadKey, chunk: Any, req_context: ReqContext) -> None:
        """Not offered: the table gives out slots itself."""
        raise TypeError("park's table has no chunks from elsewhere: prepare_store makes them")

    def remove(self, key: OffloadKey) -> None:
        """Forget a chunk whose store has failed."""
        self._table.finish([key], False)

    def touch(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """The chunks were wanted now; the first of the list is the last to go."""
        self._table.touch(list(keys)[::-1])

    def on_store_miss(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """Nothing is learned from what is not there."""

    def on_request_access(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """A request has seen these chunks: until it ends they go with it, its last tokens first."""
        time = self._time_of(req_context)
        places = ((key, req_context.get_offload_key_position(key)) for key in keys)
        placed = [(key, (time, -place)) for key, place in places if place is not None]
        if placed:
            self._table.raise_ranks([key for key, _ in placed], [rank for _, rank in placed])

    def on_request_finished(
        self,
        key_groups: Sequence[Sequence[OffloadKey]],
        insertion_only_keys: set[OffloadKey],
        reused_keys: set[OffloadKey],
        req_context: ReqContext,
    ) -> None:
        """A request has ended: its chunks were wanted now, its last tokens go first."""
        self._table.touch(order_request_keys(key_groups, req_context)[::-1])

    def evict(self, n: int, protected: set[OffloadKey]) -> list[tuple[OffloadKey, Chunk]] | None:
        """Take the first `n` chunks that are not protected out of the tier, or none."""
        gone = self._table.evict(n, list(protected))
        return (
            None
            if gone is None
            else [(OffloadKey(key), Chunk(self._table, OffloadKey(key), slot)) for key, slot in gone]
        )

    def clear(self) -> None:
        """Forget every chunk, and the turns of requests."""
        self._table.clear()
        self._generation += 1

    def ranks(self, keys: Sequence[OffloadKey], req_context: ReqContext) -> list[tuple[int, int]]:
        """Where chunks that are stored now stand: with their request, or, without a known position, each by itself."""
        places = [req_context.get_offload_key_position(key) for key in keys]
        return [(self._table.tick(), 0) if place is None else (self._time_of(req_context), -place) for place in places]

    def _time_of(self, req_context: ReqContext) -> int:
        turn = req_context.get_state(_Turn)
        if turn is None or turn.owner is not self or turn.generation != self._generation:
            turn = _Turn(self, self._generation, self._table.tick())
            req_context.set_state(turn)
        return turn.time


class OffloadingManager(CPUOffloadingManager):
    """See the module. Takes what vLLM's `CPUOffloadingManager` takes.

    Raises:
        NotImplementedError: another order of eviction than ``lru`` is asked for.
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
        if cache_policy != "lru" or cache_policy_module_path is not None:
            raise NotImplementedError(
                f"park's offloading manager evicts by 'lru', not by {cache_policy!r}: use vLLM's own for that"
            )
        # Not the inherited one: it makes the state that the table has instead.
        self.medium = Medium.CPU
        self._num_chunks = num_chunks
        self._config_info = info.as_config_info() if info is not None else {}
        self._table = OffloadTable(num_chunks)
        self._policy = Order(self._table, num_chunks)
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
        return CPULoadStoreSpec(slots)

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
        state.store_miss_keys.update(wanted)
        seen = {*wanted, *ready}
        self._record_request_cache_access([key for key in keys if key in seen], req_context, reused_keys=ready)
        if not wanted:
            return PrepareStoreOutput([], CPULoadStoreSpec([]), [])
        self.allocation_sizes_in_current_batch.append(len(wanted))
        stored = self._table.store(wanted, self._policy.ranks(wanted, req_context), keys)
        if stored is None:
            return None
        slots, evicted = stored
        if evicted:
            self._tell(evicted, removed=True)
        state.inserted_keys.update(wanted)
        return PrepareStoreOutput(wanted, CPULoadStoreSpec(slots), evicted)

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
            self._manager = OffloadingManager(
                num_chunks=self.num_chunks,
                cache_policy=self.eviction_policy,
                cache_policy_module_path=self.cache_policy_module_path,
                enable_events=self.kv_events_config.enable_kv_cache_events,
                store_threshold=int(self.extra_config.get("store_threshold", 0)),
                max_tracker_size=int(self.extra_config.get("max_tracker_size", 64_000)),
                info=self.cpu_info,
            )
        return self._manager
