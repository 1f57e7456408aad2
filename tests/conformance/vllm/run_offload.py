"""vLLM's own tests of offloading, unchanged, on vLLM's classes and on park's: into OFFLOAD.md.

    python tests/conformance/vllm/run_offload.py --tree vllm-0.33.0 --venv VENV

Two suites: those of the manager, with the manager swapped, and those of the offloading connector, with the connector swapped. The environment
and the tree are those of `run.py`. What passes on vLLM's class is what park's is measured by: at least 95 % of it must pass, every other
case is in OFFLOAD.md with its reason, and a case that fails for no reason known here fails the run. Some cases measure time: what fails for
no known reason is run once more, alone.
"""

import argparse
import collections
import fnmatch
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import models
import run

HERE = pathlib.Path(__file__).resolve().parent
#: By what is swapped: the folder, what is run in it, and how OFFLOAD.md says it.
SUITES = {
    "manager": (
        "tests/v1/kv_offload",
        ("cpu/test_manager.py", "tiering"),
        "the tiers above it are vLLM's and the primary tier is park's",
    ),
    "connector": (
        "tests/v1/kv_connector/unit/offloading_connector",
        (".",),
        "its manager and its worker are the tests' own mocks or vLLM's; park's are what test_connector.py is about",
    ),
}
BAR = 0.95

_WALK = "the case puts lists of its own into vLLM's policy and counts how often they are walked"
_OWN = "the case looks into the object that vLLM keeps its order in"
_HOOK = "the case replaces a private step of vLLM's manager or policy; the table does allocation and misses in one call, without it"
#: A pattern of the case, below the suite's folder, to why it cannot pass. One that matches no failing case fails the run.
REASONS: dict[str, str] = {
    "cpu/test_manager.py::TestARCPolicy::test_batch_eviction_*": _WALK,
    "cpu/test_manager.py::TestARCPolicy::test_store_falls_back_to_t1_when_t2_cannot_satisfy_eviction*": _WALK,
    "cpu/test_manager.py::test_lru_batch_eviction_failure_is_atomic": _OWN,
    "cpu/test_manager.py::test_lru_repeated_pin_cycles_compact_lazy_heap_entries": _OWN,
    "tiering/test_tiering_offloading.py::TestTieringOffloadingManager::test_touch_propagates_to_all_tiers": _OWN,
    "cpu/test_manager.py::test_cpu_manager_reports_allocation_size_on_allocation_failure": _HOOK,
}


def main():
    """Run both, compare, write."""
    options, pytest_arguments = parser().parse_known_args()
    tree = options.tree.resolve()
    python = run.environment(options.venv, options.packages)
    texts, failures = [], []
    for suite in options.suite or SUITES:
        both = {whose: one(python, tree, suite, whose, pytest_arguments, options.timeout) for whose in ("vllm", "park")}
        cases = both["park"]["cases"]
        if odd := [name for name in lost(both["vllm"], both["park"]) if why(name) is None]:
            again = one(python, tree, suite, "park", odd, options.timeout)
            cases.update({name: case for name, case in again["cases"].items() if case["outcome"] == "passed"})
        text, failed = compare(suite, both["vllm"], both["park"])
        print(text)
        texts.append(text)
        failures += [f"{suite}: {failed}"] if failed else []
    if not pytest_arguments and not options.suite:
        options.results.write_text("\n".join(["# vLLM's tests of offloading on park's classes\n", *texts]))
    sys.exit("; ".join(failures) or None)


