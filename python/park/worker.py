"""What a worker process does around the native loop: random seeds, namespace, loading actor classes, threads for their calls."""

import pickle
import random
import sys
import threading
from typing import NamedTuple

import park.serialization
from park import _park, session

#: How often this process's actor was restarted before; None in processes that are no actor.
restarts = None

#: Imported in the zygote so that no worker pays for it.
_PRELOADED = (park.serialization,)


def main(control, arena, participant, hello):
    """Run jobs until the head says so. Returns the exit code."""
    session.enter_worker(hello)
    # Forked workers would otherwise all draw the same numbers.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].seed()
    _park.worker_main(control, arena, participant)
    return 0


def load_actor(blob, restart_count):
    """The class in the blob that park.actor exported, and how its calls run beside each other.

    The latter is what `Modes` in park-py/src/worker/actor.rs reads: whether calls run on event loops, and how many of each
    concurrency group at a time; a group of no name is there unless the main thread runs its calls. An async actor without groups has
    one event loop, which takes calls itself.
    """
    global restarts
    restarts = restart_count
    meta, definition = pickle.loads(blob)
    for name, limit in meta["groups"].items():
        if limit <= 0:
            raise ValueError(f"max_concurrency must be greater than 0, and concurrency group {name!r} has {limit}")
    return pickle.loads(definition), Modes(meta["asynchronous"], meta["attends"], meta["groups"])


class Modes(NamedTuple):
    """See `load_actor`."""

    asynchronous: bool
    attends: bool
    groups: dict[str, int]


def start_thread(pool, name):
    """Start one more thread that serves a pool of a threaded actor."""
    threading.Thread(target=pool.serve, name=f"park-{name}", daemon=True).start()


def wants_retry(classes, raised):
    """Whether a call is to be repeated after `raised`: `classes` is what its `retry_exceptions` said, pickled; nothing for all."""
    return isinstance(raised, pickle.loads(classes) if classes else Exception)
