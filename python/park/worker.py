"""What a worker process does around the native loop: random seeds, namespace, loading actor classes, threads for their calls."""

import pickle
import random
import sys
import threading
from typing import NamedTuple

import park.serialization
from park import _park, cancellation, environment, runtime_context, session
from park.here import HERE, PROCESS

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
    if hello["runtime_env"]:
        environment.run_session_hook()
    _park.worker_main(control, arena, participant)
    return 0


def name():
    """As whom this process prints: its actor's class, or the task that it runs."""
    if HERE.facts.actor is not None:
        return HERE.facts.actor[1]["class_name"]
    work = runtime_context.current_work()
    return "worker" if work is None else work[1]


def load_actor(blob, restart_count, actor_id):
    """The class in the blob that park.actor exported, and how its calls run beside each other.

    The latter is what `Modes` in park-py/src/worker/actor.rs reads: whether calls run on event loops, and how many of each
    concurrency group at a time; a group of no name is there unless the main thread runs its calls. An async actor without groups has
    one event loop, which takes calls itself. Last, how many items of all its generators may wait to be taken, None for any number.
    """
    meta, definition = pickle.loads(blob)
    HERE.facts.restarts, HERE.facts.actor = restart_count, (actor_id, meta)
    if HERE.facts is PROCESS:
        _park.title_of_actor(meta["class_name"])
        # What people see in `top` and `ps`, cut by the system to fifteen bytes.
        with open("/proc/self/comm", "w") as comm:
            comm.write(f"ray::{meta['class_name']}")
    if env := meta["runtime_env"]:
        environment.put_on(env)
        environment.run_session_hook()
    for name, limit in meta["groups"].items():
        if limit <= 0:
            raise ValueError(f"max_concurrency must be greater than 0, and concurrency group {name!r} has {limit}")
    return pickle.loads(definition), Modes(meta["asynchronous"], meta["attends"], meta["groups"], meta["untaken"])


def shut_down(instance):
    """The actor ends, but not by a kill: its `__ray_shutdown__` may clean up. What that raises is printed and changes nothing."""
    clean_up = getattr(type(instance), "__ray_shutdown__", None)
    if clean_up is not None:
        try:
            clean_up(instance)
        except Exception:
            import traceback

            traceback.print_exc()


class Modes(NamedTuple):
    """See `load_actor`."""

    asynchronous: bool
    attends: bool
    groups: dict[str, int]
    untaken: int | None


def start_thread(pool, name):
    """Start one more thread that serves a pool of a threaded actor."""
    threading.Thread(target=pool.serve, name=f"park-{name}", daemon=True).start()


def wants_retry(classes, raised):
    """Whether a call is to be repeated after `raised`: `classes` is what its `retry_exceptions` said, pickled; nothing for all."""
    return isinstance(raised, pickle.loads(classes) if classes else Exception)
