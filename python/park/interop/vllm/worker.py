"""The worker's half: copies between the engine's tensors and chunks of the store.

A thread each stores, loads, and loads what a step waits for; a job is over when its thread has done it. From tensors of the processor
bytes go straight into the object, and straight out of it. From a CUDA device they go by a stream of the thread's own through pinned memory,
after what the model's stream had to do when the job was submitted; that half has not been run where there was no such device.

A load that finds no chunk, or one of another length, copies the others and says which blocks are without content.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from vllm.logger import init_logger
from vllm.v1.kv_offload.base import (
    CanonicalKVCaches,
    GPULoadStoreSpec,
    LoadStoreSpec,
    OffloadingWorker,
    TransferResult,
)

from park._park import Buffer
from park.interop.vllm.tier import ChunkSpec, Tier

__all__ = ["Worker"]

logger = init_logger(__name__)


class _Pages(NamedTuple):
    """The pages of a layer (or of several that lie together): a row of bytes for each block."""

    rows: torch.Tensor
    bytes: int


class _Piece(NamedTuple):
    """A chunk, or the part of it that a job is about."""

    group: int
    slot: int
    name: bytes
    #: Blocks of the engine, the first of which is number `first` of the chunk.
    blocks: list[int]
    first: int


class _Outcome(NamedTuple):
    bytes: int
    seconds: float
    #: Blocks of the engine whose content is wrong now.
    failed: set[int]


class Worker(OffloadingWorker):
    """See the module. `slots` are as many as the scheduler's table has."""

    def __init__(self, tier: Tier, caches: CanonicalKVCaches, blocks_per_chunk: int, slots: int, rank: int):
        self._tier, self._rank, self._blocks_per_chunk = tier, rank, blocks_per_chunk
        self._groups: list[list[_Pages]] = []
        for refs in caches.group_data_refs:
            pages = []
            for ref in refs:
                cache = caches.tensors[ref.tensor_idx]
                rows = cache.tensor.view(torch.int8).view(-1, cache.page_size_bytes)
                pages.append(_Pages(rows, ref.page_size_bytes))
            self._groups.append(pages)
        #: What this worker keeps in memory: by slot, the name of a part and its bytes.
        self._kept: list[tuple[bytes, Buffer] | None] = [None] * slots
        self._threads = {kind: ThreadPoolExecutor(1, f"park-kv-{kind}") for kind in ("store", "load", "sync")}
        self._jobs: dict[int, Future[_Outcome]] = {}
        #: Of failed jobs, until they are asked for: blocks whose content is wrong now.
        self.failed_blocks: dict[int, set[int]] = {}
        self._local = threading.local()

    # --- what vLLM calls ----------------------------------------------------------------------------------------------------------

    def submit_store(self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: LoadStoreSpec) -> bool:
        """Begin to copy blocks to chunks."""
        return self._submit("store", self._store, job_id, src_spec, dst_spec)

    def submit_load(
        self, job_id: int, src_spec: LoadStoreSpec, dst_spec: GPULoadStoreSpec, expedited: bool = False
    ) -> bool:
        """Begin to copy chunks to blocks."""
        return self._submit("sync" if expedited else "load", self._load, job_id, dst_spec, src_spec)

    def get_finished(self) -> list[TransferResult]:
        """Jobs that have ended since the last call. One that failed has no success, and its blocks in `failed_blocks`."""
        results = []
        for job_id, future in list(self._jobs.items()):
            if future.done():
                del self._jobs[job_id]
                outcome = future.result()
                if outcome.failed:
                    self.failed_blocks[job_id] = outcome.failed
                results.append(TransferResult(job_id, not outcome.failed, outcome.bytes, outcome.seconds))
        return results

    def wait(self, job_ids: set[int]) -> None:
        """Return when these jobs have ended."""
        for job_id in job_ids:
            if job_id in self._jobs:
                self._jobs[job_id].result()

    def shutdown(self) -> None:
        """Finish what was submitted, and let go of every chunk."""
        for thread in self._threads.values():
            thread.shutdown(wait=True)
        self._jobs.clear()
        self._kept.clear()
        self._tier.close()

    # --- in the threads -----------------------------------------------------------------------------------------------------------

    def _submit(self, kind: str, do: Any, job_id: int, blocks: GPULoadStoreSpec, chunks: LoadStoreSpec) -> bool:
        if not isinstance(chunks, ChunkSpec):
            raise TypeError(f"park's worker copies chunks that park's manager named, not {type(chunks).__name__}")
        pieces = list(self._pieces(blocks, chunks))
        ready = None
        device = self._device()
        if device.type != "cpu":
            ready = torch.cuda.Event()
            ready.record(torch.cuda.current_stream(device))
        self._jobs[job_id] = self._threads[kind].submit(self._timed, do, pieces, ready)
        return True

    def _timed(self, do: Any, pieces: Sequence[_Piece], ready: Any) -> _Outcome:
        began = time.perf_counter()
        copied, failed = 0, set()
        for piece in pieces:
            try:
                done = do(piece, ready)
            except Exception:
                logger.exception("A chunk of keys and values was not copied")
                done = 0
            if not done:
                failed.update(piece.blocks)
            copied += done
        return _Outcome(copied, time.perf_counter() - began, failed)

    def _pieces(self, blocks: GPULoadStoreSpec, chunks: ChunkSpec) -> Iterator[_Piece]:
        """The blocks of a job, chunk by chunk. Those of each group are consecutive, and may begin and end inside a chunk."""
        size = self._blocks_per_chunk
        ids, slots = blocks.block_ids.tolist(), chunks.block_ids.tolist()
        at = chunk = 0
        for group, (count, index) in enumerate(zip(blocks.group_sizes, blocks.block_indices, strict=True)):
            end = at + count
            while at < end:
                first = index % size
                taken = min(size - first, end - at)
                yield _Piece(group, slots[chunk], chunks.names[chunk], ids[at : at + taken], first)
                at, index, chunk = at + taken, index + taken, chunk + 1
        if chunk != len(slots):
            raise ValueError(f"a job of {at} blocks has {len(slots)} chunks, and {chunk} were expected")

    def _store(self, piece: _Piece, ready: Any) -> int:
        """Store a chunk. Blocks of it that the job does not have are zeros: nobody attends to them."""
        pages = self._groups[piece.group]
        block_bytes = sum(page.bytes for page in pages)
        last = self._blocks_per_chunk - piece.first - len(piece.blocks)
        with self._stream(ready):
            parts = self._read(pages, piece.blocks)
        if piece.first:
            parts.insert(0, bytes(block_bytes * piece.first))
        if last:
            parts.append(bytes(block_bytes * last))
        name = self._tier.part(piece.name, self._rank)
        # The slot's old chunk goes first: there may be no room for both.
        self._kept[piece.slot] = None
        self._kept[piece.slot] = (name, self._tier.chunks.put(name, parts))
        return block_bytes * len(piece.blocks)

    def _load(self, piece: _Piece, ready: Any) -> int:
        """Load a chunk; 0 if there is none."""
        pages = self._groups[piece.group]
        block_bytes = sum(page.bytes for page in pages)
        name = self._tier.part(piece.name, self._rank)
        kept = self._kept[piece.slot] if piece.slot >= 0 else None
        buffer = kept[1] if kept is not None and kept[0] == name else self._tier.chunks.find(name)
        if buffer is None:
            logger.warning("A chunk that was to be loaded is gone: %s", name.hex())
            return 0
        if len(buffer) != block_bytes * self._blocks_per_chunk:
            logger.error("Chunk %s has %d bytes, not %d", name.hex(), len(buffer), block_bytes * self._blocks_per_chunk)
            return 0
        if piece.slot >= 0:
            self._kept[piece.slot] = (name, buffer)
        source = torch.frombuffer(buffer.for_torch(), dtype=torch.int8)
        at = piece.first * block_bytes
        with self._stream(ready):
            for block in piece.blocks:
                for page in pages:
                    page.rows[block, : page.bytes].copy_(source[at : at + page.bytes], non_blocking=True)
                    at += page.bytes
        return block_bytes * len(piece.blocks)

    def _read(self, pages: Sequence[_Pages], blocks: Sequence[int]) -> list[Any]:
        """The pages of blocks, one after the other, as memory of the processor."""
        rows = [page.rows[block, : page.bytes] for block in blocks for page in pages]
        if self._device().type == "cpu":
            return [row.numpy() for row in rows]
        size = sum(row.numel() for row in rows)
        staging = getattr(self._local, "staging", None)
        if staging is None or staging.numel() < size:
            staging = self._local.staging = torch.empty(size, dtype=torch.int8, pin_memory=True)
        at = 0
        for row in rows:
            staging[at : at + row.numel()].copy_(row, non_blocking=True)
            at += row.numel()
        torch.cuda.current_stream(self._device()).synchronize()
        return [staging[:size].numpy()]

    @contextmanager
    def _stream(self, ready: Any) -> Iterator[None]:
        """On a device: copies go by this thread's stream, after what the model's had to do; they are over at the end."""
        if ready is None:
            yield
            return
        stream = getattr(self._local, "stream", None)
        if stream is None:
            stream = self._local.stream = torch.cuda.Stream(self._device())
        with torch.cuda.stream(stream):
            stream.wait_event(ready)
            yield
        stream.synchronize()

    def _device(self) -> torch.device:
        return self._groups[0][0].rows.device
