"""Many of everything: actors, queued tasks, queued calls. What one takes is bounded, and what dies among many loses none."""

import asyncio
import os
import signal
import time

import park as ray
import pytest
from helpers import SOON, wait_until

pytestmark = [pytest.mark.park_only, pytest.mark.slow]


def resident_mb():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def test_a_thousand_actors_come_and_go(fresh):
    fresh(num_cpus=2)

    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self, start):
            self.value = start

        def add(self, more):
            self.value += more
            return self.value

    for batch in range(10):
        actors = [Counter.remote(number) for number in range(100)]
        calls = [actor.add.remote(batch) for actor in actors]
        assert ray.get(calls, timeout=SOON) == [number + batch for number in range(100)]
        if batch % 2:
            any(map(ray.kill, actors))
        del actors, calls
    wait_until(lambda: not ray.runtime_stats()["workers_alive_pids"])
    # The definition of the class is all that is left.
    wait_until(lambda: ray.store_stats()["objects"] == 1)


#: Queued tasks; `PARK_CROWD=1000000` for a million.
CROWD = int(os.environ.get("PARK_CROWD", "100_000"))


def test_a_hundred_thousand_tasks_wait_in_little_memory(fresh, tmp_path):
    fresh(num_cpus=1)
    count = CROWD

    @ray.remote
    def wait_for(path):
        import time

        while not os.path.exists(path):
            time.sleep(0.01)

    @ray.remote
    def echo(value):
        return value

    gate = tmp_path / "gate"
    first = wait_for.remote(gate)
    before = resident_mb()
    refs = [echo.remote(number) for number in range(count)]
    assert resident_mb() - before < 150 * count / 100_000, "1.5 kB a queued task, its reference included"
    assert ray.runtime_stats()["queued"] > 0.9 * count
    gate.touch()
    assert ray.get(refs, timeout=120 * count / 100_000) == list(range(count))
    ray.get(first)


@pytest.mark.process_only("kills its process")
@pytest.mark.parametrize("concurrency", [1, 4], ids=["plain", "threaded"])
def test_ten_thousand_queued_calls_of_an_actor_that_dies(fresh, concurrency):
    fresh(num_cpus=2)

    @ray.remote
    class Slow:
        def pid(self):
            return os.getpid()

        def block(self):
            time.sleep(600)

        def echo(self, value):
            return value

    actor = Slow.options(max_concurrency=concurrency).remote()
    pid = ray.get(actor.pid.remote())
    block = [actor.block.remote() for _ in range(concurrency)]
    calls = [actor.echo.remote(number) for number in range(10_000)]
    os.kill(pid, signal.SIGKILL)
    for call in [*block, *calls]:
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(call, timeout=SOON)


@pytest.mark.process_only("kills its process")
def test_ten_thousand_calls_of_an_async_actor_that_dies(fresh):
    """A thousand of them run: their records were carried along the ring."""
    fresh(num_cpus=2)

    @ray.remote(max_restarts=1, max_task_retries=1)
    class Crowded:
        async def pid(self):
            return os.getpid()

        async def echo(self, value, pid):
            if os.getpid() == pid:
                await asyncio.sleep(600)
            return value

    actor = Crowded.remote()
    pid = ray.get(actor.pid.remote())
    calls = [actor.echo.remote(number, pid) for number in range(10_000)]
    last = [actor.echo.options(max_task_retries=0).remote(number, pid) for number in range(100)]
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    assert ray.get(calls, timeout=60) == list(range(10_000))
    for call in last:
        try:
            assert ray.get(call, timeout=SOON) in range(100)
        except ray.exceptions.ActorUnavailableError:
            continue


@pytest.mark.process_only("kills its process")
def test_ten_thousand_queued_calls_are_repeated_where_they_may_be(fresh):
    fresh(num_cpus=2)

    @ray.remote(max_restarts=1, max_task_retries=1)
    class Slow:
        def pid(self):
            return os.getpid()

        def block(self, pid):
            if os.getpid() == pid:
                signal.pause()

        def echo(self, value):
            return value

    actor = Slow.remote()
    pid = ray.get(actor.pid.remote())
    block = actor.block.remote(pid)
    calls = [actor.echo.remote(number) for number in range(10_000)]
    os.kill(pid, signal.SIGKILL)
    assert ray.get(calls, timeout=60) == list(range(10_000))
    ray.get(block, timeout=SOON)
    assert ray.get(actor.pid.remote()) != pid


@pytest.mark.process_only("counts processes")
def test_what_somebody_waits_for_goes_first(fresh):
    """A task that waits lends its CPU, and its process stays: if all began before what they wait for, each would need its own."""
    fresh(num_cpus=1)

    @ray.remote
    def ask(depth):
        return ray.get(ask.remote(depth - 1)) if depth else 0

    waiting, most = [ask.remote(2) for _ in range(300)], 0
    while waiting:
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0.01)
        most = max(most, len(ray.runtime_stats()["workers_alive_pids"]))
    assert most < 60
