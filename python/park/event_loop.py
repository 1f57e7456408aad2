"""The event loop of an async actor: one thread, on which a concurrency group's calls run as tasks of asyncio.

The native lane (park-py/src/worker/lane.rs) decides how many run at a time; here they are begun, in the order in which they came, and
their results and exceptions handed back. Methods that are not coroutines run on the same thread and hold the others up, as in Ray.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import selectors
import threading
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType
from typing import Any

from park import futures
from park.exceptions import AsyncioActorExit, TaskCancelledError
from park.runtime_context import CURRENT_CALL

logger = logging.getLogger(__name__)

#: How often a generator whose items nobody takes asks whether anybody still could.
_TICK = 0.1


class _Selector(selectors.DefaultSelector):
    """Where the event loop sleeps: it first looks for calls itself, which costs less than being woken for them."""

    #: Takes calls; true if any came. Its argument says whether the loop is about to sleep.
    attend: Callable[[bool], bool] | None = None

    def select(self, timeout=None):
        if self.attend is not None and self.attend(timeout is None or timeout > 0):
            timeout = 0
        return super().select(timeout)


class ActorLoop:
    """A thread with an event loop for one lane."""

    def __init__(self, name: str):
        self._selector = _Selector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self._lane: Any = None
        #: By the call's id; asyncio itself does not keep a task alive.
        self._tasks: dict[str, asyncio.Task] = {}
        threading.Thread(target=self._run, name=f"AsyncIO Thread: {name}", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            # Where the worker is a process, nobody ever stops the loop.
            self.loop.close()

    def stop(self) -> None:
        """The worker has ended, but not its process: what runs here never comes to an end. From any thread."""
        try:
            self.loop.call_soon_threadsafe(self._stop)
        except RuntimeError:  # closed: it was left by an exception
            pass

    def _stop(self) -> None:
        for task in self._tasks.values():
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop.stop()

    def serve(self, lane, attends: bool) -> None:
        """Run the calls of this lane from now on."""
        self._lane = lane
        if attends:
            self._selector.attend = self._attend

    def _attend(self, patient: bool) -> bool:
        came = self._lane.attend(patient)
        if came:
            self._begin()
        return came

    def construct(self, class_, args, kwargs):
        """Make an instance on the loop's thread; its `__init__` may be a coroutine function."""

        async def make():
            if not inspect.iscoroutinefunction(class_.__init__):
                return class_(*args, **kwargs)
            instance = class_.__new__(class_)
            await class_.__init__(instance, *args, **kwargs)
            return instance

        return asyncio.run_coroutine_threadsafe(_guarded(make()), self.loop).result().value()

    def wake(self) -> None:
        """Calls have come. From any thread."""
        self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        for call in self._lane.admit():
            self._tasks[call.task_id] = self.loop.create_task(self._serve(call), name=call.method)

    def cancel(self, task_id: str) -> None:
        """Cancel a call that runs, as asyncio cancels a task. From any thread."""
        self.loop.call_soon_threadsafe(self._cancel, task_id)

    def _cancel(self, task_id: str) -> None:
        task = self._tasks.get(task_id)
        if task is not None:
            # Later: one that has not had its first step yet would end without having said so.
            self.loop.call_soon(task.cancel)

    async def _serve(self, call) -> None:
        CURRENT_CALL.set((bytes.fromhex(call.task_id), call.method, None))
        try:
            value = call.begin()
            if type(value) is CoroutineType:
                value = await value
            stream = None
            if type(value) is AsyncGeneratorType:
                stream = call.stream()
                if stream is None:
                    value = await _drain(value)
                else:
                    await _stream(value, stream)
        except asyncio.CancelledError as error:
            cancelled = TaskCancelledError(call.task_id)
            cancelled.__cause__ = error
            call.fail(cancelled)
        except BaseException as error:  # whatever it is, it is the call's: the loop goes on
            call.fail(error)
        else:
            if stream is None:
                call.succeed(value)
            else:
                call.end()
        del self._tasks[call.task_id]
        if self._lane.leave():
            self._begin()


async def _drain(values):
    return [value async for value in values]


async def _stream(values, stream) -> None:
    """Make items of what an async generator yields, and wait while as many are not taken as there may be."""
    try:
        async for value in values:
            stream.push(value)
            await _room(stream)
    except (asyncio.CancelledError, AsyncioActorExit, SystemExit, KeyboardInterrupt) as error:
        stream.fail(error)
        raise
    except BaseException as error:
        stream.push_error(error)
    stream.end()


async def _room(stream) -> None:
    awaited, future = None, None
    while (ticket := stream.full_until()) is not None:
        if future is None or ticket != awaited:
            awaited, future = ticket, futures.as_future(ticket)
        # The consumer may also go away, which no ticket tells.
        await asyncio.wait([future], timeout=_TICK)


class _Outcome:
    """What a coroutine returned or raised. A SystemExit must not pass through the loop, which would end by it."""

    def __init__(self, value=None, error: BaseException | None = None):
        self._value = value
        self._error = error

    def value(self):
        if self._error is not None:
            raise self._error
        return self._value


async def _guarded(coroutine) -> _Outcome:
    try:
        return _Outcome(await coroutine)
    except BaseException as error:  # raised again where it was asked for
        return _Outcome(error=error)


def warn_of_blocking_get() -> None:
    """Say, once in a process, that `get` holds up an event loop."""
    logger.warning(
        "Using blocking ray.get inside async actor. This blocks the event loop. Please use `await` on object ref with "
        "asyncio.gather if you want to yield execution to the event loop instead."
    )
