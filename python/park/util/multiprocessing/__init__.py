"""`multiprocessing`'s pool, whose processes are actors."""

from multiprocessing import JoinableQueue, TimeoutError

from park.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
