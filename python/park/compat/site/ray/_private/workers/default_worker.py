"""What a worker process imports before its first task. Workers are forked from a process that has; this module is for those who look."""

from park.worker import main

import ray  # noqa: F401

__all__ = ["main"]
