"""Worker processes and the zygote that die: work is retried by its policy or raised, and memory comes back."""

import os
import signal
import time

import park as ray
import pytest
from helpers import MB, ON_RAY, SOON, alive, kill, used_bytes, wait_until
from park.exceptions import RayError, WorkerCrashedError

SESSION = {"num_cpus": 2, "object_store_memory": 256 * MB}
pytestmark = [pytest.mark.usefixtures("session"), pytest.mark.process_only("kills processes")]


@ray.remote
def pid_of_worker():
    return os.getpid()


@ray.remote
def attempt(path, deaths, how):
    """Dies in the first `deaths` attempts, which are counted in a file."""
    with open(path, "a") as file:
        file.write(".")
    if os.path.getsize(path) <= deaths:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        os._exit(9)
    return "survived"


def test_death_of_an_idle_worker():
    for _ in range(2):
        pid = ray.get(pid_of_worker.remote(), timeout=SOON)
        os.kill(pid, signal.SIGKILL)
        assert ray.get(pid_of_worker.remote(), timeout=SOON) != pid


@pytest.mark.park_only
def test_death_of_every_idle_worker():
    ray.get([pid_of_worker.remote() for _ in range(8)], timeout=SOON)
    pids = ray.runtime_stats()["workers_alive_pids"]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert ray.get([pid_of_worker.remote() for _ in range(8)], timeout=SOON)
    wait_until(lambda: not set(pids) & set(ray.runtime_stats()["workers_alive_pids"]), 5)


@pytest.mark.parametrize("how", ["kill", "exit", "segfault"])
def test_a_task_is_retried_when_its_worker_dies(counter_file, how):
    assert ray.get(attempt.remote(counter_file.path, 1, how), timeout=SOON) == "survived"
    assert counter_file.count() == 2


def test_the_default_is_three_retries(counter_file):
    with pytest.raises(WorkerCrashedError):
        ray.get(attempt.remote(counter_file.path, 100, "exit"), timeout=SOON)
    assert counter_file.count() == 4


@pytest.mark.parametrize("retries", [0, 1])
def test_retries_are_counted(counter_file, retries):
    with pytest.raises(WorkerCrashedError) as info:
        ray.get(attempt.options(max_retries=retries).remote(counter_file.path, 100, "kill"), timeout=SOON)
    assert isinstance(info.value, RayError)
    assert counter_file.count() == retries + 1


def test_retries_without_end(counter_file):
    deaths = 5 if ON_RAY else 12
    assert (
        ray.get(attempt.options(max_retries=-1).remote(counter_file.path, deaths, "exit"), timeout=SOON) == "survived"
    )
    assert counter_file.count() == deaths + 1


