"""The pytest plugin that stands in for Ray's conftest: its fixtures, coroutine tests, and one line in the report for each case."""

import asyncio
import contextlib
import inspect
import json
import logging
import os
import signal
from pathlib import Path

import pytest

SHIMS = Path(__file__).resolve().parent / "shims" / "ray"

import ray

if not hasattr(ray, "__park__"):
    # Real Ray: its package has everything but its tests.
    ray.__path__.append(str(SHIMS))

REPORT = os.environ["PARK_CONFORMANCE_REPORT"]
TIMEOUT = float(os.environ["PARK_CONFORMANCE_TIMEOUT"])


# Whoever runs this in the background may have the system ignore Ctrl-C; some cases send themselves one, and workers inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


# --- the report ---------------------------------------------------------------------------------------------------------------------


def write(row):
    # Opened anew for each line: the process may die in the next case.
    with open(REPORT, "a") as file:
        file.write(json.dumps(row) + "\n")


def name_of(item):
    return item.nodeid.partition("::")[2]


def pytest_configure(config):
    config.addinivalue_line("markers", "asyncio: the test is a coroutine")
    config.addinivalue_line("markers", "skipif: skip under a condition")


def pytest_collection_finish(session):
    write({"collected": [name_of(item) for item in session.items]})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when != "call" and report.passed:
        return
    if report.skipped:
        outcome, reason = (
            "not applicable",
            report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr),
        )
    elif report.passed:
        outcome, reason = "passed", ""
    else:
        text = call.excinfo.exconly() if call.excinfo else str(report.longrepr)
        outcome, reason = "failed", f"{report.when}: {' '.join(text.split())[:300]}"
    write({"case": name_of(item), "outcome": outcome, "reason": reason})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A case that hangs is interrupted, as Ctrl-C would."""

    def over(signum, frame):
        raise TimeoutError(f"the case's limit of {TIMEOUT} s is over")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test that is a coroutine, on its `event_loop` if it asks for one."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    loop = pyfuncitem.funcargs.get("event_loop")
    if loop is None:
        asyncio.run(pyfuncitem.obj(**arguments))
    else:
        loop.run_until_complete(pyfuncitem.obj(**arguments))
    return True


# --- sessions -----------------------------------------------------------------------------------------------------------------------

#: What Ray's fixtures start a session with.
DEFAULTS = {
    "num_cpus": 1,
    "object_store_memory": 150 << 20,
    "namespace": "default_test_namespace",
    "dashboard_port": None,
    "_system_config": {
        "object_timeout_milliseconds": 200,
        "health_check_initial_delay_ms": 0,
        "object_store_full_delay_ms": 100,
    },
}


@contextlib.contextmanager
def started(**options):
    yield ray.init("local", **{**DEFAULTS, **options})
    ray.shutdown()


def session_fixture(name, scope="function", **options):
    @pytest.fixture(name=name, scope=scope)
    def fixture(request):
        with started(**{**options, **getattr(request, "param", {})}) as context:
            yield context

    return fixture


ray_start_regular = session_fixture("ray_start_regular")
ray_start_regular_shared = session_fixture("ray_start_regular_shared", scope="module")
ray_start_regular_shared_2_cpus = session_fixture("ray_start_regular_shared_2_cpus", scope="module", num_cpus=2)
ray_start_no_cpu = session_fixture("ray_start_no_cpu", num_cpus=0)
ray_start_2_cpus = session_fixture("ray_start_2_cpus", num_cpus=2)
ray_start_10_cpus = session_fixture("ray_start_10_cpus", num_cpus=10)


@pytest.fixture
def ray_start_object_store_memory(request):
    with started(object_store_memory=request.param):
        yield request.param


@pytest.fixture
def shutdown_only():
    yield None
    ray.shutdown()
    os.environ.pop("RAY_ADDRESS", None)


@pytest.fixture
def maybe_setup_external_redis():
    yield


# --- nodes --------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def cluster_of(num_nodes=0, do_init=None, skip_cluster=None, **options):
    from ray.cluster_utils import Cluster

    options = {**DEFAULTS, **options}
    namespace = options.pop("namespace")
    cluster = Cluster()
    for number in range(num_nodes):
        if number:
            options.pop("_system_config", None)
        cluster.add_node(**options)
        if number == 0 and do_init is not False:
            ray.init(address=cluster.address, namespace=namespace)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def cluster_fixture(name, **options):
    @pytest.fixture(name=name)
    def fixture(request):
        with cluster_of(**{**options, **getattr(request, "param", {})}) as cluster:
            yield cluster

    return fixture


ray_start_cluster = cluster_fixture("ray_start_cluster")
ray_start_cluster_enabled = cluster_fixture("ray_start_cluster_enabled")
ray_start_cluster_init = cluster_fixture("ray_start_cluster_init", do_init=True)
ray_start_cluster_head = cluster_fixture("ray_start_cluster_head", do_init=True, num_nodes=1)
ray_start_cluster_2_nodes = cluster_fixture("ray_start_cluster_2_nodes", do_init=True, num_nodes=2)


# --- the rest -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def event_loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def propagate_logs():
    logging.getLogger("ray").propagate = True
    yield
    logging.getLogger("ray").propagate = False


@pytest.fixture
def enable_pickle_debug():
    os.environ["RAY_PICKLE_VERBOSE_DEBUG"] = "1"
    yield
    del os.environ["RAY_PICKLE_VERBOSE_DEBUG"]


@pytest.fixture
def set_enable_auto_connect(enable_auto_connect=False):
    from ray._private import auto_init_hook

    before = auto_init_hook.enable_auto_connect
    auto_init_hook.enable_auto_connect = enable_auto_connect
    yield enable_auto_connect
    auto_init_hook.enable_auto_connect = before


@pytest.fixture
def tmp_working_dir(tmp_path):
    (tmp_path / "hello").write_text("world")
    (tmp_path / "file_module.py").write_text("def hello():\n    return 'hello'\n")
    module = tmp_path / "test_module"
    module.mkdir()
    (module / "__init__.py").write_text("from test_module.test import one\n")
    (module / "test.py").write_text("def one():\n    return 1\n")
    yield str(tmp_path)


def absent(name, why):
    @pytest.fixture(name=name)
    def fixture():
        pytest.skip(f"needs {why}")

    return fixture


error_pubsub = absent("error_pubsub", "Ray's GCS server, which publishes errors")
log_pubsub = absent("log_pubsub", "Ray's GCS server, which publishes logs")
start_http_proxy = absent("start_http_proxy", "Ray's dashboard")
call_ray_start = absent("call_ray_start", "a cluster started by `ray start`")

from fixtures import *  # noqa: F403  (it imports this module, which is whole by now)
