"""What a worker process does around the native loop: random seeds, namespace, loading actor classes."""

import pickle
import random
import sys

import park.serialization
from park import _park, cancellation, session

#: How often this process's actor was restarted before; None in processes that are no actor.
restarts = None

#: Imported in the zygote so that no worker pays for it.
_PRELOADED = (park.serialization,)


def main(control, arena, participant, hello):
    """Run jobs until the head says so. Returns the exit code."""
    session.enter_worker(hello)
    cancellation.listen()
    # Forked workers would otherwise all draw the same numbers.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].seed()
    _park.worker_main(control, arena, participant)
    return 0


def load_actor_class(blob, restart_count):
    """The class in the blob that park.actor exported."""
    global restarts
    restarts = restart_count
    _meta, definition = pickle.loads(blob)
    return pickle.loads(definition)
