"""park's block pool in vLLM, through vLLM's own doors: no fork, no patch file.

Two ways, either of which is enough:

* ``scheduler_cls="park.interop.vllm.Scheduler"`` (or ``AsyncScheduler``, which vLLM uses by default) in the engine's arguments;
* ``VLLM_PLUGINS=park``: the wheel declares a general plug-in of that name, which does nothing unless it is named there.

Both call `install`, which puts `BlockPool` where vLLM looks for its own, in this process. What vLLM then allocates, finds and evicts is
decided in Rust (`park_core::kv::NamedPool`); vLLM's scheduler, managers, hashes and event classes stay its own.

The pool stands in for a class with private parts that others use, so it is pinned: `TESTED_WITH` names the version whose tests ran on it
(tests/conformance/vllm), and another version is refused if anything that park replaces, inherits or imitates has another signature.

| file | what |
|---|---|
| `block_pool` | the pool: what vLLM calls |
| `views` | the pool's queue and map as vLLM's objects |
| `surface`, `surface.json` | which signatures the pool relies on, and what they were in `TESTED_WITH` |
| `scheduler` | the schedulers to name in `scheduler_cls` |
| `connector` | vLLM's offloading connector, which survives failures |
| `shared`, `worker`, `tier` | its memory in park's store: the scheduler's half, the workers', what both know |
| `offloading`, `policies` | the offloading manager over a table in Rust, and its orders of eviction |
| `offloading_surface`, `offloading.json` | which signatures these rely on |

Importing this module imports nothing of vLLM.
"""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = [
    "TESTED_WITH",
    "AsyncScheduler",
    "BlockPool",
    "Scheduler",
    "VllmMismatchError",
    "install",
    "plugin",
    "uninstall",
]

#: The version of vLLM whose own tests the pool was run against.
TESTED_WITH = "0.33.0"


class VllmMismatchError(ImportError):
    """This vLLM is not one that the pool can stand in for; the text says in what it differs."""


def install() -> type:
    """Make vLLM use park's pool in this process from now on; returns the class. A second call changes nothing.

    Pools that exist already stay as they are.

    Raises:
        VllmMismatchError: vLLM is another version than `TESTED_WITH`, and something that the pool relies on has changed.
        ModuleNotFoundError: there is no vLLM.
    """
    from park.interop.vllm import surface

    surface.check()
    from park.interop.vllm.block_pool import BlockPool

    _swap(BlockPool.__base__, BlockPool)
    return BlockPool


def uninstall() -> None:
    """Make vLLM use its own pool again. Pools that exist stay as they are."""
    module = sys.modules.get("park.interop.vllm.block_pool")
    if module is not None:
        _swap(module.BlockPool, module.BlockPool.__base__)


def plugin() -> None:
    """vLLM's entry point (group ``vllm.general_plugins``, name ``park``): installs the pool if `VLLM_PLUGINS` names it.

    vLLM loads every plug-in it finds when that variable is unset. To have park and vLLM in one environment is no reason to swap the pool.
    """
    if "park" in os.environ.get("VLLM_PLUGINS", "").split(","):
        install()


def _swap(old: type | None, new: type | None) -> None:
    """Put one class where vLLM's modules have the other under the name `BlockPool`."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "vllm" and getattr(module, "BlockPool", None) is old:
            module.BlockPool = new  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    if name == "BlockPool":
        from park.interop.vllm import block_pool

        return block_pool.BlockPool
    if name in ("Scheduler", "AsyncScheduler"):
        from park.interop.vllm import scheduler

        return getattr(scheduler, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
