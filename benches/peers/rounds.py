"""Runs peers in turn, round after round, and keeps what they measured.

Each round starts each peer as a fresh process; every second round goes through them backwards, so that a load on the
machine that comes and goes meets all of them. A peer is a command that takes the options of `measure.options` and writes
JSON; the whole run is kept in benches/out, and told in a file of its own if it was a whole run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BENCHES = HERE.parent
OUT = BENCHES / "out"
RAY_PYTHON = BENCHES / ".venv-ray" / "bin" / "python"
PASS_LIMIT_S = 300
WHOLE_RUN_ROUNDS = 3


def arguments(
    description: str | None, peers: Iterable[str], rounds: int = 5, seconds: float = 0.5
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX", help="only the units whose name contains this")
    parser.add_argument("--peers", default=",".join(peers), help="comma-separated, of: " + ", ".join(peers))
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="time for the samples of one unit in one round")
    opts = parser.parse_args()
    opts.peers = [peer for peer in opts.peers.split(",") if peer]
    unknown = set(opts.peers) - set(peers)
    if unknown or not opts.peers:
        parser.error(f"unknown peers: {', '.join(sorted(unknown)) or '(none given)'}")
    if opts.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        re.compile(opts.only)
    except re.error as why:
        parser.error(f"--only is not a regular expression: {why}")
    return opts


def has_ray() -> bool:
    """Whether the other environment is a finished one, asked without importing Ray."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ray') is None)"
    return subprocess.run([RAY_PYTHON, "-c", look], check=False).returncode == 0


def require(peers: list[str], target: str) -> None:
    """Says what is missing, and which target of the Makefile brings it, before anything runs."""
    if "ray" in peers and not (RAY_PYTHON.exists() and has_ray()):
        raise SystemExit(f"real Ray is not installed in benches/.venv-ray: `make {target}` builds it and runs this.")
    modules = (["park"] if "park" in peers else []) + ["numpy"]
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise SystemExit(
                f"this interpreter has no {module}: run `make setup`, and this program with .venv/bin/python."
            )


def environment() -> dict[str, str]:
    """The same for every peer: one thread a process in numeric libraries, compiled modules cached, Ray kept quiet."""
    env = dict(os.environ)
    for name in ("PYTHONDONTWRITEBYTECODE", "RAY_ADDRESS"):
        env.pop(name, None)
    env |= {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    return env


def run_pass(peer: str, command: list[str], opts: argparse.Namespace, cores: int) -> dict[str, Any]:
    """One peer, once, in a process group of its own, so that nothing of a failed pass disturbs the next."""
    out = OUT / f"{peer}.json"
    out.unlink(missing_ok=True)
    command = [*command, "--out", str(out), "--cores", str(cores), "--only", opts.only, "--seconds", str(opts.seconds)]
    with subprocess.Popen(command, env=environment(), start_new_session=True) as process:
        try:
            code = process.wait(PASS_LIMIT_S)
        except BaseException as why:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(why, subprocess.TimeoutExpired):
                raise SystemExit(
                    f"{peer} did not end within {PASS_LIMIT_S} s; its last line above says where"
                ) from None
            raise
    if code != 0:
        raise SystemExit(f"{peer} failed with exit code {code}: no table is written")
    return json.loads(out.read_text())


def play(opts: argparse.Namespace, commands: dict[str, list[str]]) -> dict[str, Any]:
    """All rounds of all peers."""
    OUT.mkdir(exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    run: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": cores,
        "load_before": os.getloadavg()[0],
        "rounds": opts.rounds,
        "peers": {},
    }
    begin = time.monotonic()
    for number in range(opts.rounds):
        for peer in opts.peers if number % 2 == 0 else reversed(opts.peers):
            print(f"round {number + 1} of {opts.rounds}: {peer}", file=sys.stderr, flush=True)
            result = run_pass(peer, commands[peer], opts, cores)
            kept = run["peers"].setdefault(
                peer, {"version": result["version"], "python": result["python"], "rounds": []}
            )
            kept["rounds"].append(result["units"])
    run["seconds"] = time.monotonic() - begin
    return run


def tell(
    opts: argparse.Namespace,
    run: dict[str, Any],
    peers: Iterable[str],
    render: Callable[[dict[str, Any]], str],
    kept: str,
    target: str,
) -> Path:
    """Keeps the numbers in benches/out, and writes the table: into `target` if every peer ran every unit often enough.

    Returns where it was written.
    """
    (OUT / kept).write_text(json.dumps(run, indent=1))
    text = render(run)
    whole = not opts.only and set(opts.peers) == set(peers) and opts.rounds >= WHOLE_RUN_ROUNDS
    path = BENCHES / target if whole else OUT / "partial.md"
    path.write_text(text)
    print(text)
    print(f"written to {path.relative_to(BENCHES.parent)}", file=sys.stderr)
    return path
