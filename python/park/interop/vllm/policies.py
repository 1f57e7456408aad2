"""park's table as vLLM's cache policies: what vLLM's manager tells of requests becomes ranks and uses.

| class | vLLM's name | in Rust |
|---|---|---|
| `Order` | lru | `OffloadPolicy::Lru` |
| `Adaptive` | arc | `OffloadPolicy::Arc`, whose lists and ghosts can be looked at here by vLLM's names |
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.v1.kv_offload.base import OffloadKey, ReqContext
from vllm.v1.kv_offload.cpu.policies.arc import ARCCachePolicy
from vllm.v1.kv_offload.cpu.policies.base import CachePolicy, order_request_keys

from park._park import OffloadTable


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


class _InTable:
    """What is the same by any policy: the table has the chunks."""

    _table: OffloadTable

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

    def evict(self, n: int, protected: set[OffloadKey]) -> list[tuple[OffloadKey, Chunk]] | None:
        """Take the first `n` chunks that are not protected out of the tier, or none."""
        gone = self._table.evict(n, list(protected))
        return (
            None
            if gone is None
            else [(OffloadKey(key), Chunk(self._table, OffloadKey(key), slot)) for key, slot in gone]
        )

    def ranks(self, keys: Sequence[OffloadKey], req_context: ReqContext) -> list[tuple[int, int]]:
        """Where chunks that are stored now stand: each by itself, in this order."""
        return [(self._table.tick(), 0) for _ in keys]

    def clear(self) -> None:
        """Forget every chunk."""
        self._table.clear()


class Order(_InTable, CachePolicy):
    """Least recently wanted."""

    def __init__(self, table: OffloadTable, slots: int):
        super().__init__(cache_capacity=slots)
        self._table = table
        self._generation = 0

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


class Adaptive(_InTable, ARCCachePolicy):
    """Adaptive replacement. The lists are copies, to be looked at."""

    def __init__(self, table: OffloadTable, slots: int):
        # Not vLLM's: it makes the lists that the table has instead.
        CachePolicy.__init__(self, cache_capacity=slots)
        self._table = table

    def on_store_miss(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """What is to be stored was missed; the first of the list is the last to be learned from."""
        self._table.missed(list(keys)[::-1])

    def on_request_access(self, keys: Iterable[OffloadKey], req_context: ReqContext) -> None:
        """Nothing is learned before a request ends."""

    def on_request_finished(
        self,
        key_groups: Sequence[Sequence[OffloadKey]],
        insertion_only_keys: set[OffloadKey],
        reused_keys: set[OffloadKey],
        req_context: ReqContext,
    ) -> None:
        """A request has ended: what it reused was wanted once more, what it only stored is as it was; its last tokens go first."""
        keys = order_request_keys(key_groups, req_context)[::-1]
        seen = [key for key in keys if key in insertion_only_keys or key in reused_keys]
        self._table.wanted(seen, [key not in insertion_only_keys for key in seen])

    @property
    def target_t1_size(self) -> float:  # type: ignore[override]
        """How many chunks that were wanted once are to be kept."""
        return self._table.arc_target()

    @target_t1_size.setter
    def target_t1_size(self, target: float) -> None:
        self._table.set_arc_target(target)

    @property
    def t1(self) -> OrderedDict[OffloadKey, Chunk]:  # type: ignore[override]
        """Chunks that were wanted once, the first to go first."""
        return self._chunks(0)

    @property
    def t2(self) -> OrderedDict[OffloadKey, Chunk]:  # type: ignore[override]
        """Chunks that were wanted again."""
        return self._chunks(1)

    @property
    def b1(self) -> OrderedDict[OffloadKey, None]:  # type: ignore[override]
        """Names that the first list gave up, the oldest first."""
        return OrderedDict.fromkeys(map(OffloadKey, self._lists()[2]))

    @property
    def b2(self) -> OrderedDict[OffloadKey, None]:  # type: ignore[override]
        """Names that the second list gave up."""
        return OrderedDict.fromkeys(map(OffloadKey, self._lists()[3]))

    def _lists(self) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
        lists = self._table.arc_lists()
        assert lists is not None, "the table's policy is arc"
        return lists

    def _chunks(self, which: int) -> OrderedDict[OffloadKey, Chunk]:
        return OrderedDict(
            (OffloadKey(key), Chunk(self._table, OffloadKey(key), self._table.slot(key)))
            for key in self._lists()[which]
        )


#: By vLLM's names.
POLICIES = {"lru": Order, "arc": Adaptive}
