"""The peer "park Python" of the store bench."""

from __future__ import annotations

import os
from importlib.metadata import version

import park
from store_units import STORE_BYTES, measure


def main() -> None:
    park.init(num_cpus=len(os.sched_getaffinity(0)), object_store_memory=STORE_BYTES)
    measure(park, "park", version("parkstack"), ["memfd:park-arena", "memfd:park-control"])


if __name__ == "__main__":
    main()
