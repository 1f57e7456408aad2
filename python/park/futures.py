"""Awaiting references: `await ref`, `ref.as_future()`, `ref.future()`.

One thread of the process sleeps on the process's doorbell for all of them. An `asyncio.Future` is resolved on its own event loop, where
the value is read too; the callbacks of others run on the thread itself.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

from park import _park
from park.exceptions import RayError
from park.here import ProcessThread

logger = logging.getLogger(__name__)


class _Waiter:
    """The thread that waits, for one session."""

    def __init__(self, session: int):
        self.session = session
        self.watch = _park.Watch()
        self.thread = ProcessThread(target=self._run, name="park-futures", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        # No name for what is over: it must not live until the next one is.
        while _tell(self.watch.next()):
            pass

    def close(self) -> None:
        self.watch.close()
        if self.thread is not threading.current_thread():
            self.thread.join()


_lock = threading.Lock()
_waiter: _Waiter | None = None


def _watch(ref: _park.ObjectRef, waiting: asyncio.Future | Callable[[_park.ObjectRef], None]) -> bool:
    """Have `waiting` told when the object is there. False if it is there."""
    global _waiter
    waiter = _waiter
    session = _park.session_id()
    if waiter is None or waiter.session != session:
        with _lock:
            waiter = _waiter
            if waiter is None or waiter.session != session:
                if waiter is not None:
                    waiter.close()
                waiter = _waiter = _Waiter(session)
    return waiter.watch.add(ref, waiting)


def close() -> None:
    """End the thread: the session is closed. Whoever waits is told so."""
    global _waiter
    with _lock:
        waiter, _waiter = _waiter, None
    if waiter is not None:
        waiter.close()


def _forget() -> None:
    global _lock, _waiter
    _lock = threading.Lock()
    _waiter = None


# The thread is not there after fork(), and who held the lock may not be either.
os.register_at_fork(after_in_child=_forget)


def as_future(ref: _park.ObjectRef) -> asyncio.Future:
    """A future of this thread's event loop that becomes the value, or raises the error, of `ref`."""
    future = asyncio.get_event_loop().create_future()
    if not _watch(ref, future):
        _resolve([(ref, future)])
    return future


def link_is_there(link: _park.ObjectRef) -> asyncio.Future:
    """A future of this thread's event loop that is done when `link` is there, whatever it is."""
    future = asyncio.get_event_loop().create_future()
    loop = future.get_loop()

    def tell(_):
        loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))

    if not _watch(link, tell):
        future.set_result(None)
    return future


def concurrent_future(ref: _park.ObjectRef) -> concurrent.futures.Future:
    """A future of `concurrent.futures` that becomes the value, or raises the error, of `ref`."""
    future: concurrent.futures.Future = concurrent.futures.Future()

    def resolve(ref):
        if future.set_running_or_notify_cancel():
            _settle(future, ref)

    if not _watch(ref, resolve):
        resolve(ref)
    return future


def on_completed(ref: _park.ObjectRef, callback: Callable[[Any], None]) -> None:
    """Call `callback` with the value or the exception of `ref` once it is there."""

    def complete(ref):
        try:
            value = _park.value_of(ref)
        except Exception as error:
            value = error
        callback(value)

    if not _watch(ref, complete):
        _call(complete, ref)


def _tell(over: list[tuple[_park.ObjectRef, Any]]) -> bool:
    """Resolve what waits for these; False if there are none."""
    by_loop: dict[asyncio.AbstractEventLoop, list] = {}
    for ref, waiting in over:
        if isinstance(waiting, asyncio.Future):
            by_loop.setdefault(waiting.get_loop(), []).append((ref, waiting))
        else:
            _call(waiting, ref)
    for loop, resolved in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, resolved)
        except RuntimeError:  # the loop was closed: nobody waits there any more
            pass
    return bool(over)


def _call(function, ref) -> None:
    try:
        function(ref)
    except Exception:
        # As text: the traceback itself would keep alive what the callback saw.
        logger.error("a callback of %r raised\n%s", ref, traceback.format_exc())


def _resolve(resolved: list[tuple[_park.ObjectRef, asyncio.Future]]) -> None:
    for ref, future in resolved:
        if not future.done():  # else it was cancelled
            _settle(future, ref)


def _settle(future, ref) -> None:
    try:
        value = _park.value_of(ref)
    except BaseException as error:  # a task may have raised anything
        try:
            future.set_exception(error)
        except TypeError:  # asyncio takes no StopIteration, which ends coroutines
            future.set_exception(RayError(str(error)))
    else:
        future.set_result(value)
