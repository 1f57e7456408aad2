"""Actors that die: each call in flight gets an answer, restarts follow the policy, and nothing waits for a dead process."""

import gc
import os
import signal
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON, alive, kill, wait_until
from park.exceptions import ActorDiedError, ActorUnavailableError, RayActorError

SESSION = {"num_cpus": 4}
pytestmark = [pytest.mark.usefixtures("session"), pytest.mark.process_only("kills processes")]


class Mortal:
    def __init__(self, log=None):
        self.calls = 0
        if log:
            with open(log, "a") as file:
                file.write("i")

    def pid(self):
        return os.getpid()

    def call(self):
        self.calls += 1
        return self.calls

    def sleep(self, seconds):
        time.sleep(seconds)
        return "slept"

    def die(self, how="kill"):
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)

    def die_once(self, path):
        if not os.path.exists(path):
            open(path, "w").close()
            os._exit(1)
        return "second life"


Dies = ray.remote(Mortal)


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_death_in_a_call(how):
    actor = Dies.remote()
    assert ray.get(actor.call.remote(), timeout=SOON) == 1
    with pytest.raises(ActorDiedError):
        ray.get(actor.die.remote(how), timeout=SOON)
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=SOON)


def test_every_call_in_flight_is_answered():
    actor = Dies.remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    done = actor.call.remote()
    assert ray.get(done, timeout=SOON) == 1
    refs = [actor.sleep.remote(60)] + [actor.call.remote() for _ in range(20)]
    two = actor.call.options(num_returns=2).remote()
    time.sleep(0.1)
    kill(pid)
    started = time.monotonic()
    for ref in [*refs, *two]:
        with pytest.raises(ActorDiedError):
            ray.get(ref, timeout=SOON)
    assert time.monotonic() - started < 10
    assert ray.get(done) == 1


def test_death_of_an_idle_actor():
    actor = Dies.remote()
    kill(ray.get(actor.pid.remote(), timeout=SOON))
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=SOON)


def test_a_call_waits_for_the_constructor_that_survives(tmp_path):
    """It has not begun while constructors run: their deaths cost it no retry, of which it has none."""
    log = tmp_path / "made"

    @ray.remote(max_restarts=3)
    class Stubborn:
        def __init__(self):
            with open(log, "a") as file:
                file.write("i")
            if os.path.getsize(log) < 3:
                os._exit(0)

        def made(self):
            return os.path.getsize(log)

    assert ray.get(Stubborn.remote().made.remote(), timeout=SOON) == 3


def test_death_in_the_constructor():
    @ray.remote
    class StillBorn:
        def __init__(self):
            os._exit(1)

        def call(self):
            return 1

    with pytest.raises(ActorDiedError):
        ray.get(StillBorn.remote().call.remote(), timeout=SOON)


def test_a_task_that_waits_for_a_dead_actor_hears_of_it():
    @ray.remote(num_cpus=0)
    def wait_for(refs):
        try:
            ray.get(refs[0])
        except RayActorError as error:
            return type(error).__name__

    actor = Dies.remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    waiting = wait_for.remote([actor.sleep.remote(60)])
    dependent = wait_for.remote(actor.sleep.remote(60))
    time.sleep(0.3)
    kill(pid)
    assert "Actor" in ray.get(waiting, timeout=SOON)
    with pytest.raises(RayActorError):
        ray.get(dependent, timeout=SOON)


def test_wait_sees_a_dead_call_as_ready():
    actor = Dies.remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    ref = actor.sleep.remote(60)
    time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert ray.wait([ref], timeout=SOON) == ([ref], [])


def test_a_dead_actor_among_living_ones():
    actors = [Dies.remote() for _ in range(3)]
    pids = ray.get([actor.pid.remote() for actor in actors], timeout=SOON)
    kill(pids[1])
    assert ray.get([actors[0].call.remote(), actors[2].call.remote()], timeout=SOON) == [1, 1]
    with pytest.raises(ActorDiedError):
        ray.get([actor.call.remote() for actor in actors], timeout=SOON)


