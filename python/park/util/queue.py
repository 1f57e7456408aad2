"""`Queue`: a first-in first-out queue that tasks and actors share, whose items lie in an async actor."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any


class Empty(queue.Empty):
    """There is no item, or none came in time."""


class Full(queue.Full):
    """There is no room, or none came in time."""


class Queue:
    """A queue of at most `maxsize` items (0: any number); `actor_options` are options of the actor that keeps them."""

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None):
        import park

        self.maxsize = maxsize
        self.actor: Any = park.remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self):
        return self.size()

    def size(self) -> int:
        """How many items there are."""
        return _get(self.actor.qsize.remote())

    def qsize(self) -> int:
        """How many items there are."""
        return self.size()

    def empty(self) -> bool:
        """Whether there is no item."""
        return _get(self.actor.empty.remote())

    def full(self) -> bool:
        """Whether there is no room."""
        return _get(self.actor.full.remote())

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item. Waits for room, at most `timeout` seconds, or with `block=False` not at all: then `Full`."""
        _check_timeout(block, timeout)
        try:
            _get(self._put(item, block, timeout))
        except asyncio.QueueFull:
            raise Full from None

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As `put`, for coroutines."""
        _check_timeout(block, timeout)
        try:
            await self._put(item, block, timeout)
        except asyncio.QueueFull:
            raise Full from None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item. Waits for one, at most `timeout` seconds, or with `block=False` not at all: then `Empty`."""
        _check_timeout(block, timeout)
        try:
            return _get(self._take(block, timeout))
        except asyncio.QueueEmpty:
            raise Empty from None

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `get`, for coroutines."""
        _check_timeout(block, timeout)
        try:
            return await self._take(block, timeout)
        except asyncio.QueueEmpty:
            raise Empty from None

    def _put(self, item, block, timeout):
        return self.actor.put.remote(item, timeout) if block else self.actor.put_nowait.remote(item)

    def _take(self, block, timeout):
        return self.actor.get.remote(timeout) if block else self.actor.get_nowait.remote()

    def put_nowait(self, item: Any) -> None:
        """As `put` with `block=False`."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """As `get` with `block=False`."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable) -> None:
        """Add all of these items, or none if there is not room for all."""
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        _get(self.actor.put_nowait_batch.remote(list(items)))

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take so many items, or none if there are fewer."""
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        return _get(self.actor.get_nowait_batch.remote(num_items))

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the actor that keeps the items: after what it was asked before, or with `force` at once."""
        import park

        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            _, late = park.wait([actor.__ray_terminate__.remote()], timeout=grace_period_s)
            force = bool(late)
        if force:
            park.kill(actor, no_restart=True)


def _get(ref):
    from park import _park

    return _park.get(ref)


def _check_timeout(block, timeout):
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


class _QueueActor:
    """Its methods run on one event loop, so that each sees the queue as the others left it."""

    def __init__(self, maxsize):
        self.maxsize = maxsize
        self.queue = asyncio.Queue(maxsize)

    def qsize(self):
        return self.queue.qsize()

    def empty(self):
        return self.queue.empty()

    def full(self):
        return self.queue.full()

    async def put(self, item, timeout=None):
        try:
            await asyncio.wait_for(self.queue.put(item), timeout)
        except TimeoutError:
            raise Full from None

    async def get(self, timeout=None):
        try:
            return await asyncio.wait_for(self.queue.get(), timeout)
        except TimeoutError:
            raise Empty from None

    def put_nowait(self, item):
        self.queue.put_nowait(item)

    def put_nowait_batch(self, items):
        if self.maxsize > 0 and len(items) + self.qsize() > self.maxsize:
            raise Full(f"Cannot add {len(items)} items to queue of size {self.qsize()} and maxsize {self.maxsize}.")
        for item in items:
            self.queue.put_nowait(item)

    def get_nowait(self):
        return self.queue.get_nowait()

    def get_nowait_batch(self, num_items):
        if num_items > self.qsize():
            raise Empty(f"Cannot get {num_items} items from queue of size {self.qsize()}.")
        return [self.queue.get_nowait() for _ in range(num_items)]
