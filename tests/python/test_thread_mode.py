"""`park.init(mode="thread")`: what only threads can do, what they cannot, and that deaths mean what they mean for processes."""

import os
import subprocess
import sys
import threading
import time

import park as ray
import pytest
from helpers import SOON, fresh_python, wait_until
from park.exceptions import (
    ActorDiedError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    WorkerCrashedError,
)

pytestmark = pytest.mark.park_only


@pytest.fixture
def threads(fresh):
    return fresh(num_cpus=2, mode="thread")


@ray.remote
def pid():
    return os.getpid()


@ray.remote
class Counter:
    def __init__(self):
        self.value = 0

    def bump(self):
        self.value += 1
        return self.value

    def sleep(self, seconds):
        time.sleep(seconds)

    def leave(self, code):
        sys.exit(code)


# --- choosing it --------------------------------------------------------------------------------------------------------------------


def test_workers_are_threads_of_this_process(threads):
    assert ray.get(pid.remote(), timeout=SOON) == os.getpid()
    assert ray.runtime_stats()["zygote_pid"] == 0 and ray.runtime_stats()["workers_alive_pids"] == [os.getpid()]


def test_a_variable_chooses_the_mode_and_an_argument_goes_before_it(fresh, monkeypatch):
    monkeypatch.setenv("PARK_MODE", "thread")
    fresh(num_cpus=1)
    assert ray.get(pid.remote(), timeout=SOON) == os.getpid()
    ray.shutdown()
    fresh(num_cpus=1, mode="process")
    assert ray.get(pid.remote(), timeout=SOON) != os.getpid()


def test_other_modes_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="mode must be 'process' or 'thread', got 'fiber'"):
        ray.init(mode="fiber")
    monkeypatch.setenv("PARK_MODE", "local")
    with pytest.raises(ValueError, match="PARK_MODE must be 'process' or 'thread', got 'local'"):
        ray.init()


@pytest.mark.parametrize("env", [{"env_vars": {"A": "1"}}, {"working_dir": "/"}, {"py_modules": ["/"]}])
def test_environments_are_refused(fresh, env):
    with pytest.raises(RuntimeEnvSetupError, match="belongs to a process"):
        fresh(num_cpus=1, mode="thread", runtime_env=env)
    fresh(num_cpus=1, mode="thread")
    with pytest.raises(RuntimeEnvSetupError, match="belongs to a process"):
        pid.options(runtime_env=env).remote()
    with pytest.raises(RuntimeEnvSetupError, match="belongs to a process"):
        Counter.options(runtime_env=env).remote()


def test_another_interpreter_is_refused_and_why(fresh):
    env = {"py_executable": "/no/such/python"}
    with pytest.raises(RuntimeEnvSetupError, match="threads of the driver's"):
        fresh(num_cpus=1, mode="thread", runtime_env=env)
    fresh(num_cpus=1, mode="thread", runtime_env={"py_executable": sys.executable})
    with pytest.raises(RuntimeEnvSetupError, match="threads of the driver's"):
        pid.options(runtime_env=env).remote()
    assert ray.get(pid.options(runtime_env={"py_executable": sys.executable}).remote()) == os.getpid()


# --- the same semantics -------------------------------------------------------------------------------------------------------------


def test_arguments_and_results_are_copies(threads):
    given = {"list": [1]}

    @ray.remote
    def change(value):
        value["list"].append(2)
        return value

    result = ray.get(change.remote(given), timeout=SOON)
    assert given == {"list": [1]} and result == {"list": [1, 2]}


def test_references_are_the_processes(threads):
    kept = []

    @ray.remote
    def makes():
        kept.append(ray.put("made by a worker"))
        return [kept[0]]

    made = ray.get(makes.remote(), timeout=SOON)[0]
    assert ray.get(made, timeout=SOON) == "made by a worker"
    assert ray.wait([made], timeout=SOON)[0] == [made]


