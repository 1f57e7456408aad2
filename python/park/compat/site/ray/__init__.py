"""The package `ray` that `park.compat.ray` puts in Ray's place: park under Ray's names, as of the version below.

Most of what it shows is looked up in park when somebody asks, so that the import stays light. It may be imported in three ways:
through the hook of an installed `park.compat.ray`, by a worker that preloads it, or from `PYTHONPATH` by a Python program that a
program on park has started; the last two install the hook here.
"""

import importlib
import os
import sys

#: What `park.compat.ray.install` knows this package by.
__park__ = True
#: The Ray whose interface this is, and the commit that its package names.
__version__ = "2.60.0"
__commit__ = "b7f4259e944bf6959f721b106adc366ddfa0c356"

_home = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))
if _home not in sys.path:  # a child of a program that found park on a path of its own: it must be the same park
    sys.path.insert(1, _home)

import park
from park.compat import ray as _compat

_compat.install()

SCRIPT_MODE, WORKER_MODE = 0, 1

#: Names that Ray has at its top level, whether from park or from here.
__all__ = [
    *(
        "ActorClassID",
        "ActorID",
        "FunctionID",
        "JobID",
        "Language",
        "NodeID",
        "ObjectID",
        "ObjectRef",
        "ObjectRefGenerator",
    ),
    *("PlacementGroupID", "SCRIPT_MODE", "TaskID", "UniqueID", "WORKER_MODE", "WorkerID", "__version__", "actor"),
    *(
        "available_resources",
        "cancel",
        "cluster_resources",
        "cpp_function",
        "exceptions",
        "get",
        "get_actor",
        "get_gpu_ids",
    ),
    *(
        "get_runtime_context",
        "init",
        "internal",
        "is_initialized",
        "java_actor_class",
        "java_function",
        "kill",
        "method",
        "nodes",
    ),
    *("put", "remote", "shutdown", "timeline", "util", "wait"),
]

_SUBMODULES = frozenset(
    {
        "_common",
        "_private",
        "_raylet",
        "cluster_utils",
        "core",
        "experimental",
        "internal",
        "job_config",
        "runtime_env",
        "types",
    }
) | {"actor", "cloudpickle", "exceptions", "remote_function", "runtime_context", "util"}


def java_function(class_name, function_name):
    """Ray calls Java here."""
    raise NotImplementedError(f"park runs no Java: {class_name}.{function_name} needs Ray itself")


def java_actor_class(class_name):
    """Ray makes actors of Java classes here."""
    raise NotImplementedError(f"park runs no Java: {class_name} needs Ray itself")


def cpp_function(function_name):
    """Ray calls C++ here; park's way is a task registered through park.h."""
    raise NotImplementedError(f"park calls C++ through park.h and park.hpp, not by cpp_function({function_name!r})")


class Language:
    """In which language a task is written: Python, here."""

    PYTHON = "PYTHON"
    JAVA = "JAVA"
    CPP = "CPP"


def __getattr__(name):
    # A name that is found is kept, so it is looked for once.
    if name in _SUBMODULES:
        return importlib.import_module(f"ray.{name}")
    if name in ("worker", "state", "ray_constants"):  # their old places
        return importlib.import_module(f"ray._private.{name}")
    if name == "data":
        # The one library that Ray imports when it is asked for: the error says what to do.
        return importlib.import_module("ray.data")
    try:
        value = getattr(park, name)
    except AttributeError:
        from park.compat.ray.finder import REFUSED, refusal

        text = refusal(name) if name in REFUSED else f"module 'ray' has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=sys.modules[__name__]) from None
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__, *_SUBMODULES})
