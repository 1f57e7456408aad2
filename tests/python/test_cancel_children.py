"""`cancel` with `recursive`: what coroutines submitted, what was not sent yet, and what was made after the cancellation.

And `force`, which meets a task at each of its steps.
"""

import asyncio
import os
import signal
import time

import park as ray
import pytest
from fault_kit import DATA, Argument, Fuse, body
from helpers import SOON, audit, signal_if_there, submit_to_the_stopped, wait_until
from park.exceptions import GetTimeoutError, TaskCancelledError, WorkerCrashedError

SESSION = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("session")


@pytest.fixture(autouse=True)
def unharmed(session):
    yield
    wait_until(lambda: ray.available_resources().get("CPU") == 2)
    assert audit() == []


@ray.remote(num_cpus=0)
class Keeper:
    """Tells the test which children there are."""

    def __init__(self):
        self.refs = {}

    def keep(self, name, refs):
        self.refs[name] = refs[0]

    def kept(self, name):
        return [self.refs[name]] if name in self.refs else None


def child_of(keeper, name):
    return wait_until(lambda: ray.get(keeper.kept.remote(name), timeout=SOON))[0]


@ray.remote
def sleep(seconds):
    time.sleep(seconds)
    return "slept"


@ray.remote(num_cpus=0)
class Target:
    def wait_until_cancelled(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not ray.get_runtime_context().is_canceled():
            time.sleep(0.01)
        return "ended"

    def ping(self):
        return "pong"


@ray.remote(num_cpus=0)
class Parent:
    async def submit(self, keeper, name, seconds):
        await self.wait_for(keeper, name, sleep.remote(seconds))

    async def call(self, keeper, name, target):
        await self.wait_for(keeper, name, target.wait_until_cancelled.remote())

    async def wait_for(self, keeper, name, child):
        await keeper.keep.remote(name, [child])
        await asyncio.sleep(0.01)
        await child


def cancelled(ref):
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)


def test_a_task_that_a_coroutine_submitted():
    keeper, parent = Keeper.remote(), Parent.remote()
    ref = parent.submit.remote(keeper, "child", 60)
    child = child_of(keeper, "child")
    ray.cancel(ref)
    cancelled(ref)
    cancelled(child)


def test_a_call_that_a_coroutine_made():
    keeper, parent, target = Keeper.remote(), Parent.remote(), Target.remote()
    ref = parent.call.remote(keeper, "child", target)
    child = child_of(keeper, "child")
    ray.cancel(ref)
    cancelled(ref)
    cancelled(child)
    assert ray.get(target.ping.remote(), timeout=SOON) == "pong"


def test_the_children_of_one_coroutine_are_not_those_of_another():
    keeper, parent = Keeper.remote(), Parent.remote()
    refs = [parent.submit.remote(keeper, name, seconds) for name, seconds in (("one", 60), ("two", 0.5))]
    children = [child_of(keeper, name) for name in ("one", "two")]
    ray.cancel(refs[0])
    cancelled(refs[0])
    cancelled(children[0])
    assert ray.get(children[1], timeout=SOON) == "slept"
    assert ray.get(refs[1], timeout=SOON) is None


def test_children_of_a_coroutine_stay_if_it_is_not_recursive():
    keeper, parent = Keeper.remote(), Parent.remote()
    ref = parent.submit.remote(keeper, "child", 0.5)
    child = child_of(keeper, "child")
    ray.cancel(ref, recursive=False)
    cancelled(ref)
    assert ray.get(child, timeout=SOON) == "slept"


# --- not sent yet: an actor without a process has no ring ---------------------------------------------------------------------------


def call_of_the_homeless(keeper):
    """A call that stays in the outbox of the process that makes it."""
    child = Target.options(num_cpus=1000).remote().ping.remote()
    ray.get(keeper.keep.remote("child", [child]))
    return child


@ray.remote(num_cpus=0)
def task(keeper):
    ray.get(call_of_the_homeless(keeper))


@ray.remote(num_cpus=0)
class Calls:
    def run(self, keeper):
        ray.get(call_of_the_homeless(keeper))


@ray.remote(num_cpus=0)
class CallsFromCoroutine:
    async def run(self, keeper):
        child = Target.options(num_cpus=1000).remote().ping.remote()
        await keeper.keep.remote("child", [child])
        await child


@pytest.mark.parametrize("kind", ["task", "method", "coroutine"])
@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.park_only
def test_a_call_that_was_not_sent_yet(kind, recursive):
    keeper = Keeper.remote()
    actor = None
    if kind == "task":
        ref = task.remote(keeper)
    else:
        actor = (Calls if kind == "method" else CallsFromCoroutine).remote()
        ref = actor.run.remote(keeper)
    child = child_of(keeper, "child")
    ray.cancel(ref, recursive=recursive)
    if recursive:
        cancelled(child)
    else:
        with pytest.raises(GetTimeoutError):
            ray.get(child, timeout=0.1)
    if recursive or kind != "method":
        # A method is not interrupted: with its child it ends, without it waits.
        cancelled(ref)
    if not recursive:
        ray.cancel(child)
        cancelled(child)
        cancelled(ref)


def test_a_call_made_after_the_cancellation_is_not_cancelled(tmp_path):
    path = str(tmp_path / "ran")

    @ray.remote
    def cleans_up(path):
        try:
            with open(path, "w") as file:
                file.write(".")
            time.sleep(60)
        except KeyboardInterrupt:
            # A new actor: the call waits until it has a process.
            return ray.get(Target.remote().ping.remote())

    ref = cleans_up.remote(path)
    wait_until(lambda: os.path.exists(path))
    ray.cancel(ref)
    assert ray.get(ref, timeout=SOON) == "pong"


# --- force --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.park_only
@pytest.mark.parametrize("step", ["queued", "arguments", "running", "results", "sealed", "idle"])
def test_force_meets_a_task_at_each_of_its_steps(tmp_path, step):
    work = ray.remote(max_retries=3)(body)
    fuse = Fuse(str(tmp_path / "there"), step, "wait")
    stopped = ()
    if step == "queued":
        ref, stopped = submit_to_the_stopped(lambda: work.remote(Argument(fuse)))
    else:
        ref = work.remote(Argument(fuse))
    if step == "idle":
        ray.get(ref, timeout=SOON)
    elif step != "queued":
        wait_until(lambda: fuse.count() == 1)
    ray.cancel(ref, force=True)
    for pid in stopped:
        signal_if_there(pid, signal.SIGCONT)
    if step in ("sealed", "idle"):
        assert ray.get(ref, timeout=SOON) == DATA
    else:
        with pytest.raises((TaskCancelledError, WorkerCrashedError)):
            ray.get(ref, timeout=SOON)
    assert ray.get(work.remote(Fuse(fuse.path, "never", "wait")), timeout=SOON) == DATA
    assert fuse.count() == (step not in ("queued", "idle"))
