"""Names of actors, and handles that were found: who gets a name, how long it is taken, and what keeps an actor alive."""

import gc
import os
import signal

import park.exceptions
import pytest
from helpers import SOON, ray, wait_until

SESSION = {"num_cpus": 4, "namespace": "names"}


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self, value=0):
        self.value = value

    def add(self):
        self.value += 1
        return self.value

    def pid(self):
        return os.getpid()

    def me(self):
        return ray.get_runtime_context().current_actor


def missing(name):
    try:
        ray.get_actor(name)
    except ValueError:
        return True
    return False


def die(actor):
    """End the actor's process as a crash would."""
    os.kill(ray.get(actor.pid.remote(), timeout=SOON), signal.SIGKILL)
    with pytest.raises(park.exceptions.RayActorError):
        ray.get(actor.add.remote(), timeout=SOON)


def test_a_found_handle_does_not_keep_its_actor_alive(session):
    counter = Counter.options(name="weak").remote()
    found = ray.get_actor("weak")
    assert ray.get(found.add.remote(), timeout=SOON) == 1
    assert found == counter
    assert hash(found) == hash(counter)
    again = Counter.options(name="weak", get_if_exists=True).remote(100)
    assert ray.get(again.add.remote(), timeout=SOON) == 2
    del counter
    gc.collect()
    wait_until(lambda: missing("weak"))
    for handle in (found, again):
        with pytest.raises(park.exceptions.ActorDiedError):
            ray.get(handle.add.remote(), timeout=SOON)
    ray.kill(found)  # nothing is left to kill


def test_a_found_handle_is_weak_wherever_it_is_passed(session):
    counter = Counter.options(name="passed on").remote()

    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, handles):
            self.handles = handles
            return ray.get([handle.add.remote() for handle in handles])

    keeper = Keeper.remote()
    own = ray.get(counter.me.remote(), timeout=SOON)
    assert ray.get(keeper.keep.remote([ray.get_actor("passed on"), own]), timeout=SOON) == [1, 2]
    del counter, own
    gc.collect()
    wait_until(lambda: missing("passed on"))


def test_a_call_of_a_found_handle_keeps_its_actor_until_it_is_over(session):
    @ray.remote(num_cpus=0)
    class Slow:
        def wait(self, ref):
            return "waited"

    @ray.remote(num_cpus=0)
    def late():
        import time

        time.sleep(0.3)

    slow = Slow.options(name="slow").remote()
    call = ray.get_actor("slow").wait.remote(late.remote())
    del slow
    assert ray.get(call, timeout=SOON) == "waited"


def test_many_workers_that_want_one_name_get_one_actor(session):
    @ray.remote
    def want(name):
        counter = Counter.options(name=name, lifetime="detached", get_if_exists=True).remote()
        return ray.get(counter.pid.remote())

    for number in range(10):
        name = f"wanted {number}"
        assert len(set(ray.get([want.remote(name) for _ in range(4)], timeout=SOON))) == 1
        ray.kill(ray.get_actor(name))


def test_a_worker_is_told_at_once_that_a_name_is_taken(session):
    counter = Counter.options(name="taken").remote()

    @ray.remote
    def want():
        with pytest.raises(ValueError, match="taken"):
            Counter.options(name="taken").remote()
        with pytest.raises(TypeError):
            Counter.options(name="not taken").remote(1, 2, 3)
        mine = Counter.options(name="not taken").remote(7)
        return ray.get(mine.add.remote())

    assert ray.get(want.remote(), timeout=SOON) == 8
    assert ray.get(counter.add.remote(), timeout=SOON) == 1


def test_a_dead_actor_has_its_name_as_long_as_it_has_handles(session):
    counter = Counter.options(name="late").remote()
    die(counter)
    assert missing("late")
    with pytest.raises(ValueError, match="late"):
        Counter.options(name="late").remote()
    del counter
    gc.collect()

    def made():
        try:
            return Counter.options(name="late").remote(1)
        except ValueError:
            return None

    assert ray.get(wait_until(made).add.remote(), timeout=SOON) == 2


def test_kill_frees_the_name_at_once(session):
    first = Counter.options(name="killed").remote()
    ray.kill(first)
    second = Counter.options(name="killed").remote(5)
    assert ray.get(second.add.remote(), timeout=SOON) == 6
    with pytest.raises(park.exceptions.ActorDiedError, match="it was killed by `ray.kill`"):
        ray.get(first.add.remote(), timeout=SOON)
    assert ray.get(ray.get_actor("killed").add.remote(), timeout=SOON) == 7


def test_a_detached_actor_that_died_frees_its_name(session):
    first = Counter.options(name="lasting", lifetime="detached").remote()
    die(first)
    second = Counter.options(name="lasting").remote(1)
    assert ray.get(second.add.remote(), timeout=SOON) == 2


def test_the_state_of_an_actor_by_its_handle(session):
    counter = Counter.remote()
    ray.get(counter.add.remote(), timeout=SOON)
    assert counter._get_local_state() == 2
    ray.kill(counter)
    wait_until(lambda: counter._get_local_state() == 4)
