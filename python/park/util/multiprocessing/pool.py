"""`Pool`: the interface of `multiprocessing.Pool` over actors of the session.

A call goes to one actor after the other, in batches for `map`. An actor that is replaced (`maxtasksperchild`) or no longer needed
(`close`) is let go of: it ends when what it was sent is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from park import _park, session
from park.util.debug import log_once
from park.util.multiprocessing.results import AsyncResult, Failed, IMapIterator, UnorderedIMapIterator


class _PoolActor:
    def __init__(self, initializer, initargs):
        if initializer:
            initializer(*initargs)

    def ready(self):
        pass

    def run_batch(self, function, calls):
        outcomes = []
        for args, kwargs in calls:
            try:
                outcomes.append(function(*args, **kwargs))
            except Exception as error:
                outcomes.append(Failed(error))
        return outcomes


class Pool:
    """So many processes (by default as many as the session has CPUs), each an actor with the options `ray_remote_args`.

    `initializer(*initargs)` runs in each of them first; after `maxtasksperchild` batches a process is replaced by a new one. Without
    a session one is opened, with that many CPUs. `context` is another world's and means nothing here.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable | None = None,
        initargs: Iterable | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ):
        if context and log_once("context_argument_warning"):
            import logging

            logging.getLogger(__name__).warning(
                "The 'context' argument of Pool has no effect: its processes are actors."
            )
        processes = _checked_processes(processes, ray_address)
        import park

        self._class = park.remote(num_cpus=0)(_PoolActor).options(**(ray_remote_args or {}))
        self._start = (initializer, tuple(initargs or ()))
        self._most = maxtasksperchild or 0
        #: Each actor, and how many batches it was sent.
        self._actors: list[tuple[Any, int]] = [(self._class.remote(*self._start), 0) for _ in range(processes)]
        self._turn = 0
        #: What may still run; looked through when it has grown.
        self._sent: list[Any] = []
        self._closed = False
        _park.get([actor.ready.remote() for actor, _ in self._actors])

    # --- one call -----------------------------------------------------------------------------------------------------------------

    def apply(self, func: Callable, args: tuple | None = None, kwargs: dict | None = None) -> Any:
        """The result of `func(*args, **kwargs)`."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable,
        args: tuple | None = None,
        kwargs: dict | None = None,
        callback: Callable | None = None,
        error_callback: Callable | None = None,
    ) -> AsyncResult:
        """As `apply`, without waiting."""
        self._check_running()
        ref = self._send(func, [(args or (), kwargs or {})])
        return AsyncResult([ref], callback, error_callback, single=True)

    # --- many calls ---------------------------------------------------------------------------------------------------------------

    def map(self, func: Callable, iterable: Iterable, chunksize: int | None = None) -> list:
        """`func` of each item."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable,
        iterable: Iterable,
        chunksize: int | None = None,
        callback: Callable | None = None,
        error_callback: Callable | None = None,
    ) -> AsyncResult:
        """As `map`, without waiting."""
        return self._map(func, [((item,), {}) for item in iterable], chunksize, callback, error_callback)

    def starmap(self, func: Callable, iterable: Iterable, chunksize: int | None = None) -> list:
        """`func(*item)` for each item."""
        return self.starmap_async(func, iterable, chunksize=chunksize).get()

    def starmap_async(
        self,
        func: Callable,
        iterable: Iterable,
        callback: Callable | None = None,
        error_callback: Callable | None = None,
        chunksize: int | None = None,
    ) -> AsyncResult:
        """As `starmap`, without waiting."""
        return self._map(func, [(tuple(item), {}) for item in iterable], chunksize, callback, error_callback)

    def _map(self, func, calls, chunk_size, callback, error_callback):
        self._check_running()
        size = chunk_size or self._chunk_size(len(calls))
        refs = [self._send(func, calls[at : at + size]) for at in range(0, len(calls), size)]
        return AsyncResult(refs, callback, error_callback)

    def imap(self, func: Callable, iterable: Iterable, chunksize: int | None = 1) -> IMapIterator:
        """As `map`, one result after the other; of `iterable` only as much is taken as the processes have work for."""
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(self, func: Callable, iterable: Iterable, chunksize: int | None = 1) -> UnorderedIMapIterator:
        """As `imap`, results as they come."""
        return self._imap(UnorderedIMapIterator, func, iterable, chunksize)

    def _imap(self, kind, func, iterable, chunk_size):
        self._check_running()
        if not chunk_size:
            chunk_size = self._chunk_size(len(iterable)) if hasattr(iterable, "__len__") else 1

        def submit(items):
            return self._send(func, [((item,), {}) for item in items])

        return kind(submit, iter(iterable), chunk_size, len(self._actors))

    def _chunk_size(self, number):
        return max(1, -(-number // (len(self._actors) * 4)))

    def _send(self, func, calls):
        self._turn = (self._turn + 1) % len(self._actors)
        actor, batches = self._actors[self._turn]
        ref = actor.run_batch.remote(func, calls)
        batches += 1
        if batches == self._most:
            actor, batches = self._class.remote(*self._start), 0
        self._actors[self._turn] = (actor, batches)
        self._sent.append(ref)
        if len(self._sent) > 1024 and len(self._sent) & (len(self._sent) - 1) == 0:
            self._sent = _park.wait(self._sent, num_returns=len(self._sent), timeout=0)[1]
        return ref

    # --- the end ------------------------------------------------------------------------------------------------------------------

    def _check_running(self):
        if self._closed:
            raise ValueError("Pool not running")

    def __enter__(self):
        self._check_running()
        return self

    def __exit__(self, *exc):
        self.terminate()

    def close(self) -> None:
        """Take no more work; what was sent is done."""
        self._closed = True
        self._class = None

    def terminate(self) -> None:
        """End the processes, whatever they do."""
        import park

        self.close()
        for actor, _ in self._actors:
            park.kill(actor)
        self._actors = []

    def join(self) -> None:
        """Wait until all is done; after `close` or `terminate`."""
        if not self._closed:
            raise ValueError("Pool is still running")
        if self._sent:
            _park.wait(self._sent, num_returns=len(self._sent))
        self._sent = []
        self._actors = []


def _checked_processes(processes, address):
    import park

    if not park.is_initialized():
        address = address or os.environ.get("RAY_ADDRESS")
        joins = address != "local" and session.is_there(address)
        park.init(address=address, num_cpus=None if joins else processes)
    cpus = int(park.cluster_resources().get("CPU", 0))
    if processes is None:
        processes = cpus
    if processes <= 0:
        raise ValueError("Processes in the pool must be >0.")
    if cpus < processes:
        raise ValueError(
            f"Tried to start a pool with {processes} processes on an existing ray cluster, but there are only {cpus} CPUs in the "
            "ray cluster."
        )
    return processes