def parser():
    """The command line; what is left over goes to pytest."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    made.add_argument("--tree", type=pathlib.Path, required=True, help="vLLM's source package, unpacked")
    made.add_argument("--suite", choices=list(SUITES), action="append", help="only this one, and nothing is written")
    made.add_argument("--venv", type=pathlib.Path, default=HERE / ".venv", help="the environment, made if absent")
    made.add_argument(
        "--packages", default=run.sysconfig.get_path("purelib"), help="the site-packages with torch and pytest"
    )
    made.add_argument("--results", type=pathlib.Path, default=HERE / "OFFLOAD.md")
    made.add_argument("--timeout", type=int, default=1800, help="seconds for one run")
    return made


def one(python, tree, suite, whose, pytest_arguments, timeout):
    """The report of one pytest run: see offload_plugin."""
    with tempfile.TemporaryDirectory(prefix="park-vllm-") as name:
        work = pathlib.Path(name)
        out = work / "report.json"
        models.write(work)
        folder, files, _ = SUITES[suite]
        folder = tree / folder
        command = [
            python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "offload_plugin",
            "-p",
            "no:cacheprovider",
            f"--confcutdir={folder}",
        ]
        command += ["--rootdir", str(tree), "-c", os.devnull, "-W", "ignore", "--tb=short", "-rN", "--no-header"]
        named = [argument for argument in pytest_arguments if "::" in argument]
        command += [argument for argument in pytest_arguments if "::" not in argument]
        command += [str(tree / name) for name in named] or [str(folder / file) for file in files]
        env = run.variables(tree, work, pathlib.Path(python).parents[1] / "cache")
        env |= {"PARK_VLLM_SWAP": suite, "PARK_VLLM_WHOSE": whose, "PARK_VLLM_REPORT": str(out)}
        done = subprocess.run(command, env=env, cwd=work, timeout=timeout, stdout=sys.stderr)
        if not out.exists():
            sys.exit(f"pytest wrote no report and ended with {done.returncode}")
        return json.loads(out.read_text())


def lost(base, park):
    """The cases that pass on vLLM's class only, with how they ended on park's."""
    passing = [name for name, case in base["cases"].items() if case["outcome"] == "passed"]
    ended = {name: park["cases"].get(name, {"reason": "was not run"}) for name in passing}
    return {name: case for name, case in ended.items() if case.get("outcome") != "passed"}


def compare(suite, base, park):
    """The comparison as Markdown, and why it fails as a check (`None` if it does not)."""
    passing = [name for name, case in base["cases"].items() if case["outcome"] == "passed"]
    missing = lost(base, park)
    share = 1 - len(missing) / len(passing) if passing else 0.0
    folder, files, note = SUITES[suite]
    lines = [
        f"## The {suite}",
        "",
        f"`run_offload.py`: {folder}/{{{','.join(files)}}} of vLLM 0.33.0, unchanged; the {suite} is swapped before they",
        f"are collected: {note}.",
        "",
        f"| {suite} | passed | failed | errors | skipped | made |",
        "|---|---|---|---|---|---|",
        row("vLLM's", base),
        row("park's", park),
        "",
        f"Of {len(passing)} cases that pass on vLLM's {suite}, {len(passing) - len(missing)} pass on park's: {100 * share:.1f} %.",
        "",
        "### Cases that pass on vLLM's only",
        "",
    ]
    grouped = collections.defaultdict(list)
    for name, case in missing.items():
        grouped[why(name) or f"**not known**: {(case.get('reason') or '?').splitlines()[0][:160]}"].append(short(name))
    for reason, names in grouped.items():
        lines += [f"* {reason}", *(f"  * `{name}`" for name in sorted(names))]
    lines += ["None."] if not missing else []
    unknown = [short(name) for name in missing if why(name) is None]
    listed = [pattern for pattern in REASONS if suite == "manager"]
    stale = [pattern for pattern in listed if not fnmatch.filter(map(short, missing), pattern)]
    failed = None
    if not park["made"]["park"]:
        failed = f"park's {suite} was not used"
    elif share < BAR:
        failed = f"{100 * share:.1f} % is below {100 * BAR:.0f} %"
    elif unknown or stale:
        failed = f"not known why: {unknown}; listed and passing: {stale}"
    return "\n".join(lines) + "\n", failed


def row(whose, report):
    """One run as a row of the table."""
    counts = collections.Counter(case["outcome"] for case in report["cases"].values())
    numbers = " | ".join(str(counts[outcome]) for outcome in ("passed", "failed", "error", "skipped"))
    made = report["made"]
    return f"| {whose} | {numbers} | {made['park']} park's, {made['vllm']} vLLM's |"


def why(name):
    """Why this case cannot pass on park's class, if that is known."""
    return next((reason for pattern, reason in REASONS.items() if fnmatch.fnmatchcase(short(name), pattern)), None)


def short(name):
    """A case without the folders that all have."""
    return name.partition("kv_offload/")[2] or name.partition("offloading_connector/")[2] or name


if __name__ == "__main__":
    main()
