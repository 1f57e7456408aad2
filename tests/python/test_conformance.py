"""tests/conformance/ray/run.py, on a file of our own in the shape of Ray's: what it reports, and that nothing takes it down."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.park_only, pytest.mark.slow]

RUN = Path(__file__).resolve().parents[1] / "conformance" / "ray" / "run.py"
RESULTS = RUN.with_name("results.py")
FILE = """
import asyncio
import os
import time

import pytest
import ray
from ray._common.test_utils import SignalActor, wait_for_condition
from ray._private.test_utils import run_string_as_driver


@ray.remote
def add(a, b):
    from ray._common.test_utils import is_named_tuple  # a shim, found by the worker

    return a + b


def test_passes(ray_start_regular):
    assert ray.__version__ == "2.60.0"
    assert ray.get(add.remote(1, 2)) == 3
    assert ray.get_runtime_context().namespace == "default_test_namespace"


def test_fails(ray_start_regular):
    assert 1 == 2


@pytest.mark.parametrize("ray_start_regular", [{"num_cpus": 3}], indirect=True)
def test_has_parameters(ray_start_regular):
    assert ray.cluster_resources()["CPU"] == 3


@pytest.mark.asyncio
async def test_is_a_coroutine(shutdown_only):
    ray.init(num_cpus=1)
    signal = SignalActor.remote()
    ref = signal.wait.remote()
    await signal.send.remote()
    await ref


def test_drives_another(shutdown_only):
    script = "import ray; ray.init(num_cpus=1); print(ray.get(ray.put(5)))"
    assert run_string_as_driver(script).split() == ["5"]


def test_needs_what_is_not_there(error_pubsub):
    pass


def test_hangs():
    time.sleep(60)


def test_ends_everything():
    os._exit(3)


def test_after_that():
    pass
