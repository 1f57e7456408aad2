"""The peer Ray of the store bench: its object store is Plasma, which lies in /dev/shm."""

from __future__ import annotations

import logging
import os

import ray
from store_units import STORE_BYTES, measure


def main() -> None:
    ray.init(
        address="local",
        num_cpus=len(os.sched_getaffinity(0)),
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    measure(ray, "ray", ray.__version__, ["/dev/shm/plasma"])


if __name__ == "__main__":
    main()
