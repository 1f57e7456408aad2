"""Names of backends and reductions."""

from __future__ import annotations

from enum import Enum


class Backend:
    """Which library moves the data. `Backend(name)` is the name as it is spelled here."""

    NCCL = "NCCL"
    GLOO = "GLOO"

    def __new__(cls, name: str = "GLOO"):
        known = {"NCCL": cls.NCCL, "GLOO": cls.GLOO, "TORCH_GLOO": cls.GLOO}
        if name.upper() not in known:
            raise ValueError(f"Unrecognized backend: '{name}'. Only NCCL and GLOO are supported")
        return known[name.upper()]


class ReduceOp(Enum):
    """What becomes of the values that meet."""

    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3