def test_each_worker_has_its_own_context(threads):
    @ray.remote
    class Who:
        def ids(self):
            context = ray.get_runtime_context()
            return context.get_actor_id(), context.get_worker_id()

    first, second = Who.remote(), Who.remote()
    ids = [ray.get(who.ids.remote(), timeout=SOON) for who in (first, second)]
    assert [actor for actor, _ in ids] == [first._actor_id.hex(), second._actor_id.hex()]
    assert len({worker for _, worker in ids}) == 2
    assert ray.get_runtime_context().get_actor_id() is None


def test_threads_of_a_worker_work_for_it(threads):
    @ray.remote
    class Parent:
        def ask(self):
            found = []
            thread = threading.Thread(target=lambda: found.append(ray.get_runtime_context().get_actor_id()))
            thread.start()
            thread.join()
            return found[0], ray.get_runtime_context().get_actor_id()

    there, here = ray.get(Parent.remote().ask.remote(), timeout=SOON)
    assert there == here is not None


def test_a_worker_cannot_end_the_session(threads):
    @ray.remote
    def shut():
        ray.shutdown()
        return ray.is_initialized()

    assert ray.get(shut.remote(), timeout=SOON) is True
    assert ray.get(pid.remote(), timeout=SOON) == os.getpid()


def test_sessions_one_after_another_leave_no_thread(fresh):
    for _ in range(3):
        fresh(num_cpus=2, mode="thread")
        counter = Counter.remote()
        assert ray.get(counter.bump.remote(), timeout=SOON) == 1
        ray.shutdown()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("park-worker")])


# --- deaths -------------------------------------------------------------------------------------------------------------------------


def test_a_task_that_exits_is_repeated(threads, counter_file):
    path = counter_file.path

    @ray.remote
    def dies(times):
        with open(path, "a") as file:
            file.write(".")
        if os.path.getsize(path) <= times:
            sys.exit(3)
        return "survived"

    assert ray.get(dies.remote(2), timeout=SOON) == "survived" and counter_file.count() == 3
    with pytest.raises(WorkerCrashedError, match="exited with code 3"):
        ray.get(dies.options(max_retries=0).remote(100), timeout=SOON)


def test_a_killed_actor_is_dead_at_once_though_its_thread_sleeps(threads):
    counter = Counter.remote()
    assert ray.get(counter.bump.remote(), timeout=SOON) == 1
    running, waiting = counter.sleep.remote(2), counter.bump.remote()
    time.sleep(0.1)
    began = time.monotonic()
    ray.kill(counter)
    for ref in (running, waiting, counter.bump.remote()):
        with pytest.raises(ActorDiedError):
            ray.get(ref, timeout=SOON)
    assert time.monotonic() - began < 1.5, "nobody waited for the sleep"


def test_an_actor_that_exits_is_restarted(threads):
    counter = Counter.options(max_restarts=1, max_task_retries=1).remote()
    assert [ray.get(counter.bump.remote(), timeout=SOON) for _ in range(2)] == [1, 2]
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(counter.leave.options(max_task_retries=0).remote(5), timeout=SOON)
    assert ray.get(counter.bump.remote(), timeout=SOON) == 1
    ray.kill(counter, no_restart=True)
    with pytest.raises(ActorDiedError):
        ray.get(counter.bump.remote(), timeout=SOON)


def test_what_a_killed_task_does_later_is_not_seen(threads, tmp_path):
    began, go = tmp_path / "began", tmp_path / "go"

    @ray.remote(max_retries=0)
    def late():
        began.touch()
        while not go.exists():
            time.sleep(0.01)
        return "too late"

    ref = late.remote()
    wait_until(began.exists)
    ray.cancel(ref, force=True)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        ray.get(ref, timeout=SOON)
    go.touch()
    time.sleep(0.1)
    with pytest.raises((TaskCancelledError, WorkerCrashedError)):
        ray.get(ref, timeout=SOON)
    assert ray.available_resources()["CPU"] == 2


