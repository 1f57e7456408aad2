"""Threaded actors: `max_concurrency` threads, calls that pass each other, and everything a thread may do."""

import os
import signal
import threading
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON, wait_until_dead
from park.exceptions import RayActorError

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
class Threads:
    def __init__(self):
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.local = threading.local()
        self.release = threading.Event()

    def turn(self, seconds=0.05):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(seconds)
        with self.lock:
            self.inside -= 1

    def highest(self):
        return self.most

    def wait(self):
        return self.release.wait(30)

    def let_go(self):
        self.release.set()

    def echo(self, value):
        return value

    def keep(self, value):
        self.local.value = value
        return threading.get_ident()

    def kept(self):
        return getattr(self.local, "value", None), threading.get_ident()

    def work(self, other, n):
        ref = ray.put(n)
        (ready,), _ = ray.wait([square.remote(n)], timeout=30)
        return ray.get([ref, ready, other.echo.remote(n)])

    def fail(self, n):
        raise ValueError(n)

    def pid(self):
        return os.getpid()


@ray.remote(num_cpus=0)
def square(n):
    return n * n


@ray.remote(num_cpus=0)
def late(seconds, value):
    time.sleep(seconds)
    return value


def test_as_many_calls_at_a_time_as_threads():
    actor = Threads.options(max_concurrency=3).remote()
    ray.get([actor.turn.remote() for _ in range(12)], timeout=SOON)
    assert ray.get(actor.highest.remote(), timeout=SOON) == 3


def test_a_call_waits_for_another():
    actor = Threads.options(max_concurrency=2).remote()
    waiting = actor.wait.remote()
    ray.get(actor.let_go.remote(), timeout=SOON)
    assert ray.get(waiting, timeout=SOON)


def test_a_late_argument_is_passed_by():
    actor = Threads.options(max_concurrency=2).remote()
    slow, quick = actor.echo.remote(late.remote(0.5, "slow")), actor.echo.remote("quick")
    assert ray.wait([slow, quick], timeout=SOON)[0] == [quick]
    assert ray.get(slow, timeout=SOON) == "slow"


def test_threads_keep_what_is_theirs():
    actor = Threads.options(max_concurrency=4).remote()
    own = {thread: n for n, thread in enumerate(ray.get([actor.keep.remote(n) for n in range(4)], timeout=SOON))}
    assert len(own) == 4
    for kept, thread in ray.get([actor.kept.remote() for _ in range(20)], timeout=SOON):
        assert own[thread] == kept


def test_threads_use_the_session():
    actor, other = Threads.options(max_concurrency=8).remote(), Threads.remote()
    refs = [actor.work.remote(other, n) for n in range(40)]
    assert ray.get(refs, timeout=SOON) == [[n, n * n, n] for n in range(40)]


def test_errors_are_those_of_their_call():
    actor = Threads.options(max_concurrency=4).remote()
    refs = [actor.fail.remote(n) if n % 2 else actor.echo.remote(n) for n in range(20)]
    for n, ref in enumerate(refs):
        if n % 2:
            with pytest.raises(ValueError, match=str(n)):
                ray.get(ref, timeout=SOON)
        else:
            assert ray.get(ref, timeout=SOON) == n


def test_an_actor_calls_itself():
    @ray.remote(max_concurrency=2)
    class Self:
        def outer(self, me):
            return ray.get(me.inner.remote()) + 1

        def inner(self):
            return 1

    actor = Self.remote()
    assert ray.get(actor.outer.remote(actor), timeout=SOON) == 2


def test_more_threads_than_are_ever_used():
    actor = Threads.options(max_concurrency=1000).remote()
    assert ray.get([actor.echo.remote(n) for n in range(100)], timeout=SOON) == list(range(100))


def test_order_is_no_promise_of_threads():
    with pytest.raises(ValueError, match="multi-threaded actors, Ray can't execute actor tasks in order"):
        Threads.options(max_concurrency=2, allow_out_of_order_execution=False).remote()

    class Async:
        async def method(self):
            pass

    with pytest.raises(ValueError, match="async actors, Ray can't execute actor tasks in order"):
        ray.remote(Async).options(allow_out_of_order_execution=False).remote()


def test_a_plain_actor_may_give_up_its_order():
    for chosen, first in ((True, 1), (False, 0), (None, 0)):
        actor = Threads.options(allow_out_of_order_execution=chosen).remote()
        refs = [actor.echo.remote(late.remote(0.4, "late")), actor.echo.remote("early")]
        assert ray.wait(refs, timeout=SOON)[0] == [refs[first]]
        assert ray.get(refs, timeout=SOON) == ["late", "early"]


@pytest.mark.process_only("kills its process")
def test_a_kill_raises_every_call_in_flight():
    actor = Threads.options(max_concurrency=8).remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    refs = [actor.wait.remote() for _ in range(20)]
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    for ref in refs:
        with pytest.raises(RayActorError):
            ray.get(ref, timeout=SOON)


@pytest.mark.process_only("kills its process")
@pytest.mark.skipif(ON_RAY, reason="takes Ray long")
def test_calls_in_flight_are_retried_after_a_kill():
    @ray.remote(max_restarts=-1, max_task_retries=-1, max_concurrency=8)
    class Restarts:
        def sleep(self, seconds, n):
            time.sleep(seconds)
            return n

        def pid(self):
            return os.getpid()

    actor = Restarts.remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    refs = [actor.sleep.remote(0.3, n) for n in range(20)]
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    assert ray.get(refs, timeout=SOON) == list(range(20))


def test_calls_made_before_the_handle_went_are_finished():
    actor = Threads.options(max_concurrency=2).remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    refs = [actor.turn.remote(0.1) for _ in range(6)]
    del actor
    assert ray.get(refs, timeout=SOON) == [None] * 6
    wait_until_dead(pid)