"""


def run(tmp_path, *arguments):
    out = tmp_path / "out.json"
    command = [sys.executable, str(RUN), "--tests", str(tmp_path), "--timeout", "3", "--json", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55)
    return done, json.loads(out.read_text())["files"] if out.exists() else None


def test_each_case_has_an_outcome(tmp_path):
    (tmp_path / "test_ours.py").write_text(FILE)
    done, files = run(tmp_path, "test_ours")
    assert done.returncode == 1
    cases = files["test_ours.py"]
    assert [name for name, (outcome, _) in cases.items() if outcome == "passed"] == [
        "test_passes",
        "test_has_parameters[ray_start_regular0]",
        "test_is_a_coroutine",
        "test_drives_another",
    ], done.stdout
    assert cases["test_fails"] == ["failed", "call: AssertionError: assert 1 == 2"]
    assert (
        cases["test_needs_what_is_not_there"][0] == "not applicable"
        and "GCS" in cases["test_needs_what_is_not_there"][1]
    )
    assert "limit of 3.0 s" in cases["test_hangs"][1]
    assert (
        cases["test_ends_everything"]
        == cases["test_after_that"]
        == ["failed", "not run: the file's process ended with 3"]
    )
    assert "test_ours.py: 4 passed, 4 failed, 1 not applicable (50%)" in done.stdout


def test_only_what_passes_on_ray_counts(tmp_path):
    (tmp_path / "test_two.py").write_text("def test_a():\n    assert 0\n\ndef test_b():\n    assert 0\n")
    theirs = tmp_path / "theirs.json"
    theirs.write_text(
        json.dumps({"files": {"test_two.py": {"test_a": ["failed", "call: x"], "test_b": ["passed", ""]}}})
    )
    _, files = run(tmp_path, "--against", str(theirs), "test_two.py")
    assert files["test_two.py"] == {
        "test_a": ["not applicable", "on Ray: failed, call: x"],
        "test_b": ["failed", "call: AssertionError: assert 0"],
    }


def test_a_file_that_does_not_import_is_one_failure(tmp_path):
    (tmp_path / "test_wrong.py").write_text("import no_such_module\n")
    _, files = run(tmp_path, "test_wrong.py")
    assert (
        files["test_wrong.py"]["(collection)"][0] == "failed"
        and "no_such_module" in files["test_wrong.py"]["(collection)"][1]
    )


def test_what_it_cannot_run_it_says(tmp_path):
    done, _ = run(tmp_path, "test_absent.py")
    assert done.returncode == 2 and "test_absent.py" in done.stderr
    (tmp_path / "test_two.py").write_text("")
    done, _ = run(tmp_path, "--module", "ray", "--python", "/no/python", "test_two.py")
    assert done.returncode != 0


def test_the_report_keeps_what_ran_and_is_updated(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text("def test_a():\n    pass\n")
    _, files = run(tmp_path, "test_one")
    assert files == {"test_one.py": {"test_a": ["passed", ""]}}
    _, files = run(tmp_path, "--update", "test_two")
    assert set(files) == {"test_one.py", "test_two.py"}
    assert set(json.loads((tmp_path / "out.json").read_text())["seconds"]) == set(files)
    done, _ = run(tmp_path, "--update", "--mode", "thread", "test_two")
    assert done.returncode == 1 and "cannot be updated" in done.stderr


def results(tmp_path, reasons, ours, *more, file="test_x"):
    """What results.py says of these reasons, where Ray passes a and b, and fails c."""
    theirs = {"a": ["passed", ""], "b": ["passed", ""], "c": ["failed", "call: x"]}
    reports = {"ray": theirs, "park": ours}
    for module, cases in reports.items():
        report = {"module": module, "mode": "process", "files": {f"{file}.py": cases}, "seconds": {f"{file}.py": 2.5}}
        (tmp_path / f"{module}.json").write_text(json.dumps(report))
    (tmp_path / "reasons.toml").write_text(reasons)
    paths = [tmp_path / name for name in ("ray.json", "park.json")]
    options = ["--reasons", tmp_path / "reasons.toml", "--out", tmp_path / "RESULTS.md"]
    done = subprocess.run(
        [sys.executable, RESULTS, *paths, *options, *more], capture_output=True, text=True, timeout=50
    )
    return done, (tmp_path / "RESULTS.md").read_text()


def test_every_case_that_does_not_pass_needs_a_reason(tmp_path):
    ours = {"a": ["passed", ""], "b": ["failed", "call: broken"], "c": ["failed", "call: x"]}
    done, page = results(tmp_path, "", ours)
    assert done.returncode == 1
    assert done.stderr.strip() == "test_x.py: b does not pass and has no reason: failed call: broken"
    done, page = results(tmp_path, '[test_x]\nb = "it cannot"\n', ours)
    assert done.returncode == 0 and not done.stderr
    assert "| test_x | 3 | 2 | 1 | 50.0% | 2 | 2 |" in page and "* `b`: it cannot" in page and "`c`" not in page


def test_a_case_that_is_skipped_or_gone_on_park_does_not_pass(tmp_path):
    done, _ = results(tmp_path, "", {"a": ["not applicable", "skipped"]})
    assert [line.partition(" does")[0] for line in done.stderr.splitlines()] == ["test_x.py: a", "test_x.py: b"]


def test_a_case_that_passes_sometimes_may_pass(tmp_path):
    ours = {"a": ["passed", ""], "b": ["passed", ""]}
    reasons = '[test_x]\nb = "sometimes: it is too fast"\n'
    done, page = results(tmp_path, reasons, ours)
    assert done.returncode == 0 and "| test_x | 3 | 2 | 2 | 100.0% |" in page
    done, page = results(tmp_path, reasons, {**ours, "b": ["failed", "call: x"]})
    assert done.returncode == 0 and "* `b`: sometimes: it is too fast" in page


def test_a_reason_that_nobody_needs_is_an_error(tmp_path):
    ours = {"a": ["passed", ""], "b": ["passed", ""], "c": ["failed", "call: x"]}
    reasons = '[test_x]\nb = "x"\nc = "x"\nd = "x"\n[test_y]\na = "x"\n'
    done, _ = results(tmp_path, reasons, ours)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "test_x.py: b has a reason and needs none: it passes",
        "test_x.py: c has a reason and needs none: on Ray it is failed",
        "test_x.py: d has a reason and needs none: there is no such case",
        "test_y.py: has reasons, and Ray's report does not have it",
    ]


def test_the_other_files_have_a_page_of_their_own(tmp_path):
    """One file has the reasons for both sets: those of the other set are nobody's concern."""
    ours = {"a": ["passed", ""], "b": ["failed", "call: broken"], "c": ["failed", "call: x"]}
    reasons = '[test_generators]\nb = "it cannot"\n[test_basic]\na = "x"\n'
    done, page = results(tmp_path, reasons, ours, "--others", file="test_generators")
    assert done.returncode == 0 and page.startswith("# More of Ray's own tests") and "* `b`: it cannot" in page
    done, page = results(tmp_path, reasons, {**ours, "b": ["passed", ""]}, "--others", file="test_generators")
    assert done.stderr.strip() == "test_generators.py: b has a reason and needs none: it passes"
    done, page = results(tmp_path, reasons, ours)
    assert "test_generators" not in done.stderr and "test_basic.py: has reasons" in done.stderr
