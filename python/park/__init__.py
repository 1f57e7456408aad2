"""park: a zero-copy object store, tasks and actors in your process, named and shaped as Ray's.

`import park as ray`. The names are here; what they do is in `session` (init and what a session says), `remote_function`, `actor`,
and in the native `_park`, which has everything that is hot or touches shared memory.
"""

import functools
import inspect

from park import interpreter  # first: it says why the others could not be imported

interpreter.check()

from park import actor, exceptions, options, remote_function, util
from park._park import ObjectRef, get, put, wait
from park.accelerators import get_gpu_ids
from park.actor import get_actor, kill, method
from park.cancellation import cancel
from park.runtime_context import get_runtime_context
from park.session import (
    attach,
    available_resources,
    cluster_resources,
    init,
    is_initialized,
    nodes,
    runtime_stats,
    shutdown,
    store_stats,
)
from park.streaming import DynamicObjectRefGenerator, ObjectRefGenerator

__all__ = [
    "DynamicObjectRefGenerator",
    "ObjectRef",
    "ObjectRefGenerator",
    "actor",
    "attach",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "runtime_stats",
    "shutdown",
    "store_stats",
    "util",
    "wait",
]


def remote(*args, **kwargs):
    """Make a function a task, or a class an actor: `@park.remote`, `@park.remote(num_cpus=2)`, `park.remote(function)`."""
    if len(args) == 1 and callable(args[0]) and not kwargs:
        return _make_remote(args[0], {})
    if args or not kwargs:
        raise options.UsageError(options.REMOTE_USAGE)
    return functools.partial(_make_remote, remote_options=kwargs)


def _make_remote(function_or_class, remote_options):
    if inspect.isclass(function_or_class):
        return actor.ActorClass(function_or_class, remote_options)
    if inspect.isfunction(function_or_class):
        return remote_function.RemoteFunction(function_or_class, remote_options)
    raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")


#: What is imported when somebody asks for it: most programs never do.
_WHEN_ASKED = {
    "timeline": "park.util.timeline:timeline",
    **{name: f"park.{name}" for name in ("cloudpickle", "kv", "runtime_env", "store", "util")},
    **{
        name: f"park.ids:{name}"
        for name in (
            *("ActorClassID", "ActorID", "ClusterID", "FunctionID", "JobID", "NodeID", "ObjectID", "PlacementGroupID"),
            *("TaskID", "UniqueID", "WorkerID"),
        )
    },
}


def __getattr__(name):
    # Read from the installed distribution when somebody asks: to look for it costs more than the whole import.
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("parkstack")
        except PackageNotFoundError:  # run from a source tree
            return "0+unknown"
    if name in _WHEN_ASKED:
        from importlib import import_module

        module, _, attribute = _WHEN_ASKED[name].partition(":")
        found = import_module(module)
        return getattr(found, attribute) if attribute else found
    raise AttributeError(f"module 'park' has no attribute {name!r}")
