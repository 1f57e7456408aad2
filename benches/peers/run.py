"""Runs every peer in turn, round after round, and writes the table of ratios.

Each round starts each peer as a fresh process with its own interpreter; every second round goes through them backwards,
so that a load on the machine that comes and goes meets all of them. The peers write JSON; the whole run is kept in
benches/out/results.json and, if it was a whole run, told in benches/RESULTS.md.

    python benches/peers/run.py                      everything, five rounds
    python benches/peers/run.py --only 'actor' --rounds 2 --peers park,ray
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
from pathlib import Path
from typing import Any

from report import render

HERE = Path(__file__).resolve().parent
BENCHES = HERE.parent
OUT = BENCHES / "out"
RAY_PYTHON = BENCHES / ".venv-ray" / "bin" / "python"
PEERS = ("park", "ray", "pool", "pipe", "memcpy")
PASS_LIMIT_S = 300
WHOLE_RUN_ROUNDS = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX", help="only the units whose name contains this")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated, of: " + ", ".join(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="time for the samples of one unit in one round")
    opts = parser.parse_args()
    opts.peers = [peer for peer in opts.peers.split(",") if peer]
    unknown = set(opts.peers) - set(PEERS)
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


def require(peers: list[str]) -> None:
    """Says what is missing, and how to get it, before anything runs."""
    if "ray" in peers and not (RAY_PYTHON.exists() and has_ray()):
        raise SystemExit("real Ray is not installed in benches/.venv-ray: `make bench-ray` builds it and runs this.")
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


def run_pass(peer: str, opts: argparse.Namespace, cores: int) -> dict[str, Any]:
    """One peer, once, in a process group of its own, so that nothing of a failed pass disturbs the next."""
    out = OUT / f"{peer}.json"
    out.unlink(missing_ok=True)
    python = str(RAY_PYTHON) if peer == "ray" else sys.executable
    command = [python, str(HERE / f"peer_{peer}.py"), "--out", str(out), "--cores", str(cores)]
    command += ["--only", opts.only, "--seconds", str(opts.seconds)]
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


def main() -> None:
    opts = arguments()
    require(opts.peers)
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
            result = run_pass(peer, opts, cores)
            kept = run["peers"].setdefault(
                peer, {"version": result["version"], "python": result["python"], "rounds": []}
            )
            kept["rounds"].append(result["units"])
    run["seconds"] = time.monotonic() - begin

    (OUT / "results.json").write_text(json.dumps(run, indent=1))
    table = render(run)
    whole = not opts.only and set(opts.peers) == set(PEERS) and opts.rounds >= WHOLE_RUN_ROUNDS
    target = BENCHES / "RESULTS.md" if whole else OUT / "partial.md"
    target.write_text(table)
    print(table)
    print(f"written to {target.relative_to(BENCHES.parent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
