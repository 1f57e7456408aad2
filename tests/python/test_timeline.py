"""`timeline` and the tables of what ended: tasks and calls of actors, when they ran and in which process."""

import json
import os
import time

import pytest
from helpers import ray, wait_until

pytestmark = pytest.mark.park_only
SESSION = {"num_cpus": 4}


@ray.remote
def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


@ray.remote
def fail():
    raise ValueError("meant")


@ray.remote(num_cpus=0)
class Sleeper:
    def nap(self, seconds):
        time.sleep(seconds)
        return os.getpid()

    def look(self):
        return [event["name"] for event in ray.timeline()]


@ray.remote(num_cpus=0)
class AsyncSleeper:
    async def nap(self):
        return os.getpid()


def named(name):
    return [event for event in ray.timeline() if event["name"] == name]


def test_tasks_and_calls_are_complete_events(session):
    before = time.time()
    task_pid = ray.get(nap.remote(0.05))
    plain, asynchronous = Sleeper.remote(), AsyncSleeper.remote()
    actor_pid = ray.get(plain.nap.remote(0.05))
    async_pid = ray.get(asynchronous.nap.remote())
    with pytest.raises(ValueError):
        ray.get(fail.remote())
    (task,) = wait_until(lambda: named("nap"))
    (call,) = named("Sleeper.nap")
    (async_call,) = named("AsyncSleeper.nap")
    (failed,) = wait_until(lambda: named("fail"))
    for event, pid in ((task, task_pid), (call, actor_pid), (async_call, async_pid)):
        assert event["ph"] == "X" and event["tid"] == f"worker:{pid}" and event["pid"]
        assert before - 1 < event["ts"] / 1e6 < time.time() + 1
    assert task["dur"] >= 50_000 and call["dur"] >= 50_000
    assert task["cat"] == "task::nap" and not task["args"]["failed"] and failed["args"]["failed"]
    starts = [event["ts"] for event in ray.timeline()]
    assert starts == sorted(starts)


@pytest.mark.process_only("threads have no such names")
def test_processes_are_named_after_their_actors(session):
    sleeper = Sleeper.remote()
    with open(f"/proc/{ray.get(sleeper.nap.remote(0))}/comm") as comm:
        assert comm.read().strip() == "ray::Sleeper"
    with open(f"/proc/{ray.get(nap.remote(0))}/comm") as comm:
        assert comm.read().strip() == "ray::IDLE"


def test_into_a_file(session, tmp_path):
    ray.get(nap.remote(0))
    wait_until(lambda: named("nap"))
    assert ray.timeline(filename=str(tmp_path / "trace.json")) is None
    events = json.loads((tmp_path / "trace.json").read_text())
    assert any(event["name"] == "nap" for event in events)
    assert all(set(event) >= {"cat", "name", "pid", "tid", "ts", "dur", "ph", "cname", "args"} for event in events)


def test_an_actor_may_ask(session):
    sleeper = Sleeper.remote()
    ray.get(sleeper.nap.remote(0))
    ray.get(nap.remote(0))
    wait_until(lambda: named("nap"))
    assert "nap" in ray.get(sleeper.look.remote())


def test_a_busy_actor_does_not_hold_it_up(session):
    busy = Sleeper.remote()
    ray.get(busy.nap.remote(0))
    slow = busy.nap.remote(30)
    began = time.monotonic()
    ray.timeline()
    assert time.monotonic() - began < 20
    ray.kill(busy)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(slow)


def test_tasks_that_ended_are_listed(session):
    state = ray.util.state
    pid = ray.get(nap.options(name="listed").remote(0))
    with pytest.raises(ValueError):
        ray.get(fail.options(name="listed").remote())

    def ended():
        """The report of the last one may be on its way."""
        by_state = {row.state: row for row in state.list_tasks(filters=[("name", "=", "listed")])}
        return by_state if set(by_state) == {"FINISHED", "FAILED"} else None

    by_state = wait_until(ended)
    assert by_state["FINISHED"].worker_pid == pid and by_state["FINISHED"].error_type is None
    assert by_state["FAILED"].error_type == "TASK_EXECUTION_EXCEPTION"
    assert by_state["FINISHED"].start_time_ms <= by_state["FINISHED"].end_time_ms
    assert state.get_task(by_state["FINISHED"].task_id).name == "listed"
    summary = state.summarize_tasks()["cluster"]["summary"]["listed"]["state_counts"]
    assert summary == {"FINISHED": 1, "FAILED": 1}


@pytest.mark.parametrize("force", [False, pytest.param(True, marks=pytest.mark.process_only("kills its process"))])
def test_a_task_that_was_cancelled_while_it_ran_has_ended_unless_it_was_killed(session, tmp_path, force):
    began = tmp_path / "began"

    @ray.remote(max_retries=0)
    def wait():
        began.touch()
        while True:
            time.sleep(0.01)

    name = f"cancelled {force}"
    ref = wait.options(name=name).remote()
    wait_until(began.exists)
    ray.cancel(ref, force=force)
    with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError)):
        ray.get(ref)
    expected = "FAILED" if force else "FINISHED"
    wait_until(lambda: [row.state for row in ray.util.state.list_tasks(filters=[("name", "=", name)])] == [expected])


@pytest.mark.process_only("kills its process")
def test_a_task_whose_worker_died_has_failed(session):
    @ray.remote(max_retries=0)
    def die():
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(die.options(name="died").remote())
    (row,) = wait_until(lambda: ray.util.state.list_tasks(filters=[("name", "=", "died")]))
    assert row.state == "FAILED"


def test_without_a_session(fresh):
    ray.shutdown()
    with pytest.raises(ray.exceptions.RaySystemError):
        ray.timeline()
