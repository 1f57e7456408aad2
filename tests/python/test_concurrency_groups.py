"""Concurrency groups: each with threads or an event loop of its own, first come first served, and wrong names told."""

import asyncio
import threading
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON
from park.exceptions import ActorDiedError

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote(concurrency_groups={"io": 2, "compute": 1})
class Sync:
    def __init__(self):
        self.local = threading.local()
        self.order = []
        self.meet = threading.Barrier(2)

    def thread(self):
        return threading.get_ident()

    @ray.method(concurrency_group="io")
    def together(self):
        self.meet.wait(20)
        return threading.get_ident()

    @ray.method(concurrency_group="compute")
    def append(self, n):
        self.order.append(n)
        time.sleep(0.01)
        return threading.get_ident()

    @ray.method(concurrency_group="compute")
    def read(self):
        return self.order

    @ray.method(concurrency_group="io")
    def block(self, seconds):
        time.sleep(seconds)
        return "io"

    def keep(self, value):
        self.local.value = value

    def kept(self):
        return getattr(self.local, "value", None)


@ray.remote(concurrency_groups={"io": 2, "compute": 4})
class Async:
    def __init__(self):
        self.loops = {}
        self.inside = self.most = 0

    def own(self):
        return threading.get_ident(), id(asyncio.get_event_loop())

    @ray.method(concurrency_group="io")
    async def io(self):
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.02)
        self.inside -= 1
        return threading.get_ident(), id(asyncio.get_running_loop())

    @ray.method(concurrency_group="io")
    def io_sync(self):
        return threading.get_ident(), id(asyncio.get_event_loop())

    @ray.method(concurrency_group="compute")
    def compute(self):
        return threading.get_ident(), id(asyncio.get_event_loop())

    @ray.method(concurrency_group="compute")
    async def block(self, seconds):
        time.sleep(seconds)

    @ray.method(concurrency_group="io")
    def highest(self):
        return self.most


def test_a_group_has_its_own_threads():
    actor = Sync.remote()
    assert len(set(ray.get([actor.together.remote(), actor.together.remote()], timeout=SOON))) == 2
    own = ray.get(actor.thread.remote(), timeout=SOON)
    others = ray.get([actor.append.remote(n) for n in range(5)], timeout=SOON)
    assert len(set(others)) == 1 and others[0] != own
    assert ray.get(actor.read.remote(), timeout=SOON) == list(range(5))
    assert ray.get(actor.thread.options(concurrency_group="compute").remote(), timeout=SOON) == others[0]


def test_groups_do_not_wait_for_each_other():
    actor = Sync.remote()
    blocked = [actor.block.remote(0.5) for _ in range(3)]
    assert ray.get([actor.thread.remote(), actor.append.remote(1)], timeout=SOON)
    assert not ray.wait(blocked, timeout=0)[0]
    assert ray.get(blocked, timeout=SOON) == ["io"] * 3


def test_a_late_argument_holds_back_its_own_group_only():
    @ray.remote(num_cpus=0)
    def late(value):
        time.sleep(0.4)
        return value

    actor = Sync.remote()
    first, second = actor.append.remote(late.remote(1)), actor.append.remote(2)
    ray.get(actor.thread.remote(), timeout=SOON)
    assert not ray.wait([first, second], timeout=0)[0]
    ray.get([first, second], timeout=SOON)
    assert ray.get(actor.read.remote(), timeout=SOON) == [1, 2]


def test_a_thread_keeps_what_is_its_own():
    actor = Sync.remote()
    ray.get(actor.keep.remote("own"), timeout=SOON)
    ray.get(actor.keep.options(concurrency_group="compute").remote("compute"), timeout=SOON)
    assert ray.get(actor.kept.remote(), timeout=SOON) == "own"
    assert ray.get(actor.kept.options(concurrency_group="compute").remote(), timeout=SOON) == "compute"


def test_a_group_of_an_async_actor_has_its_own_loop():
    actor = Async.remote()
    own, io, io_sync, compute = ray.get(
        [actor.own.remote(), actor.io.remote(), actor.io_sync.remote(), actor.compute.remote()], timeout=SOON
    )
    assert io == io_sync
    assert len({own, io, compute}) == 3
    assert ray.get(actor.io_sync.options(concurrency_group="compute").remote(), timeout=SOON) == compute
    ray.get([actor.io.remote() for _ in range(10)], timeout=SOON)
    assert ray.get(actor.highest.remote(), timeout=SOON) == 2


def test_a_blocked_loop_does_not_hold_up_the_others():
    actor = Async.remote()
    blocked = actor.block.remote(0.5)
    assert ray.get([actor.own.remote(), actor.io.remote()], timeout=SOON)
    assert not ray.wait([blocked], timeout=0)[0]


def test_a_plain_actor_has_a_group_for_the_system():
    @ray.remote
    class Plain:
        def block(self, seconds):
            time.sleep(seconds)

        def ping(self):
            return "pong"

    plain = Plain.remote()
    plain.block.options(concurrency_group="_ray_system").remote(20)
    assert ray.get(plain.ping.remote(), timeout=SOON) == "pong"


def test_groups_stay_with_their_class():
    actor = Sync.options(max_concurrency=2, num_cpus=0).remote()
    assert len(set(ray.get([actor.together.remote(), actor.together.remote()], timeout=SOON))) == 2
    named = Sync.options(name="with groups").remote()
    own = ray.get(named.thread.remote(), timeout=SOON)
    assert ray.get(ray.get_actor("with groups").append.remote(1), timeout=SOON) != own


def test_a_method_of_no_such_group():
    @ray.remote(concurrency_groups={"io": 1})
    class Wrong:
        @ray.method(concurrency_group="other")
        def method(self):
            pass

    with pytest.raises(AssertionError):
        Wrong.remote()


@pytest.mark.park_only
def test_a_call_of_no_such_group():
    """In Ray it is the end of the actor's process."""
    actor = Sync.remote()
    with pytest.raises(ValueError, match='no concurrency group "other"'):
        ray.get(actor.thread.options(concurrency_group="other").remote(), timeout=SOON)
    assert ray.get(actor.thread.remote(), timeout=SOON)


def test_a_group_of_no_calls():
    @ray.remote(concurrency_groups={"io": 0})
    class Nothing:
        def method(self):
            pass

    with pytest.raises(ActorDiedError, match=None if ON_RAY else "max_concurrency must be greater than 0"):
        ray.get(Nothing.remote().method.remote(), timeout=SOON)


@pytest.mark.park_only
def test_a_group_of_no_calls_is_told_where_the_actor_is_created(caplog):
    class Plain:
        pass

    ray.remote(concurrency_groups={"io": 0})(Plain).remote()
    assert "max_concurrency must be greater than 0" in caplog.text and "Plain" in caplog.text
