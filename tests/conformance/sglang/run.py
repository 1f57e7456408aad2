"""SGLang's own radix cache tests, unchanged, on park's tree and on SGLang's: one row a test, into RESULTS.md.

    python tests/conformance/sglang/run.py --tests DIR --venv VENV

DIR is ``test/registered/unit/mem_cache`` of SGLang's repository (the wheel has no tests). VENV has SGLang without its kernels (see
requirements.txt), and torch, numpy and pytest from the project's environment by a .pth file. park is taken from this checkout, built.

Three parts: the tests, on both caches by the same plug-in (`swap`); random traces on both in step (`trace`); and what changed in SGLang's
signatures since `TESTED_WITH`, which park refuses to start with. It fails if a test passes on SGLang's cache and not on park's.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FILE = "test_radix_cache_unit.py"
CLASS = "TestRadixCache"
#: Builds 100 million tokens of prompts to measure the memory of a GPU.
LEFT_OUT = "test_memory_allocated"

#: Why a test that fails on both does.
REASONS = {
    "test_cache_unfinished_req_deferred_free_owns_original_indices": "calls `cache_unfinished_req`, which the release has no more: "
    "`checkpoint` took its place, and the traces compare it",
    "test_finished_request_splits_prompt_from_output_for_eviction": "calls `cache_finished_req`, as above",
}


def main():
    """Run, compare, write."""
    options = parser().parse_args()
    python = options.venv / "bin" / "python"
    outcomes = {cache: tests(python, options.tests / FILE, cache, options.timeout) for cache in ("sglang", "park")}
    traces = run([python, HERE / "trace.py", str(options.traces), "1"], {}, options.timeout)
    print(traces.stdout, traces.stderr[-3000:] if traces.returncode else "", sep="\n")
    lost = [name for name, outcome in outcomes["sglang"].items() if outcome == "passed" != outcomes["park"].get(name)]
    agreed = traces.stdout.strip() if traces.returncode == 0 else "the traces differ"
    text = report(outcomes, agreed, version(python))
    options.results.write_text(text)
    print(text)
    sys.exit(bool(lost or traces.returncode or not outcomes["sglang"]))


def parser():
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--tests", type=pathlib.Path, required=True, help=f"the folder with {FILE}")
    made.add_argument("--venv", type=pathlib.Path, default=HERE / ".venv", help="an environment with SGLang")
    made.add_argument("--traces", type=int, default=300, help="how many random traces")
    made.add_argument("--results", type=pathlib.Path, default=HERE / "RESULTS.md")
    made.add_argument("--timeout", type=int, default=900, help="seconds for one run")
    return made


def run(command, variables, timeout):
    """A finished process, with park of this checkout."""
    env = (
        os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(HERE)]),
        }
        | variables
    )
    return subprocess.run(command, env=env, timeout=timeout, capture_output=True, text=True)


def tests(python, file, cache, timeout):
    """How each test of the class ended on a cache."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.xml"
        command = [
            python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "swap",
            "-p",
            "no:cacheprovider",
            "--junitxml",
            out,
            f"{file}::{CLASS}",
            *("-k", f"not {LEFT_OUT}"),
        ]
        done = run(command, {"PARK_SGLANG_CACHE": cache}, timeout)
        if not out.exists():
            sys.exit(f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        print(done.stdout[-2500:])
        cases = ElementTree.parse(out).getroot().iter("testcase")
        return {case.get("name"): outcome(case) for case in cases}


def outcome(case):
    """How a test ended, as junit says it."""
    return next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")


def version(python):
    """The version of SGLang in that environment."""
    return run([python, "-c", "import sglang.version as v; print(v.__version__)"], {}, 120).stdout.strip()


def report(outcomes, traces, installed):
    """What was found, as Markdown."""
    theirs, ours = outcomes["sglang"], outcomes["park"]
    passed = [name for name, outcome in theirs.items() if outcome == "passed"]
    kept = [name for name in passed if ours.get(name) == "passed"]
    lines = [
        "# SGLang's radix cache tests on park's tree",
        "",
        f"SGLang {installed}. `{CLASS}` of `{FILE}` tests the cache; the file's other classes test `RadixKey`, `TreeNode` and the queue of",
        f"events, which park uses as they are. `{LEFT_OUT}` measures the memory of a GPU and is left out. The file is of a revision",
        "shortly before the release, in which a match had",
        "`device_indices`: both caches get that accessor (`swap.py`). park's caches come from SGLang's registry.",
        "",
        f"Of the {len(passed)} tests that pass on SGLang's own cache, {len(kept)} pass on park's. Traces on both in step: {traces}.",
        "",
        "| test | SGLang's | park's | why |",
        "|---|---|---|---|",
        *(
            f"| {name} | {theirs[name]} | {ours.get(name, 'not run')} | {reason(name, theirs[name])} |"
            for name in sorted(theirs)
        ),
    ]
    return "\n".join(lines) + "\n"


def reason(name, outcome):
    """Why it did not pass."""
    return "" if outcome == "passed" else REASONS.get(name, "not known")


if __name__ == "__main__":
    main()
