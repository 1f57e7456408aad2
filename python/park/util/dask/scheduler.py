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

_RESOURCES = (
    "Use ray_remote_args={'resources': {...}} instead of resources={...} to specify required Ray task resources; see "
    "https://docs.ray.io/en/master/ray-core/package-ref.html#ray-remote."
)


def ray_dask_get(
    dsk: Any, keys: Any, ray_remote_args: dict[str, Any] | None = None, ray_persist: bool = False, **options: Any
) -> Any:
    """The values of `keys` (a key, or lists of them) in the graph `dsk`.

    `ray_remote_args` are options of every task; those of a layer come from `dask.annotate(ray_remote_args=...)`. With `ray_persist` the
    references are returned instead of the values. Other options are those of Dask's local schedulers and change nothing here.
    """
    if options.get("ray_callbacks"):
        raise NotImplementedError("park.util.dask takes no ray_callbacks: use dask.callbacks, or park.timeline()")
    if "resources" in options or "resources" in dask.get_annotations():
        raise ValueError(_RESOURCES)
    graph = _graph(dsk)
    scoped = _layers_options(graph)
    everywhere = {**(ray_remote_args or {}), **dask.get_annotations().get("ray_remote_args", {})}
    nodes = convert_legacy_graph(graph)
    made: dict[Any, Any] = {}
    for key in sorted(nodes, key=order(nodes).__getitem__):
        made[key] = _submit(key, nodes[key], made, {**everywhere, **scoped.get(key, {})})
    wanted = _nested(keys, made.__getitem__)
    # What only the rest of the graph needs is its tasks' own from here on.
    made.clear()
    return wanted if ray_persist else _nested(wanted, park.get)


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


def _submit(key: Any, node: Any, made: dict[Any, Any], options: dict[str, Any]) -> Any:
    if isinstance(node, Alias):
        return made[node.target]
    if isinstance(node, DataNode):
        value = node()  # of a persisted collection, a reference
        return value if isinstance(value, park.ObjectRef) else park.put(value)
    needed = list(node.dependencies)
    return _run.options(name=f"dask:{key!s}", **options).remote(node, needed, *(made[one] for one in needed))


@park.remote
def _run(node, needed, *values):
    return node(dict(zip(needed, values, strict=True)))


def _nested(keys: Any, value_of: Any) -> Any:
    """The same lists, of values."""
    if isinstance(keys, list):
        return [_nested(one, value_of) for one in keys]
    return value_of(keys)
