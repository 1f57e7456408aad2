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
#: How often one looks again whose actor's other generators are about to yield.
_MOMENT = 0.005


class _Selector(selectors.DefaultSelector):
    """Where the event loop sleeps: it looks for calls itself, and as a rule sleeps where they wake it at once."""

    #: Takes calls. Its arguments are how long the loop may sleep, and whether it waits for nothing that only the selector can tell. Its
    #: answer: None if the loop is to sleep here, else whether calls came.
    attend: Callable[[float | None, bool], bool | None] | None = None

    def select(self, timeout=None):
        # A loop of its own accord waits for one file: what ends its sleep when another thread has something for it.
        if self.attend is not None and self.attend(timeout, len(self.get_map()) == 1) is not None:
            timeout = 0
        return super().select(timeout)


class _EventLoop(asyncio.SelectorEventLoop):
    """An event loop that other threads also wake from the sleep in `attend`."""

    def __init__(self):
        self.selector = _Selector()
        self.knock: Callable[[], None] | None = None
        super().__init__(self.selector)

    def _write_to_self(self):
        super()._write_to_self()
        if self.knock is not None:
            self.knock()


class ActorLoop:
    """A thread with an event loop for one lane."""

    def __init__(self, name: str):
        self.loop = _EventLoop()
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
            # In this order: who sleeps in `attend` can be woken.
            self.loop.knock = lane.knock
            self.loop.selector.attend = self._attend

    def _attend(self, limit: float | None, alone: bool) -> bool | None:
        came = self._lane.attend(limit, alone)
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
        CURRENT_CALL.set((bytes.fromhex(call.task_id), call.method, call.chosen_name, call.depth))
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
        await _budget(stream)
        async for value in values:
            stream.push(value)
            await _room(stream)
            await _budget(stream)
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


async def _budget(stream) -> None:
    """Wait until the actor's generators together may make what this one yields next."""
    waiting: dict[Any, asyncio.Future] = {}
    while not stream.may_go_on():
        waiting = {ticket: waiting.get(ticket) or futures.as_future(ticket) for ticket in stream.budget_waits_for()}
        if waiting:
            await asyncio.wait(waiting.values(), timeout=_TICK, return_when=asyncio.FIRST_COMPLETED)
        else:
            # All of it is reserved by generators that run: in no list until they yield.
            await asyncio.sleep(_MOMENT)


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
