"""`Counter`, `Gauge` and `Histogram`: numbers that a program counts of its own, in this process.

Ray sends them to an exporter. park has no server, so they are kept where they are counted, and `collect()` gives them to whatever
exports them: one row a metric and set of tags.
"""

from __future__ import annotations

import bisect
import re
import threading
import warnings
from typing import Any

_lock = threading.Lock()
#: Every metric of this process, by name: two objects of one name are one metric.
_registry: dict[str, _Series] = {}

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class _Series:
    """The values of one metric, by tags."""

    def __init__(self, kind: str, description: str):
        self.kind = kind
        self.description = description
        self.values: dict[tuple[tuple[str, str], ...], Any] = {}


def collect() -> list[dict[str, Any]]:
    """What was counted so far: name, kind, description, tags and value of each. A histogram's value has count, sum and buckets."""
    with _lock:
        return [
            {
                "name": name,
                "kind": series.kind,
                "description": series.description,
                "tags": dict(tags),
                "value": _copied(value),
            }
            for name, series in _registry.items()
            for tags, value in series.values.items()
        ]


def _copied(value):
    return {**value, "buckets": dict(value["buckets"])} if isinstance(value, dict) else value


class Metric:
    """A named number with tags."""

    _kind = "metric"

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None):
        if not name:
            raise ValueError("Empty name is not allowed. Please provide a metric name.")
        if not isinstance(tag_keys or (), tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(tag_keys)}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
        self._name = name
        self._description = description
        self._tag_keys = tag_keys or ()
        self._default_tags: dict[str, str] = {}
        if not _NAME.fullmatch(name):
            # As in Ray: the program goes on, without this number.
            warnings.warn(
                f"Invalid metric name: {name}. It is counted by nobody: a name has letters, digits, colons and underscores, and "
                "begins with no digit.",
                UserWarning,
                stacklevel=2,
            )
            self._series = _Series(self._kind, description)
            return
        with _lock:
            self._series = _registry.setdefault(name, _Series(self._kind, description))

    def __reduce__(self):
        return _made_again, (type(self), self._arguments(), self._default_tags)

    def _arguments(self):
        return (self._name, self._description, self._tag_keys)

    def set_default_tags(self, default_tags: dict[str, str]) -> Metric:
        """Tags that hold where a call does not say otherwise. Returns the metric."""
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
        self._default_tags = default_tags
        return self

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _tags(self, tags: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
        for value in (tags or {}).values():
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
        final = {**self._default_tags, **(tags or {})}
        if missing := [key for key in self._tag_keys if key not in final]:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        return tuple(sorted(final.items()))


def _made_again(kind, arguments, default_tags):
    return kind(*arguments).set_default_tags(default_tags)


def _check_number(value):
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, got {type(value)}.")


class Counter(Metric):
    """A sum that grows."""

    _kind = "counter"

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add to it."""
        _check_number(value)
        if value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        key = self._tags(tags)
        with _lock:
            self._series.values[key] = self._series.values.get(key, 0.0) + value


class Gauge(Metric):
    """A number as it is now."""

    _kind = "gauge"

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Set it; None is passed over."""
        if value is None:
            return
        _check_number(value)
        key = self._tags(tags)
        with _lock:
            self._series.values[key] = float(value)


class Histogram(Metric):
    """How often values were up to each of the boundaries."""

    _kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ):
        super().__init__(name, description, tag_keys)
        if not boundaries:
            raise ValueError(
                "boundaries argument should be provided when using the Histogram class. e.g., Histogram('name', boundaries=[1.0, 2.0])"
            )
        for at, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(
                    f"Invalid `boundaries` argument at index {at}, {boundaries}. Use positive values for the arguments."
                )
        self.boundaries = boundaries

    def _arguments(self):
        return (self._name, self._description, self.boundaries, self._tag_keys)

    @property
    def info(self) -> dict[str, Any]:
        return {**super().info, "boundaries": self.boundaries}

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Count a value."""
        _check_number(value)
        key = self._tags(tags)
        edges = sorted(self.boundaries)
        at = bisect.bisect_left(edges, value)
        edge = edges[at] if at < len(edges) else float("inf")
        with _lock:
            empty = {"count": 0, "sum": 0.0, "buckets": dict.fromkeys([*edges, float("inf")], 0)}
            seen = self._series.values.setdefault(key, empty)
            seen["count"] += 1
            seen["sum"] += value
            seen["buckets"][edge] += 1
