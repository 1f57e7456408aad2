"""What a worker process does around the native loop: random seeds, namespace, loading actor classes."""

import pickle
import random
import sys

import park.serialization
from park import _park, session

#: How often this process's actor was restarted before; None in processes that are no actor.
restarts = None
#: The id of this process's actor, and what its handles know of it; None likewise.
actor = None

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


def name():
    """As whom this process prints: its actor's class, or the task that it runs."""
    if actor is not None:
        return actor[1]["class_name"]
    work = _park.current_work()
    return "worker" if work is None else work[1]


def load_actor_class(blob, restart_count, actor_id):
    """The class in the blob that park.actor exported, for the actor with this id, which this process is from now on."""
    global restarts, actor
    restarts = restart_count
    meta, definition = pickle.loads(blob)
    actor = (actor_id, meta)
    return pickle.loads(definition)
