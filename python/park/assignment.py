"""What the work of this process runs with: its node, its resources, its GPUs, its placement group.

The head tells a worker when that changes, which is seldom: most tasks hold one CPU on the first node, and a worker assumes that until it
hears otherwise; what it knows is in `park.here`. GPUs have numbers on their node; if CUDA_VISIBLE_DEVICES was set for the driver, the number is a place in that list.
"""

from __future__ import annotations

import os

from park import _park
from park.here import HERE, PROCESS

_VISIBLE = "CUDA_VISIBLE_DEVICES"
#: Set to 1, it says that `_VISIBLE` is the user's own affair.
_HANDS_OFF = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"

#: The names of the driver's GPUs, if it was told which to use.
_names: list[str] | None = None
#: What CUDA_VISIBLE_DEVICES was before this process had a GPU.
_unassigned: str | None = None
#: OMP_NUM_THREADS as this module has set it; None if the driver did.
_threads: str | None = None


def enter_worker(names: list[str] | None, threads: str | None) -> None:
    """This process was just forked to be a worker.

    `names` is what `visible_devices` said in the driver, `threads` what OMP_NUM_THREADS was set to, if the driver's user had not set it.
    """
    global _names, _unassigned, _threads
    _names, _threads = names, threads
    _unassigned = os.environ.get(_VISIBLE)
    if os.environ.get("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO") == "1" and os.environ.get(_HANDS_OFF) != "1":
        # Work without a GPU is to see none, whatever the driver sees.
        _unassigned = os.environ[_VISIBLE] = ""


def enter_threads() -> None:
    """Workers are about to be threads of this process."""
    global _names
    _names = visible_devices()


def assume(on_node: str, amounts: dict[str, float], gpus: list[int], in_group: int | None, capture: bool) -> None:
    """What comes next runs with this. Called by the native half."""
    facts = HERE.facts
    had = facts.devices
    facts.node, facts.resources, facts.devices, facts.group = on_node, amounts, gpus, in_group
    facts.captures = in_group if capture else None
    if facts is not PROCESS:
        # Environment variables belong to the process, and so to all workers.
        return
    _set_threads(amounts)
    _show_devices(had, gpus)


def _set_threads(amounts: dict[str, float]) -> None:
    """As many threads as CPUs, unless the user chose another number, in whatever way."""
    global _threads
    if _threads is not None and os.environ.get("OMP_NUM_THREADS") == _threads:
        _threads = os.environ["OMP_NUM_THREADS"] = str(max(int(amounts.get("CPU", 1)), 1))


def _show_devices(had: list[int], gpus: list[int]) -> None:
    if os.environ.get(_HANDS_OFF) == "1":
        return
    if gpus:
        os.environ[_VISIBLE] = ",".join(str(one) for one in gpu_ids())
    elif had and _unassigned is None:
        os.environ.pop(_VISIBLE, None)
    elif had:
        os.environ[_VISIBLE] = str(_unassigned)


def heed(variables: dict[str, str]) -> None:
    """An environment with these variables was put on after the devices were assigned: it may say that they are not to be shown."""
    if variables.get(_HANDS_OFF) != "1" or _VISIBLE in variables:
        return
    if _unassigned is None:
        os.environ.pop(_VISIBLE, None)
    else:
        os.environ[_VISIBLE] = _unassigned


def visible_devices() -> list[str] | None:
    """The names in CUDA_VISIBLE_DEVICES; None if it is not set."""
    value = os.environ.get(_VISIBLE)
    if value is None:
        return None
    return [one.strip() for one in value.split(",") if one.strip() not in ("", "-1", "NoDevFiles")]


def gpu_ids() -> list[int] | list[str]:
    """The GPUs of the task or actor that asks: their numbers, or their names if CUDA_VISIBLE_DEVICES was set for the driver."""
    if _names is None:
        return list(HERE.facts.devices)
    return [_names[one] if one < len(_names) else str(one) for one in HERE.facts.devices]


class Assigned:
    """The part of the runtime context that this module knows."""

    def get_assigned_resources(self) -> dict[str, float]:
        """What the task or actor that asks holds, by name."""
        assert _park.role() == "worker", (
            f"This method is only available when the process is a worker. Current mode: {_park.role()}"
        )
        return dict(HERE.facts.resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The accelerators that the task or actor may use, by kind."""
        return {"GPU": [str(one) for one in gpu_ids()]}

    def get_placement_group_id(self) -> str | None:
        """The id of the placement group that the task or actor runs in; None if in none."""
        from park.util.placement_group import id_of

        group = HERE.facts.group
        return None if group is None else id_of(group).hex()

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what the task or actor submits goes to its placement group unless it says otherwise."""
        return HERE.facts.captures is not None
