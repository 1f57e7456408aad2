"""`RayDaskCallback`: hooks into what the scheduler does with a graph, under the names that Ray gives them.

| hook | when, and with what | where |
|---|---|---|
| `ray_presubmit(task, key, deps)` | before a task is submitted; what it returns, if not None, is the task's value, and nothing is submitted | driver |
| `ray_postsubmit(task, key, deps, object_ref)` | after it was | driver |
| `ray_pretask(key, object_refs)` | before the task runs, with the values that it needs | worker |
| `ray_posttask(key, result, pre_state)` | after it has, with what `ray_pretask` returned | worker |
| `ray_postsubmit_all(object_refs, dsk)` | after all are submitted, with the references that were asked for | driver |
| `ray_finish(result)` | when the values are there | driver |

A hook is given to the constructor, or is a method of a subclass with an underscore before its name. Callbacks are active in a `with`, from
`register()` to `unregister()`, or for one computation that is told of them by `ray_callbacks=[...]`, which then has no others. They
are not active in computations that a computation starts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

from dask.callbacks import Callback


class RayCallback(NamedTuple):
    """The hooks of one callback, None for those that it does not have."""

    ray_presubmit: Any = None
    ray_postsubmit: Any = None
    ray_pretask: Any = None
    ray_posttask: Any = None
    ray_postsubmit_all: Any = None
    ray_finish: Any = None


class RayDaskCallback(Callback):
    """Hooks for `ray_dask_get`; those of Dask's own `Callback` are accepted too, for its own schedulers."""

    #: What is active now.
    ray_active: ClassVar[set[RayCallback]] = set()

    def __init__(self, **hooks: Any):
        for name in RayCallback._fields:
            if (hook := hooks.pop(name, None)) is not None:
                setattr(self, f"_{name}", hook)
        super().__init__(**hooks)

    @property
    def _ray_callback(self) -> RayCallback:
        return RayCallback(*(getattr(self, f"_{name}", None) for name in RayCallback._fields))

    def __enter__(self):
        self._entered = self._ray_callback
        RayDaskCallback.ray_active.add(self._entered)
        super().__enter__()
        return self

    def __exit__(self, *exc: Any):
        super().__exit__(*exc)
        RayDaskCallback.ray_active.discard(self._entered)

    def register(self) -> None:
        """Be active from now on."""
        RayDaskCallback.ray_active.add(self._ray_callback)
        super().register()

    def unregister(self) -> None:
        """Take that back. KeyError if it was not registered."""
        RayDaskCallback.ray_active.remove(self._ray_callback)
        super().unregister()


@contextlib.contextmanager
def local_ray_callbacks(
    callbacks: Iterable[RayDaskCallback | RayCallback] | None = None,
) -> Iterator[list[RayCallback]]:
    """The callbacks of a computation: these, or else those that are active, which are not for computations inside of it."""
    if callbacks is not None:
        yield [_hooks_of(callback) for callback in callbacks]
        return
    active, RayDaskCallback.ray_active = RayDaskCallback.ray_active, set()
    try:
        yield list(active)
    finally:
        RayDaskCallback.ray_active = active


def _hooks_of(callback: Any) -> RayCallback:
    if isinstance(callback, RayDaskCallback):
        return callback._ray_callback
    if isinstance(callback, RayCallback):
        return callback
    raise TypeError(f"ray_callbacks must be a list of RayDaskCallback, got one with {type(callback)}")


def hooks(callbacks: list[RayCallback], name: str) -> list[Any]:
    """The hooks of this name that there are."""
    return [hook for callback in callbacks if (hook := getattr(callback, name)) is not None]
