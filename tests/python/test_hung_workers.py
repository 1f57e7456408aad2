"""Processes that hang, stopped by SIGSTOP in whatever they do: nobody waits longer than they asked to, and they can be killed."""

import os
import signal
import time

import park as ray
import pytest
from helpers import SHUTDOWN_SECONDS, SOON, alive, processes_with, stop, wait_until, wait_until_gone
from park.exceptions import ActorDiedError, GetTimeoutError, TaskCancelledError, WorkerCrashedError

pytestmark = pytest.mark.park_only


class Plain:
    def pid(self):
        return os.getpid()

    def add(self, one, two):
        return one + two

    def count(self, number):
        yield from range(number)


class Async:
    async def pid(self):
        return os.getpid()

    async def add(self, one, two):
        return one + two

    async def count(self, number):
        for at in range(number):
            yield at


MODES = {"plain": (Plain, {}), "threaded": (Plain, {"max_concurrency": 4}), "async": (Async, {})}


@pytest.fixture(params=MODES)
def hung(request, fresh):
    """An actor whose process is stopped, and the process."""
    fresh(num_cpus=2)
    class_, options = MODES[request.param]
    actor = ray.remote(class_).options(**options).remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    stop(pid)
    return actor, pid


def times_out(ref):
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.05)
    assert ray.wait([ref], timeout=0.05) == ([], [ref])


def test_calls_of_a_hung_actor_time_out_and_are_answered_when_it_goes_on(hung):
    actor, pid = hung
    call, items = actor.add.remote(1, 2), actor.count.options(num_returns="streaming").remote(3)
    times_out(call)
    assert ray.wait([items], timeout=0.05) == ([], [items])
    # Others are not held up by it.
    assert ray.get(ray.remote(max_retries=0)(lambda: 7).remote(), timeout=SOON) == 7
    os.kill(pid, signal.SIGCONT)
    assert ray.get(call, timeout=SOON) == 3
    assert [ray.get(item, timeout=SOON) for item in items] == [0, 1, 2]


def test_a_hung_actor_is_killed_and_its_calls_are_raised(hung):
    actor, pid = hung
    calls = [actor.add.remote(1, 2) for _ in range(100)]
    times_out(calls[0])
    ray.kill(actor)
    for call in calls:
        with pytest.raises(ActorDiedError):
            ray.get(call, timeout=SOON)
    wait_until(lambda: not alive(pid))


def test_calls_of_a_hung_actor_are_cancelled_before_they_begin(hung):
    actor, pid = hung
    calls = [actor.add.remote(1, 2) for _ in range(3)]
    ray.cancel(calls[1])
    with pytest.raises(TaskCancelledError):
        ray.get(calls[1], timeout=SOON)
    os.kill(pid, signal.SIGCONT)
    assert ray.get([calls[0], calls[2]], timeout=SOON) == [3, 3]


def test_a_hung_actor_ends_with_its_last_handle_killed_or_with_the_session(hung):
    actor, pid = hung
    call = actor.add.remote(1, 2)
    started = time.monotonic()
    ray.shutdown()
    assert time.monotonic() - started < SOON
    assert not alive(pid)
    del actor, call


@pytest.fixture
def hung_task(fresh, tmp_path):
    """A task whose process is stopped, and the process."""
    fresh(num_cpus=2)
    path = str(tmp_path / "pid")

    @ray.remote(max_retries=3)
    def sleeps(path):
        with open(path + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(path + ".new", path)
        time.sleep(600)

    ref = sleeps.remote(path)
    wait_until(lambda: os.path.exists(path))
    with open(path) as file:
        pid = int(file.read())
    stop(pid)
    return ref, pid


def test_a_hung_task_times_out_and_holds_no_other_up(hung_task):
    ref, _ = hung_task
    times_out(ref)
    echo = ray.remote(lambda value: value)
    assert ray.get([echo.remote(number) for number in range(200)], timeout=SOON) == list(range(200))
    times_out(ref)
    ray.cancel(ref, force=True)


def test_a_hung_task_is_cancelled_by_force_only(hung_task):
    ref, pid = hung_task
    ray.cancel(ref)
    times_out(ref)
    ray.cancel(ref, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        ray.get(ref, timeout=SOON)
    wait_until(lambda: not alive(pid))
    wait_until(lambda: ray.available_resources().get("CPU") == 2)


def test_a_cancelled_task_hears_of_it_when_it_goes_on(hung_task):
    ref, pid = hung_task
    ray.cancel(ref)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    assert alive(pid)


def test_a_hung_task_ends_with_the_session(hung_task):
    ref, pid = hung_task
    ray.shutdown()
    assert not alive(pid)
    del ref


def test_a_hung_zygote_starts_nobody_until_it_goes_on(fresh):
    fresh(num_cpus=1)  # with more, a second worker may be there already
    actor = ray.remote(Plain).remote()
    assert ray.get(actor.add.remote(1, 2), timeout=SOON) == 3
    zygote = ray.runtime_stats()["zygote_pid"]
    stop(zygote)
    late = ray.remote(Plain).remote()
    call = late.add.remote(2, 3)
    times_out(call)
    # Who runs goes on.
    assert ray.get(actor.add.remote(1, 2), timeout=SOON) == 3
    os.kill(zygote, signal.SIGCONT)
    assert ray.get(call, timeout=SOON) == 5


def test_a_hung_zygote_ends_with_the_session_and_its_workers_too(fresh):
    fresh(num_cpus=2)
    actor = ray.remote(Plain).remote()
    pids = [ray.get(actor.pid.remote(), timeout=SOON), ray.runtime_stats()["zygote_pid"]]
    stop(pids[1])
    late = ray.remote(Plain).remote().pid.remote()
    ray.shutdown()
    assert not wait_until_gone(lambda: [pid for pid in pids if alive(pid)], SHUTDOWN_SECONDS)
    del actor, late


def test_everything_hangs_at_once(fresh):
    """Every process of the session is stopped: the driver alone decides how long it waits."""
    fresh(num_cpus=2)
    actors = [ray.remote(Plain).remote(), ray.remote(Async).remote()]
    ray.get([actor.pid.remote() for actor in actors], timeout=SOON)
    mine = [found.pid for found in processes_with("PARK_TEST_TOKEN", os.environ["PARK_TEST_TOKEN"])]
    for pid in mine:
        stop(pid)
    calls = [actor.add.remote(1, 2) for actor in actors] + [ray.remote(lambda: 1).remote()]
    for call in calls:
        times_out(call)
    ray.shutdown()
    assert not wait_until_gone(lambda: [pid for pid in mine if alive(pid)], SHUTDOWN_SECONDS)
