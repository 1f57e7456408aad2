"""The report on the store: every row beside its peers, and a list of those in which park is behind.

Like is compared with like: park's Rust with iceoryx2's Rust, park's Python with Ray's Plasma and the standard library.
What a value, a spread and a ratio are stands in `tables.py`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from store_rows import CREATE, CROWD, CROWDS, GET, HOP, PUT, PUT_PIECES, RESIDENT, ROWS, Row
from tables import NONE, SUFFIX, Run, joined, number, share, spread, table, times

NAMES = {
    "park-rust": "park Rust",
    "iceoryx2": "iceoryx2",
    "park": "park Python",
    "ray": "Ray (Plasma)",
    "shm": "shared_memory",
}
PAIRS = (("park-rust", "iceoryx2"), ("park", "ray"), ("park", "shm"))
# A ratio within half a percent of one is no difference.
EVEN = 0.995
# Who measures which hop: each way of handing over has one peer.
HOP_PEERS = {"hop over iceoryx2, polling": "iceoryx2", "hop over iceoryx2, event": "iceoryx2"}


def less_is_better(row: Row) -> bool:
    return row.shown in ("ns", "us", "plain")


def ratio(run: Run, row: Row, pair: tuple[str, str]) -> list[float]:
    return run.ratios(*pair, row.name, less_is_better(row))


def beside(run: Run, what: str, rows: list[Row], pairs: tuple[tuple[str, str], ...] = PAIRS) -> str:
    """One line a row: the peers' values, and how many times better park is than each."""
    peers = list(dict.fromkeys(peer for pair in pairs for peer in pair))
    lines = []
    for row in rows:
        cells = [run.cell(peer, row.name, SUFFIX[row.shown]) for peer in peers]
        if set(cells) != {NONE}:
            lines.append([row.name, row.operation, *cells, *(times(ratio(run, row, pair)) for pair in pairs)])
    titles = [f"{NAMES[ours]} over {NAMES[theirs]}" for ours, theirs in pairs]
    return table([what, "one operation", *(NAMES[peer] for peer in peers), *titles], lines)


def memcpy(run: Run) -> str:
    lines = []
    for row in (*PUT, PUT_PIECES):
        for peer in NAMES:
            shares = run.against_memcpy(peer, row.name)
            if shares:
                copy = run.cell(peer, row.name, " GB/s", "yardstick_value")
                value = run.cell(peer, row.name, " GB/s")
                first = statistics.median(run.values(peer, row.name, "ops")) / statistics.median(
                    run.values(peer, row.name, "first_s")
                )
                lines.append([row.name, NAMES[peer], value, copy, share(shares), f"{first:.2f} GB/s"])
    return table(["put", "by", "measured", "warm memcpy in the same process", "put", "the row's first"], lines)


def hops(run: Run) -> str:
    pipe = run.values("park-rust", HOP[0].name)
    lines = []
    for row in HOP:
        peer = HOP_PEERS.get(row.name, "park-rust")
        values = run.values(peer, row.name)
        if values:
            shorter = [floor / value for floor, value in zip(pipe, values, strict=False)]
            lines.append([row.name, row.operation, run.cell(peer, row.name, " µs"), times(shorter)])
    return table(
        ["64 bytes to another process", "how", "a hop (half a round trip)", "shorter than over the pipe"], lines
    )


def crowds(run: Run) -> str:
    lines = []
    for peer in ("park-rust", "iceoryx2", "shm"):
        alone = run.values(peer, CROWD[0].name)
        for row, count in zip(CROWD, CROWDS, strict=True):
            together = run.values(peer, row.name)
            if alone and together and count > 1:
                scale = [many / one for many, one in zip(together, alone, strict=False)]
                lines.append([NAMES[peer], str(count), f"{number(statistics.median(scale))}x" + spread(scale)])
    return table(["1 KB objects", "processes", "all together, over one process alone"], lines)


def behind(run: Run) -> str:
    lines = []
    for row in ROWS:
        for pair in PAIRS:
            found = ratio(run, row, pair)
            if found and statistics.median(found) < EVEN:
                ours, theirs = pair
                lines.append([row.name, NAMES[ours], NAMES[theirs], times(found)])
    return table(["where park is behind", "of park", "peer", "park over the peer"], lines)


def render(data: dict[str, Any]) -> str:
    run = Run(data, {row.name: row.shown for row in ROWS}, NAMES)
    peers = ", ".join(run.heading(peer) for peer in data["peers"])
    pythons = {kept["python"] for kept in data["peers"].values() if kept["python"]}
    intro = (
        "# park's object store beside its peers\n\n"
        f"Written by `benches/peers/store_run.py` (`make bench-store`) on {data['date']}: {data['cores']} cores, "
        f"rounds: {data['rounds']}, {data['seconds'] / 60:.1f} minutes, load {data['load_before']:.1f} before the run "
        f"and {data['load_after']:.1f} after. Peers: {peers}; Python {', '.join(sorted(pythons)) or '(not run)'}. The "
        "bytes of every answer were checked. A value is the median over the rounds, with half the distance between the "
        "quartiles; a ratio says how many times better park is, and is the median of the rounds' own ratios, with the "
        "lowest and the highest. Compare ratios, not values: the machine is shared. "
        "What each row does at each peer stands in `benches/peers/README.md`.\n"
    )
    parts = [
        intro,
        beside(run, "small objects", CREATE),
        beside(run, "large objects", PUT),
        memcpy(run),
        beside(run, "get in another process", GET),
        hops(run),
        beside(run, "processes at once", CROWD, (("park-rust", "iceoryx2"), ("park-rust", "shm"))),
        crowds(run),
        beside(run, "memory", RESIDENT, PAIRS[1:]),
        behind(run),
    ]
    return joined(parts)


if __name__ == "__main__":
    print(render(json.loads(Path(sys.argv[1]).read_text())))
