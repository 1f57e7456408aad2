"""`exit_actor` and what every actor has: an actor that ends itself is no failure and does not come back."""

import asyncio
import atexit
import gc
import os
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON, THREADED, wait_until, wait_until_dead
from park.actor import exit_actor
from park.exceptions import ActorDiedError, PendingCallsLimitExceeded, RayActorError
from park.util import state

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


class Sync:
    def __init__(self, left=None):
        if left:
            import atexit

            atexit.register(lambda: open(left, "w").close())

    def pid(self):
        return os.getpid()

    def leave(self):
        exit_actor()

    def slow(self, seconds):
        time.sleep(seconds)
        return "slow"

    def swallow(self):
        try:
            exit_actor()
        except BaseException:
            return "swallowed"


class Async:
    async def swallow(self):
        try:
            exit_actor()
        except BaseException:
            return "swallowed"

    async def leave_later(self, seconds):
        self.later = asyncio.get_running_loop().create_task(self._leave_after(seconds))

    async def _leave_after(self, seconds):
        await asyncio.sleep(seconds)
        exit_actor()

    async def pid(self):
        return os.getpid()

    async def leave(self):
        exit_actor()

    async def slow(self, seconds):
        await asyncio.sleep(seconds)
        return "slow"

    def leave_sync(self):
        exit_actor()


