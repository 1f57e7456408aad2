"""Detached actors: they outlive their handles and whoever made them, and end by kill, by themselves, or with the session."""

import gc
import os

import park.exceptions
import pytest
from helpers import fresh_python, ray, wait_until

SESSION = {"num_cpus": 4, "namespace": "detached"}


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.value = 0

    def add(self):
        self.value += 1
        return self.value

    def pid(self):
        return os.getpid()

    def leave(self):
        ray.actor.exit_actor()


def ends(name, namespace=None):
    """Wait until nobody has this name."""

    def gone():
        try:
            ray.get_actor(name, namespace)
        except ValueError:
            return True
        return False

    wait_until(gone)


def test_it_outlives_its_handles(session):
    counter = Counter.options(name="lasting", lifetime="detached").remote()
    assert ray.get(counter.add.remote()) == 1
    pid = ray.get(counter.pid.remote())
    del counter
    gc.collect()
    again = ray.get_actor("lasting")
    assert ray.get(again.add.remote()) == 2
    assert ray.get(again.pid.remote()) == pid
    ray.kill(again)
    with pytest.raises(park.exceptions.RayActorError):
        ray.get(again.add.remote())
    ends("lasting")


def test_one_that_is_not_detached_ends_with_its_handles(session):
    counter = Counter.options(name="passing", lifetime="non_detached").remote()
    assert ray.get(counter.add.remote()) == 1
    del counter
    gc.collect()
    ends("passing")


def test_it_outlives_the_task_and_the_actor_that_made_it(session):
    @ray.remote
    def make(name):
        Counter.options(name=name, lifetime="detached").remote()
        return os.getpid()

    @ray.remote(num_cpus=0)
    class Maker:
        def make(self, name):
            Counter.options(name=name, lifetime="detached").remote()

    ray.get(make.remote("of a task"))
    maker = Maker.remote()
    ray.get(maker.make.remote("of an actor"))
    ray.kill(maker)
    for name in ("of a task", "of an actor"):
        counter = ray.get_actor(name)
        assert ray.get(counter.add.remote()) == 1
        ray.kill(counter)
        ends(name)


def test_by_name_in_a_namespace(session):
    Counter.options(name="spaced", namespace="other", lifetime="detached").remote()
    with pytest.raises(ValueError, match="Failed to look up actor with name 'spaced'"):
        ray.get_actor("spaced")
    there = ray.get_actor("spaced", namespace="other")
    assert ray.get(there.add.remote()) == 1
    same = Counter.options(name="spaced", namespace="other", lifetime="detached", get_if_exists=True).remote()
    assert same == there
    with pytest.raises(ValueError, match="already taken"):
        Counter.options(name="spaced", namespace="other", lifetime="detached").remote()
    assert {"name": "spaced", "namespace": "other"} in ray.util.list_named_actors(all_namespaces=True)
    ray.kill(there)
    ends("spaced", "other")


@pytest.mark.process_only("kills its process")
def test_it_comes_back_after_its_process_died(session):
    counter = Counter.options(name="again", lifetime="detached", max_restarts=1, max_task_retries=1).remote()
    pid = ray.get(counter.pid.remote())
    del counter
    gc.collect()
    os.kill(pid, 9)
    back = ray.get_actor("again")
    wait_until(lambda: ray.get(back.pid.remote()) != pid)
    os.kill(ray.get(back.pid.remote()), 9)
    ends("again")


def test_it_can_end_itself(session):
    counter = Counter.options(name="leaving", lifetime="detached").remote()
    with pytest.raises(park.exceptions.RayActorError):
        ray.get(counter.leave.remote())
    ends("leaving")


def test_a_constructor_that_raises_leaves_nothing(session):
    @ray.remote
    class Broken:
        def __init__(self):
            raise RuntimeError("no")

    Broken.options(name="broken", lifetime="detached").remote()
    ends("broken")


@pytest.mark.parametrize("lifetime", ["invalid", "Detached", ""])
def test_other_lifetimes_are_refused(session, lifetime):
    with pytest.raises(
        ValueError, match="actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."
    ):
        Counter.options(lifetime=lifetime).remote()
    with pytest.raises(TypeError, match="The type of keyword 'lifetime' must be"):
        Counter.options(lifetime=1)


def test_it_ends_with_the_session(fresh):
    fresh(num_cpus=1, namespace="one")
    counter = Counter.options(name="mine", lifetime="detached").remote()
    pid = ray.get(counter.pid.remote())
    ray.shutdown()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    fresh(num_cpus=1, namespace="one")
    with pytest.raises(ValueError, match="Failed to look up"):
        ray.get_actor("mine")


@pytest.mark.park_only
def test_the_default_of_a_job():
    assert fresh_python("""
from park.compat import ray as compat
compat.install()
import gc, ray
from ray.job_config import JobConfig

@ray.remote
class Actor:
    def inner(self):
        Actor.options(name="inner").remote()
        return "made"

ray.init(num_cpus=2, namespace="x", job_config=JobConfig(default_actor_lifetime="detached"))
outer = Actor.options(name="outer", num_cpus=0).remote()
print(ray.get(outer.inner.remote()))
del outer
gc.collect()
print(ray.get(ray.get_actor("outer").__ray_ready__.remote()), ray.get(ray.get_actor("inner").__ray_ready__.remote()))
""").split() == ["made", "True", "True"]
