"""The paged KV cache beside vLLM's, SGLang's and kvbm-logical's, in one job.

Builds the two Rust peers, then runs all of them in turn, and writes benches/KV.md and the plots beside it.

    python benches/peers/kv_run.py                                     everything that is installed, three rounds
    python benches/peers/kv_run.py --only 'match|free' --peers park-rust,kvbm

The Rust peers read `--only` as parts of names with | between. The Python peers have environments of their own: VLLM_PYTHON and
VLLM_TREE, SGLANG_PYTHON and SGLANG_TREE say which interpreter and which unpacked package (`make bench-kv` sets them). A peer that
is not there is named as missing in the report.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kv_ideal import share
from kv_report import draw, render
from rounds import BENCHES, HERE, OUT, arguments, play, tell
from store_run import built

PEERS = ("park-rust", "kvbm", "park", "vllm", "sglang", "sglang-rust")
ROOT = BENCHES.parent
TRACE = OUT / "trace.jsonl"
# What an interpreter has to be able to import to be a peer, with its tree on the path.
NEEDED = {
    "park": "import park.kv",
    "vllm": "import vllm.v1.core.kv_cache_manager",
    "sglang": "import sglang.srt.mem_cache.radix_cache",
    "sglang-rust": "import sglang.srt.mem_cache.rust_tree_core.adapter",
}


def environment(peer: str) -> tuple[str, dict[str, str]]:
    """The interpreter of a Python peer, and what it adds to the environment."""
    if peer == "park":
        return sys.executable, {}
    which = "VLLM" if peer == "vllm" else "SGLANG"
    own = BENCHES / f".venv-{which.lower()}" / "bin" / "python"
    tree = os.environ.get(f"{which}_TREE", "")
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_TARGET_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ.get(f"{which}_PYTHON") or str(own), {**quiet, "PYTHONPATH": tree}


def program(peer: str) -> tuple[list[str] | None, str]:
    """How to start a peer, or nothing and why not."""
    if peer == "park-rust":
        return [built("-p", "park-bench", "--bin", "kv_rows")], ""
    if peer == "kvbm":
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "kvbm"
        manifest = HERE / "kvbm" / "Cargo.toml"
        try:
            return [built("--locked", "--manifest-path", str(manifest), "--target-dir", str(target))], ""
        except subprocess.CalledProcessError as why:
            return None, f"its crate does not build here: {why}"
    python, more = environment(peer)
    if not Path(python).exists():
        return None, f"there is no interpreter {python}"
    look = subprocess.run(
        [python, "-c", NEEDED[peer]], check=False, env={**os.environ, **more}, stderr=subprocess.PIPE, text=True
    )
    if look.returncode:
        return None, look.stderr.strip().splitlines()[-1]
    script = {"park": "peer_kv_park.py", "vllm": "peer_kv_vllm.py"}.get(peer, "peer_kv_sglang.py")
    core = {"sglang": ["python"], "sglang-rust": ["rust"]}.get(peer, [])
    settings = [f"{name}={value}" for name, value in more.items()]
    return ["env", *settings, python, str(HERE / script), *core], ""


def main() -> None:
    opts = arguments(__doc__, PEERS, rounds=3, seconds=0.1)
    asked = set(opts.peers) == set(PEERS)
    OUT.mkdir(exist_ok=True)
    os.environ["PARK_KV_TRACE"] = str(TRACE)
    commands, missing = {}, {}
    for peer in opts.peers:
        command, why = program(peer)
        if command:
            commands[peer] = command
        else:
            missing[peer] = why
            print(f"{peer} is missing: {why}", file=sys.stderr)
    opts.peers = list(commands)
    # A run of no row writes the trace, which peers may need before park's Rust has had its turn.
    rust = commands.get("park-rust") or program("park-rust")[0]
    subprocess.run([*rust, "--out", str(OUT / "trace.json"), "--only", "no row"], check=True)
    run = play(opts, commands)
    run["load_after"] = os.getloadavg()[0]
    run["missing"] = missing
    run["ideal"] = {
        f"replay of {requests}: prompt tokens found": share(TRACE, most)
        for requests, most in (("300", 300), ("2,000", None))
    }
    # A run is whole if all peers that can be there were.
    draw(run, tell(opts, run, list(commands) if asked else PEERS, render, "kv.json", "KV.md").parent)


if __name__ == "__main__":
    main()
