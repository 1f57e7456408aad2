"""The scheduler: each task of a graph is submitted at once, with references to the results that it needs.

Submitting costs microseconds, so there is no pool of threads and nothing is waited for in between: the order of Dask's own (depth first, which
keeps few results alive) is the order of submission, and a result that nobody needs any more is freed with its last reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask
from dask._task_spec import Alias, DataNode, convert_legacy_graph
from dask.order import order

import park
from park.util.dask.callbacks import RayCallback, hooks, local_ray_callbacks

_RESOURCES = (
    "Use ray_remote_args={'resources': {...}} instead of resources={...} to specify required Ray task resources; see "
    "https://docs.ray.io/en/master/ray-core/package-ref.html#ray-remote."
)


def ray_dask_get(
    dsk: Any,
    keys: Any,
    ray_remote_args: dict[str, Any] | None = None,
    ray_persist: bool = False,
    ray_callbacks: Any = None,
    **options: Any,
) -> Any:
    """The values of `keys` (a key, or lists of them) in the graph `dsk`.

    `ray_remote_args` are options of every task; those of a layer come from `dask.annotate(ray_remote_args=...)`. With `ray_persist` the
    references are returned instead of the values. `ray_callbacks` is a list of `RayDaskCallback`, in place of those that are active.
    Other options are those of Dask's local schedulers and change nothing here.
    """
    if "resources" in options or "resources" in dask.get_annotations():
        raise ValueError(_RESOURCES)
    graph = _graph(dsk)
    scoped = _layers_options(graph)
    everywhere = {**(ray_remote_args or {}), **dask.get_annotations().get("ray_remote_args", {})}
    nodes = convert_legacy_graph(graph)
    made: dict[Any, Any] = {}
    with local_ray_callbacks(ray_callbacks) as callbacks:
        for key in sorted(nodes, key=order(nodes).__getitem__):
            made[key] = _submit(key, nodes[key], made, {**everywhere, **scoped.get(key, {})}, callbacks)
        wanted = _nested(keys, made.__getitem__)
        # What only the rest of the graph needs is its tasks' own from here on.
        made.clear()
        for hook in hooks(callbacks, "ray_postsubmit_all"):
            hook(wanted, nodes)
        result = wanted if ray_persist else _nested(wanted, park.get)
        for hook in hooks(callbacks, "ray_finish"):
            hook(result)
    return result


def ray_dask_persist(*collections: Any, **options: Any) -> Any:
    """As `dask.persist`, with references in place of the values."""
    return dask.persist(*collections, scheduler=ray_dask_get, ray_persist=True, **options)


def _graph(dsk: Any) -> Mapping:
    if isinstance(dsk, Mapping):
        return dsk
    # An expression, which Dask passes since 2025.4.
    return dsk._optimized_dsk if hasattr(dsk, "_optimized_dsk") else dsk.__dask_graph__()


def _layers_options(graph: Any) -> dict[Any, dict[str, Any]]:
    """What annotations of layers say about the tasks in them, by key."""
    scoped: dict[Any, dict[str, Any]] = {}
    for layer in getattr(graph, "layers", {}).values():
        annotations = getattr(layer, "annotations", None) or {}
        if "resources" in annotations:
            raise ValueError(_RESOURCES)
        if "ray_remote_args" in annotations:
            scoped.update(dict.fromkeys(layer.get_output_keys(), annotations["ray_remote_args"]))
    return scoped


def _submit(key: Any, node: Any, made: dict[Any, Any], options: dict[str, Any], callbacks: list[RayCallback]) -> Any:
    if isinstance(node, DataNode):
        value = node()  # of a persisted collection, a reference
        return value if isinstance(value, park.ObjectRef) else park.put(value)
    if isinstance(node, Alias):
        return made[node.target]
    needed = {one: made[one] for one in node.dependencies}
    for hook in hooks(callbacks, "ray_presubmit"):
        if (value := hook(node, key, needed)) is not None:
            return value if isinstance(value, park.ObjectRef) else park.put(value)
    task = _run.options(name=f"dask:{key!s}", **options)
    if hooks(callbacks, "ray_pretask") or hooks(callbacks, "ray_posttask"):
        # Each posttask gets what the pretask of its own callback returned.
        pairs = [(one.ray_pretask, one.ray_posttask) for one in callbacks]
        ref = task.remote(_Watched(key, node, pairs), list(needed), *needed.values())
    else:
        ref = task.remote(node, list(needed), *needed.values())
    for hook in hooks(callbacks, "ray_postsubmit"):
        hook(node, key, needed, ref)
    return ref


@park.remote
def _run(node, needed, *values):
    return node(dict(zip(needed, values, strict=True)))


class _Watched:
    """A task between the hooks that run in its worker."""

    def __init__(self, key: Any, node: Any, pairs: list[tuple[Any, Any]]):
        self._key, self._node, self._pairs = key, node, pairs

    def __call__(self, values: dict[Any, Any]) -> Any:
        before = [pre and pre(self._key, list(values.values())) for pre, _ in self._pairs]
        result = self._node(values)
        for (_, post), state in zip(self._pairs, before, strict=True):
            if post is not None:
                post(self._key, result, state)
        return result


def _nested(keys: Any, value_of: Any) -> Any:
    """The same lists, of values."""
    if isinstance(keys, list):
        return [_nested(one, value_of) for one in keys]
    return value_of(keys)
