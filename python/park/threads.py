"""Workers that are threads of the driver's process: `park.init(mode="thread")`.

The native half decides what a worker does and when it ends (park-py/src/worker/host.rs); here its thread is made. It is a
`threading.Thread`, so debuggers and profilers know it as any other. Threads that a worker's code starts belong to the worker: what they
submit is its, what they wait for blocks it, and `get_runtime_context()` answers them as it answers the worker.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import Any

import park.serialization
import park.worker
from park import _park
from park.here import HERE, Facts, ProcessThread

#: What a worker needs at once; imported here so that the first does not wait for it.
_PRELOADED = (park.serialization, park.worker)

_numbers = itertools.count(1)
_plain_start = threading.Thread.start


class Interruption(KeyboardInterrupt):
    """What a task gets that was cancelled: made as it is raised, which is how park knows that the task has heard."""

    def __new__(cls):
        _park.interruption_heard()
        return KeyboardInterrupt()


def absorb() -> None:
    """Nothing: what was to be raised in this thread is raised as it begins."""


def start(seat: Any) -> None:
    """Start a worker thread for this seat."""
    threading.Thread(target=_work, args=(seat,), name=f"park-worker-{next(_numbers)}", daemon=True).start()


def _work(seat: Any) -> None:
    HERE.facts = Facts()
    with contextlib.suppress(SystemExit):  # how a thread hears that its worker has ended
        seat.take()


def hand_on_membership() -> None:
    """From now on, threads that a worker's thread starts work for the same worker."""
    threading.Thread.start = _start  # type: ignore[method-assign]


def keep_membership() -> None:
    """Undo `hand_on_membership`."""
    if threading.Thread.start is _start:
        threading.Thread.start = _plain_start  # type: ignore[method-assign]


def _start(self: threading.Thread) -> None:  # stands in for the method, so its argument has the method's name
    membership = _park.membership()
    if membership is not None and not isinstance(self, ProcessThread):
        run, facts = self.run, HERE.facts

        def run_for_worker() -> None:
            HERE.facts = facts
            with contextlib.suppress(SystemExit):
                membership.run(run)

        self.run = run_for_worker  # type: ignore[method-assign]
    _plain_start(self)
