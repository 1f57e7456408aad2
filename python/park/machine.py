"""What this machine, or the container that confines us, has: CPUs, GPUs, memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

#: The node's address. A session never reaches another machine, so this is where its processes find each other.
NODE_IP = "127.0.0.1"


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _groups(root: str, controller: str) -> Iterator[tuple[int, str]]:
    """The control groups of this process for a controller, innermost first: version and folder. Every ancestor can be what binds."""
    for line in _read(f"{root}/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = f"{root}/sys/fs/cgroup/{controller if controllers else ''}".rstrip("/")
        inside = path.strip("/").split("/") if path.strip("/") else []
        for depth in range(len(inside), -1, -1):
            yield (1 if controllers else 2), "/".join([mount, *inside[:depth]])


def _quota(version: int, folder: str) -> int | None:
    """Whole CPUs that a control group may use; None without a limit."""
    if version == 2:
        numbers = _read(f"{folder}/cpu.max").split()
    else:
        numbers = [_read(f"{folder}/cpu.cfs_{which}_us").strip() for which in ("quota", "period")]
    try:
        quota, period = map(int, numbers)
    except ValueError:  # "max", or no such file
        return None
    return max(1, quota // period) if quota > 0 and period > 0 else None


def cpus(root: str = "") -> int:
    """CPUs that this process may use: its affinity, or the whole part of its container's quota if that is less."""
    quotas = (_quota(version, folder) for version, folder in _groups(root, "cpu"))
    return min([len(os.sched_getaffinity(0)), *(quota for quota in quotas if quota is not None)])


def gpus() -> int:
    """GPUs that this process sees: those of CUDA_VISIBLE_DEVICES, else those the NVIDIA driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1", "NoDevFiles")])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


#: As in "NVIDIA H100 80GB HBM3", "Tesla V100-SXM2-16GB".
_GPU_MODEL = re.compile(r"\w+\s+([A-Z0-9]{2,})")


def gpu_type(root: str = "/proc/driver/nvidia/gpus") -> str | None:
    """The model of this machine's GPUs as "H100"; None without any."""
    try:
        first = min(os.listdir(root))
    except (OSError, ValueError):
        return None
    for line in _read(f"{root}/{first}/information").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "Model":
            found = _GPU_MODEL.match(value.strip())
            return found.group(1) if found else "-".join(value.split()[1:]) or None
    return None


def memory(root: str = "") -> int:
    """Bytes of memory: the machine's, or its container's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for version, folder in _groups(root, "memory"):
        limit = _read(f"{folder}/{'memory.max' if version == 2 else 'memory.limit_in_bytes'}").strip()
        if limit.isdigit():
            total = min(total, int(limit))
    return total


#: Ray's settings of its memory monitor, and what they are unless the environment variable RAY_<name> says otherwise.
_MEMORY_SETTINGS = {"memory_monitor_refresh_ms": 250, "memory_usage_threshold": 0.95, "task_oom_retries": -1}


def memory_watch(system_config: dict[str, Any] | None = None) -> tuple[int, float, int]:
    """When a session ends workers for want of memory: how often it looks, in milliseconds (0: never), the share of memory in use above
    which it does, from 0 to 1, and how often a task is repeated whose worker was ended so (-1: without end).

    `system_config` is what `init` was told; it goes before environment variables. ValueError for what is no such number.
    """

    def setting(name: str, low: float, high: float) -> float:
        chosen = (system_config or {}).get(name, os.environ.get(f"RAY_{name}"))
        if chosen is None:
            return _MEMORY_SETTINGS[name]
        try:
            value = type(_MEMORY_SETTINGS[name])(chosen)
        except (TypeError, ValueError):
            raise ValueError(f"RAY_{name} must be a number, got {chosen!r}") from None
        if not low <= value <= high:
            raise ValueError(f"RAY_{name} must be from {low} to {high}, got {chosen!r}")
        return value

    period = setting("memory_monitor_refresh_ms", 0, 2**31 - 1)
    threshold = setting("memory_usage_threshold", 0.0, 1.0)
    return int(period), threshold, int(setting("task_oom_retries", -1, 2**31 - 1))
