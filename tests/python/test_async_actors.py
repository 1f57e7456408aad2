"""Async actors: many calls in flight on one event loop, order of starts, errors of every kind, and refs awaited inside."""

import asyncio
import os
import signal
import sys
import threading
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON, wait_until, wait_until_dead
from park.exceptions import ActorDiedError, RayActorError, RayTaskError, TaskCancelledError

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
class Meeting:
    """Calls wait for each other: `size` must be in flight before any returns."""

    def __init__(self, size):
        self.size = size
        self.present = 0
        self.most = 0
        self.full = asyncio.Event()

    async def enter(self, value=None):
        self.present += 1
        self.most = max(self.most, self.present)
        if self.present >= self.size:
            self.full.set()
        await self.full.wait()
        return value

    async def turn(self):
        self.present += 1
        self.most = max(self.most, self.present)
        await asyncio.sleep(0.01)
        self.present -= 1

    def highest(self):
        return self.most

    def pid(self):
        return os.getpid()


@ray.remote(num_cpus=0)
def late(seconds, value):
    time.sleep(seconds)
    return value


def test_calls_are_in_flight_together():
    meeting = Meeting.remote(3)
    assert ray.get([meeting.enter.remote(n) for n in range(3)], timeout=SOON) == [0, 1, 2]


def test_a_thousand_calls_in_flight():
    meeting = Meeting.remote(1000)
    assert ray.get([meeting.enter.remote(n) for n in range(1000)], timeout=SOON) == list(range(1000))
    assert ray.get(meeting.highest.remote(), timeout=SOON) == 1000


@pytest.mark.parametrize("limit", [1, 3])
def test_max_concurrency(limit):
    meeting = Meeting.options(max_concurrency=limit).remote(1)
    ray.get([meeting.turn.remote() for _ in range(10)], timeout=SOON)
    assert ray.get(meeting.highest.remote(), timeout=SOON) == limit


def test_calls_start_in_the_order_they_were_made():
    @ray.remote
    class Log:
        def __init__(self):
            self.began = []

        async def note(self, n):
            self.began.append(n)
            await asyncio.sleep(0.01 * (n % 3))
            return n

        async def read(self):
            return self.began

    # Its main thread and its event loop take calls in turns: in one of six actors a call overtook another between the two.
    for _ in range(20):
        log = Log.remote()
        assert ray.get([log.note.remote(n) for n in range(100)], timeout=SOON) == list(range(100))
        assert ray.get(log.read.remote(), timeout=SOON) == list(range(100))


def test_a_late_argument_holds_back_its_own_call_only():
    meeting = Meeting.remote(1)
    slow, quick = meeting.enter.remote(late.remote(0.5, "slow")), meeting.enter.remote("quick")
    assert ray.wait([slow, quick], timeout=SOON)[0] == [quick]
    assert ray.get([slow, quick], timeout=SOON) == ["slow", "quick"]


def test_sync_methods_run_on_the_loops_thread():
    @ray.remote
    class Where:
        def __init__(self):
            self.loop = asyncio.get_running_loop()
            self.thread = threading.get_ident()

        def sync(self):
            return threading.get_ident() == self.thread and asyncio.get_event_loop() is self.loop

        async def coroutine(self):
            return threading.get_ident() == self.thread and asyncio.get_running_loop() is self.loop

    where = Where.remote()
    assert ray.get([where.sync.remote(), where.coroutine.remote()], timeout=SOON) == [True, True]


def test_an_async_constructor():
    @ray.remote
    class Slow:
        async def __init__(self, value, *, step=1):
            await asyncio.sleep(0.05)
            self.value = value + step

        async def read(self):
            return self.value

    assert ray.get(Slow.remote(1, step=2).read.remote(), timeout=SOON) == 3

    @ray.remote
    class Broken:
        async def __init__(self):
            await asyncio.sleep(0)
            raise RuntimeError("cannot start")

        def read(self):
            return 1

    with pytest.raises(ActorDiedError, match="cannot start"):
        ray.get(Broken.remote().read.remote(), timeout=SOON)


@ray.remote
class Fails:
    async def value_error(self):
        await asyncio.sleep(0)
        raise ValueError("on purpose")

    async def cancelled(self):
        raise asyncio.CancelledError

    async def stop(self):
        raise StopIteration

    async def base(self):
        class Own(BaseException):
            pass

        raise Own("mine")

    async def interrupt(self):
        raise KeyboardInterrupt

    async def unpicklable(self):
        return threading.Lock()

    def sync(self):
        raise KeyError("sync")

    async def exit(self):
        sys.exit(3)

    async def fine(self, value=1):
        return value


