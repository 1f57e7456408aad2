"""The zygote dies: every worker dies with it, their work is repeated or raised by its policy, and another zygote forks the next ones."""

import os
import time

import park as ray
import pytest
from fault_kit import AsyncSleeper, Sleeper, sleeps_first, yields
from helpers import SOON, alive, kill, stop, wait_until
from park.exceptions import ActorDiedError, ActorUnavailableError, RayError, WorkerCrashedError

pytestmark = pytest.mark.park_only


def zygote():
    return ray.runtime_stats()["zygote_pid"]


@pytest.fixture
def paths(tmp_path):
    def path(name):
        return str(tmp_path / name)

    path.all_there = lambda: wait_until(lambda: all(os.path.exists(path(name)) for name in path.names))
    path.names = ()
    return path


def test_what_its_workers_ran_is_repeated_where_it_may_be(fresh, paths):
    fresh(num_cpus=4)
    paths.names = ("task", "items", "plain", "async")
    task, items = ray.remote(sleeps_first).remote(paths("task")), ray.remote(yields).remote(paths("items"))
    actors = [
        ray.remote(class_).options(max_restarts=1, max_task_retries=1).remote() for class_ in (Sleeper, AsyncSleeper)
    ]
    calls = [actor.sleep_first.remote(paths(name)) for actor, name in zip(actors, ("plain", "async"), strict=True)]
    paths.all_there()
    first = zygote()
    kill(first)
    assert ray.get([task, *calls], timeout=SOON) == ["second attempt"] * 3
    assert [ray.get(item, timeout=SOON) for item in items] == [0, 1]
    assert zygote() != first and alive(zygote())


def test_what_its_workers_ran_is_raised_where_it_may_not(fresh, paths):
    fresh(num_cpus=4)
    paths.names = ("task", "items", "plain", "async")
    task, items = (
        ray.remote(max_retries=0)(f).remote(paths(n)) for f, n in ((sleeps_first, "task"), (yields, "items"))
    )
    mortal, phoenix = ray.remote(Sleeper).remote(), ray.remote(AsyncSleeper).options(max_restarts=1).remote()
    calls = [mortal.sleep_first.remote(paths("plain")), phoenix.sleep_first.remote(paths("async"))]
    assert ray.get(next(items), timeout=SOON) == 0
    paths.all_there()
    kill(zygote())
    with pytest.raises(WorkerCrashedError):
        ray.get(task, timeout=SOON)
    with pytest.raises(WorkerCrashedError):
        ray.get(next(items), timeout=SOON)
    for call, error in zip(calls, (ActorDiedError, ActorUnavailableError), strict=True):
        with pytest.raises(error):
            ray.get(call, timeout=SOON)
    with pytest.raises(ActorDiedError):
        ray.get(mortal.pid.remote(), timeout=SOON)

    def lives_again():
        try:
            return ray.get(phoenix.pid.remote(), timeout=SOON)
        except ActorUnavailableError:
            return None

    wait_until(lives_again)


def test_it_is_killed_before_it_forks_what_it_was_asked_for(fresh):
    fresh(num_cpus=2)
    # These take the idle workers, so that the others must wait for new ones.
    first_comers = [ray.remote(Sleeper).options(num_cpus=0).remote() for _ in range(3)]
    ray.get([actor.pid.remote() for actor in first_comers], timeout=SOON)
    first = zygote()
    stop(first)
    # None of them had begun: no policy is asked.
    actors = [ray.remote(class_).remote() for class_ in (Sleeper, AsyncSleeper)]
    calls = [actor.pid.remote() for actor in actors]
    kill(first)
    assert len(set(ray.get(calls, timeout=SOON))) == 2


@pytest.mark.parametrize("pause", [0.0, 0.003, 0.01])
def test_it_is_killed_in_the_middle_of_forking_many(fresh, pause):
    fresh(num_cpus=2)
    ray.get(ray.remote(lambda: 1).remote(), timeout=SOON)
    actors = [ray.remote(Sleeper).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote() for _ in range(20)]
    calls = [actor.pid.remote() for actor in actors]
    time.sleep(pause)
    kill(zygote())
    assert len(set(ray.get(calls, timeout=SOON))) == 20
    assert len(set(ray.get([actor.pid.remote() for actor in actors], timeout=SOON))) == 20


def test_it_is_killed_before_it_has_started(fresh):
    fresh(num_cpus=2)
    kill(zygote())
    assert ray.get(ray.remote(lambda: 1).remote(), timeout=SOON) == 1


def test_one_that_dies_again_and_again_ends_the_session_clearly(fresh):
    fresh(num_cpus=2)
    task = ray.remote(max_retries=-1)(lambda: time.sleep(600)).remote()
    actor = ray.remote(Sleeper).options(max_restarts=-1, max_task_retries=-1).remote()
    call = actor.pid.remote()
    for _ in range(4):
        kill(zygote())
        time.sleep(0.01)
    with pytest.raises(WorkerCrashedError, match="the worker interpreter ends at once"):
        ray.get(task, timeout=SOON)
    with pytest.raises(RayError):
        ray.get(call, timeout=SOON)
    with pytest.raises(RayError):
        ray.get(ray.remote(lambda: 1).remote(), timeout=SOON)
