"""What every report is made of: a run's values with their spread, ratios between peers, and Markdown.

A value is the median over the rounds of each round's median; the spread is half the distance between the quartiles of
the rounds. A ratio is formed round by round, between passes that ran next to each other, and is told as the median with
the lowest and highest. It always says how many times better the first peer is, whichever way "better" points.
"""

from __future__ import annotations

import statistics
from typing import Any

NONE = "-"
# How a value, kept as operations a second, is shown as the time of one operation.
TIMES = {"ms": 1e3, "us": 1e6, "ns": 1e9}
SUFFIX = {"rate": "/s", "GB/s": " GB/s", "ms": " ms", "us": " µs", "ns": " ns", "plain": ""}


class Run:
    """A results file, asked by peer and unit. `shown` says of each unit how its value is told, `names` how peers are called."""

    def __init__(self, data: dict[str, Any], shown: dict[str, str], names: dict[str, str]):
        self.data = data
        self.peers = data["peers"]
        self.shown = shown
        self.names = names

    def values(self, peer: str, name: str, field: str = "value") -> list[float]:
        """One value a round; empty if the peer did not run, lacks the unit, or refused it."""
        rounds = self.peers.get(peer, {}).get("rounds", [])
        found = [units[name][field] for units in rounds if field in units.get(name, {})]
        scale = TIMES.get(self.shown.get(name, ""))
        return [scale / value for value in found] if scale else found

    def refused(self, peer: str, name: str) -> bool:
        return any("refused" in units.get(name, {}) for units in self.peers.get(peer, {}).get("rounds", []))

    def cell(self, peer: str, name: str, suffix: str, field: str = "value") -> str:
        values = self.values(peer, name, field)
        if not values:
            return "not offered" if self.refused(peer, name) else NONE
        middle = number(statistics.median(values)) + suffix
        return middle + spread(values) if suffix else middle  # a count has no spread worth telling

    def ratios(self, peer: str, other: str, name: str, less_is_better: bool) -> list[float]:
        """How many times better `peer` is than `other`, round by round."""
        ours, theirs = self.values(peer, name), self.values(other, name)
        pairs = zip(theirs, ours, strict=False) if less_is_better else zip(ours, theirs, strict=False)
        return [above / below for above, below in pairs if below]

    def against_memcpy(self, peer: str, name: str) -> list[float]:
        return [
            value / yardstick
            for value, yardstick in zip(
                self.values(peer, name), self.values(peer, name, "yardstick_value"), strict=True
            )
        ]

    def heading(self, peer: str) -> str:
        version = self.peers.get(peer, {}).get("version", "(not run)")
        return f"{self.names[peer]} {version}"


def number(value: float) -> str:
    """Three or four digits that matter, with thousands apart."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def spread(values: list[float]) -> str:
    middle = statistics.median(values)
    if len(values) < 2 or not middle:
        return ""
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return f" ±{50 * (upper - lower) / middle:.0f} %"


def times(ratios: list[float]) -> str:
    if not ratios:
        return NONE
    text = f"**{number(statistics.median(ratios))}x**"
    return text if len(ratios) < 2 else f"{text} ({number(min(ratios))} to {number(max(ratios))})"


def share(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} of it" + spread(values)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def joined(parts: list[str]) -> str:
    # A table without rows, in a partial run, is its two head lines.
    return "\n".join(part for part in parts if part.count("\n") > 2)
