"""The runtimes side by side: tasks, actors, objects, start and stop. Writes benches/RESULTS.md.

python benches/peers/run.py                      everything, five rounds
python benches/peers/run.py --only 'actor' --rounds 2 --peers park,ray
"""

from __future__ import annotations

import sys

from report import render
from rounds import HERE, RAY_PYTHON, arguments, play, require, tell

PEERS = ("park", "ray", "pool", "pipe", "memcpy")


def main() -> None:
    opts = arguments(__doc__, PEERS)
    require(opts.peers, "bench-ray")
    commands = {
        peer: [str(RAY_PYTHON) if peer == "ray" else sys.executable, str(HERE / f"peer_{peer}.py")] for peer in PEERS
    }
    tell(opts, play(opts, commands), PEERS, render, "results.json", "RESULTS.md")


if __name__ == "__main__":
    main()
