"""A driver that dies leaves nothing: no process, no shared memory, no file; and one that ends normally leaves no less nothing."""

import os
import signal

import pytest
from helpers import Driver, wait_until_gone

pytestmark = pytest.mark.park_only
#: The promise of the issue.
SECONDS = 2.0

BUSY = """
    import time
    context = start(num_cpus=2)

    @ray.remote
    def run(seconds):
        time.sleep(seconds)

    @ray.remote
    class Actor:
        def run(self, seconds):
            time.sleep(seconds)

    actors = [Actor.options(max_restarts=-1).remote() for _ in range(2)]
    ray.get([run.remote(0), *[actor.run.remote(0) for actor in actors]])
    big = ray.put(b"x" * 50_000_000)
    say(context.address_info["session"])
    running = [run.remote(600), *[actor.run.remote(600) for actor in actors]]
    time.sleep(0.2)
"""


@pytest.fixture
def private_folders(tmp_path):
    """Folders of this test's own, so that what other sessions leave on the machine is not held against this one."""
    names = {name: tmp_path / name for name in ("TMPDIR", "XDG_RUNTIME_DIR")}
    for folder in names.values():
        folder.mkdir(mode=0o700)

    def files():
        return [str(path) for folder in names.values() for path in folder.rglob("*") if not path.is_dir()]

    return {name: str(folder) for name, folder in names.items()}, files


def shared_memory():
    return {name for name in os.listdir("/dev/shm") if "park" in name}


def assert_nothing_left(driver, session, files):
    assert not wait_until_gone(driver.processes, SECONDS)
    # With every process gone a memfd is gone too: it has no name that could keep it.
    assert not wait_until_gone(files, SECONDS)
    for part in session.replace("=", ",").split(","):
        assert not (part.startswith("/") and os.path.exists(part)), f"{part} is left"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_a_driver_killed_by_a_signal(private_folders, how):
    folders, files = private_folders
    before = shared_memory()
    with Driver(BUSY + "\n    say('running'); time.sleep(600)", env=folders) as driver:
        session = driver.line()
        assert driver.line() == "running"
        assert len(driver.processes()) >= 4
        os.kill(driver.pid, how)
        driver.process.wait(10)
        assert_nothing_left(driver, session, files)
    assert shared_memory() <= before


@pytest.mark.parametrize(
    "end", ["os._exit(0)", "sys.exit(0)", "pass", "ray.shutdown()", "os.abort()", "raise SystemExit(3)"]
)
def test_a_driver_that_ends_by_itself(private_folders, end):
    folders, files = private_folders
    with Driver(
        BUSY + f"\n    import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {end}", env=folders
    ) as driver:
        session = driver.line()
        driver.process.wait(20)
        assert_nothing_left(driver, session, files)


IN_FLIGHT = """
    import asyncio, time
    context = start(num_cpus=2)

    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self, tag):
            pass

        def wait(self, *_):
            time.sleep(600)

        def count(self):
            yield 1
            time.sleep(600)

    @ray.remote(num_cpus=0)
    class Async:
        async def wait(self, *_):
            await asyncio.sleep(600)

        async def count(self):
            yield 1
            await asyncio.sleep(600)

    @ray.remote
    def wait(*_):
        time.sleep(600)

    @ray.remote(num_cpus=0)
    def relay(actors):
        ray.get([actor.wait.remote() for actor in actors for _ in range(100)])

    actors = [Actor.remote(1), Actor.options(max_concurrency=4).remote(2), Async.remote(), Async.remote()]
    homeless = Actor.options(num_cpus=1000).remote(3)
    say(context.address_info["session"])
    streams = [actor.count.options(num_returns="streaming").remote() for actor in (actors[1], actors[3])]
    [ray.get(next(stream)) for stream in streams]
    # In rings, and in the outbox: what is too much for a ring, and what has no ring yet.
    calls = [actor.wait.remote(bytes(500)) for actor in actors for _ in range(1000)] + [homeless.wait.remote()]
    tasks = [wait.remote() for _ in range(500)] + [wait.remote(calls[0]), relay.remote(actors)]
    time.sleep(0.3)
    say("in flight")
"""


@pytest.mark.parametrize("end", ["time.sleep(600)", "pass", "os._exit(0)", "ray.shutdown()", "raise KeyError(1)"])
def test_a_driver_that_ends_with_calls_in_flight(private_folders, end):
    folders, files = private_folders
    with Driver(IN_FLIGHT + f"\n    {end}", env=folders) as driver:
        session = driver.line()
        assert driver.line() == "in flight"
        if "sleep" in end:
            os.kill(driver.pid, signal.SIGKILL)
        driver.process.wait(20)
        assert_nothing_left(driver, session, files)


def test_a_driver_killed_while_its_workers_start(private_folders):
    folders, files = private_folders
    body = """
        import threading, time
        context = start(num_cpus=8)
        say(context.address_info["session"])

        @ray.remote
        class Actor:
            def ping(self):
                return 1

        actors = [Actor.remote() for _ in range(8)]
        time.sleep(600)
    """
    with Driver(body, env=folders) as driver:
        session = driver.line()
        os.kill(driver.pid, signal.SIGKILL)
        driver.process.wait(10)
        assert_nothing_left(driver, session, files)


def test_a_driver_killed_while_workers_put(private_folders):
    folders, files = private_folders
    body = """
        import time
        context = start(num_cpus=2)

        @ray.remote
        def put_for_ever():
            while True:
                ray.put(b"x" * 3_000_000)

        say(context.address_info["session"])
        refs = [put_for_ever.remote() for _ in range(2)]
        time.sleep(0.3)
        say("running")
        time.sleep(600)
    """
    with Driver(body, env=folders) as driver:
        session = driver.line()
        assert driver.line() == "running"
        os.kill(driver.pid, signal.SIGKILL)
        driver.process.wait(10)
        assert_nothing_left(driver, session, files)


def test_a_worker_that_will_not_listen_is_ended_too(private_folders):
    folders, files = private_folders
    body = """
        import signal, time
        context = start(num_cpus=1)

        @ray.remote
        def stubborn():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            say("stubborn")
            time.sleep(600)

        say(context.address_info["session"])
        ref = stubborn.remote()
        time.sleep(1)
        say("running")
        if sys.stdin.readline().strip() == "shutdown":
            ray.shutdown()
            say("down")
        time.sleep(600)
    """
    for ending in ("shutdown", "kill"):
        with Driver(body, env=folders) as driver:
            session = driver.line()
            while driver.line() != "running":
                pass
            driver.tell(ending)
            if ending == "shutdown":
                assert driver.line() == "down"
                left = wait_until_gone(
                    lambda driver=driver: [p for p in driver.processes() if p.pid != driver.pid], SECONDS
                )
                assert not left
            os.kill(driver.pid, signal.SIGKILL)
            driver.process.wait(10)
            assert_nothing_left(driver, session, files)
