"""What the work of this process runs with: its node, its resources, its GPUs, its placement group.

The head tells a worker when that changes, which is seldom: most tasks hold one CPU on the first node, and a worker assumes that until it
hears otherwise. GPUs have numbers on their node; if CUDA_VISIBLE_DEVICES was set for the driver, the number is a place in that list.
"""

from __future__ import annotations

import os

_VISIBLE = "CUDA_VISIBLE_DEVICES"

#: The node's id; None on the first node and in processes that are no worker.
node: str | None = None
#: What the work holds, by name.
resources: dict[str, float] = {"CPU": 1.0}
#: Numbers of its GPUs on the node.
devices: list[int] = []
#: Number of the placement group that it runs in.
group: int | None = None
#: The same number, if what it submits goes there too.
captures: int | None = None

#: The names of the driver's GPUs, if it was told which to use.
_names: list[str] | None = None
#: What CUDA_VISIBLE_DEVICES was before this process had a GPU.
_unassigned: str | None = None


def enter_worker(names: list[str] | None) -> None:
    """This process was just forked to be a worker; `names` is what `visible_devices` said in the driver."""
    global _names, _unassigned
    _names = names
    _unassigned = os.environ.get(_VISIBLE)


def assume(on_node: str, amounts: dict[str, float], gpus: list[int], in_group: int | None, capture: bool) -> None:
    """What comes next runs with this. Called by the native half."""
    global node, resources, devices, group, captures
    had = devices
    node, resources, devices, group = on_node, amounts, gpus, in_group
    captures = in_group if capture else None
    if os.environ.get("RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES") == "1":
        return
    if gpus:
        os.environ[_VISIBLE] = ",".join(str(one) for one in gpu_ids())
    elif had and _unassigned is None:
        os.environ.pop(_VISIBLE, None)
    elif had:
        os.environ[_VISIBLE] = str(_unassigned)


def visible_devices() -> list[str] | None:
    """The names in CUDA_VISIBLE_DEVICES; None if it is not set."""
    value = os.environ.get(_VISIBLE)
    if value is None:
        return None
    return [one.strip() for one in value.split(",") if one.strip() not in ("", "-1", "NoDevFiles")]


def gpu_ids() -> list[int] | list[str]:
    """The GPUs of the task or actor that asks: their numbers, or their names if CUDA_VISIBLE_DEVICES was set for the driver."""
    if _names is None:
        return list(devices)
    return [_names[one] if one < len(_names) else str(one) for one in devices]
