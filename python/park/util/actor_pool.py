"""`ActorPool`: a fixed set of actors that values are handed to, one each at a time.

What is submitted while all are busy waits here and is sent by whichever call of the pool next sees an actor fall idle: there is no
thread, so results must be asked for to keep the pool going.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from park import _park, exceptions


class ActorPool:
    """Work for these actors: `pool.map(lambda actor, value: actor.work.remote(value), values)`."""

    def __init__(self, actors: list):
        self._idle_actors = list(actors)
        #: What runs: its reference (a tuple of them for a call with several results), which submission it is, and on whom.
        self._running: dict[Any, tuple[int, Any]] = {}
        #: The same by submission, in the order in which `get_next` gives results.
        self._by_turn: dict[int, Any] = {}
        self._pending_submits: deque[tuple[Callable, Any]] = deque()
        self._next_turn = 0
        self._next_result = 0

    def map(self, fn: Callable, values: Iterable) -> Iterator:
        """Results of `fn(actor, value)`, which returns a reference, in the order of the values. What ran before is dropped."""
        return self._map(fn, values, self.get_next)

    def map_unordered(self, fn: Callable, values: Iterable) -> Iterator:
        """As `map`, each result as soon as it is there."""
        return self._map(fn, values, self.get_next_unordered)

    def _map(self, fn, values, get_next):
        while self.has_next():
            try:
                get_next(timeout=0, ignore_if_timedout=True)
            except TimeoutError:
                pass
        for value in values:
            self.submit(fn, value)

        def results():
            while self.has_next():
                yield get_next()

        return results()

    def submit(self, fn: Callable, value: Any) -> None:
        """Run `fn(actor, value)` on an idle actor, now or when there is one."""
        if not self._idle_actors:
            self._pending_submits.append((fn, value))
            return
        actor = self._idle_actors.pop()
        made = fn(actor, value)
        key = tuple(made) if isinstance(made, list) else made
        self._running[key] = (self._next_turn, actor)
        self._by_turn[self._next_turn] = key
        self._next_turn += 1

    def has_next(self) -> bool:
        """Whether there are results to come."""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submission. TimeoutError after `timeout` seconds; with `ignore_if_timedout` that result is
        given up and its actor used again."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        if self._next_result >= self._next_turn:
            raise ValueError("It is not allowed to call get_next() after get_next_unordered().")
        key = self._by_turn[self._next_result]
        ready = timeout is None or self._ready([key], timeout) is not None
        if not ready and not ignore_if_timedout:
            raise TimeoutError("Timed out waiting for result")
        return self._take(key, ready)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Whichever result is there first; else as `get_next`."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        key = self._ready(list(self._running), timeout)
        if key is None and not ignore_if_timedout:
            raise TimeoutError("Timed out waiting for result")
        return self._take(key or next(iter(self._running)), key is not None)

    def _ready(self, keys, timeout):
        """The first of these that is ready, with all of its results; None when the time is over."""
        last = {key[-1] if isinstance(key, tuple) else key: key for key in keys}
        ready, _ = _park.wait(list(last), num_returns=1, timeout=timeout)
        return last[ready[0]] if ready else None

    def _take(self, key, ready):
        turn, actor = self._running.pop(key)
        del self._by_turn[turn]
        self._next_result = max(self._next_result, turn + 1)
        if not ready:
            self._give_back(actor)
            raise TimeoutError(f"Timed out waiting for result. The task {key} has been ignored.")
        alive = True
        try:
            return _park.get(list(key) if isinstance(key, tuple) else key)
        except exceptions.ActorDiedError:
            alive = False
            raise
        finally:
            if alive:
                self._give_back(actor)
            else:
                self._send_waiting()

    def _give_back(self, actor):
        self._idle_actors.append(actor)
        self._send_waiting()

    def _send_waiting(self):
        if self._pending_submits and self._idle_actors:
            self.submit(*self._pending_submits.popleft())

    def has_free(self) -> bool:
        """Whether an actor is idle and nothing waits for one."""
        return bool(self._idle_actors) and not self._pending_submits

    def pop_idle(self) -> Any:
        """Take an idle actor out of the pool; None if there is none."""
        return self._idle_actors.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Put an actor into the pool."""
        if actor in self._idle_actors or any(actor == busy for _, busy in self._running.values()):
            raise ValueError("Actor already belongs to current ActorPool")
        self._give_back(actor)
