"""What a node has of each resource: what it is told, else what the machine has; and what a session says about its nodes.

RAY_OVERRIDE_RESOURCES, a JSON dictionary of names and amounts, wins over both: whoever starts a program from outside says so with it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

from park import machine
from park.options import quantity_wrong

NODE_IP = machine.NODE_IP

#: Where Ray's sockets would be, below its folder of a session.
_SOCKETS = "/tmp/ray/session_latest/sockets"


def _override() -> Any:
    """What RAY_OVERRIDE_RESOURCES says."""
    text = os.environ.get("RAY_OVERRIDE_RESOURCES")
    if not text:
        return {}
    import json

    return json.loads(text)


def total_resources(
    num_cpus: int | None,
    num_gpus: int | None,
    resources: dict[str, float] | None,
    object_store_memory: int | None,
    memory: float | None = None,
    *,
    head: bool = True,
) -> dict[str, float]:
    """What a node has of each resource, by name; what it has none of is left out."""
    if resources is not None and not isinstance(resources, dict):
        raise TypeError(f"resources must be a dictionary of names and amounts, got {type(resources)}")
    for name in ("CPU", "GPU", "memory", "object_store_memory"):
        if name in (resources or {}):
            argument = {"CPU": "num_cpus", "GPU": "num_gpus"}.get(name, name)
            raise ValueError(
                f"`{name}` cannot be a custom resource because it is one of the default resources. Use `{argument}` instead."
            )
    override = _override()
    memory = override.pop("memory", memory)
    object_store_memory = override.pop("object_store_memory", object_store_memory)
    total: dict[str, float] = {
        "CPU": machine.cpus() if num_cpus is None else num_cpus,
        "GPU": machine.gpus() if num_gpus is None else num_gpus,
        **(resources or {}),
        **override,
    }
    for name, amount in total.items():
        _check(name, amount, total)
    there = machine.memory()
    if object_store_memory is None:
        capacity = int(there * 0.3)
    elif isinstance(object_store_memory, (int, float)) and not isinstance(object_store_memory, bool):
        capacity = int(object_store_memory)
    else:
        raise TypeError(f"object_store_memory must be a number of bytes, got {object_store_memory!r}")
    if capacity <= 0:
        raise ValueError(f"object_store_memory must be positive, got {capacity} bytes")
    total |= {"memory": max(there - capacity, 0) if memory is None else memory, "object_store_memory": capacity}
    total[f"node:{NODE_IP}"] = 1
    if head:
        total["node:__internal_head__"] = 1
    if total["GPU"] and (kind := machine.gpu_type()):
        total[f"accelerator_type:{kind}"] = 1
    return {name: float(amount) for name, amount in total.items() if amount}


def _check(name: Any, amount: Any, total: dict[str, float]) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a resource must be a string, got {name!r}")
    if not isinstance(amount, (int, float)):
        raise TypeError(f"the amount of resource {name} must be a number, got {amount!r}")
    if quantity_wrong(name, amount) and amount < 0:
        raise ValueError(f"Resource quantities must be nonnegative. Violated by resource '{name}' in {total}.")
    if isinstance(amount, float) and not amount.is_integer():
        raise ValueError(f"Resource quantities must all be whole numbers. Violated by resource '{name}' in {total}.")


_STORE = "object_store_memory"
#: What the environment says of a node, and the label that it becomes.
_TOLD = {
    "RAY_NODE_MARKET_TYPE": "ray.io/market-type",
    "RAY_NODE_TYPE_NAME": "ray.io/node-group",
    "RAY_NODE_REGION": "ray.io/availability-region",
    "RAY_NODE_ZONE": "ray.io/availability-zone",
}


def default_labels(total: dict[str, float]) -> dict[str, str]:
    """Labels that a node has by what it is."""
    found = {label: os.environ[name] for name, label in _TOLD.items() if os.environ.get(name)}
    kinds = [name.partition(":")[2] for name in total if name.startswith("accelerator_type:")]
    if total.get("TPU") and (pod := os.environ.get("TPU_ACCELERATOR_TYPE")):  # such as v4-16: 16 cores of version 4
        kinds.append(f"TPU-{pod.partition('-')[0].upper()}")
    return {**found, "ray.io/accelerator-type": kinds[0]} if kinds else found


# --- what there is ----------------------------------------------------------------------------------------------------------------


def sockets(node: str) -> tuple[str, str]:
    """What Ray would name the sockets of a node's store and daemon. No files: programs tell nodes, and find a folder, by them."""
    return f"{_SOCKETS}/plasma_store.{node}", f"{_SOCKETS}/raylet.{node}"


def rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a session as `ray.nodes()` shows them, removed ones too.

    Nothing listens: ports are 0, and the sockets' paths, from which programs work out a folder, name no file.
    """
    return [
        {
            "NodeID": node["name"],
            "Alive": node["alive"],
            "alive": node["alive"],
            "NodeManagerAddress": NODE_IP,
            "NodeManagerHostname": os.uname().nodename,
            "NodeManagerPort": 0,
            "ObjectManagerPort": 0,
            **dict(zip(("ObjectStoreSocketName", "RayletSocketName"), sockets(node["name"]), strict=True)),
            "MetricsExportPort": 0,
            "RuntimeEnvAgentPort": 0,
            "DeathReason": 0 if node["alive"] else 1,
            "DeathReasonMessage": "",
            "NodeName": NODE_IP,
            "Resources": _amounts([node], 1) if node["alive"] else {},
            "Labels": dict(node["labels"]),
        }
        for node in report["nodes"]
    ]


def totals(report: dict[str, Any]) -> dict[str, float]:
    """What the living nodes have of each resource."""
    return _amounts([node for node in report["nodes"] if node["alive"]], 1)


def available(report: dict[str, Any], stored: int) -> dict[str, float]:
    """What the living nodes have left of each resource; one that is used up is not listed.

    `stored` is bytes that objects take. Of these whole MiB count: small objects are no load, and there are always some.
    """
    found = _amounts([node for node in report["nodes"] if node["alive"]], 2)
    if _STORE in found:
        found[_STORE] -= stored >> 20 << 20
    return {name: free for name, free in found.items() if free > 0}


def available_by_node(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What each living node has left, by node."""
    living = [node for node in report["nodes"] if node["alive"]]
    return {node["name"]: {name: free for name, free in _amounts([node], 2).items() if free > 0} for node in living}


def _amounts(nodes: list[dict[str, Any]], column: int) -> dict[str, float]:
    """Column 1 (all) or 2 (free) of what nodes and their bundles have. A bundle's part is named after its group, as in Ray."""
    from park.util.placement_group import id_of

    sums: defaultdict[str, float] = defaultdict(float)
    for node in nodes:
        for row in node["balance"]:
            sums[row[0]] += row[column]
        for number, index, balance in node["bundles"]:
            group = id_of(number).hex()
            for row in [*balance, ("bundle", 1000.0, 1000.0)]:
                sums[f"{row[0]}_group_{group}"] += row[column]
                sums[f"{row[0]}_group_{index}_{group}"] += row[column]
    return dict(sums)