KINDS = {
    "sync": ray.remote(max_restarts=-1, max_task_retries=-1)(Sync),
    "threaded": ray.remote(max_restarts=-1, max_task_retries=-1, max_concurrency=3)(Sync),
    "groups": ray.remote(max_restarts=-1, concurrency_groups={"io": 1})(Sync),
    "async": ray.remote(max_restarts=-1, max_task_retries=-1)(Async),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_actor_ends_itself(kind):
    actor = KINDS[kind].remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    with pytest.raises(RayActorError, match="exit_actor"):
        ray.get(actor.leave.options(max_task_retries=0).remote(), timeout=SOON)
    wait_until_dead(pid)
    with pytest.raises(ActorDiedError, match="exit_actor"):
        ray.get(actor.pid.remote(), timeout=SOON)


def test_a_sync_method_ends_an_async_actor():
    actor = KINDS["async"].remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    with pytest.raises(RayActorError):
        ray.get(actor.leave_sync.options(max_task_retries=0).remote(), timeout=SOON)
    wait_until_dead(pid)


@pytest.mark.parametrize("kind", ["threaded", "async"])
def test_calls_that_run_may_finish(kind):
    actor = KINDS[kind].remote()
    ray.get(actor.pid.remote(), timeout=SOON)
    running = actor.slow.remote(0.7)
    time.sleep(0.2)
    leaving = actor.leave.options(max_task_retries=0).remote()
    with pytest.raises(RayActorError):
        ray.get(leaving, timeout=SOON)
    assert ray.get(running, timeout=SOON) == "slow"


def test_calls_that_wait_fail():
    actor = KINDS["sync"].options(max_task_retries=0).remote()
    refs = [actor.slow.remote(0.3), actor.leave.remote(), *[actor.pid.remote() for _ in range(500)]]
    assert ray.get(refs[0], timeout=SOON) == "slow"
    for ref in refs[1:]:
        with pytest.raises(RayActorError, match="exit_actor"):
            ray.get(ref, timeout=SOON)


@pytest.mark.parametrize("kind", KINDS)
def test_an_actor_that_swallows_its_exit_ends_all_the_same(kind):
    actor = KINDS[kind].remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    with pytest.raises(ActorDiedError, match="exit_actor"):
        ray.get(actor.swallow.options(max_task_retries=0).remote(), timeout=SOON)
    wait_until_dead(pid)


def test_what_belongs_to_no_call_may_end_the_actor():
    actor = KINDS["async"].remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    running = actor.slow.remote(0.5)
    ray.get(actor.leave_later.remote(0.1), timeout=SOON)
    wait_until_dead(pid)
    assert ray.get(running, timeout=SOON) == "slow"
    with pytest.raises(ActorDiedError, match="exit_actor"):
        ray.get(actor.pid.remote(), timeout=SOON)


class LeavesAtOnce:
    def __init__(self):
        exit_actor()

    def ping(self):
        return "alive"


class LeavesAtOnceAsync:
    def __init__(self, how):
        if how == "constructor":
            exit_actor()
        self.later = asyncio.get_running_loop().create_task(self._leave())

    async def _leave(self):
        exit_actor()

    async def ping(self):
        await asyncio.sleep(60)


@pytest.mark.parametrize("kind", ["sync", "async", "beside"])
def test_a_constructor_may_end_the_actor(kind):
    options = {"max_restarts": -1, "num_cpus": 0}
    if kind == "sync":
        actor = ray.remote(**options)(LeavesAtOnce).remote()
    else:
        actor = ray.remote(**options)(LeavesAtOnceAsync).remote("constructor" if kind == "async" else "task")
    with pytest.raises(ActorDiedError, match="exit_actor"):
        ray.get(actor.ping.remote(), timeout=SOON)


@pytest.mark.process_only("exit handlers belong to the process")
def test_exit_handlers_run(tmp_path):
    left = str(tmp_path / "left")
    actor = ray.remote(Sync).remote(left)
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    actor.leave.remote()
    wait_until_dead(pid)
    assert os.path.exists(left)


@pytest.mark.skipif(ON_RAY, reason="Ray's names are found by its state API")
def test_a_name_is_free_after_the_end():
    for _ in range(2):
        actor = KINDS["sync"].options(name="leaves").remote()
        with pytest.raises(RayActorError):
            ray.get(actor.leave.options(max_task_retries=0).remote(), timeout=SOON)
        # As in Ray, it has its name as long as there are handles.
        del actor
        gc.collect()


def test_outside_of_actors():
    with pytest.raises(TypeError, match="exit_actor API is called on a non-actor worker"):
        exit_actor()

    @ray.remote
    def task():
        exit_actor()

    with pytest.raises(TypeError, match="exit_actor API is called on a non-actor worker"):
        ray.get(task.remote(), timeout=SOON)


@pytest.mark.parametrize("kind", KINDS)
def test_what_every_actor_has(kind):
    actor = KINDS[kind].options(max_restarts=0, max_task_retries=0).remote()
    assert ray.get(actor.__ray_ready__.remote(), timeout=SOON) is True
    named = actor.__ray_call__.remote(lambda self, n, *, more: (type(self).__name__, n, more), 3, more=4)
    assert ray.get(named, timeout=SOON) == ("Async" if kind == "async" else "Sync", 3, 4)
    assert {"__ray_ready__", "__ray_call__", "__ray_terminate__", "pid"} <= set(dir(actor))
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    actor.__ray_terminate__.remote()
    wait_until_dead(pid)


def test_a_limit_of_pending_calls():
    actor = ray.remote(max_pending_calls=5)(Sync).remote()
    ray.get(actor.pid.remote(), timeout=SOON)
    refs = []
    with pytest.raises(PendingCallsLimitExceeded, match="more than 5 tasks are queued on the actor"):
        while len(refs) < 50:
            refs.append(actor.slow.remote(0.2))
    assert 4 <= len(refs) <= 6
    assert ray.get(refs, timeout=SOON) == ["slow"] * len(refs)
    assert ray.get(actor.slow.remote(0), timeout=SOON) == "slow"


def test_a_limit_of_pending_calls_counts_those_that_nobody_waits_for():
    actor = ray.remote(max_pending_calls=2)(Sync).remote()
    with pytest.raises(PendingCallsLimitExceeded):
        for _ in range(20):
            actor.slow.options(num_returns=0).remote(0.2)


@pytest.mark.parametrize("how", ["handles", "terminate", "exit", "kill"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_actor_may_clean_up_before_it_ends(tmp_path, how, asynchronous):
    note = tmp_path / "note"

    class Cleaner:
        def __init__(self):
            atexit.register(self.write, "at exit")

        def write(self, line):
            with open(note, "a") as file:
                file.write(line + "\n")

        def __ray_shutdown__(self):
            self.write("shutdown")
            raise ValueError("is printed and changes nothing")

        def leave(self):
            exit_actor()

    class Async(Cleaner):
        async def wait(self):
            pass

    cleaner = ray.remote(num_cpus=0)(Async if asynchronous else Cleaner).remote()
    ray.get(cleaner.write.remote("alive"), timeout=SOON)
    if how == "terminate":
        cleaner.__ray_terminate__.remote()
    elif how == "exit":
        cleaner.leave.remote()
    elif how == "kill":
        ray.kill(cleaner)
    # Exit handlers belong to the process.
    ended = [] if how == "kill" else ["shutdown"] if THREADED else ["shutdown", "at exit"]
    actor = cleaner._actor_id.hex()
    del cleaner
    gc.collect()
    wait_until(lambda: state.get_actor(actor).state == "DEAD")
    # The actor is dead when it has said so, which may be before its worker has ended.
    wait_until(lambda: note.read_text().split() == " ".join(["alive", *ended]).split())
