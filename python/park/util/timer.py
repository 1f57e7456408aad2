"""A timer whose readings are averaged, as Ray's libraries use it: `with timer: work()`."""

import time
from collections import deque


class _Timer:
    """Mean time, and units of work a second, over the last `window_size` measurements."""

    def __init__(self, window_size: int = 10):
        self._samples: deque[float] = deque(maxlen=window_size)
        self._units: deque[float] = deque(maxlen=window_size)
        self._start: float | None = None
        self._total = 0.0
        self.count = 0

    def __enter__(self):
        if self._start is not None:
            raise ValueError("the timer runs already")
        self._start = time.perf_counter()

    def __exit__(self, *exc):
        assert self._start is not None
        self.push(time.perf_counter() - self._start)
        self._start = None

    def push(self, seconds: float) -> None:
        """Add a measurement."""
        self._samples.append(seconds)
        self.count += 1
        self._total += seconds

    def push_units_processed(self, number: float) -> None:
        """Say how many units the last measurement was about."""
        self._units.append(number)

    @property
    def mean(self) -> float:
        """Mean of the last measurements, in seconds."""
        return sum(self._samples) / len(self._samples) if self._samples else 0.0

    @property
    def mean_units_processed(self) -> float:
        """Mean of the last numbers of units."""
        return sum(self._units) / len(self._units) if self._units else 0.0

    @property
    def mean_throughput(self) -> float:
        """Units a second."""
        time_total = sum(self._samples)
        return sum(self._units) / time_total if time_total else 0.0

    def has_units_processed(self) -> bool:
        """Whether units were ever counted."""
        return bool(self._units)
