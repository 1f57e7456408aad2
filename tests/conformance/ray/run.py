"""Runs files of Ray's own test suite on park, or on Ray itself, and says which of their cases pass.

    python tests/conformance/ray/run.py --tests RAY/python/ray/tests test_actor.py test_queue.py
    python tests/conformance/ray/run.py --tests ... --module ray --json on-ray.json        the same glue on real Ray
    python tests/conformance/ray/run.py --tests ... --against on-ray.json                  counts what passes on real Ray

`make conformance-ray TESTS=RAY/python/ray/tests` runs all of them on both, and writes RESULTS.md (results.py). `--others` stands for
a second set of files, which the project was measured by afterwards: `make conformance-ray-others` does the same with OTHERS.md.

Each file runs in a process of its own, copied away from Ray's own conftest. In its place `plugin.py` offers the fixtures, and
`shims/` the modules that only Ray's tests import. A case passes, fails, or is not applicable: because it skips itself, because it
needs a fixture for something that is no part of park (a GCS server, a Redis), or because it does not pass on real Ray either. A
case that hangs is ended by `--timeout`; a file that hangs or dies takes only its own remaining cases with it. The report is written
after each file, so a run that is cut short keeps what it has; with `--update` the files of an earlier report that are not run stay.

The files are Ray's and are not kept here: take them from a checkout of the commit that the interface is measured against.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
#: The files that the project answers for.
TARGETS = [
    *("test_basic", "test_actor", "test_actor_failures", "test_actor_retry_1", "test_async", "test_cancel"),
    *("test_streaming_generator_backpressure", "test_actor_pool", "test_queue", "test_wait", "test_concurrency_group"),
    *("test_serialization", "test_runtime_context"),
]
#: Others of the suite, about what park offers too: generators, asyncio, placement groups, labels, references, pools, scheduling.
OTHERS = [
    *("test_generators", "test_streaming_generator", "test_streaming_generator_2", "test_streaming_generator_3"),
    *("test_streaming_generator_4", "test_streaming_generator_regression", "test_asyncio", "test_asyncio_cluster"),
    *("test_placement_group", "test_placement_group_2", "test_placement_group_3", "test_placement_group_4"),
    *("test_placement_group_5", "test_placement_group_mini_integration", "test_placement_group_failover"),
    *("test_label_scheduling", "test_node_label_scheduling_strategy", "test_bundle_label_selector", "test_label_utils"),
    *("test_node_labels", "test_reference_counting", "test_reference_counting_2", "test_reference_counting_standalone"),
    *("test_multiprocessing", "test_multiprocessing_standalone", "test_actor_advanced", "test_actor_resources"),
    *("test_scheduling_2", "test_memory_scheduling", "test_basic_5", "test_ray_get", "test_nested_task"),
]
RAY_PYTHON = ROOT / "benches" / ".venv-ray" / "bin" / "python"


def interpreter(module, chosen):
    """The Python that runs the files; SystemExit if it lacks what they need."""
    python = chosen or (sys.executable if module == "park" else str(RAY_PYTHON))
    for needed in ("pytest", "ray") if module == "ray" else ("pytest",):
        found = subprocess.run([python, "-c", f"import {needed}"], capture_output=True, text=True)
        if found.returncode != 0:
            raise SystemExit(
                f"{python} cannot import {needed}, which --module {module} needs: pip install it there, or --python"
            )
    return python


def run_file(python, module, mode, file, timeout, limit, only=()):
    """Run one file, or `only` some of its cases; its cases as {name: (outcome, reason)}, and what it printed."""
    with tempfile.TemporaryDirectory(prefix="park-conformance-") as folder:
        copy = shutil.copy(file, folder)
        report = Path(folder) / "report.jsonl"
        paths = [str(HERE), str(ROOT / "python"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        if module == "park":
            paths.insert(0, str(HERE / "shims"))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PARK_CONFORMANCE_REPORT": str(report),
            "PARK_CONFORMANCE_TIMEOUT": str(timeout),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PARK_MODE": mode,
        }
        command = [python, "-m", "pytest", "-p", "plugin", "--noconftest", "-q", "--tb=short"]
        command += ["-c", os.devnull, "--rootdir", folder, "-p", "no:cacheprovider"]
        command += [f"{copy}::{case}" for case in only] or [copy]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
            ended = f"the file's process ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            ended = f"the file's limit of {limit} s was over"
        return cases_of(report, output, ended), output


def cases_of(report, output, ended):
    """What the plugin wrote down: every case that was collected, and the outcomes of those that ran."""
    cases, collected = {}, []
    for line in report.read_text().splitlines() if report.exists() else []:
        row = json.loads(line)
        if "collected" in row:
            collected = row["collected"]
        elif (
            cases.get(row["case"], ("passed", ""))[0] != "failed"
        ):  # a failure of the call is not made good by its teardown
            cases[row["case"]] = (row["outcome"], row["reason"])
    if not collected:
        return {"(collection)": ("failed", last_line(output) or ended)}
    return {case: cases.get(case, ("failed", f"not run: {ended}")) for case in collected}


def last_line(output):
    lines = [line for line in output.splitlines() if line.startswith("E  ")]
    return lines[-1][1:].strip() if lines else ""


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--tests", required=True, type=Path, metavar="DIR", help="python/ray/tests of a checkout of Ray"
    )
    parser.add_argument("--module", choices=["park", "ray"], default="park", help="what runs them")
    parser.add_argument("--mode", choices=["process", "thread"], default="process", help="what workers are (park only)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the report to this file too")
    parser.add_argument("--update", action="store_true", help="keep the other files of the report that OUT has already")
    parser.add_argument(
        "--against", type=Path, metavar="JSON", help="a report of --module ray: only what passes there counts"
    )
    parser.add_argument("--python", help="the interpreter that runs the files")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for a case (default %(default)s)")
    parser.add_argument("--limit", type=float, default=600, help="seconds for a file (default %(default)s)")
    parser.add_argument(
        "--again", type=int, default=0, metavar="N", help="with --module ray: a case that fails is tried so often again"
    )
    parser.add_argument("--others", action="store_true", help="by default the other files, of which OTHERS.md tells")
    parser.add_argument("--verbose", action="store_true", help="print what the files print")
    parser.add_argument("files", nargs="*", metavar="FILE", help="by default the files that the project answers for")
    chosen = parser.parse_args()
    if chosen.module == "ray" and chosen.mode != "process":
        parser.error("Ray's workers are processes")
    if chosen.module == "park" and chosen.again:
        parser.error("--again is for Ray, of which each case counts that can pass; park's are to pass the first time")
    named = chosen.files or (OTHERS if chosen.others else TARGETS)
    files = [chosen.tests / (name if name.endswith(".py") else f"{name}.py") for name in named]
    if missing := [str(file) for file in files if not file.is_file()]:
        parser.error(f"no such test files: {', '.join(missing)}")
    against = json.loads(chosen.against.read_text())["files"] if chosen.against else {}
    python = interpreter(chosen.module, chosen.python)

    report = earlier(chosen)
    ran = []
    for file in files:
        began = time.monotonic()
        cases, output = run_file(python, chosen.module, chosen.mode, file, chosen.timeout, chosen.limit)
        for _ in range(chosen.again):
            failed = [case for case, (outcome, _) in cases.items() if outcome == "failed" and case != "(collection)"]
            if failed:
                tried, _ = run_file(python, chosen.module, chosen.mode, file, chosen.timeout, chosen.limit, only=failed)
                cases |= {case: found for case, found in tried.items() if found[0] == "passed"}
        if chosen.verbose:
            print(output)
        for case, (outcome, _) in cases.items():
            theirs = against.get(file.name, {}).get(case, ["passed", ""]) if against else ["passed", ""]
            if outcome == "failed" and theirs[0] != "passed":
                cases[case] = ("not applicable", f"on Ray: {theirs[0]}, {theirs[1]}")
        report["files"][file.name] = cases
        report["seconds"][file.name] = round(time.monotonic() - began, 1)
        ran += [outcome for outcome, _ in cases.values()]
        show(file.name, cases)
        if chosen.json:
            write(chosen.json, report)
    print(summary("all", ran))
    return 1 if "failed" in ran else 0


def earlier(chosen):
    """The report that is to be written: empty, or with `--update` the one that is there."""
    report = {"module": chosen.module, "mode": chosen.mode, "files": {}, "seconds": {}}
    if not chosen.update or not chosen.json or not chosen.json.exists():
        return report
    there = json.loads(chosen.json.read_text())
    if any(there[key] != report[key] for key in ("module", "mode")):
        raise SystemExit(
            f"{chosen.json} is of {there['module']} with {there['mode']} workers, and this run of {chosen.module} with "
            f"{chosen.mode} workers: it cannot be updated"
        )
    return there


def write(path, report):
    """Replace the file at once: a run that is cut in between leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(report, indent=1))
    new.replace(path)


def show(name, cases):
    print(summary(name, [outcome for outcome, _ in cases.values()]))
    for case, (outcome, reason) in cases.items():
        if outcome != "passed":
            print(f"    {outcome}: {case}: {reason}")
    sys.stdout.flush()


def summary(name, outcomes):
    counted = {outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "not applicable")}
    share = counted["passed"] / max(1, counted["passed"] + counted["failed"])
    return f"{name}: {counted['passed']} passed, {counted['failed']} failed, {counted['not applicable']} not applicable ({share:.0%})"


if __name__ == "__main__":
    sys.exit(main())