def test_a_cancelled_task_that_sleeps_is_given_up(threads, tmp_path):
    began = tmp_path / "began"

    @ray.remote
    def sleeps():
        began.touch()
        time.sleep(3)

    ref = sleeps.remote()
    wait_until(began.exists)
    started = time.monotonic()
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    assert time.monotonic() - started < 2.5, "nobody waited for the sleep"
    wait_until(lambda: ray.available_resources().get("CPU") == 2)


def test_an_async_actor_whose_constructor_fails_leaves_no_thread(threads):
    class Fails:
        def __init__(self, how):
            if how == "exit":
                ray.actor.exit_actor()
            raise ValueError("meant")

        async def ping(self):
            pass

    def loops():
        return [thread for thread in threading.enumerate() if thread.name.startswith("AsyncIO Thread")]

    before = loops()
    for how in ("raise", "exit"):
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(ray.remote(Fails).remote(how).ping.remote(), timeout=SOON)
    wait_until(lambda: set(loops()) <= set(before))


def test_async_and_threaded_actors_leave_no_thread(threads):
    class Async:
        async def one(self):
            return threading.current_thread().name

    class Threaded:
        def one(self):
            return threading.current_thread().name

    actors = [ray.remote(Async).remote(), ray.remote(max_concurrency=3)(Threaded).remote()]
    names = set(ray.get([actor.one.remote() for actor in actors], timeout=SOON))
    assert len(names) == 2
    ray.kill(actors[0])
    del actors
    wait_until(lambda: not names & {thread.name for thread in threading.enumerate()})


def test_the_end_does_not_wait_for_what_cannot_be_interrupted():
    program = """
        import time, park as ray
        ray.init(num_cpus=1, mode="thread")
        @ray.remote
        def sleeps():
            time.sleep(60)
        sleeps.remote()
        time.sleep(0.2)
        start = time.monotonic()
        ray.shutdown()
        print(time.monotonic() - start < 10)
    """
    assert fresh_python("\n".join(line[8:] for line in program.splitlines())).strip() == "True"


# --- tools --------------------------------------------------------------------------------------------------------------------------


def test_a_breakpoint_stops_in_a_task():
    program = (
        "import park as ray\n"
        "ray.init(num_cpus=1, mode='thread')\n"
        "@ray.remote\n"
        "def task(secret):\n"
        "    breakpoint()\n"
        "    return secret + 1\n"
        "print('got', ray.get(task.remote(41)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="p secret * 100\ncontinue\n",
        capture_output=True,
        text=True,
        timeout=SOON + 30,
    )
    assert done.returncode == 0, done.stderr
    assert "(Pdb)" in done.stdout and "4100" in done.stdout and "got 42" in done.stdout


def test_a_profiler_sees_tasks_and_calls(fresh):
    seen = set()

    def profile(frame, event, argument):
        if event == "call":
            seen.add(frame.f_code.co_name)

    threading.setprofile(profile)
    try:
        fresh(num_cpus=2, mode="thread")

        @ray.remote
        def profiled_task():
            return profiled_helper()

        def profiled_helper():
            return 1

        assert ray.get(profiled_task.remote(), timeout=SOON) == 1
        assert ray.get(Counter.remote().bump.remote(), timeout=SOON) == 1
    finally:
        threading.setprofile(None)
    assert {"profiled_task", "profiled_helper", "bump"} <= seen


def test_an_event_loop_that_sleeps_is_off_the_doorbell_before_another_worker_has_it(threads):
    """Entries of workers that were killed are others' at once: they missed calls, as the killed one's loop took itself off their bell."""

    @ray.remote
    class Async:
        async def one(self):
            return 1

    for _ in range(40):
        actors = [Async.remote() for _ in range(4)]
        for _ in range(3):
            assert ray.get([actor.one.remote() for actor in actors], timeout=SOON) == [1] * 4
        for actor in actors:
            ray.kill(actor)