def test_errors_are_those_of_their_call():
    actor = Fails.remote()
    for method, error, text in (
        (actor.value_error, ValueError, "on purpose"),
        (actor.cancelled, TaskCancelledError, "cancelled"),
        (actor.sync, KeyError, "sync"),
        (actor.unpicklable, TypeError, "lock"),
    ):
        with pytest.raises(error, match=text) as info:
            ray.get(method.remote(), timeout=SOON)
        assert isinstance(info.value, RayTaskError)
        assert ray.get(actor.fine.remote(), timeout=SOON) == 1


@pytest.mark.park_only
def test_base_exceptions_do_not_end_the_loop():
    """In Ray they do, and every later call hangs."""
    actor = Fails.remote()
    for method in (actor.base, actor.interrupt, actor.stop):
        with pytest.raises(RayTaskError):
            ray.get(method.remote(), timeout=SOON)
        assert ray.get(actor.fine.remote(2), timeout=SOON) == 2


@pytest.mark.park_only
def test_sys_exit_is_the_end_of_the_process():
    actor = Fails.remote()
    with pytest.raises(ActorDiedError):
        ray.get(actor.exit.remote(), timeout=SOON)


def test_the_error_of_an_argument():
    @ray.remote(num_cpus=0)
    def broken():
        raise KeyError("argument")

    actor = Fails.remote()
    with pytest.raises(KeyError):
        ray.get(actor.fine.remote(broken.remote()), timeout=SOON)


def test_references_are_awaited_inside():
    @ray.remote
    class Inner:
        async def echo(self, value):
            await asyncio.sleep(0.02)
            return value

    @ray.remote
    class Outer:
        def __init__(self, inner):
            self.inner = inner

        async def several(self, count):
            return await asyncio.gather(*[self.inner.echo.remote(n) for n in range(count)])

        async def nested(self, refs):
            return await refs[0]

        async def wait(self, refs):
            done, _ = await asyncio.wait([ref.as_future() for ref in refs])
            return sorted(future.result() for future in done)

        async def failing(self):
            try:
                await Fails.remote().value_error.remote()
            except ValueError:
                return "caught"

        def blocking(self, refs):
            return ray.get(refs)

    outer = Outer.remote(Inner.remote())
    assert ray.get(outer.several.remote(50), timeout=SOON) == list(range(50))
    assert ray.get(outer.nested.remote([ray.put("nested")]), timeout=SOON) == "nested"
    assert ray.get(outer.wait.remote([late.remote(0.05, 2), ray.put(1)]), timeout=SOON) == [1, 2]
    assert ray.get(outer.failing.remote(), timeout=SOON) == "caught"
    assert ray.get(outer.blocking.remote([late.remote(0.05, 3)]), timeout=SOON) == [3]


def test_an_async_actor_awaits_itself():
    @ray.remote
    class Self:
        async def outer(self, me):
            return await me.inner.remote() + 1

        async def inner(self):
            return 1

    actor = Self.remote()
    assert ray.get(actor.outer.remote(actor), timeout=SOON) == 2


def test_several_returns():
    @ray.remote
    class Pair:
        async def pair(self):
            return 1, 2

    pair = Pair.remote()
    assert ray.get(pair.pair.options(num_returns=2).remote(), timeout=SOON) == [1, 2]
    assert pair.pair.options(num_returns=0).remote() is None


def test_names_of_parameters_are_the_users():
    @ray.remote
    class Named:
        async def coroutine(self, call, job, group, task_id):
            return call, job, group, task_id

    names = {"call": 1, "job": 2, "group": 3, "task_id": 4}
    assert ray.get(Named.remote().coroutine.remote(**names), timeout=SOON) == (1, 2, 3, 4)


def test_many_callers():
    meeting = Meeting.remote(20)

    @ray.remote(num_cpus=0)
    def call(meeting, numbers):
        return ray.get([meeting.enter.remote(n) for n in numbers])

    calls = [call.remote(meeting, list(range(5))) for _ in range(4)]
    assert ray.get(calls, timeout=SOON) == [list(range(5))] * 4


def test_calls_made_before_the_handle_went_are_finished():
    meeting = Meeting.remote(4)
    pid = ray.get(meeting.pid.remote(), timeout=SOON)
    refs = [meeting.enter.remote(n) for n in range(4)]
    del meeting
    assert ray.get(refs, timeout=SOON) == [0, 1, 2, 3]
    wait_until_dead(pid)


# --- deaths -----------------------------------------------------------------------------------------------------------------------


def in_flight(meeting, count):
    refs = [meeting.enter.remote(n) for n in range(count)]
    wait_until(lambda: ray.get(meeting.highest.remote(), timeout=SOON) == count)
    return refs


@pytest.mark.process_only("kills its process")
def test_a_kill_raises_every_call_in_flight():
    meeting = Meeting.remote(1000)
    refs = in_flight(meeting, 100)
    os.kill(ray.get(meeting.pid.remote(), timeout=SOON), signal.SIGKILL)
    for ref in refs:
        with pytest.raises(RayActorError):
            ray.get(ref, timeout=SOON)
    with pytest.raises(ActorDiedError):
        ray.get(meeting.enter.remote(), timeout=SOON)


