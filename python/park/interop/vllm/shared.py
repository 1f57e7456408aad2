"""The scheduler's half: park's manager over the tier that engines share, and the spec by which vLLM makes both halves.

```python
kv_connector="ParkConnector", kv_connector_module_path="park.interop.vllm.connector",
kv_connector_extra_config={
    "spec_name": "SharedOffloadingSpec", "spec_module_path": "park.interop.vllm.shared",
    **directory.options, "cpu_bytes_to_use": 8 << 30, "park_disk": "/data/kv", "park_disk_bytes": 100 << 30,
}
```

What the table has is this engine's. What it has not is looked up in the directory, and found if another engine holds it; then on disk, from
where a thread brings it while vLLM asks again (`RETRY`). Either is kept for the request that found it until it is loaded; with the load it
takes a slot of the table, so that it stays when the other engine goes. If no slot is to be had it is loaded and not kept.

With a disk, what was stored is written there by a thread, so that a restart finds it; one process at a time has a disk. What is damaged on
disk is not found and computed again.

After `reset_cache` (the weights are others now) names are salted anew: nothing from before is found, here or on disk, and no other engine's
is; nor do others find what this engine stores from then on. A new engine has no salt: it finds what lies on disk from before any reset, so
weights of other content need another model name or disk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from park._park import Buffer
from park.interop.vllm import offloading_surface

offloading_surface.check()

from vllm.logger import init_logger  # noqa: E402 (only a vLLM that fits is imported from)
from vllm.v1.kv_offload.base import CanonicalKVCaches, LookupResult, OffloadKey, ReqContext  # noqa: E402
from vllm.v1.kv_offload.config import OffloadingConfig  # noqa: E402

from park.interop.vllm.offloading import OffloadingManager, OffloadingSpec  # noqa: E402
from park.interop.vllm.tier import ChunkSpec, Tier  # noqa: E402
from park.interop.vllm.worker import Worker  # noqa: E402

__all__ = ["SharedManager", "SharedOffloadingSpec"]

logger = init_logger(__name__)

#: Chunks that may wait to be written to disk. Each is kept in memory until it is; when a disk is slower than the engine, more are left out.
_UNWRITTEN = 256


@dataclass
class _Found:
    """What a request found outside the table, and how its loads ended."""

    owner: object
    generation: int
    #: Kept in memory until it is loaded.
    kept: dict[OffloadKey, list[Buffer]] = field(default_factory=dict)
    #: Being loaded without a slot.
    passing: set[OffloadKey] = field(default_factory=set)
    #: Being loaded, and some worker could not.
    failed: set[OffloadKey] = field(default_factory=set)
    #: Could not be loaded: to be computed.
    lost: set[OffloadKey] = field(default_factory=set)


class SharedManager(OffloadingManager):
    """See the module. Takes what `OffloadingManager` takes, and the engine's view of the directory."""

    def __init__(self, tier: Tier, **options: Any):
        super().__init__(**options)
        self._tier = tier
        self._salt = b""
        self._generation = 0
        self._fetches: dict[OffloadKey, Future[list[Buffer] | None]] = {}
        #: Being stored, and some worker could not.
        self._failed: set[OffloadKey] = set()
        self._disk = ThreadPoolExecutor(1, "park-kv-disk") if tier.disk else None
        self._unwritten = threading.BoundedSemaphore(_UNWRITTEN)

    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        """Whether a chunk can be read now, here or from another engine or once the disk has been read, or not at all."""
        found = self._found(req_context)
        if key in found.lost:
            return LookupResult.MISS
        result = super().lookup(key, req_context)
        if result is not LookupResult.MISS or key in found.kept:
            return LookupResult.HIT if result is LookupResult.MISS else result
        name = self._name(key)
        chunk = self._tier.find(name)
        if chunk is None and self._disk is not None:
            fetch = self._fetches.get(key)
            if fetch is None and self._tier.can_fetch(name):
                fetch = self._fetches[key] = self._disk.submit(self._tier.fetch, name)
            if fetch is not None:
                if not fetch.done():
                    return LookupResult.RETRY
                del self._fetches[key]
                chunk = _result(fetch)
        if chunk is None:
            return LookupResult.MISS
        found.kept[key] = chunk
        return LookupResult.HIT

    def _prepare_load(self, keys: Collection[OffloadKey], req_context: ReqContext, *, record_access: bool) -> ChunkSpec:
        found = self._found(req_context)
        keys = list(keys)
        there = self._table.readers_of(keys)
        elsewhere = [key for key, readers in zip(keys, there, strict=True) if readers is None]
        if elsewhere and not self._take_in(elsewhere, keys, req_context):
            found.passing.update(elsewhere)
        pinned = [key for key in keys if key not in found.passing]
        slots = dict(zip(pinned, self._table.pin(pinned), strict=True))
        if record_access:
            self._record_request_cache_access(pinned, req_context, reused_keys=pinned)
        return self._slots(keys, [slots.get(key, -1) for key in keys])

    def _take_in(self, keys: list[OffloadKey], kept: list[OffloadKey], req_context: ReqContext) -> bool:
        """Give chunks that were found elsewhere a slot each. False, and nothing has happened, if there are too few."""
        stored = self._table.store(keys, self._policy.ranks(keys, req_context), kept)
        if stored is None:
            return False
        self._table.finish(keys, True)
        if stored[1]:
            self._tell(stored[1], removed=True)
        self._tell(keys, removed=False)
        return True

    def complete_load(self, keys: Collection[OffloadKey], req_context: ReqContext) -> None:
        """Transfers that read these chunks are over. What could not be read is forgotten."""
        found = self._found(req_context)
        self._table.unpin([key for key in keys if key not in found.passing])
        for key in keys:
            found.kept.pop(key, None)
            found.passing.discard(key)
        if failed := found.failed.intersection(keys):
            found.failed -= failed
            found.lost |= failed
            gone = [key for key in failed if self._table.forget(key)]
            if gone:
                self._tell(gone, removed=True)

    def complete_store(self, keys: Collection[OffloadKey], req_context: ReqContext, success: bool = True) -> None:
        """Transfers that wrote these chunks are over: they can be read, and go to disk, or are gone."""
        failed = self._failed.intersection(keys) if success else set(keys)
        self._failed -= failed
        if failed:
            super().complete_store(failed, req_context, False)
        stored = [key for key in keys if key not in failed]
        if stored:
            super().complete_store(stored, req_context, True)
            self._write(stored)

    def store_failed(self, keys: Collection[OffloadKey]) -> None:
        """Some worker could not store these chunks. That their transfer is over will be said later."""
        self._failed.update(keys)

    def load_failed(self, keys: Collection[OffloadKey], req_context: ReqContext) -> None:
        """Some worker could not load these chunks for a request. That their transfer is over will be said later."""
        self._found(req_context).failed.update(keys)

    def on_request_finished(self, req_context: ReqContext) -> None:
        """A request has ended: it loads nothing more. Loads that are under way keep what they read until they are over."""
        super().on_request_finished(req_context)
        found = self._found(req_context)
        pinned = self._table.readers_of(list(found.kept))
        for key, readers in zip(list(found.kept), pinned, strict=True):
            if key not in found.passing and not (readers and readers > 0):
                del found.kept[key]

    def reset_cache(self) -> None:
        """Forget every chunk, transfers included, whoever stored it."""
        super().reset_cache()
        self._salt = os.urandom(16)
        self._generation += 1
        self._fetches.clear()
        self._failed.clear()

    def shutdown(self) -> None:
        """Finish what is to be written to disk."""
        if self._disk is not None:
            self._disk.shutdown(wait=True)
            self._tier.chunks.flush()
        self._tier.close()
        super().shutdown()

    def _write(self, keys: list[OffloadKey]) -> None:
        """Begin to write chunks to disk."""
        if self._disk is None:
            return
        for key in keys:
            name = self._name(key)
            chunk = self._tier.find(name)
            if chunk is None:
                continue  # Given up again by its worker: a miss, later.
            if not self._unwritten.acquire(blocking=False):
                logger.warning_once("The disk is slower than the engine: some chunks are not written there")
                continue
            self._disk.submit(self._write_one, name, chunk)

    def _write_one(self, name: bytes, _chunk: list[Buffer]) -> None:
        """In the thread: `_chunk` is kept until it is written."""
        try:
            self._tier.persist(name)
        except Exception:
            logger.exception("A chunk of keys and values was not written to disk")
        finally:
            self._unwritten.release()

    def _slots(self, keys: Collection[OffloadKey], slots: Collection[int]) -> ChunkSpec:
        return ChunkSpec(list(slots), [self._name(key) for key in keys])

    def _name(self, key: OffloadKey) -> bytes:
        return self._tier.name(key, self._salt)

    def _found(self, req_context: ReqContext) -> _Found:
        found = req_context.get_state(_Found)
        if found is None or found.owner is not self or found.generation != self._generation:
            found = _Found(self, self._generation)
            req_context.set_state(found)
        return found


