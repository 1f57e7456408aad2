"""The object store beside Plasma (through Ray), multiprocessing.shared_memory, iceoryx2 and a plain copy, in one job.

Builds the two Rust peers, then runs all of them in turn, and writes benches/STORE.md.

    python benches/peers/store_run.py                                  everything, five rounds
    python benches/peers/store_run.py --only 'put|hop' --peers park-rust,iceoryx2

The Rust peers read `--only` as parts of names with | between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rounds import BENCHES, HERE, RAY_PYTHON, arguments, play, require, tell
from store_report import render

PEERS = ("park-rust", "iceoryx2", "park", "ray", "shm")
ROOT = BENCHES.parent


def built(*arguments: str) -> str:
    """Builds a program with cargo, and returns where it lies."""
    command = ["cargo", "build", "--release", "--quiet", "--message-format=json", *arguments]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    programs = [json.loads(line).get("executable") for line in output.splitlines()]
    return next(program for program in reversed(programs) if program)


def program(peer: str) -> list[str]:
    if peer == "park-rust":
        return [built("-p", "park-bench", "--bin", "store_rows")]
    if peer == "iceoryx2":
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "iceoryx2"
        manifest = HERE / "iceoryx2" / "Cargo.toml"
        return [built("--locked", "--manifest-path", str(manifest), "--target-dir", str(target))]
    return [str(RAY_PYTHON) if peer == "ray" else sys.executable, str(HERE / f"peer_store_{peer}.py")]


def main() -> None:
    opts = arguments(__doc__, PEERS)
    require(opts.peers, "bench-store")
    run = play(opts, {peer: program(peer) for peer in opts.peers})
    run["load_after"] = os.getloadavg()[0]
    tell(opts, run, PEERS, render, "store.json", "STORE.md")


if __name__ == "__main__":
    main()