@pytest.mark.process_only("kills its process")
@pytest.mark.skipif(ON_RAY, reason="takes Ray minutes")
def test_calls_in_flight_are_retried_after_a_kill(tmp_path):
    """The second process lets everybody in as soon as all hundred are there again."""
    again = str(tmp_path / "again")

    @ray.remote(max_restarts=1, max_task_retries=1)
    class Phoenix:
        def __init__(self):
            self.second = os.path.exists(again)
            open(again, "w").close()
            self.inside = 0
            self.full = asyncio.Event()

        async def enter(self, n):
            self.inside += 1
            if self.second and self.inside == 100:
                self.full.set()
            await self.full.wait()
            return n

        async def look(self):
            return self.inside, os.getpid()

    phoenix = Phoenix.remote()
    refs = [phoenix.enter.remote(n) for n in range(100)]
    wait_until(lambda: ray.get(phoenix.look.remote(), timeout=SOON)[0] == 100)
    os.kill(ray.get(phoenix.look.remote(), timeout=SOON)[1], signal.SIGKILL)
    assert ray.get(refs, timeout=SOON) == list(range(100))


def test_kill():
    meeting = Meeting.remote(1000)
    refs = in_flight(meeting, 10)
    ray.kill(meeting)
    for ref in refs:
        with pytest.raises(RayActorError):
            ray.get(ref, timeout=SOON)


# --- room in the ring -------------------------------------------------------------------------------------------------------------


@ray.remote
class Server:
    """One call that goes on for ever, and many that come and go."""

    def __init__(self):
        self.stop = asyncio.Event()

    async def serve(self):
        await self.stop.wait()
        return "stopped"

    async def ask(self, n):
        return n

    async def close(self):
        self.stop.set()


def test_a_call_that_never_ends_holds_nothing_up():
    """The others take many times the room that the actor's ring has."""
    server = Server.remote()
    serving = [server.serve.remote() for _ in range(10)]
    for _ in range(2 if ON_RAY else 10):
        refs = [server.ask.remote(n) for n in range(1000)]
        assert ray.get(refs, timeout=SOON) == list(range(1000))
    assert not ray.wait(serving, timeout=0)[0]
    server.close.remote()
    assert ray.get(serving, timeout=SOON) == ["stopped"] * 10


def test_many_calls_with_arguments_in_flight():
    meeting = Meeting.remote(500)
    texts = [f"{n}" * 1000 for n in range(500)]
    assert ray.get([meeting.enter.remote(text) for text in texts], timeout=SOON) == texts


@pytest.mark.process_only("kills its process")
@pytest.mark.skipif(ON_RAY, reason="takes Ray minutes")
def test_a_kill_after_records_were_carried():
    server = Server.remote()
    serving = [server.serve.remote() for _ in range(10)]
    for _ in range(5):
        ray.get([server.ask.remote(n) for n in range(1000)], timeout=SOON)
    pid = ray.get(server.__ray_call__.remote(lambda self: os.getpid()), timeout=SOON)
    os.kill(pid, signal.SIGKILL)
    for ref in serving:
        with pytest.raises(RayActorError):
            ray.get(ref, timeout=SOON)


@ray.remote
class Sleeper:
    """Whose loop sleeps between calls; what else may wake a loop must do so then, too."""

    async def by_thread(self):
        done = asyncio.get_running_loop().create_future()

        def tell():
            time.sleep(0.05)  # until the loop sleeps
            done.get_loop().call_soon_threadsafe(done.set_result, "thread")

        threading.Thread(target=tell).start()
        return await done

    async def by_timer(self):
        await asyncio.sleep(0.05)
        return "timer"

    async def by_file(self):
        """With a server's sockets in the loop, which then sleeps elsewhere."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await asyncio.sleep(0.05)
        answer = await reader.read()
        writer.close()
        server.close()
        return answer.decode()

    async def _serve(self, reader, writer):
        await asyncio.sleep(0.05)
        writer.write(b"file")
        writer.close()

    def later(self, folder):
        """A timer and a thread that nobody awaits."""
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, (folder / "timer").touch)
        threading.Timer(0.1, loop.call_soon_threadsafe, ((folder / "thread").touch,)).start()


@pytest.mark.parametrize("what", ["thread", "timer", "file"])
def test_a_sleeping_loop_is_woken(what):
    sleeper = Sleeper.remote()
    for _ in range(3):
        assert ray.get(getattr(sleeper, f"by_{what}").remote(), timeout=30) == what
        time.sleep(0.01)
    ray.kill(sleeper)


def test_what_nobody_awaits_also_wakes_a_sleeping_loop(tmp_path):
    sleeper = Sleeper.remote()
    ray.get(sleeper.later.remote(tmp_path))
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    ray.kill(sleeper)