def test_a_running_worker_is_killed_from_outside(tmp_path):
    marker = str(tmp_path / "pid")

    @ray.remote
    def once(path):
        if os.path.exists(path):
            return "second attempt"
        with open(path + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(path + ".new", path)
        time.sleep(600)

    ref = once.remote(marker)
    wait_until(lambda: os.path.exists(marker))
    with open(marker) as file:
        kill(int(file.read()))
    assert ray.get(ref, timeout=SOON) == "second attempt"


def test_the_retry_has_its_arguments(counter_file):
    @ray.remote
    def total(path, big, nested):
        with open(path, "a") as file:
            file.write(".")
        if os.path.getsize(path) == 1:
            os._exit(1)
        return len(big) + len(ray.get(nested[0]))

    ref = total.remote(counter_file.path, b"x" * 1_000_000, [ray.put(b"y" * 500_000)])
    assert ray.get(ref, timeout=SOON) == 1_500_000
    assert counter_file.count() == 2


def test_every_return_of_a_crashed_task_is_an_error():
    @ray.remote(num_returns=3, max_retries=0)
    def crash():
        os._exit(1)

    for ref in crash.remote():
        with pytest.raises(WorkerCrashedError):
            ray.get(ref, timeout=SOON)


def test_the_crash_of_a_dependency_is_raised():
    @ray.remote(max_retries=0)
    def crash():
        os._exit(1)

    @ray.remote
    def echo(x):
        return x

    with pytest.raises(WorkerCrashedError):
        ray.get(echo.remote(crash.remote()), timeout=SOON)


def test_a_parent_that_dies_while_it_waits_is_retried(counter_file):
    @ray.remote
    def child():
        time.sleep(0.2)
        return os.getppid()

    @ray.remote
    def parent(path):
        with open(path, "a") as file:
            file.write(".")
        ref = child.remote()
        if os.path.getsize(path) == 1:
            os._exit(1)
        ray.get(ref)
        return "second attempt"

    assert ray.get(parent.remote(counter_file.path), timeout=SOON) == "second attempt"


def test_objects_outlive_the_worker_that_returned_them():
    @ray.remote
    def make():
        return os.getpid(), b"r" * 2_000_000

    ref = make.remote()
    pid, _ = ray.get(ref, timeout=SOON)
    kill(pid)
    assert ray.get(ref, timeout=SOON)[1] == b"r" * 2_000_000


@pytest.mark.park_only
def test_objects_outlive_the_worker_that_put_them():
    """In Ray an object dies with its owner; here the session owns it."""

    @ray.remote
    def make():
        return os.getpid(), ray.put(b"p" * 2_000_000), ray.put("small")

    pid, big, small = ray.get(make.remote(), timeout=SOON)
    kill(pid)
    assert ray.get([big, small], timeout=SOON) == [b"p" * 2_000_000, "small"]


@pytest.mark.park_only
def test_the_memory_of_a_killed_worker_comes_back():
    @ray.remote
    class Holder:
        def hold(self, nested):
            self.mine = [ray.put(b"m" * (4 * MB)) for _ in range(4)]
            self.theirs = nested
            self.view = ray.get(nested[0])
            return os.getpid()

    before = used_bytes()
    holder = Holder.remote()
    pid = ray.get(holder.hold.remote([ray.put(b"d" * (8 * MB))]), timeout=SOON)
    assert used_bytes() >= before + 24 * MB
    kill(pid)
    wait_until(lambda: used_bytes() < before + MB, 5)


@pytest.mark.park_only
def test_a_worker_killed_in_the_middle_of_a_put(tmp_path):
    """At whatever instruction it dies: what it had reserved but not sealed is given back."""

    @ray.remote(max_retries=0)
    def put_for_ever(path):
        import random

        with open(path, "w") as file:
            file.write(str(os.getpid()))
        while True:
            ray.put(bytes(random.randrange(1, 4 * MB)))

    before = used_bytes()
    for number in range(8):
        begun = tmp_path / str(number)
        ref = put_for_ever.remote(str(begun))
        pid = int(wait_until(lambda begun=begun: begun.exists() and begun.read_text()))
        time.sleep(0.013 * (number + 1))
        kill(pid)
        with pytest.raises(WorkerCrashedError):
            ray.get(ref, timeout=SOON)
    wait_until(lambda: used_bytes() < before + MB, 5)
    big = ray.put(b"z" * (200 * MB))
    assert len(ray.get(big)) == 200 * MB


@pytest.mark.park_only
def test_statistics_count_deaths_and_retries(counter_file):
    before = ray.runtime_stats()
    assert ray.get(attempt.remote(counter_file.path, 2, "kill"), timeout=SOON) == "survived"
    # Deaths and completions are reported in batches: the result may be here before the count.
    wait_until(lambda: ray.runtime_stats()["workers_died"] >= before["workers_died"] + 2, 5)
    wait_until(lambda: ray.runtime_stats()["tasks_finished"] >= before["tasks_finished"] + 1, 5)
    after = ray.runtime_stats()
    assert after["tasks_retried"] == before["tasks_retried"] + 2
    assert after["tasks_submitted"] == before["tasks_submitted"] + 1
    assert after["workers"] == len(after["workers_alive_pids"])
    assert all(alive(pid) for pid in after["workers_alive_pids"])


@pytest.mark.park_only
def test_random_kills_lose_no_task():
    @ray.remote(max_retries=-1)
    def work(number):
        time.sleep(0.01)
        return number * number

    refs = [work.remote(number) for number in range(150)]
    for _ in range(6):
        time.sleep(0.06)
        pids = ray.runtime_stats()["workers_alive_pids"]
        if pids:
            try:
                os.kill(pids[0], signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert ray.get(refs, timeout=SOON) == [number * number for number in range(150)]


@pytest.mark.park_only
def test_the_session_outlives_its_zygote():
    ref = ray.put("kept")
    for _ in range(2):
        kill(ray.runtime_stats()["zygote_pid"])
        for pid in ray.runtime_stats()["workers_alive_pids"]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        # New processes are needed now, and there is nobody left to fork them from.
        assert ray.get([pid_of_worker.remote() for _ in range(4)], timeout=SOON)
        assert ray.get(ray.remote(Kept).remote().bump.remote(), timeout=SOON) == 1
    assert ray.get(ref) == "kept"


class Kept:
    def __init__(self):
        self.calls = 0

    def bump(self):
        self.calls += 1
        return self.calls

    def pid(self):
        return os.getpid()
