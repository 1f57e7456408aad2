"""What this machine, or the container that confines us, has: CPUs, GPUs, memory."""

from __future__ import annotations

import os
import re

#: The node's address. A session never reaches another machine, so this is where its processes find each other.
NODE_IP = "127.0.0.1"

_CGROUP = "/sys/fs/cgroup"


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def cpus() -> int:
    """CPUs that this process may use: its affinity, or the whole part of its container's quota if that is less."""
    allowed = len(os.sched_getaffinity(0))
    quota = _read(f"{_CGROUP}/cpu.max").split()
    if len(quota) != 2:
        quota = [_read(f"{_CGROUP}/cpu/cpu.cfs_{which}_us").strip() for which in ("quota", "period")]
    try:
        limit = int(quota[0]) // int(quota[1])
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return allowed
    return max(1, min(allowed, limit)) if int(quota[0]) > 0 else allowed


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


def memory() -> int:
    """Bytes of memory: the machine's, or its container's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _read(f"{_CGROUP}/{name}").strip()
        if limit.isdigit():
            total = min(total, int(limit))
    return total
