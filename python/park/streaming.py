"""`ObjectRefGenerator`: the results of a generator task or method, taken one by one while it runs.

The native `StreamReader` knows where the stream is and how to wait for it; here are the rules of iteration, which are those of Ray.
`DynamicObjectRefGenerator` is the older kind: one result, which holds the references to all items and exists when the task is over.
"""

from __future__ import annotations

import collections

from park import _park


class ObjectRefGenerator(_park.StreamReader):
    """References to what a generator yields, in its order, each as soon as it is there.

    Made by `.remote()` of a generator. Iterate with `for` or `async for`; `park.get(next(gen))` raises what the generator raised, and
    then there are no more. Not for two threads at a time, and not to be passed to another process: pass the references.
    """

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> _park.ObjectRef:
        return self._next_sync()

    def _next_sync(self, timeout_s: float | None = None) -> _park.ObjectRef:
        """As `next`, which waits `timeout_s` seconds at most: then it returns a nil reference. None and -1 wait without end."""
        if not _park.wait_for_item(self, timeout_s):
            return _park.ObjectRef.nil()
        item = self._take()
        if item is None:
            raise StopIteration
        return item

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> _park.ObjectRef:
        return await self._next_async()

    async def _next_async(self, timeout_s: float | None = None) -> _park.ObjectRef:
        """As `_next_sync`, in a coroutine."""
        if not self._is_ready():
            import asyncio  # whoever comes here has it; nobody else is to pay for it

            from park import futures

            there = futures.link_is_there(self._link)
            if timeout_s is None or timeout_s < 0:
                await there
            elif not (await asyncio.wait([there], timeout=timeout_s))[0]:
                return _park.ObjectRef.nil()
        item = self._take()
        if item is None:
            raise StopAsyncIteration
        return item

    def next_ready(self) -> bool:
        """Whether `next` returns a reference at once, to an object that is there."""
        return self._is_ready() and not self.is_finished()

    def completed(self) -> _park.ObjectRef:
        """A reference to an object that is there when the task is over: None, or the error that ended it."""
        return self._generator_ref

    def send(self, value):
        """Not offered: the generator runs in another process."""
        raise NotImplementedError("`gen.send` is not supported.")

    def throw(self, value):
        """Not offered: see `park.cancel`."""
        raise NotImplementedError("`gen.throw` is not supported.")

    def close(self):
        """Not offered: see `park.cancel`."""
        raise NotImplementedError("`gen.close` is not supported.")

    async def asend(self, value):
        """Not offered: the generator runs in another process."""
        raise NotImplementedError("`gen.asend` is not supported.")

    async def athrow(self, value):
        """Not offered: see `park.cancel`."""
        raise NotImplementedError("`gen.athrow` is not supported.")

    async def aclose(self):
        """Not offered: see `park.cancel`."""
        raise NotImplementedError("`gen.aclose` is not supported.")

    def __getstate__(self):
        raise TypeError(
            "You cannot return or pass a generator to other task. Serializing a ObjectRefGenerator is not allowed."
        )


class DynamicObjectRefGenerator:
    """References to everything that a generator yielded. Iterating gives them away one by one."""

    def __init__(self, refs):
        self._refs: collections.deque[_park.ObjectRef] = collections.deque(refs)

    def __iter__(self):
        while self._refs:
            yield self._refs.popleft()

    def __len__(self):
        return len(self._refs)


def results(number: int | str, refs: list[_park.ObjectRef]):
    """What `.remote()` returns for what was submitted with this `num_returns`."""
    if number == "streaming":
        return ObjectRefGenerator(*refs)
    if number in (1, "dynamic"):
        return refs[0]
    return refs or None