def test_an_actor_is_restarted_and_begins_anew(counter_file):
    actor = Dies.options(max_restarts=1).remote(counter_file.path)
    assert ray.get([actor.call.remote(), actor.call.remote()], timeout=SOON) == [1, 2]
    first = ray.get(actor.pid.remote())
    # Without max_task_retries the call that dies with the actor is raised to its caller.
    with pytest.raises(RayActorError):
        ray.get(actor.die.remote(), timeout=SOON)

    def again():
        try:
            return ray.get(actor.call.remote(), timeout=SOON)
        except ActorUnavailableError:
            return None

    assert wait_until(again) == 1
    assert ray.get(actor.pid.remote(), timeout=SOON) != first
    assert counter_file.count() == 2
    with pytest.raises(RayActorError):
        ray.get(actor.die.remote(), timeout=SOON)

    def dead():
        try:
            ray.get(actor.call.remote(), timeout=SOON)
        except ActorDiedError:
            return True
        except ActorUnavailableError:
            return False

    wait_until(dead)
    assert counter_file.count() == 2


def test_a_call_is_retried_after_the_restart(tmp_path):
    actor = Dies.options(max_restarts=1, max_task_retries=1).remote()
    assert ray.get(actor.die_once.remote(str(tmp_path / "died")), timeout=SOON) == "second life"
    assert ray.get(actor.call.remote(), timeout=SOON) == 1


def test_calls_in_flight_are_retried_after_the_restart():
    actor = Dies.options(max_restarts=-1, max_task_retries=-1).remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    refs = [actor.sleep.remote(0.3)] + [actor.sleep.remote(0) for _ in range(10)]
    time.sleep(0.1)
    kill(pid)
    assert ray.get(refs, timeout=SOON) == ["slept"] * 11


def test_restarts_are_counted(counter_file):
    actor = Dies.options(max_restarts=2, max_task_retries=-1).remote(counter_file.path)
    with pytest.raises(RayActorError):
        ray.get(actor.die.remote(), timeout=SOON)
    assert counter_file.count() == 3


def test_kill_with_a_restart(counter_file):
    actor = Dies.options(max_restarts=1, max_task_retries=-1).remote(counter_file.path)
    first = ray.get(actor.pid.remote(), timeout=SOON)
    ray.kill(actor, no_restart=False)
    wait_until(lambda: not alive(first))
    second = ray.get(actor.pid.remote(), timeout=SOON)
    assert second != first
    assert counter_file.count() == 2
    ray.kill(actor)
    wait_until(lambda: not alive(second))
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=SOON)
    assert counter_file.count() == 2


def test_a_name_stays_with_the_restarted_actor():
    actor = Dies.options(name="phoenix", max_restarts=1, max_task_retries=1).remote()
    kill(ray.get(actor.pid.remote(), timeout=SOON))
    assert ray.get(ray.get_actor("phoenix").call.remote(), timeout=SOON) == 1


@pytest.mark.parametrize("held", [True, pytest.param(False, marks=pytest.mark.park_only)], ids=["held", "let go"])
def test_arguments_outlive_the_restart(held):
    """Ray forgets a nested ref that only the constructor's arguments hold; here the arguments own it."""

    @ray.remote(max_restarts=1, max_task_retries=-1)
    class Loaded:
        def __init__(self, big, nested):
            self.total = len(big) + len(ray.get(nested[0]))

        def read(self):
            return self.total, os.getpid()

    big, small = ray.put(b"x" * 1_000_000), ray.put(b"y" * 500_000)
    actor = Loaded.remote(big, [small])
    if not held:
        del big, small
        gc.collect()
    total, pid = ray.get(actor.read.remote(), timeout=SOON)
    assert total == 1_500_000
    kill(pid)
    assert ray.get(actor.read.remote(), timeout=SOON)[0] == 1_500_000


@pytest.mark.park_only
def test_restarts_show_in_the_statistics():
    before = ray.runtime_stats()["actors_restarted"]
    actor = Dies.options(max_restarts=1, max_task_retries=1).remote()
    kill(ray.get(actor.pid.remote(), timeout=SOON))
    ray.get(actor.pid.remote(), timeout=SOON)
    assert ray.runtime_stats()["actors_restarted"] == before + 1


def test_deaths_in_a_row():
    """The session is as good after the tenth dead actor as after none."""
    for _ in range(3 if ON_RAY else 10):
        actor = Dies.remote()
        ref = actor.die.remote()
        with pytest.raises(ActorDiedError):
            ray.get(ref, timeout=SOON)
    survivor = Dies.remote()
    assert ray.get(survivor.call.remote(), timeout=SOON) == 1
