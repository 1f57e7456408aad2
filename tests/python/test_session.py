"""Sessions: init, shutdown, again and again, automatic start, the context object and what a session says about itself."""

import os
import threading
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON, alive, start, wait_until
from park.exceptions import RayError

ROUNDS = 2 if ON_RAY else 25


def test_a_session_opens_and_closes(fresh):
    assert not ray.is_initialized()
    fresh(num_cpus=2)
    assert ray.is_initialized()
    assert ray.get(ray.put("kept")) == "kept"
    ray.shutdown()
    assert not ray.is_initialized()


def test_shutdown_without_a_session_is_no_error(fresh):
    ray.shutdown()
    ray.shutdown()
    assert not ray.is_initialized()


def test_init_again_and_again(fresh):
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    counts = []
    for number in range(ROUNDS):
        fresh(num_cpus=1)

        @ray.remote
        def double(x):
            return 2 * x

        # More than one call: the second meets workers that are just done with the first, or still being started.
        for turn in range(3):
            assert ray.get(double.remote(number + turn), timeout=SOON) == 2 * (number + turn)
        ray.shutdown()
        counts.append(open_files())
    if not ON_RAY:
        assert counts[-1] <= counts[1], f"descriptors grow with each session: {counts}"


def test_a_function_defined_before_the_session_outlives_it(fresh):
    @ray.remote
    def name():
        return "same function"

    for _ in range(2):
        fresh(num_cpus=1)
        assert ray.get(name.remote(), timeout=SOON) == "same function"
        ray.shutdown()


@pytest.mark.park_only
def test_two_starts_do_not_map_more_memory(fresh):
    def mapped():
        with open("/proc/self/maps") as maps:
            return sum("memfd:" in line for line in maps)

    before = mapped()
    for _ in range(5):
        fresh(num_cpus=1)
        ray.put(b"x" * 1_000_000)
        ray.shutdown()
    assert mapped() == before


def test_a_second_init_is_refused(fresh):
    fresh(num_cpus=1)
    with pytest.raises(RuntimeError, match="init twice by accident"):
        start(num_cpus=1)
    assert ray.get(ray.put(1)) == 1


def test_ignore_reinit_error_keeps_the_session(fresh):
    fresh(num_cpus=3)
    ref = ray.put("still here")
    context = start(num_cpus=1, ignore_reinit_error=True)
    assert context is not None
    assert ray.cluster_resources()["CPU"] == 3.0
    assert ray.get(ref) == "still here"


def test_the_context_is_a_context_manager_and_a_mapping(fresh):
    with fresh(num_cpus=1) as context:
        assert ray.is_initialized()
        assert isinstance(context.address_info, dict)
        for key in context.address_info:
            assert context[key] == context.address_info[key]
        with pytest.raises(KeyError):
            context["no such key"]
    assert not ray.is_initialized()


@pytest.mark.park_only
def test_the_context_names_the_session(fresh):
    first = fresh(num_cpus=1).address_info["session"]
    ray.shutdown()
    second = fresh(num_cpus=1).address_info["session"]
    assert isinstance(first, str) and first
    assert first != second


@pytest.mark.parametrize("call", ["put", "remote", "actor", "wait", "get_actor", "get"])
def test_the_first_call_starts_a_session(fresh, call):
    if ON_RAY and call in ("wait", "get"):
        pytest.skip("three seconds each on Ray, and the same path as put")
    ray.shutdown()

    @ray.remote
    def one():
        return 1

    @ray.remote
    class One:
        def value(self):
            return 1

    if call == "put":
        assert ray.get(ray.put(1)) == 1
    elif call == "remote":
        assert ray.get(one.remote(), timeout=SOON) == 1
    elif call == "actor":
        assert ray.get(One.remote().value.remote(), timeout=SOON) == 1
    elif call == "wait":
        with pytest.raises((TypeError, ValueError)):
            ray.wait(["no ref"], timeout=0)
    elif call == "get":
        assert ray.get([]) == []
    else:
        with pytest.raises(ValueError):
            ray.get_actor("nobody")
    assert ray.is_initialized()


def test_resources_are_what_init_was_told(fresh):
    fresh(num_cpus=3, resources={"slot": 2})
    total = ray.cluster_resources()
    assert total["CPU"] == 3.0
    assert total["slot"] == 2.0
    assert total["object_store_memory"] > 0
    wait_until(lambda: ray.available_resources().get("slot") == 2.0)
    (node,) = ray.nodes()
    assert node["Alive"] is True
    assert node["Resources"]["CPU"] == 3.0
    assert isinstance(node["NodeID"], str)


def test_no_gpu_unless_there_is_one(fresh):
    fresh(num_cpus=1, num_gpus=0)
    assert ray.cluster_resources().get("GPU", 0) == 0


def test_unknown_arguments_of_init_are_refused(fresh):
    with pytest.raises((RuntimeError, TypeError), match="no_such_argument"):
        start(num_cpus=1, no_such_argument=1)
    assert not ray.is_initialized()


def test_local_mode_is_gone(fresh):
    with pytest.raises(RuntimeError, match="local_mode"):
        start(local_mode=True)


@pytest.mark.park_only
def test_arguments_that_ray_accepts_are_accepted(fresh):
    fresh(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=True,
        logging_level="WARNING",
        dashboard_port=8265,
        namespace="here",
    )
    assert ray.get(ray.put(1)) == 1