def _result(fetch: Future[list[Buffer] | None]) -> list[Buffer] | None:
    try:
        return fetch.result()
    except Exception:
        logger.exception("A chunk of keys and values was not read from disk")
        return None


class SharedOffloadingSpec(OffloadingSpec):
    """vLLM's spec with park's manager and park's memory. Takes the options of vLLM's `CPUOffloadingSpec`, and:

    | option | what |
    |---|---|
    | `park_session`, `park_directory` | which tier: `park.interop.vllm.tier.Directory.options` |
    | `park_disk`, `park_disk_bytes` | a folder of this engine's own for what it stores, and how large it may become |

    Raises:
        ValueError: an option is missing, or one is asked for that is not offered.
    """

    # As objects of the store are aligned: vLLM's pages do not matter here.
    BLOCK_SIZE_ALIGNMENT = 64

    def __init__(self, config: OffloadingConfig):
        super().__init__(config)
        if config.canonical_layout:
            raise ValueError("park's tier has each worker's own pages: a canonical layout is not offered")
        if self.num_chunks == 0:
            raise ValueError(
                f"cpu_bytes_to_use is {self.extra_config['cpu_bytes_to_use']}, and a chunk takes {self.kv_bytes_per_chunk} bytes"
            )
        self._config = config

    def _uses_shared_region(self) -> bool:
        # Memory is the store's, a part for each worker.
        return False

    def _make_manager(self, **options: Any) -> OffloadingManager:
        return SharedManager(Tier(self._config, disk=True), **options)

    def get_worker(self, kv_caches: CanonicalKVCaches) -> Worker:
        """The worker of this spec, one for all calls."""
        if self._worker is None:
            tier = Tier(self._config, disk=False)
            rank = self._config.parallel.rank
            self._worker = Worker(tier, kv_caches, self.blocks_per_chunk, self.num_chunks, rank)
        return self._worker
