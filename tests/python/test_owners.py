"""An actor ends with the process that created it, and what its callers are told about a death: why, and of which actor."""

import gc
import os

import park as ray
import pytest
from helpers import SOON, kill, wait_until
from park.cluster_utils import Cluster
from park.exceptions import ActorDiedError, RayActorError

SESSION = {"num_cpus": 4, "namespace": "owners"}


@ray.remote(num_cpus=0)
class Child:
    def pid(self):
        return os.getpid()


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Parent:
    def make(self, **options):
        self.child = Child.options(**options).remote()
        return self.child

    def pid(self):
        return os.getpid()

    def leave(self):
        ray.actor.exit_actor()


def dies(actor, match):
    with pytest.raises(ActorDiedError, match=match) as raised:
        while True:
            ray.get(actor.pid.remote(), timeout=SOON)
    assert raised.value.actor_id == actor._actor_id.hex()


@pytest.mark.parametrize("how", ["kill", "exit", "handles"])
def test_an_actor_ends_with_the_actor_that_created_it(session, how):
    parent = Parent.remote()
    child = ray.get(parent.make.remote())
    assert ray.get(child.pid.remote(), timeout=SOON)
    if how == "kill":
        ray.kill(parent)
    elif how == "exit":
        parent.leave.options(max_task_retries=0).remote()
    del parent
    gc.collect()
    dies(child, "its owner has died")


@pytest.mark.process_only("kills its process")
def test_a_restarted_actor_creates_its_children_anew(session):
    parent = Parent.remote()
    child = ray.get(parent.make.remote())
    kill(ray.get(parent.pid.remote()))
    dies(child, "its owner has died")
    again = ray.get(parent.make.remote(), timeout=SOON)
    assert ray.get(again.pid.remote(), timeout=SOON)


def test_a_detached_actor_ends_with_nobody(session):
    parent = Parent.remote()
    child = ray.get(parent.make.remote(name="stays", lifetime="detached"))
    ray.kill(parent)
    with pytest.raises(RayActorError):
        ray.get(parent.pid.remote(), timeout=SOON)
    assert ray.get(child.pid.remote(), timeout=SOON)
    ray.kill(child)


@ray.remote(max_retries=0)
def make(then=None):
    child = Child.remote()
    if then is None:
        return child
    ray.get(then.put.remote(child))
    os._exit(1)


@ray.remote(num_cpus=0)
class Box:
    def put(self, value):
        self.value = value

    def get(self):
        return self.value


@pytest.mark.process_only("ends its process")
def test_an_actor_of_a_task_ends_with_a_worker_that_crashes(session):
    box = Box.remote()
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(make.remote(box), timeout=SOON)
    dies(ray.get(box.get.remote(), timeout=SOON), "its owner has died")


@pytest.mark.process_only("needs a worker that ends by itself")
def test_an_actor_that_a_task_returns_outlives_a_worker_that_is_let_go(session):
    child = ray.get(ray.remote(max_calls=1)(make._function).remote(), timeout=SOON)
    workers = set(ray.runtime_stats()["workers_alive_pids"])
    ray.get(make.remote(), timeout=SOON)
    wait_until(lambda: workers - set(ray.runtime_stats()["workers_alive_pids"]))
    assert ray.get(child.pid.remote(), timeout=SOON)


def test_one_that_never_came_to_life_ends_too(session):
    """Its argument is a result that nobody can make any more, or never comes: its callers hear of the owner's death all the same."""

    @ray.remote(num_cpus=0)
    class Waits:
        def __init__(self, argument):
            pass

        def pid(self):
            return os.getpid()

    @ray.remote(num_cpus=0)
    class Never:
        def value(self):
            import time

            time.sleep(600)

    @ray.remote(num_cpus=0)
    class Owner:
        def make(self):
            self.never = Never.remote()
            return Waits.remote(self.never.value.remote())

    owner = Owner.remote()
    child = ray.get(owner.make.remote(), timeout=SOON)
    call = child.pid.remote()
    assert ray.wait([call], timeout=0.2)[0] == []
    ray.kill(owner)
    with pytest.raises(RayActorError):
        ray.get(call, timeout=SOON)


@pytest.mark.process_only("kills its process")
def test_the_death_of_a_process_names_the_actor(session):
    child = Child.remote()
    kill(ray.get(child.pid.remote(), timeout=SOON))
    dies(child, "The actor is dead because its worker process has died")


def test_a_kill_names_the_actor(session):
    child = Child.remote()
    ray.kill(child)
    dies(child, "it was killed by `ray.kill")


def test_an_error_of_the_constructor_names_the_actor(session):
    @ray.remote(num_cpus=0)
    class Fails:
        def __init__(self):
            raise ValueError("meant")

        def pid(self):
            return os.getpid()

    dies(Fails.remote(), "meant")


def test_the_end_of_a_node_names_the_actor(fresh):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address)
    node = cluster.add_node(num_cpus=1, resources={"there": 1})
    child = Child.options(resources={"there": 1}).remote()
    assert ray.get(child.pid.remote(), timeout=SOON)
    cluster.remove_node(node)
    dies(child, "The actor died because its node has died.")
    ray.shutdown()
    cluster.shutdown()
