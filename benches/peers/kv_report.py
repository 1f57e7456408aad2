"""The report on the KV cache: bars, every row beside its peers, how costs grow, and the replay of a trace.

Times are told twice: the median over the rounds of each round's median, and the fastest sample of all. All of it is work
of one thread on memory of its own, so what is above the fastest is other load on the machine, or caches that it emptied.
What a value, a spread and a ratio are stands in `tables.py`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from kv_rows import GROWTH, HASH, LONG, MEMORY, REPLAY, ROWS, SHORT, Row
from tables import NONE, SUFFIX, TIMES, Run, joined, number, table, times

NAMES = {
    "park-rust": "park Rust",
    "kvbm": "kvbm-logical",
    "park": "park Python",
    "vllm": "vLLM",
    "sglang": "SGLang Python",
    "sglang-rust": "SGLang Rust",
}
RUST = ("park-rust", "kvbm")
PYTHON = ("park", "vllm", "sglang", "sglang-rust")
PAIRS = (("park-rust", "kvbm"), ("park", "vllm"), ("park", "sglang"), ("park", "sglang-rust"))
# Each curve: what its rows begin with, what grows, and what one point is.
CURVES = {
    "step of 256, waiting ": ("requests that wait", "a step in which 256 run, 2 end and 2 are admitted"),
    "prefill step, tokens ": ("tokens that change", "a step that computes a prompt of so many tokens, 64 decode"),
    "allocate and register 8,192, blocks ": ("blocks of the pool", "allocate and register 8,192"),
    "match 8,192, blocks ": ("blocks of the pool", "match 8,192 that lie in pieces of 64 anywhere in a full pool"),
    "get and free 1,000, blocks ": ("blocks of the pool", "get and free 1,000"),
}


def fastest(run: Run, peer: str, row: Row) -> float | None:
    """The fastest sample of all rounds, in the row's unit."""
    rounds = run.peers.get(peer, {}).get("rounds", [])
    samples = [
        min(units[row.name]["samples_s"]) / units[row.name]["ops"]
        for units in rounds
        if "samples_s" in units.get(row.name, {})
    ]
    return min(samples) * TIMES[row.shown] if samples and row.shown in TIMES else None


def cell(run: Run, peer: str, row: Row) -> str:
    text = run.cell(peer, row.name, SUFFIX[row.shown])
    best = fastest(run, peer, row)
    return text if best is None else f"{text} ({number(best)})"


def bars(run: Run) -> str:
    lines = []
    for row in ROWS:
        values = run.values(row.judge, row.name)
        if row.bar is None or not values:
            continue
        middle, best = statistics.median(values), fastest(run, row.judge, row)
        verdict = "met" if middle <= row.bar else "missed"
        if verdict == "missed" and best is not None and best <= row.bar:
            verdict = "met by the fastest only"
        unit = SUFFIX[row.shown]
        lines.append(
            [
                row.name,
                NAMES[row.judge],
                f"{number(row.bar)}{unit}",
                f"{number(middle)}{unit}",
                NONE if best is None else f"{number(best)}{unit}",
                f"**{verdict}**",
            ]
        )
    return table(["bar", "by", "at most", "median", "fastest", "verdict"], lines)


def beside(run: Run, what: str, rows: list[Row]) -> str:
    """One line a row: the peers' values, the fastest sample of each, and how many times better park is than each."""
    peers = [peer for peer in (*RUST, *PYTHON) if any(run.values(peer, row.name) for row in rows)]
    pairs = [pair for pair in PAIRS if set(pair) <= set(peers)]
    lines = []
    for row in rows:
        cells = [cell(run, peer, row) for peer in peers]
        if set(cells) != {NONE}:
            ratios = [times(run.ratios(*pair, row.name, not row.more)) for pair in pairs]
            lines.append([row.name, row.operation, *cells, *ratios])
    titles = [f"{NAMES[ours]} over {NAMES[theirs]}" for ours, theirs in pairs]
    return table([what, "one operation", *(NAMES[peer] for peer in peers), *titles], lines)


def ideal(run: Run, found: dict[str, float]) -> str:
    """What is found beside what an ideal LRU finds of the same requests in a pool of the same size."""
    lines = []
    for name, percent in found.items():
        for peer in NAMES:
            values = run.values(peer, name)
            if values:
                value = statistics.median(values)
                lines.append([name, NAMES[peer], f"{value:.3f} %", f"{percent:.3f} %", f"{value / percent:.4f}"])
    return table(["found", "by", "of all prompt tokens", "by an ideal LRU", "of the ideal"], lines)


