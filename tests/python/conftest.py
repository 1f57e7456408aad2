"""Fixtures of the Python suite, and the switch that runs the same tests on real Ray.

`PARK_TEST_MODULE=ray pytest tests/python` imports Ray under the name `park`, so a test that passes there and fails here shows a
place where park is not Ray-shaped. Tests of what only park promises carry `park_only` and are skipped on Ray.

`PARK_MODE=thread pytest tests/python` runs them with workers that are threads. Tests that need processes carry `process_only` with the
reason and are skipped there.

A module opens one session (`SESSION` holds its `init` arguments) and every module is followed by a check that no process of the
session lives on. Processes are found by an environment token rather than by parentage: an orphan has no parent to betray it.
"""

import os
import sys
import tempfile
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
TOKEN = os.environ["PARK_TEST_TOKEN"] = uuid.uuid4().hex

if os.environ.get("PARK_TEST_MODULE", "park") == "ray":
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's workers import test modules too, so the alias must be a module they find: one file on everybody's path.
    _alias = tempfile.TemporaryDirectory(prefix="park-as-ray-")
    os.mkdir(f"{_alias.name}/park")
    with open(f"{_alias.name}/park/__init__.py", "w") as _file:
        _file.write(
            "import sys, ray, ray.exceptions\nsys.modules.update({'park': ray, 'park.exceptions': ray.exceptions})\n"
        )
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_alias.name, os.environ.get("PYTHONPATH")]))
    sys.path.insert(0, _alias.name)

import helpers
import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "park_only: promised by park, not by Ray; skipped when the suite runs on Ray")
    config.addinivalue_line("markers", "process_only(reason): needs workers that are processes; skipped in thread mode")
    config.addinivalue_line("markers", "slow: takes more than about five seconds")
    if helpers.THREADED:
        # A session's end interrupts its worker threads wherever they are: also where Python can only print an exception.
        ignored = "ignore:Exception ignored in. <function WeakValueDictionary:pytest.PytestUnraisableExceptionWarning"
        config.getini("filterwarnings").append(ignored)
    if helpers.ON_RAY:
        # Ray warns about its own future on import and init; those warnings are not ours to fail on.
        config.getini("filterwarnings")[:] = ["default"]


def pytest_collection_modifyitems(config, items):
    if helpers.THREADED:
        for item in items:
            if marker := item.get_closest_marker("process_only"):
                item.add_marker(pytest.mark.skip(reason=marker.args[0]))
    if not helpers.ON_RAY:
        return
    skip = pytest.mark.skip(reason="a promise of park, not of Ray")
    for item in items:
        if item.get_closest_marker("park_only"):
            item.add_marker(skip)


def close():
    """Shut the session down, if one is open; what it leaves in the store must add up, whatever the tests did to it."""
    complaints = helpers.audit()
    helpers.ray.shutdown()
    assert not complaints, "the session's audit complains:\n" + "\n".join(complaints)


@pytest.fixture(scope="module")
def session(request):
    """The module's session. A test may not shut it down; tests that do so use `fresh`."""
    context = helpers.start(**getattr(request.module, "SESSION", {"num_cpus": 4}))
    yield context
    close()


@pytest.fixture
def fresh():
    """Start sessions within one test; whatever is still open is shut down at its end."""
    helpers.ray.shutdown()
    yield helpers.start
    close()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind():
    """After each module: shutdown must have ended every process that the module caused, directly or not."""
    yield
    helpers.ray.shutdown()
    if helpers.ON_RAY:
        return
    left = helpers.wait_until_gone(lambda: helpers.processes_with("PARK_TEST_TOKEN", TOKEN), helpers.SHUTDOWN_SECONDS)
    # Named before it is ended: the next module must not inherit the leak of this one.
    for process in left:
        process.terminate_quietly()
    assert not left, f"processes outlive the shutdown: {left}"


@pytest.fixture
def counter_file(tmp_path):
    """A file that tasks append a byte to, so that a test can count attempts across processes that die."""
    return helpers.CounterFile(tmp_path / "attempts")
