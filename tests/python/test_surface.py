"""The names of the module, the family of its exceptions, and what importing it costs."""

import inspect
import subprocess
import sys
import time

import park as ray
import pytest
from helpers import wait_until
from park import exceptions

NAMES = [
    "init", "shutdown", "is_initialized", "put", "get", "wait", "remote", "kill", "get_actor", "ObjectRef", "exceptions",
    "cluster_resources", "available_resources", "nodes", "__version__",
]  # fmt: skip
OWN_NAMES = ["attach", "store_stats", "runtime_stats"]
FAMILY = [
    ("RayTaskError", "RayError"), ("RayActorError", "RayError"), ("ActorDiedError", "RayActorError"),
    ("ActorUnavailableError", "RayActorError"), ("WorkerCrashedError", "RayError"), ("GetTimeoutError", "RayError"),
    ("ObjectStoreFullError", "RayError"), ("ObjectLostError", "RayError"), ("RaySystemError", "RayError"),
    ("RuntimeEnvSetupError", "RayError"), ("TaskUnschedulableError", "RayError"), ("ActorUnschedulableError", "RayError"),
    ("TaskCancelledError", "RayError"), ("PendingCallsLimitExceeded", "RayError"), ("OutOfMemoryError", "RayError"),
    ("OutOfDiskError", "RayError"), ("OwnerDiedError", "ObjectLostError"), ("ObjectFreedError", "ObjectLostError"),
    ("ActorAlreadyExistsError", "RayError"), ("ActorHandleNotFoundError", "RayError"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there(name):
    assert hasattr(ray, name)


@pytest.mark.park_only
@pytest.mark.parametrize("name", OWN_NAMES)
def test_a_name_of_our_own_is_there(name):
    assert callable(getattr(ray, name))


@pytest.mark.parametrize(("name", "base"), FAMILY)
def test_the_family_of_exceptions(name, base):
    assert issubclass(getattr(exceptions, name), getattr(exceptions, base))
    assert issubclass(getattr(exceptions, name), Exception)


def test_exceptions_are_python_exceptions_too():
    assert issubclass(exceptions.GetTimeoutError, TimeoutError)
    assert issubclass(exceptions.ActorAlreadyExistsError, ValueError)
    assert issubclass(exceptions.ActorHandleNotFoundError, ValueError)


@pytest.mark.park_only
def test_a_full_store_is_a_memory_error():
    assert issubclass(exceptions.ObjectStoreFullError, MemoryError)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("get", {"timeout": None}),
        ("wait", {"num_returns": 1, "timeout": None, "fetch_local": True}),
        ("kill", {"no_restart": True}),
    ],
)
def test_keyword_only_parameters_have_rays_names(name, parameters):
    signature = inspect.signature(getattr(ray, name))
    for parameter, default in parameters.items():
        assert signature.parameters[parameter].kind is inspect.Parameter.KEYWORD_ONLY
        assert signature.parameters[parameter].default == default


def test_get_actor_takes_a_namespace():
    parameters = inspect.signature(ray.get_actor).parameters
    assert list(parameters) == ["name", "namespace"]
    assert parameters["namespace"].default is None


@pytest.mark.park_only
def test_everything_public_has_a_docstring():
    for name in [
        "init",
        "shutdown",
        "put",
        "get",
        "wait",
        "remote",
        "kill",
        "get_actor",
        "attach",
        "ObjectRef",
        "store_stats",
    ]:
        assert inspect.getdoc(getattr(ray, name)), name


@pytest.mark.park_only
def test_all_names_resolve():
    assert set(NAMES + OWN_NAMES) - {"__version__"} <= set(ray.__all__) | {"exceptions"}
    for name in ray.__all__:
        assert hasattr(ray, name), name


@pytest.mark.park_only
def test_the_import_is_quick_and_light():
    """CPU time of the import beside that of cloudpickle, which it needs: each the best of five."""
    code = (
        "import sys, time; t = time.process_time(); import {}; t = time.process_time() - t;"
        "print(t, *[m for m in ('numpy', 'torch', 'asyncio', 'multiprocessing', 'ray') if m in sys.modules])"
    )

    def runs(module):
        program = [sys.executable, "-c", code.format(module)]
        return [subprocess.run(program, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]

    park, cloudpickle = runs("park"), runs("cloudpickle")
    assert all(run[1:] == [] for run in park), park
    assert min(float(run[0]) for run in park) < 4 * min(float(run[0]) for run in cloudpickle)


@pytest.mark.park_only
def test_importing_starts_nothing():
    code = (
        "import os, threading, park; "
        "print(threading.active_count(), len(os.listdir('/proc/self/task')), park.is_initialized(), "
        "open('/proc/self/maps').read().count('memfd:'))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["1", "1", "False", "0"]


@pytest.mark.park_only
def test_numpy_is_not_needed():
    """The run-time requirement is cloudpickle alone; arrays are for who has numpy."""
    code = (
        "import sys; sys.modules['numpy'] = None; sys.modules['torch'] = None; import park; park.init(num_cpus=1); "
        "f = park.remote(lambda x: x + 1); print(park.get([f.remote(1), park.put(b'x')])); park.shutdown()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.strip() == "[2, b'x']"


@pytest.mark.park_only
def test_statistics_have_the_promised_keys(fresh):
    fresh(num_cpus=1)
    assert {"capacity", "used", "objects", "bytes_copied", "bytes_shared", "high_water"} <= set(ray.store_stats())
    stats = ray.runtime_stats()
    assert {"workers", "workers_alive_pids", "zygote_pid", "tasks_submitted", "tasks_finished", "tasks_retried", "workers_died",
            "actors_restarted", "queued", "running"} <= set(stats)  # fmt: skip
    assert isinstance(stats["workers_alive_pids"], list)
    assert stats["zygote_pid"] > 1


def test_what_needs_a_session_and_does_not_start_one(fresh):
    for call in (ray.cluster_resources, ray.available_resources, ray.nodes):
        with pytest.raises((ray.exceptions.RayError, RuntimeError)):
            call()
    assert not ray.is_initialized()


@pytest.mark.park_only
def test_queued_and_running_are_counted(fresh):
    fresh(num_cpus=1)

    @ray.remote
    def sleep(seconds):
        time.sleep(seconds)

    refs = [sleep.remote(0.5) for _ in range(3)]
    wait_until(lambda: ray.runtime_stats()["running"] >= 1, 10)
    assert ray.runtime_stats()["queued"] >= 1
    ray.get(refs, timeout=30)
    wait_until(lambda: (ray.runtime_stats()["running"], ray.runtime_stats()["queued"]) == (0, 0), 5)
