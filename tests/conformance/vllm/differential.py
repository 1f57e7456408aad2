"""vLLM's KV cache manager on its own pool and on park's, through the same random trace, compared after every call.

    differential.py --tree vllm-0.33.0 --seed 7 --steps 2000 --blocks 96
    differential.py --tree vllm-0.33.0 --side cache ...        and beside park.kv.Cache, which is a manager of its own: trace_cache.py

A trace is an engine's day: requests with shared prefixes, salts and images come in, are admitted if they fit, are computed in chunks, sample,
fork (another request with what one has so far), finish, are aborted and preempted; blocks are pinned, unpinned for whoever still reads
them, evicted, found by partial prefixes; the cache is reset. Each thing is done on both sides, with requests of their own. What a call
returns or raises is compared at once (block ids, hit lengths, copies), and after each step all there is: every table, every block's
references and hashes, the order of free blocks, the index, usage, and the events.

The last line is `mismatches: N`. A run stops at the first one, as the two sides are not in one state any more (`--go-on` does not stop).
`--mutations` runs the trace on pools of park's with a known defect each, and fails unless every one is noticed.

vLLM keeps the hashes past a block's first in a set, whose order differs between processes; here it gets a set that keeps the order in
which they came, which is what park does. That is all that is done to it.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main():
    """Run the trace inside vLLM's environment: start over there if this is not it."""
    made = parser()
    options = made.parse_args()
    if options.hash_size and options.block_size % options.hash_size:
        made.error(f"--hash-size {options.hash_size} does not divide --block-size {options.block_size}")
    if options.hash_size not in (None, options.block_size) and "," not in options.groups:
        made.error("vLLM takes a --hash-size smaller than the block with several --groups only")
    if "PARK_VLLM_INSIDE" not in os.environ:
        sys.path.insert(0, str(HERE))
        import run

        python = run.environment(options.venv or run.parser().get_default("venv"), run.parser().get_default("packages"))
        with tempfile.TemporaryDirectory(prefix="park-vllm-") as work:
            cache = pathlib.Path(python).parents[1] / "cache"
            env = run.variables(options.tree.resolve(), pathlib.Path(work), cache) | {"PARK_VLLM_INSIDE": "1"}
            sys.exit(subprocess.run([python, __file__, *sys.argv[1:]], env=env).returncode)
    if options.side == "cache":
        import trace_cache as traces
    else:
        import trace_pair as traces

    found = 0
    if options.mutations:
        missed = [name for name in traces.MUTATIONS if not traces.noticed(options, name)]
        print(f"mutations: {len(traces.MUTATIONS)}, not noticed: {', '.join(missed) or 'none'}")
        sys.exit(bool(missed))
    for seed in range(options.seed, options.seed + options.seeds):
        pair = traces.Trace(options, seed, options.mutate)
        pair.run()
        found += len(pair.mismatches)
        print(f"seed {seed}: {pair.summary()}", flush=True)
        for line in pair.mismatches[:20]:
            print(f"  {line}")
    print(f"mismatches: {found}")
    sys.exit(found > 0)


def parser():
    """The shapes of a trace. Rates are per step."""
    made = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--tree", type=pathlib.Path, required=True, help="vLLM's source package, unpacked")
    made.add_argument(
        "--side", choices=["pool", "cache"], default="pool", help="what of park's is beside vLLM's manager"
    )
    made.add_argument("--venv", type=pathlib.Path, help="the environment, made if absent (default: as run.py)")
    made.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the first trace")
    made.add_argument("--seeds", type=int, default=1, help="so many traces, with this seed and the ones after it")
    made.add_argument("--steps", type=int, default=300, help="steps of the engine in a trace")
    made.add_argument("--blocks", type=int, default=64, help="of the pool, the null block included")
    made.add_argument("--block-size", type=int, default=16, help="tokens of a block")
    made.add_argument("--hash-size", type=int, help="tokens of a hash, which divides the block size (default: a block)")
    made.add_argument(
        "--groups", default="full", help="layers' groups, with commas: full, window:TOKENS, chunked:TOKENS, mamba"
    )
    made.add_argument("--eagle", action="store_true", help="with a draft model, which gives up the last block of a hit")
    made.add_argument("--lookahead", type=int, default=0, help="slots for draft tokens")
    made.add_argument("--chunk", type=int, default=64, help="most tokens of a prompt that a step computes")
    made.add_argument("--running", type=int, default=8, help="most requests that run at a time")
    made.add_argument("--prompt", type=int, default=160, help="most tokens of a prompt")
    made.add_argument("--output", type=int, default=60, help="most tokens of an answer")
    made.add_argument("--prefixes", type=int, default=6, help="prefixes that prompts share")
    made.add_argument("--salts", type=int, default=2, help="salts, besides none")
    made.add_argument("--no-caching", action="store_true", help="without the prefix cache")
    made.add_argument("--no-events", action="store_true", help="without events")
    rates = {
        "arrive": (0.6, "a request comes in"),
        "images": (0.2, "of those, have an image"),
        "full-report": (0.2, "of those, ask for events of what they reuse"),
        "abort": (0.05, "a running request is aborted"),
        "preempt": (0.05, "a running request is preempted"),
        "fork": (0.1, "a running request is forked"),
        "pin": (0.1, "some blocks of a request are pinned, or pinned ones let go"),
        "unpin": (0.05, "pinned blocks are let go while they are still read"),
        "evict": (0.05, "some blocks are evicted from the index"),
        "partial": (0.1, "a block is made findable by part of its tokens"),
        "move": (0.03, "a block's hashes move to a copy of it"),
        "reset": (0.02, "the cache is reset, if nothing runs"),
        "drain": (0.01, "everything ends, then the cache is reset"),
    }
    for name, (rate, what) in rates.items():
        made.add_argument(f"--{name}", type=float, default=rate, help=f"how often {what}")
    made.add_argument("--go-on", action="store_true", help="do not stop at the first mismatch")
    made.add_argument("--mutate", help="with this defect in park's pool; see MUTATIONS of the trace")
    made.add_argument("--mutations", action="store_true", help="with every defect in turn: all must be noticed")
    return made


if __name__ == "__main__":
    main()
