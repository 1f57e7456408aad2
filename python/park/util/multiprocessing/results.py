"""What a pool gives out: results of work that may still run. Each reference is to a list of outcomes, one for each call of a batch."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError
from typing import Any

from park import _park


class Failed:
    """In the place of a result: what the function raised."""

    def __init__(self, error: Exception):
        self.error = error


def _opened(outcome: Any) -> Any:
    if isinstance(outcome, Failed):
        raise outcome.error
    return outcome


class AsyncResult:
    """The results of one call of the pool, which runs them meanwhile."""

    def __init__(
        self,
        refs: list,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[Exception], Any] | None = None,
        single: bool = False,
    ):
        self._refs = refs
        self._single = single
        self._told = threading.Event()
        if callback is None and error_callback is None:
            self._told.set()
        else:
            # Nobody else may be there to call them when the results come.
            threading.Thread(
                target=self._tell, args=(callback, error_callback), name="park-pool-callback", daemon=True
            ).start()

    def _tell(self, callback, error_callback):
        try:
            try:
                value = self._value()
            except Exception as error:
                if error_callback is not None:
                    error_callback(error)
                return
            if callback is not None:
                callback(value)
        finally:
            self._told.set()

    def _value(self):
        results = [_opened(outcome) for batch in _park.get(self._refs) for outcome in batch]
        return results[0] if self._single else results

    def wait(self, timeout: float | None = None) -> None:
        """Return when the results are there and callbacks have run, or after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        if self._refs:
            _, late = _park.wait(self._refs, num_returns=len(self._refs), timeout=timeout)
            if late:
                return
        self._told.wait(None if end is None else max(0.0, end - time.monotonic()))

    def get(self, timeout: float | None = None) -> Any:
        """The result, or the list of them; raises the first error in their order, or TimeoutError."""
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        return self._value()

    def ready(self) -> bool:
        """Whether all has ended."""
        if not self._told.is_set():
            return False
        return not self._refs or not _park.wait(self._refs, num_returns=len(self._refs), timeout=0)[1]

    def successful(self) -> bool:
        """Whether all has ended well. ValueError while some still runs."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        try:
            self._value()
        except Exception:
            return False
        return True


class IMapIterator:
    """Results in the order of their arguments, of which no more are taken than the pool has work for."""

    def __init__(self, submit: Callable[[list], Any], values: Iterator, chunk_size: int, ahead: int):
        self._submit = submit
        self._values = values
        self._chunk_size = chunk_size
        self._running: list[Any] = []
        self._outcomes: deque[Any] = deque()
        for _ in range(ahead):
            self._send()

    def _send(self):
        chunk = list(itertools.islice(self._values, self._chunk_size))
        if chunk:
            self._running.append(self._submit(chunk))

    def _next_ref(self, timeout):
        ready, _ = _park.wait(self._running[:1], timeout=timeout)
        return ready

    def __iter__(self):
        return self

    def __next__(self):
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result, or the exception in its place; TimeoutError after `timeout` seconds."""
        while not self._outcomes:
            if not self._running:
                raise StopIteration
            ready = self._next_ref(timeout)
            if not ready:
                raise TimeoutError
            self._running.remove(ready[0])
            self._send()
            self._outcomes.extend(_park.get(ready[0]))
        outcome = self._outcomes.popleft()
        # As Ray's pool, not Python's: an iterator is not to end at a call that failed.
        return outcome.error if isinstance(outcome, Failed) else outcome


class UnorderedIMapIterator(IMapIterator):
    """Results as they come."""

    def _next_ref(self, timeout):
        ready, _ = _park.wait(self._running, timeout=timeout)
        return ready