@pytest.mark.park_only
@pytest.mark.parametrize(
    "arguments",
    [{"num_cpus": -1}, {"num_cpus": "two"}, {"object_store_memory": -5}, {"object_store_memory": "big"}, {"resources": {"a": -1}},
     {"resources": ["a"]}, {"resources": {"CPU": 2}}, {"namespace": 3}, {"preload": [3]}],
    ids=str,
)  # fmt: skip
def test_bad_arguments_of_init_leave_no_session(fresh, arguments):
    with pytest.raises((TypeError, ValueError)):
        ray.init(**{"num_cpus": 1, **arguments})
    assert not ray.is_initialized()
    fresh(num_cpus=1)
    assert ray.get(ray.put(1)) == 1


@pytest.mark.park_only
def test_a_preloaded_module_is_there_before_the_first_task(fresh):
    fresh(num_cpus=1, preload=["colorsys"])

    @ray.remote
    def loaded():
        import sys

        return "colorsys" in sys.modules

    assert ray.get(loaded.remote(), timeout=SOON)


@pytest.mark.park_only
def test_a_preload_that_does_not_import_is_named(fresh):
    with pytest.raises((ImportError, RayError), match="no_such_module_of_park"):
        fresh(num_cpus=1, preload=["no_such_module_of_park"])

        @ray.remote
        def one():
            return 1

        ray.get(one.remote(), timeout=SOON)


@pytest.mark.process_only("environment variables belong to the process")
def test_workers_compute_with_one_thread(fresh):
    fresh(num_cpus=1)

    @ray.remote(num_cpus=1)
    def threads():
        return os.environ.get("OMP_NUM_THREADS")

    assert ray.get(threads.remote(), timeout=SOON) == "1"


def test_the_user_decides_about_omp_threads(fresh, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    fresh(num_cpus=1)

    @ray.remote
    def threads():
        return os.environ.get("OMP_NUM_THREADS")

    assert ray.get(threads.remote(), timeout=SOON) == "3"


def test_a_worker_starts_where_the_driver_is(fresh, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fresh(num_cpus=1)

    @ray.remote
    def here():
        return os.getcwd()

    assert ray.get(here.remote(), timeout=SOON) == str(tmp_path)


@pytest.mark.process_only("a thread in a sleep is left behind")
def test_shutdown_ends_running_work(fresh, tmp_path):
    fresh(num_cpus=2)
    folder = str(tmp_path)

    @ray.remote
    def forever():
        open(f"{folder}/{os.getpid()}", "w").close()
        time.sleep(600)

    @ray.remote
    class Busy:
        def forever(self):
            open(f"{folder}/{os.getpid()}", "w").close()
            time.sleep(600)

    busy = Busy.remote()
    refs = [forever.remote(), busy.forever.remote()]
    wait_until(lambda: len(os.listdir(folder)) == 2)
    assert ray.wait(refs, timeout=0.1) == ([], refs)
    started = time.monotonic()
    ray.shutdown()
    assert time.monotonic() - started < 10
    wait_until(lambda: not any(alive(pid) for pid in os.listdir(folder)), 20 if ON_RAY else 3)


@pytest.mark.park_only
def test_a_ref_of_an_earlier_session_is_refused(fresh):
    fresh(num_cpus=1)
    old = ray.put("old")
    ray.shutdown()
    fresh(num_cpus=1)
    new = ray.put("new")
    with pytest.raises((RayError, ValueError)):
        ray.get(old, timeout=5)
    with pytest.raises((RayError, ValueError)):
        ray.get([new, old], timeout=5)
    with pytest.raises((RayError, ValueError)):
        ray.wait([old], timeout=5)

    @ray.remote
    def echo(x):
        return x

    with pytest.raises((RayError, ValueError)):
        ray.get(echo.remote(old), timeout=5)
    with pytest.raises((RayError, ValueError)):
        ray.get(ray.put([old]), timeout=5)
    assert ray.get(echo.remote(new), timeout=SOON) == "new"
    del old
    assert ray.get(new) == "new"


@pytest.mark.park_only
def test_an_actor_of_an_earlier_session_is_refused(fresh):
    @ray.remote
    class Echo:
        def echo(self, x):
            return x

    fresh(num_cpus=1)
    old = Echo.remote()
    assert ray.get(old.echo.remote(1), timeout=SOON) == 1
    ray.shutdown()
    fresh(num_cpus=1)
    with pytest.raises((RayError, ValueError)):
        ray.get(old.echo.remote(2), timeout=5)
    assert ray.get(Echo.remote().echo.remote(3), timeout=SOON) == 3


@pytest.mark.park_only
def test_a_get_that_waits_is_woken_by_shutdown(fresh):
    fresh(num_cpus=1)

    @ray.remote
    def forever():
        time.sleep(600)

    ref = forever.remote()
    outcome = []

    def wait():
        try:
            outcome.append(ray.get(ref, timeout=SOON))
        except Exception as error:
            outcome.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.2)
    started = time.monotonic()
    ray.shutdown()
    waiter.join(SOON)
    assert time.monotonic() - started < 5
    assert isinstance(outcome[0], (RayError, RuntimeError)) and not isinstance(outcome[0], TimeoutError)


def test_a_session_may_be_opened_and_closed_by_another_thread(fresh):
    results = []

    def run():
        fresh(num_cpus=1)
        results.append(ray.get(ray.put("from a thread")))
        ray.shutdown()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(SOON)
    assert results == ["from a thread"]
