"""Resources: CPUs and custom resources really limit what runs at once, and come back however a task ends."""

import os
import signal
import time

import park as ray
import pytest
from helpers import SOON, start, wait_until
from park.exceptions import RayError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("session")
SESSION = {"num_cpus": 2, "resources": {"slot": 2, "half": 1}}


@ray.remote
def interval(seconds):
    # The clock is the machine's, so intervals of different processes compare.
    begin = time.clock_gettime(time.CLOCK_MONOTONIC)
    time.sleep(seconds)
    return begin, time.clock_gettime(time.CLOCK_MONOTONIC)


def most_at_once(intervals):
    events = sorted([(begin, 1) for begin, _ in intervals] + [(end, -1) for _, end in intervals])
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    return most


def run(count, seconds=0.12, **options):
    return most_at_once(ray.get([interval.options(**options).remote(seconds) for _ in range(count)], timeout=SOON))


@pytest.fixture(scope="module", autouse=True)
def warm(session):
    ray.get([interval.options(num_cpus=0).remote(0.3) for _ in range(4)], timeout=SOON)


@pytest.mark.parametrize(
    ("options", "most"),
    [({}, 2), ({"num_cpus": 2}, 1), ({"num_cpus": 1.5}, 1), ({"num_cpus": 0.5}, 4), ({"num_cpus": 0, "resources": {"slot": 1}}, 2),
     ({"num_cpus": 0, "resources": {"slot": 2}}, 1), ({"num_cpus": 0, "resources": {"slot": 0.5}}, 4),
     ({"num_cpus": 0.25, "resources": {"half": 0.6}}, 1), ({"resources": {"slot": 1, "half": 0.5}}, 2)],
    ids=str,
)  # fmt: skip
def test_resources_limit_what_runs_at_once(options, most):
    peaks = []
    # The limit holds in every round; that it is reached may need a second one, while workers are still being started.
    while len(peaks) < 3 and most not in peaks:
        peaks.append(run(8, **options))
        assert peaks[-1] <= most
    assert most in peaks


def test_no_resources_no_limit():
    assert any(run(6, num_cpus=0, seconds=0.5) > 2 for _ in range(3))


def test_what_is_available_follows_what_runs(tmp_path):
    gate = tmp_path / "open"

    @ray.remote(num_cpus=1.25, resources={"slot": 0.5})
    def hold(path):
        while not os.path.exists(path):
            time.sleep(0.01)

    ref = hold.remote(str(gate))
    # Ray leaves a resource that is used up out of the dictionary; so must whoever reads it.
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 0.75)
    assert ray.available_resources()["slot"] == 1.5
    assert ray.cluster_resources()["CPU"] == 2.0
    gate.touch()
    ray.get(ref, timeout=SOON)
    wait_until(lambda: ray.available_resources().get("CPU") == 2.0 and ray.available_resources()["slot"] == 2.0)


def everything_back():
    free = ray.available_resources()
    return free.get("CPU") == 2.0 and free.get("slot") == 2.0 and free.get("half") == 1.0


@pytest.mark.process_only("kills its process")
def test_resources_come_back_after_errors_and_deaths():
    @ray.remote(num_cpus=2, resources={"slot": 2, "half": 1}, max_retries=0)
    def fail(how):
        if how == "raise":
            raise ValueError(how)
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGKILL)

    for how, error in (("raise", ValueError), ("exit", WorkerCrashedError), ("kill", WorkerCrashedError)):
        with pytest.raises(error):
            ray.get(fail.remote(how), timeout=SOON)
    wait_until(everything_back)


def test_a_blocked_task_gives_back_its_cpu_but_keeps_its_slot():
    @ray.remote(num_cpus=2, resources={"slot": 1})
    def parent():
        needs_cpus = interval.options(num_cpus=2, resources={"slot": 1}).remote(0)
        needs_slots = interval.options(num_cpus=0, resources={"slot": 2}).remote(0)
        ray.get(needs_cpus)
        return ray.wait([needs_slots], timeout=0.3)[0] == [], [needs_slots]

    alone, (waiting,) = ray.get(parent.remote(), timeout=SOON)
    assert alone
    assert ray.get(waiting, timeout=SOON)
    wait_until(everything_back)


def test_an_actor_takes_no_cpu_unless_it_asks():
    @ray.remote
    class Idle:
        def ping(self):
            return "pong"

    @ray.remote(num_cpus=1, resources={"slot": 1})
    class Heavy:
        def ping(self):
            return "heavy"

    idle = [Idle.remote() for _ in range(4)]
    assert ray.get([actor.ping.remote() for actor in idle], timeout=SOON) == ["pong"] * 4
    wait_until(everything_back)
    heavy = Heavy.remote()
    assert ray.get(heavy.ping.remote(), timeout=SOON) == "heavy"
    wait_until(lambda: ray.available_resources().get("CPU") == 1.0 and ray.available_resources().get("slot") == 1.0)
    del heavy, idle
    wait_until(everything_back)


@pytest.mark.park_only
def test_an_actor_that_starts_shows_what_it_will_hold():
    @ray.remote
    class Slow:
        def __init__(self):
            time.sleep(0.3)

        def ping(self):
            return "pong"

    wait_until(everything_back)
    idle, heavy = Slow.remote(), Slow.options(num_cpus=1, resources={"slot": 1}).remote()
    wait_until(lambda: ray.available_resources().get("slot") == 1.0)
    assert ray.available_resources()["CPU"] == 1.0
    assert ray.get([idle.ping.remote(), heavy.ping.remote()], timeout=SOON) == ["pong"] * 2
    assert ray.available_resources()["CPU"] == 1.0
    del idle, heavy
    wait_until(everything_back)


def test_what_can_never_fit_does_not_run_and_blocks_nobody():
    refs = [
        interval.options(num_cpus=64).remote(0),
        interval.options(resources={"slot": 3}).remote(0),
        interval.options(resources={"unknown": 1}).remote(0),
    ]
    for ref in refs:
        # Ray waits for a bigger node for ever; an error that says so is as good. To run would be wrong.
        try:
            ready, _ = ray.wait([ref], timeout=0.3)
            if ready:
                ray.get(ready)
                pytest.fail("ran without the resources it asked for")
        except RayError:
            pass
    assert ray.get(interval.remote(0), timeout=SOON)


def test_a_small_task_passes_a_big_one_that_must_wait(tmp_path):
    gate = tmp_path / "open"

    @ray.remote(num_cpus=1)
    def hold(path):
        while not os.path.exists(path):
            time.sleep(0.01)

    held = hold.remote(str(gate))
    big = interval.options(num_cpus=2).remote(0)
    assert ray.get(interval.options(num_cpus=1).remote(0), timeout=SOON)
    assert ray.wait([big], timeout=0.1) == ([], [big])
    gate.touch()
    ray.get([held, big], timeout=SOON)


def test_zero_cpus_run_only_what_needs_none(fresh_session):
    fresh_session(num_cpus=0)

    @ray.remote(num_cpus=0)
    def free():
        return "ran"

    assert ray.get(free.remote(), timeout=SOON) == "ran"
    pending = interval.remote(0)
    assert ray.wait([pending], timeout=0.3) == ([], [pending])


@pytest.fixture
def fresh_session():
    """This file's last test: it closes the module's session to open another."""
    ray.shutdown()
    yield start
    ray.shutdown()
