"""How every peer measures: the timing loop, the command line, and what /proc says about a process tree.

A case is a body with a check. The body is called once to warm up (that first call is timed too, and kept apart), then
again and again until the time given is used up and at least `MIN_SAMPLES` samples are in. Each answer is checked, the
warm-up's included, outside of the timed part; a wrong one raises `WrongAnswer`, which ends the peer with an error.
All peers use this one file, so that they differ in what they run and in nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIN_SAMPLES = 3


class WrongAnswer(Exception):
    """A body returned something else than its unit promises."""


def nothing(*_: Any) -> None:
    """The default of the optional steps of a case."""


@dataclass(frozen=True)
class Case:
    """One thing to time.

    `ops` is how many operations (or gigabytes) one call of `body` does. `after` gives back what an answer holds, once
    it has been checked. `cleanup` undoes the setup. `yardstick` is timed in turn with the body: a plain way of moving
    the same bytes, so that both meet the same load. `reported` reads the seconds out of the answer, where what is timed
    happens in another process.
    """

    body: Callable[[], Any]
    check: Callable[[Any], bool]
    ops: float = 1
    after: Callable[[Any], None] = nothing
    cleanup: Callable[[], None] = nothing
    yardstick: Callable[[], Any] | None = None
    reported: Callable[[Any], float] | None = None


def one_sample(name: str, case: Case) -> float:
    """Seconds of one call of the body, after its answer has been found right."""
    begin = time.perf_counter()
    answer = case.body()
    seconds = time.perf_counter() - begin
    if not case.check(answer):
        raise WrongAnswer(f"{name}: wrong answer {str(answer)[:200]}")
    if case.reported:
        seconds = case.reported(answer)
    case.after(answer)
    return seconds


def run_case(name: str, case: Case, seconds: float) -> dict[str, Any]:
    """Times one case and returns what the results file keeps of it."""
    try:
        first = one_sample(name, case)
        if case.yardstick:
            case.yardstick()
        samples: list[float] = []
        beside: list[float] = []
        end = time.perf_counter() + seconds
        while len(samples) < MIN_SAMPLES or time.perf_counter() < end:
            samples.append(one_sample(name, case))
            if case.yardstick:
                begin = time.perf_counter()
                case.yardstick()
                beside.append(time.perf_counter() - begin)
    finally:
        case.cleanup()
    result = {"ops": case.ops, "first_s": first, "samples_s": samples, "value": case.ops / statistics.median(samples)}
    if beside:
        result["yardstick_value"] = case.ops / statistics.median(beside)
    progress(name, result)
    return result


def single(name: str, value: float) -> dict[str, Any]:
    """A result measured once a process: a start-up time, a count, a size."""
    result = {"value": value}
    progress(name, result)
    return result


def progress(name: str, result: dict[str, Any]) -> None:
    """One line a unit on stderr: a peer that hangs shows where."""
    print(f"    {name:36} {result['value']:14,.4f}", file=sys.stderr, flush=True)


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line that run.py uses for every peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--only", default="", help="regular expression that a unit's name must contain")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for the samples of one unit")
    parser.add_argument("--cores", type=int, required=True)
    return parser.parse_args(argv)


def wanted(name: str, only: str) -> bool:
    return re.search(only, name) is not None


def write(out: Path, peer: str, version: str, units: dict[str, Any]) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    out.write_text(json.dumps({"peer": peer, "version": version, "python": python, "units": units}, indent=1))


def descendants(root: int) -> list[int]:
    """Every process below `root`, from one pass over /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The command name may hold spaces and brackets; the parent is the second field after its last bracket.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
        children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def title(pid: int) -> str:
    """A process's command line, or nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def resident_bytes(pid: int, mapping: str) -> int:
    """Bytes present in the writable mappings of a process whose file's name contains `mapping`."""
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        field, _, rest = line.partition(" ")
        if not field.endswith(":"):  # the head of a mapping: addresses, permissions, offset, device, inode, name
            counts = "w" in rest.split()[0] and mapping in rest
        elif field == "Rss:" and counts:
            total += int(rest.split()[0]) * 1024
    return total


def pss_mb(pid: int) -> float:
    """Proportional set size in MB: shared pages are divided among those who map them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(f"no Pss line for process {pid}")
