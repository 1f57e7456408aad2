"""`cancel`, and how a worker process hears of it."""

from __future__ import annotations

import signal

from park import _park


def cancel(ray_waitable: _park.ObjectRef | _park.StreamReader, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task or the actor's call that is to make this object, or this generator's.

    What has not begun never runs: its result is a `TaskCancelledError`, at once. A task that runs gets a KeyboardInterrupt; with
    `force` its process is killed. A call of an actor that runs sees it if it asks `get_runtime_context().is_canceled()`, and its
    result is an error whatever it returns. `recursive` cancels what the task or call submitted, too. What is over stays as it is.
    """
    _park.session_id()  # opens a session as the rest of the interface does
    link = None
    if isinstance(ray_waitable, _park.StreamReader):
        link, ray_waitable = ray_waitable._link, ray_waitable._generator_ref
    if not isinstance(ray_waitable, _park.ObjectRef):
        raise TypeError(
            f"ray.cancel() only supported for object refs. For actors, try ray.kill(). Got: {type(ray_waitable)}."
        )
    _park.cancel(ray_waitable, link, force, recursive)


def listen() -> None:
    """Let this worker process be told that the task it runs was cancelled."""
    signal.signal(_park.CANCEL_SIGNAL, _interrupt)


def _interrupt(number, frame):
    # As if somebody had pressed Ctrl-C, so that a task may handle both alike.
    if _park.cancel_is_due():
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
