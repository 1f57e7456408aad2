"""vLLM's `BlockPool`, with its state in Rust.

References, hashes, the index and the order of free blocks are in `park._park.NamedPool`; `blocks[i]` is a number and a way there. What
is left here is vLLM's: the events are its classes, made of its requests, and metrics and callbacks are its objects. A call of vLLM with a
list of blocks is one call into Rust.

The class inherits from vLLM's, for its way to make events and for whoever asks what it is. `surface` watches that what is inherited and
replaced is what it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vllm.distributed.kv_events import MEDIUM_GPU, AllBlocksCleared, KVCacheEvent
from vllm.logger import init_logger
from vllm.v1.core import block_pool as theirs
from vllm.v1.core.kv_cache_utils import maybe_convert_block_hash, resolve_block_hashes

from park._park import NamedBlock, NamedPool
from park.interop.vllm.views import BlockMap, FreeQueue

logger = init_logger(__name__)


class BlockPool(theirs.BlockPool):
    """See the module, and vLLM's class for what each call means."""

    def __init__(
        self,
        num_gpu_blocks: int,
        enable_caching: bool,
        hash_block_size: int,
        enable_kv_cache_events: bool = False,
        metrics_collector: Any = None,
        num_hash_lookahead_tokens: int = 0,
        medium: str = MEDIUM_GPU,
    ) -> None:
        # vLLM's own __init__ would make its blocks, its queue and its map.
        self.num_gpu_blocks = num_gpu_blocks
        self.medium = medium
        self.enable_caching = enable_caching
        self.hash_block_size = hash_block_size
        self.num_hash_lookahead_tokens = num_hash_lookahead_tokens
        self.native = NamedPool(num_gpu_blocks, os.urandom(32))
        self.blocks: list[NamedBlock] = self.native.adopt(self)  # type: ignore[assignment]
        self.null_block = self.blocks[0]  # type: ignore[assignment]
        self.free_block_queue = FreeQueue(self.native, self.blocks)  # type: ignore[assignment]
        self.cached_block_hash_to_block = BlockMap(self.native, self.blocks)  # type: ignore[assignment]
        self.enable_kv_cache_events = enable_kv_cache_events
        self.kv_event_queue: list[KVCacheEvent] = []
        self.metrics_collector = metrics_collector
        self._reuse_watchers: dict[int, Callable[[Any], None]] = {}

    @property
    def cached_block_hashes_by_block(self) -> dict[int, set[bytes]]:  # type: ignore[override]
        """The hashes past the first of blocks that have such: a copy."""
        return {block: set(names) for block, names in self.native.more_names().items()}

    # --- finding ------------------------------------------------------------------------------------------------------------------

    def get_cached_block(self, block_hash: bytes, kv_cache_group_ids: list[int]) -> list[Any] | None:  # type: ignore[override]
        return self.native.find(block_hash, kv_cache_group_ids, self.blocks)

    def cache_full_blocks(
        self,
        request: Any,
        blocks: list[Any],
        num_cached_blocks: int,
        num_full_blocks: int,
        block_size: int,
        kv_cache_group_id: int,
        block_mask: list[bool] | None = None,
    ) -> None:
        first, end = num_cached_blocks, num_full_blocks
        if first >= end:
            return
        new = blocks[first:end]
        hashes = resolve_block_hashes(request.block_hashes, self.hash_block_size, block_size)
        lost = self.native.cache(new, hashes[first:end], block_mask, kv_cache_group_id, block_size, first)
        if not self.enable_kv_cache_events:
            return
        self._emit_block_removed_events(lost)
        stored = [
            first + at for at, block in enumerate(new) if not block.is_null and (block_mask is None or block_mask[at])
        ]
        extra_keys, media = [], 0
        for at in stored:
            keys, media = self._generate_event_extra_keys(request, at * block_size, (at + 1) * block_size, media)
            extra_keys.append(keys)
        lookahead = None
        if self.num_hash_lookahead_tokens:
            lookahead = [self._lookahead_token_ids(request, (at + 1) * block_size) for at in stored]
        self.kv_event_queue.append(
            self._build_block_stored_event(
                request,
                block_hashes=[maybe_convert_block_hash(hashes[at]) for at in stored],
                parent_block_hash=maybe_convert_block_hash(hashes[first - 1]) if first else None,
                start_token_idx=first * block_size,
                end_token_idx=end * block_size,
                block_size=block_size,
                kv_cache_group_id=kv_cache_group_id,
                extra_keys_list=extra_keys,
                lookahead_token_ids=lookahead,
            )
        )

    def _insert_block_hash(self, block_hash_with_group_id: bytes, block: Any, num_tokens: int | None) -> None:  # type: ignore[override]
        self.native.name(block, block_hash_with_group_id, num_tokens)

    def _remove_cached_block_hashes(self, block: Any) -> list[Any]:
        return self.native.forget(block)

    def reset_prefix_cache(self) -> bool:
        if not self.native.reset():
            used = self.num_gpu_blocks - 1 - self.native.free
            logger.warning("The prefix cache was not reset: %d blocks are in use", used)
            return False
        if self._reuse_watchers:
            self._notify_reuse([self.blocks[block] for block in list(self._reuse_watchers)])  # type: ignore[arg-type]
        if self.metrics_collector:
            self.metrics_collector.reset()
        if self.enable_kv_cache_events:
            self.kv_event_queue.append(AllBlocksCleared())
        return True

    # --- using --------------------------------------------------------------------------------------------------------------------

    def get_new_blocks(self, num_blocks: int) -> list[Any]:
        if num_blocks > self.native.free:
            raise ValueError(f"Cannot get {num_blocks} free blocks from the pool: {self.native.free} are free")
        blocks, lost = self.native.allocate(num_blocks, self.blocks)
        if self._reuse_watchers:
            self._notify_reuse(blocks)
        if lost:
            self._emit_block_removed_events(lost)
        if self.metrics_collector:
            for block in blocks:
                if self.enable_caching:
                    self.metrics_collector.on_block_evicted(block)
                self.metrics_collector.on_block_allocated(block)
        return blocks

    def touch(self, blocks: Sequence[Any]) -> None:
        self.native.touch(blocks)
        if self.metrics_collector:
            for block in blocks:
                if not block.is_null:
                    self.metrics_collector.on_block_accessed(block)

    def free_blocks(self, ordered_blocks: Iterable[Any]) -> None:
        others: dict[Any, list[Any]] = {}
        for block in self.native.release(ordered_blocks):
            if block.pool is None:
                raise TypeError(f"a block of a pool was to be freed, and {block!r} is of none")
            others.setdefault(block.pool, []).append(block)
        for pool, blocks in others.items():
            pool.free_blocks(blocks)

    def unpin_blocks(self, blocks: Iterable[Any], on_reuse: Callable[[Any], None]) -> None:
        blocks = list(blocks)
        self.native.release_last(blocks)
        self._reuse_watchers.update((block.block_id, on_reuse) for block in blocks)

    def get_num_free_blocks(self) -> int:
        return self.native.free
