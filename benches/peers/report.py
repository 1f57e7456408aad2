"""The report on the runtimes: their units of work, start and stop, floors, and the bars that park is held against.

What a value, a spread and a ratio are stands in `tables.py`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from tables import NONE, SUFFIX, Run, joined, number, share, spread, table, times
from units import UNITS

# Name and unit of what a session measures about itself; less is better in all of them.
LIFECYCLE = {
    "import": "ms",
    "init": "ms",
    "first task after init": "ms",
    "init + first task": "ms",
    "shutdown": "ms",
    "worker processes": "",
    "other processes beside the driver": "",
    "PSS of an idle worker": "MB",
    "PSS of all processes beside the driver": "MB",
}
FLOORS = {
    "pipe round trip": ("pipe", "rate", "64 bytes there and back over two pipes"),
    "pipe round trip, one core": ("pipe", "rate", "the same, both sides bound to one core"),
    "pipe round trip, two cores": ("pipe", "rate", "the same, each side bound to its own core"),
    "socketpair round trip": ("pipe", "rate", "64 bytes there and back over a socket pair"),
    "shared word round trip": ("pipe", "rate", "both sides spinning on shared memory, no system call"),
    "memcpy 100 MB warm": ("memcpy", "GB/s", "numpy copy into pages already touched"),
    "memcpy 100 MB cold": ("memcpy", "GB/s", "numpy copy into a fresh mapping of ordinary pages"),
}
# What park promises on two cores. "ray": times Ray's rate; "memcpy": of a warm copy in the same process; "ms": below.
# One call's time is that of a copy of 10 MB, for which there are rows of their own.
A_COPY = "actor call with 10 MB array"
BARS = [
    *((unit.name, "ray", 20) for unit in UNITS if unit.shown == "rate" and unit.name != A_COPY),
    ("put 100 MB", "memcpy", 0.9),
    ("put 10 MB", "memcpy", 0.9),
    ("init", "ms", 30),
    ("actor create + first call", "ms", 30),
]
SHOWN = {unit.name: unit.shown for unit in UNITS}
NAMES = {"park": "park", "ray": "Ray", "pool": "Pool"}


def work(run: Run) -> str:
    rows = []
    for unit in UNITS:
        suffix = SUFFIX[unit.shown]
        cells = {peer: run.cell(peer, unit.name, suffix) for peer in NAMES}
        if set(cells.values()) == {NONE}:
            continue
        ratio = times(run.ratios("park", "ray", unit.name, unit.shown == "ms"))
        rows.append([unit.name, unit.operation, cells["park"], cells["ray"], ratio, cells["pool"]])
    return table(["unit", "one operation", run.heading("park"), run.heading("ray"), "park over Ray", "Pool"], rows)


def lifecycle(run: Run) -> str:
    rows = []
    for name, measure in LIFECYCLE.items():
        suffix = f" {measure}" if measure else ""
        cells = {peer: run.cell(peer, name, suffix) for peer in NAMES}
        if set(cells.values()) != {NONE}:
            rows.append(
                [name, cells["park"], cells["ray"], times(run.ratios("park", "ray", name, True)), cells["pool"]]
            )
    return table(["start, stop and footprint", *(NAMES[peer] for peer in ("park", "ray")), "times less", "Pool"], rows)


def floors(run: Run) -> str:
    rows = []
    for name, (peer, shown, what) in FLOORS.items():
        cell = run.cell(peer, name, "/s" if shown == "rate" else " GB/s")
        if cell != NONE:
            rows.append([name, what, cell])
    return table(["floor of this machine", "what", "measured"], rows)


def against_floors(run: Run) -> str:
    rows = []
    for peer in ("park", "ray"):
        for name in ("put 10 MB", "put 100 MB"):
            shares = run.against_memcpy(peer, name)
            if shares:
                copy = run.cell(peer, name, " GB/s", "yardstick_value")
                rows.append([f"{NAMES[peer]}: {name}", f"warm memcpy in the same process, {copy}", share(shares)])
        for name in ("tasks sync", "actor calls 1:1 sync"):
            pairs = zip(run.values("pipe", "pipe round trip"), run.values(peer, name), strict=False)
            longer = [pipe / call for pipe, call in pairs]
            if longer:
                rows.append(
                    [f"{NAMES[peer]}: {name}", "pipe round trip", f"takes {number(statistics.median(longer))}x as long"]
                )
        first = run.values(peer, "put 100 MB", "first_s")
        if first:
            rows.append(
                [
                    f"{NAMES[peer]}: put 100 MB",
                    "the session's first, into cold pages",
                    f"{0.1 / statistics.median(first):.2f} GB/s",
                ]
            )
    return table(["against the floor", "floor", "measured"], rows)


def bars(run: Run) -> str:
    rows = []
    for name, kind, bar in BARS:
        if kind == "ray":
            found, asked, less = run.ratios("park", "ray", name, False), f"at least {bar}x Ray", False
        elif kind == "memcpy":
            found, asked, less = run.against_memcpy("park", name), f"at least {bar} of a warm memcpy", False
        else:
            found, asked, less = run.values("park", name), f"under {bar} ms", True
        if not found:
            continue
        middle = statistics.median(found)
        met = middle < bar if less else middle >= bar
        suffix = {"ray": "x", "memcpy": "", "ms": " ms"}[kind]
        rows.append([name, asked, number(middle) + suffix + spread(found), "yes" if met else "**no**"])
    return table(["bar", "asked", "measured", "met"], rows) if rows else ""


def render(data: dict[str, Any]) -> str:
    run = Run(data, SHOWN, NAMES)
    peers = ", ".join(
        f"{NAMES.get(peer, peer)} {kept['version']} on Python {kept['python']}"
        if peer in ("park", "ray")
        else f"{NAMES.get(peer, peer)} ({kept['version']})"
        for peer, kept in run.peers.items()
    )
    intro = (
        "# park beside its peers\n\n"
        f"Written by `benches/peers/run.py` (`make bench-ray`) on {data['date']}: {data['cores']} cores, "
        f"rounds: {data['rounds']}, {data['seconds'] / 60:.1f} minutes, load before the run {data['load_before']:.1f}. "
        f"Peers: {peers}. Every answer was checked. A value is the median over the rounds, with half the distance between "
        "the quartiles; a ratio is the median of the rounds' own ratios, with the lowest and the highest. Compare "
        "ratios, not values: the machine is shared.\n"
    )
    parts = [intro, bars(run), work(run), lifecycle(run), floors(run), against_floors(run)]
    return joined(parts)


if __name__ == "__main__":
    print(render(json.loads(Path(sys.argv[1]).read_text())))
