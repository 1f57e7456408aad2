"""Streams whose producer or consumer dies: a task is run again and goes on where it was, or its error is the last that comes."""

import os
import signal
import time

import park as ray
import pytest
from helpers import MB, ON_RAY, SOON, wait_until
from park.exceptions import RayActorError, RayError, WorkerCrashedError

if not ON_RAY:
    from helpers import object_count

SESSION = {"num_cpus": 2, "object_store_memory": 256 * MB}
pytestmark = [pytest.mark.usefixtures("session"), pytest.mark.process_only("kills processes")]


def source(path, number, die_at, deaths):
    """Yields `(attempt, at)`; the first `deaths` attempts end before item `die_at`."""
    with open(path, "a") as file:
        file.write(".")
    attempt = os.path.getsize(path)
    for at in range(number):
        if at == die_at and attempt <= deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        yield attempt, at


@pytest.mark.parametrize("die_at", [0, 1, 4])
@pytest.mark.parametrize("read_first", [False, True])
def test_a_task_is_run_again_and_goes_on(counter_file, die_at, read_first):
    generator = ray.remote(max_retries=2)(source).remote(counter_file.path, 6, die_at, 2)
    got = []
    if read_first:
        # The links of these are gone by the time of the next attempt.
        got = [ray.get(next(generator)) for _ in range(die_at)]
    else:
        wait_until(lambda: counter_file.count() == 3)
    got += [ray.get(ref) for ref in generator]
    assert got == [(1 if at < die_at else 3, at) for at in range(6)]
    assert ray.get(generator.completed(), timeout=SOON) is None


def test_without_retries_the_death_is_the_last_that_comes(counter_file):
    generator = ray.remote(max_retries=0)(source).remote(counter_file.path, 6, 2, 9)
    assert [ray.get(next(generator))[1] for _ in range(2)] == [0, 1]
    with pytest.raises(WorkerCrashedError):
        ray.get(next(generator), timeout=SOON)
    with pytest.raises(StopIteration):
        next(generator)
    with pytest.raises(WorkerCrashedError):
        ray.get(generator.completed(), timeout=SOON)
    assert generator.is_finished()


def test_a_death_before_anything_was_yielded(counter_file):
    generator = ray.remote(max_retries=0)(source).remote(counter_file.path, 6, 0, 9)
    with pytest.raises(WorkerCrashedError):
        ray.get(next(generator), timeout=SOON)
    with pytest.raises(StopIteration):
        next(generator)


@ray.remote
class Source:
    def __init__(self, path):
        self.path = path

    def stream(self, number, die_at, deaths):
        yield from source(self.path, number, die_at, deaths)

    def sleepy(self):
        yield os.getpid()
        time.sleep(60)
        yield 2

    def ping(self):
        return "pong"


def test_a_method_is_run_again_in_the_next_process(counter_file):
    actor = Source.options(max_restarts=3, max_task_retries=3).remote(counter_file.path)
    generator = actor.stream.remote(5, 2, 1)
    assert [ray.get(ref) for ref in generator] == [(1, 0), (1, 1), (2, 2), (2, 3), (2, 4)]
    assert ray.get(actor.ping.remote(), timeout=SOON) == "pong"


def test_a_dead_actor_is_the_last_that_comes(counter_file):
    actor = Source.remote(counter_file.path)
    generator = actor.stream.remote(5, 2, 9)
    assert [ray.get(next(generator))[1] for _ in range(2)] == [0, 1]
    with pytest.raises(RayActorError):
        ray.get(next(generator), timeout=SOON)
    with pytest.raises(StopIteration):
        next(generator)


def test_an_actor_that_is_killed_in_mid_stream(counter_file):
    actor = Source.remote(counter_file.path)
    generator = actor.sleepy.remote()
    ray.get(next(generator), timeout=SOON)
    ray.kill(actor)
    with pytest.raises(RayActorError):
        ray.get(next(generator), timeout=SOON)
    with pytest.raises(StopIteration):
        next(generator)


def test_a_restarted_actor_without_retries_for_calls(counter_file):
    actor = Source.options(max_restarts=1).remote(counter_file.path)
    generator = actor.stream.remote(5, 2, 1)
    assert [ray.get(next(generator))[1] for _ in range(2)] == [0, 1]
    with pytest.raises(RayActorError):
        ray.get(next(generator), timeout=SOON)
    assert ray.get(actor.ping.remote(), timeout=SOON) == "pong"


@pytest.mark.park_only
def test_a_consumer_that_is_killed_leaves_nothing(tmp_path):
    path = str(tmp_path / "made")

    @ray.remote(num_cpus=0)
    def consumes():
        @ray.remote(_generator_backpressure_num_objects=2)
        def produces():
            for _ in range(20):
                with open(path, "a") as file:
                    file.write(".")
                yield bytes(200_000)

        generator = produces.remote()
        ray.get(next(generator))
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError):
        ray.get(consumes.options(max_retries=0).remote(), timeout=SOON)
    # Nobody listens: the producer goes on to its end without storing anything.
    wait_until(lambda: os.path.getsize(path) == 20)
    wait_until(lambda: ray.runtime_stats()["running"] == 0)
    wait_until(lambda: object_count() < 12)


@pytest.mark.park_only
def test_a_replay_that_yields_less_is_told(counter_file):
    @ray.remote(max_retries=1)
    def shrinks(path):
        with open(path, "a") as file:
            file.write(".")
        first = os.path.getsize(path) == 1
        yield from range(4 if first else 2)
        if first:
            os._exit(1)

    generator = shrinks.remote(counter_file.path)
    assert [ray.get(next(generator)) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(RayError, match="run again and yielded"):
        ray.get(next(generator), timeout=SOON)


def test_retry_exceptions_replays(counter_file):
    @ray.remote(max_retries=2, retry_exceptions=[KeyError])
    def fails(path):
        for at in range(4):
            if at == 2:
                with open(path, "a") as file:
                    file.write(".")
                if os.path.getsize(path) < 3:
                    raise KeyError(at)
            yield at

    assert [ray.get(ref) for ref in fails.remote(counter_file.path)] == [0, 1, 2, 3]
    assert counter_file.count() == 3
