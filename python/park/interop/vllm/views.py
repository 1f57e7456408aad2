"""The queue of free blocks and the map from hashes to blocks, as vLLM's code and tests look at them.

Neither holds anything: both ask the pool. They know the pool's native half and the list of its blocks, not the pool, so that a pool goes
when its last user does.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from park._park import NamedBlock, NamedPool


class FreeQueue:
    """The free blocks, in the order in which they are taken."""

    def __init__(self, native: NamedPool, blocks: list[NamedBlock]) -> None:
        self._native = native
        self._blocks = blocks
        self.fake_free_list_head = _Head(self)
        self.fake_free_list_tail = _Tail(self)

    @property
    def num_free_blocks(self) -> int:
        """How many there are."""
        return self._native.free

    def get_all_free_blocks(self) -> list[NamedBlock]:
        """All of them."""
        return [self._blocks[block] for block in self._native.free_order()]

    def iter_blocks_after(self, cursor: NamedBlock | None) -> Iterator[NamedBlock]:
        """Those after one, or all. The order may change meanwhile: each step asks what is next."""
        at = self._native.free_after(None if cursor is None else cursor.block_id)
        while at is not None:
            yield self._blocks[at]
            at = self._native.free_after(at)

    def after(self, block: NamedBlock) -> NamedBlock | _Tail | None:
        """What follows a free block; `None` for one that is not free."""
        if block.is_null or block.ref_cnt:
            return None
        at = self._native.free_after(block.block_id)
        return self.fake_free_list_tail if at is None else self._blocks[at]

    def before(self, block: NamedBlock) -> NamedBlock | _Head | None:
        """What precedes a free block, found by a walk; `None` for one that is not free."""
        if block.is_null or block.ref_cnt:
            return None
        order = self._native.free_order()
        at = order.index(block.block_id)
        return self._blocks[order[at - 1]] if at else self.fake_free_list_head


class _Head:
    """What is before the first free block."""

    block_id = -1
    prev_free_block = None

    def __init__(self, queue: FreeQueue) -> None:
        self._queue = queue

    @property
    def next_free_block(self) -> NamedBlock | _Tail:
        at = self._queue._native.free_after(None)
        return self._queue.fake_free_list_tail if at is None else self._queue._blocks[at]


class _Tail:
    """What is after the last free block."""

    block_id = -1
    next_free_block = None

    def __init__(self, queue: FreeQueue) -> None:
        self._queue = queue

    @property
    def prev_free_block(self) -> NamedBlock | _Head:
        order = self._queue._native.free_order()
        return self._queue._blocks[order[-1]] if order else self._queue.fake_free_list_head


class BlockMap:
    """Which blocks are found by which hash (with its group). Of several, the one that had it first is found."""

    def __init__(self, native: NamedPool, blocks: list[NamedBlock]) -> None:
        self._native = native
        self._blocks = blocks

    def get_one_block(self, key: bytes) -> NamedBlock | None:
        """The block that is found by it."""
        at = self._native.first(key)
        return None if at is None else self._blocks[at]

    def contain(self, key: bytes, block_id: int) -> bool:
        """Whether that block has it."""
        return self._native.has(block_id, key)

    def insert(self, key: bytes, block: NamedBlock) -> None:
        """One more hash for a block."""
        self._native.name(block, key, None)

    def pop(self, key: bytes, block_id: int) -> NamedBlock | None:
        """The block, which has that hash no more, or `None` if it had not. A block loses all of its hashes or none.

        Raises:
            ValueError: the block has others besides.
        """
        if not self._native.has(block_id, key):
            return None
        block = self._blocks[block_id]
        if block.block_hash != key or block_id in self._native.more_names():
            raise ValueError(
                f"block {block_id} has more hashes than the one to take from it, and loses all at once or none"
            )
        self._native.forget(block)
        return block

    def __len__(self) -> int:
        return len(self._native.holders())

    def __bool__(self) -> bool:
        return self._native.cached > 0

    @property
    def _cache(self) -> _Cache:
        return _Cache(self)


class _Cache(MutableMapping[bytes, Any]):
    """The map as the dictionary that vLLM's tests look into: a hash to its block, or to several by number."""

    def __init__(self, blocks: BlockMap) -> None:
        self._map = blocks

    def __getitem__(self, key: bytes) -> NamedBlock | dict[int, NamedBlock]:
        having = {at: self._map._blocks[at] for at in self._map._native.holders()[key]}
        return having if len(having) > 1 else next(iter(having.values()))

    def __setitem__(self, key: bytes, having: NamedBlock | dict[int, NamedBlock]) -> None:
        for block in having.values() if isinstance(having, dict) else [having]:
            self._map.insert(key, block)

    def __delitem__(self, key: bytes) -> None:
        for at in self._map._native.holders()[key]:
            self._map.pop(key, at)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._map._native.holders())

    def __len__(self) -> int:
        return len(self._map)

    def __copy__(self) -> dict[bytes, Any]:
        return dict(self)