def points(data: dict[str, Any], curve: str) -> list[tuple[int, float, float]]:
    """(how far, median, fastest) of a curve, in microseconds."""
    rounds = data["peers"].get("park-rust", {}).get("rounds", [])
    begin, found = GROWTH + curve, {}
    for units in rounds:
        for name, unit in units.items():
            if name.startswith(begin):
                samples = [second / unit["ops"] * 1e6 for second in unit["samples_s"]]
                found.setdefault(int(name.removeprefix(begin)), []).append(samples)
    return [
        (far, statistics.median(map(statistics.median, kept)), min(map(min, kept)))
        for far, kept in sorted(found.items())
    ]


def growth(data: dict[str, Any]) -> str:
    lines = []
    for curve, (what, operation) in CURVES.items():
        measured = points(data, curve)
        for far, middle, best in measured:
            first, others = measured[0], f"{far:,} {what}"
            lines.append([operation, others, f"{number(middle)} µs", f"{number(best)} µs", f"{best / first[2]:.2f}x"])
    return table(["operation", "when there are", "median", "fastest", "fastest over the first"], lines)


def draw(data: dict[str, Any], folder: Path) -> None:
    """Growth as one picture, if there is something to draw."""
    curves = {curve: points(data, curve) for curve in CURVES}
    if not all(curves.values()):
        return
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "park", "svg.fonttype": "none"}
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    panels = [list(curves)[:1], list(curves)[1:2], list(curves)[2:]]
    for axis, panel in zip(axes, panels, strict=True):
        for curve in panel:
            far, middle, best = zip(*curves[curve], strict=True)
            label = CURVES[curve][1].split(" that ")[0]
            line = axis.plot(far, best, marker="o", label=label)
            axis.plot(far, middle, linestyle=":", color=line[0].get_color())
        axis.set_xlabel(CURVES[panel[0]][0])
        axis.legend(fontsize=7)
    axes[0].set_ylabel("µs (line: fastest, dots: median)")
    axes[0].set_xscale("log")
    axes[0].set_ylim(bottom=0)
    axes[1].set_xscale("log")
    axes[1].set_yscale("log")
    axes[2].set_xscale("log", base=2)
    axes[2].set_ylim(bottom=0)
    figure.savefig(folder / "KV.svg", metadata={"Date": None})
    plt.close(figure)


def render(data: dict[str, Any]) -> str:
    run = Run(data, {row.name: row.shown for row in ROWS}, NAMES)
    peers = ", ".join(run.heading(peer) for peer in NAMES if peer in data["peers"])
    missing = "; ".join(f"{NAMES[peer]} ({why})" for peer, why in data.get("missing", {}).items())
    intro = (
        "# park's paged KV cache beside its peers\n\n"
        f"Written by `benches/peers/kv_run.py` (`make bench-kv`) on {data['date']}: {data['cores']} cores, "
        f"rounds: {data['rounds']}, {data['seconds'] / 60:.1f} minutes, load {data['load_before']:.1f} before the run "
        f"and {data['load_after']:.1f} after. Peers: {peers}. Missing: {missing or 'none'}. "
        "Every answer was checked: lengths of what was found, numbers of blocks. A value is the median over the rounds, "
        "with half the distance between the quartiles, and the fastest sample of all in brackets; a ratio says how many "
        "times better park is, and is the median of the rounds' own ratios, with the lowest and the highest. Blocks hold "
        "16 tokens, pools 32,768 blocks. What each row does at each peer stands in `benches/peers/README.md`.\n"
    )
    parts = [
        intro,
        bars(run),
        beside(run, "keys", HASH),
        beside(run, "blocks of a long prompt", LONG),
        beside(run, "steps", SHORT),
        beside(run, "memory", MEMORY),
        beside(run, "replay of a trace", REPLAY),
        ideal(run, data.get("ideal", {})),
    ]
    curves = growth(data)
    if curves.count("\n") > 2:
        parts += ["## How costs grow\n\n![Costs over what grows](KV.svg)\n\nThe Rust core alone.\n", curves]
    return joined(parts)


if __name__ == "__main__":
    print(render(json.loads(Path(sys.argv[1]).read_text())))
