"""One pass over a runtime shaped like Ray: start it, measure its start, run every unit, stop it.

park and Ray both go through here; what differs (import, how to start, which processes are workers) is handed in by
`peer_park.py` and `peer_ray.py`. The start-up figures come from this one start of a fresh process, so they are single
values; run.py repeats the whole pass for a spread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from measure import descendants, pss_mb, run_case, single, wanted, write
from units import OK, UNITS

STORE_BYTES = 1_500_000_000
SETTLE_S = 1.0


class Session:
    """A peer's results as they come in."""

    def __init__(self, opts: argparse.Namespace):
        self.opts = opts
        self.results: dict[str, Any] = {}

    def keep(self, name: str, value: float) -> None:
        if wanted(name, self.opts.only):
            self.results[name] = single(name, value)

    def start(self, rt: Any, import_s: float, init: Callable[[], Any]) -> None:
        """Import, init and the first task, which has to wait for a worker."""
        self.keep("import", import_s * 1e3)
        begin = time.perf_counter()
        init()
        started = time.perf_counter()

        @rt.remote
        def first():
            return OK

        answer = rt.get(first.remote())
        answered = time.perf_counter()
        if answer != OK:
            raise SystemExit(f"first task: wrong answer {answer!r}")
        self.keep("init", (started - begin) * 1e3)
        self.keep("first task after init", (answered - started) * 1e3)
        self.keep("init + first task", (answered - begin) * 1e3)

    def footprint(self, worker_pids: Callable[[list[int]], list[int]]) -> None:
        """Processes and memory of an idle session, before any unit has put an object."""
        time.sleep(SETTLE_S)
        below = descendants(os.getpid())
        workers = worker_pids(below)
        if not workers:
            raise SystemExit("a task has run, yet no worker process is to be seen")
        beside = sorted(set(below) | set(workers))
        self.keep("worker processes", len(workers))
        self.keep("other processes beside the driver", len(beside) - len(workers))
        self.keep("PSS of an idle worker", statistics.median(pss_mb(pid) for pid in workers))
        self.keep("PSS of all processes beside the driver", sum(pss_mb(pid) for pid in beside))

    def units(self, rt: Any) -> None:
        for unit in UNITS:
            if not wanted(unit.name, self.opts.only):
                continue
            try:
                case = unit.setup(rt, self.opts.cores)
            except NotImplementedError as refusal:
                # The table says so in words: a unit that is not offered is neither a win nor a row left out.
                self.results[unit.name] = {"refused": str(refusal)}
                print(f"    {unit.name:36} refused: {refusal}", file=sys.stderr, flush=True)
                continue
            self.results[unit.name] = run_case(unit.name, case, self.opts.seconds)

    def stop(self, rt: Any, peer: str, version: str) -> None:
        begin = time.perf_counter()
        rt.shutdown()
        self.keep("shutdown", (time.perf_counter() - begin) * 1e3)
        write(self.opts.out, peer, version, self.results)
