"""What is known of the worker that the calling thread works for: its actor, and what its work runs with.

Where workers are processes there is one `Facts` in each. In thread mode each worker thread has its own, and threads that it starts share
it (`park.threads`): so the facts are looked up by thread, and whoever changes them changes those of the own worker.
"""

from __future__ import annotations

import threading
from typing import Any


class Facts:
    """The facts about one worker. In a process that is no worker, what holds for the driver."""

    def __init__(self) -> None:
        #: The id of the actor that it is, and what handles know of that; None for what is no actor.
        self.actor: tuple[bytes, dict[str, Any]] | None = None
        #: How often that actor was restarted before; None likewise.
        self.restarts: int | None = None
        #: The node's id; None on the first node and in what is no worker.
        self.node: str | None = None
        #: What the work holds, by name.
        self.resources: dict[str, float] = {"CPU": 1.0}
        #: Numbers of its GPUs on the node.
        self.devices: list[int] = []
        #: Number of the placement group that it runs in.
        self.group: int | None = None
        #: The same number, if what it submits goes there too.
        self.captures: int | None = None


class ProcessThread(threading.Thread):
    """A thread that serves the whole process: it works for no worker, whoever starts it."""


class _Here(threading.local):
    #: Seen by every thread that was not given other ones.
    facts = Facts()


HERE = _Here()
#: Those of the process.
PROCESS = HERE.facts
