"""The smaller parts of `park.util`: serializers, names, metrics, tables of what runs."""

import contextlib
import os
import pathlib
import threading
import time

import park as ray
import pytest
from helpers import ON_RAY, SOON, wait_until

if not ON_RAY:
    import park.util
    from park.util import metrics, state
    from park.util.check_serialize import inspect_serializability

pytestmark = pytest.mark.park_only  # import paths: on Ray these are ray.util

ENDED = ("FINISHED", "FAILED")
SESSION = {"num_cpus": 2, "namespace": "util"}


class Locked:
    def __init__(self, value):
        self.value = value
        self.lock = threading.Lock()


# --- serialization ------------------------------------------------------------------------------------------------------------------


def title():
    """What `ps` shows as the first word of the process's command line."""
    with open("/proc/self/cmdline") as shown:
        return shown.read().split("\0")[0]


@ray.remote(num_cpus=0)
class Sleeper:
    def sleep(self, seconds):
        time.sleep(seconds)

    def wait_for(self, path):
        while not os.path.exists(path):
            time.sleep(0.01)

    def pid(self):
        return os.getpid()

    def title(self):
        return title()

    def rows(self):
        own = ray.get_runtime_context().get_actor_id()
        rows = [row for row in state.list_tasks() if row.actor_id == own]
        return sorted((row.name.partition(".")[2], row.state) for row in rows)


@ray.remote(num_cpus=0)
class Asynchronous:
    async def fail(self):
        raise ValueError("meant")


def test_a_registered_serializer_is_used_until_it_is_forgotten(session):
    @ray.remote
    def value_of(locked):
        return locked.value

    park.util.register_serializer(Locked, serializer=lambda one: one.value, deserializer=Locked)
    assert ray.get(ray.put([Locked(3)]))[0].value == 3
    assert ray.get(value_of.remote(Locked(4))) == 4
    for _ in range(2):
        park.util.deregister_serializer(Locked)
    with pytest.raises(TypeError):
        ray.put(Locked(5))


def test_inspect_serializability_finds_the_part(capsys):
    lock = threading.Lock()

    def function():
        return lock

    class Holder:
        def method(self):
            return lock

    assert inspect_serializability([1, "a"]) == (True, set())
    for value in (lock, function, Holder):
        good, failures = inspect_serializability(value, name="value")
        assert not good and [failure.obj for failure in failures] == [lock]
    assert "lock" in capsys.readouterr().out


def test_cloudpickle_takes_references_and_explains(session, monkeypatch):
    ref = ray.put(5)
    assert ray.get(ray.cloudpickle.loads(ray.cloudpickle.dumps({"ref": ref}))["ref"]) == 5
    buffers = []
    import numpy

    assert len(ray.cloudpickle.dumps(numpy.zeros(300), protocol=5, buffer_callback=buffers.append)) < 1000
    assert len(buffers) == 1
    with pytest.raises(TypeError, match="RAY_PICKLE_VERBOSE_DEBUG"):
        ray.cloudpickle.dumps_debug(threading.Lock())


# --- names --------------------------------------------------------------------------------------------------------------------------


@ray.remote(num_cpus=0)
class Actor:
    def pid(self):
        return os.getpid()


def test_names_of_actors(session):
    here = Actor.options(name="here").remote()
    there = Actor.options(name="there", namespace="elsewhere").remote()
    unnamed = Actor.remote()
    ray.get([one.pid.remote() for one in (here, there, unnamed)])
    assert park.util.list_named_actors() == ["here"]
    everywhere = park.util.list_named_actors(all_namespaces=True)
    assert sorted(row["name"] for row in everywhere) == ["here", "there"]
    assert {"name": "there", "namespace": "elsewhere"} in everywhere
    ray.kill(here)
    wait_until(lambda: park.util.list_named_actors() == [])


def test_log_once_and_addresses():
    key = os.urandom(4).hex()
    assert park.util.log_once(key) and not park.util.log_once(key)
    assert park.util.get_node_ip_address().count(".") == 3
    assert park.util.accelerators.NVIDIA_H100 == "H100"


# --- metrics ------------------------------------------------------------------------------------------------------------------------


def values(name):
    return {tuple(row["tags"].items()): row["value"] for row in metrics.collect() if row["name"] == name}


def test_counters_gauges_and_histograms():
    counter = metrics.Counter("test_requests", "how many", ("kind",)).set_default_tags({"kind": "a"})
    counter.inc()
    counter.inc(2, tags={"kind": "b"})
    metrics.Counter("test_requests", tag_keys=("kind",)).inc(tags={"kind": "b"})
    assert values("test_requests") == {(("kind", "a"),): 1.0, (("kind", "b"),): 3.0}
    gauge = metrics.Gauge("test_level")
    gauge.set(5)
    gauge.set(None)
    assert values("test_level") == {(): 5.0}
    histogram = metrics.Histogram("test_latency", boundaries=[1.0, 10.0])
    for value in (0.5, 1.0, 5, 50):
        histogram.observe(value)
    assert values("test_latency")[()] == {"count": 4, "sum": 56.5, "buckets": {1.0: 2, 10.0: 1, float("inf"): 1}}
    assert counter.info["tag_keys"] == ("kind",)


def test_metrics_travel(session):
    @ray.remote
    def use(counter):
        counter.inc(tags={"kind": "x"})
        return values("test_travels")

    assert ray.get(use.remote(metrics.Counter("test_travels", tag_keys=("kind",)))) == {(("kind", "x"),): 1.0}


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: metrics.Counter(""), ValueError),
        (lambda: metrics.Counter("name", tag_keys="ab"), TypeError),
        (lambda: metrics.Counter("name", tag_keys=(1,)), TypeError),
        (lambda: metrics.Counter("name").inc(0), ValueError),
        (lambda: metrics.Counter("name").inc("1"), TypeError),
        (lambda: metrics.Counter("name2", tag_keys=("a",)).inc(), ValueError),
        (lambda: metrics.Counter("name2", tag_keys=("a",)).inc(tags={"a": 1}), TypeError),
        (lambda: metrics.Counter("name2", tag_keys=("a",)).set_default_tags({"b": "1"}), ValueError),
        (lambda: metrics.Histogram("name3"), ValueError),
        (lambda: metrics.Histogram("name3", boundaries=[0, 1]), ValueError),
        (lambda: metrics.Gauge("name4").set("1"), TypeError),
    ],
)
def test_wrong_metrics(make, error):
    with pytest.raises(error):
        make()


# --- tables -------------------------------------------------------------------------------------------------------------------------


def test_actors_are_listed_also_when_they_are_dead(session):
    actor = Actor.options(name="listed").remote()
    pid = ray.get(actor.pid.remote())
    (row,) = state.list_actors(filters=[("name", "=", "listed")])
    assert (row.state, row.pid, row["class_name"], row.ray_namespace) == ("ALIVE", pid, "Actor", "util")
    assert row.actor_id == actor._actor_id.hex() == state.get_actor(row.actor_id).actor_id
    assert state.list_actors(filters=[("name", "=", "listed"), ("state", "!=", "alive")]) == []
    ray.kill(actor)
    wait_until(lambda: state.get_actor(row.actor_id).state == "DEAD")
    assert state.summarize_actors()["cluster"]["summary"]["Actor"]["state_counts"]["DEAD"] >= 1


def test_tasks_are_listed_while_they_wait_and_run(session):
    @ray.remote
    def sleep(_=None):
        time.sleep(0.5)
        return os.getpid()

    first = [sleep.options(name="first").remote() for _ in range(2)]
    queued = sleep.options(name="queued", num_cpus=2).remote()
    waiting = sleep.options(name="waiting").remote(queued)

    def states():
        return sorted({(row.name, row.state) for row in state.list_tasks() if row.state not in ENDED})

    expected = [("first", "RUNNING"), ("queued", "PENDING_NODE_ASSIGNMENT"), ("waiting", "PENDING_ARGS_AVAIL")]
    wait_until(lambda: states() == expected)
    (running, *_) = state.list_tasks(filters=[("name", "=", "first"), ("state", "=", "RUNNING")])
    assert running.worker_pid in ray.get(first, timeout=SOON)
    assert state.get_task("no such id") is None
    ray.get(waiting, timeout=SOON)
    wait_until(lambda: states() == [])


def test_tasks_are_listed_with_their_parents(session):
    @ray.remote
    def sleep():
        time.sleep(0.3)

    @ray.remote
    def parent():
        child = sleep.options(name="child").remote()
        (row,) = state.list_tasks(filters=[("name", "=", "child")])
        assert row.task_id == child.task_id().hex()
        assert row.parent_task_id == ray.get_runtime_context().get_task_id()
        assert child.job_id().hex() == row.job_id == ray.get_runtime_context().get_job_id()
        ray.get(child)

    ref = parent.options(name="parent").remote()
    (row,) = state.list_tasks(filters=[("name", "=", "parent")])
    assert (row.parent_task_id, row.task_id) == (None, ref.task_id().hex())
    ray.get(ref, timeout=SOON)
    pair = sleep.options(num_returns=2).remote()
    assert pair[0].task_id() == pair[1].task_id() != ref.task_id()
    ray.wait(pair, num_returns=2, timeout=SOON)


def ended(**wanted):
    """The only row of a task that ended which looks so, once it is there."""

    def found():
        return [row for row in state.list_tasks() if all(row[key] == value for key, value in wanted.items())]

    (row,) = wait_until(found)
    return row


def test_tasks_that_ended_say_who_submitted_them_and_how_they_failed(session):
    @ray.remote
    def fails():
        raise ValueError("it was " + "very " * 2000 + "wrong")

    @ray.remote
    def parent():
        with contextlib.suppress(ValueError):
            ray.get(fails.options(name="a child that fails").remote())
        return ray.get_runtime_context().get_task_id()

    own = ray.get(parent.options(name="its parent").remote(), timeout=SOON)
    row = ended(name="a child that fails", state="FAILED")
    assert (row.error_type, row.parent_task_id) == ("TASK_EXECUTION_EXCEPTION", own)
    assert row.error_message.rstrip().endswith("wrong") and len(row.error_message) <= 2000
    assert state.get_task(row.task_id).error_message == row.error_message
    row = ended(name="its parent", state="FINISHED")
    assert (row.task_id, row.error_type, row.error_message, row.parent_task_id) == (own, None, None, None)


def test_calls_that_ended_say_who_made_them_and_how_they_failed(session):
    asynchronous = Asynchronous.remote()

    @ray.remote
    def calls(actor):
        with contextlib.suppress(ValueError):
            ray.get(actor.fail.options(name="a call that fails").remote())
        return ray.get_runtime_context().get_task_id()

    own = ray.get(calls.remote(asynchronous), timeout=SOON)
    row = ended(name="a call that fails", state="FAILED")
    assert (row.error_type, row.parent_task_id) == ("TASK_EXECUTION_EXCEPTION", own)
    assert "ValueError" in row.error_message


@pytest.mark.process_only("a thread cannot be killed")
def test_tasks_whose_worker_died_or_that_were_cancelled_say_so(session):
    @ray.remote(max_retries=0)
    def dies():
        os._exit(27)

    @ray.remote
    def waits():
        time.sleep(60)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(dies.options(name="dies").remote(), timeout=SOON)
    row = ended(name="dies", state="FAILED")
    assert row.error_type == "WORKER_DIED" and "exited with code 27" in row.error_message
    first = waits.options(name="waits for what never comes").remote()
    second = ray.remote(lambda value: value).options(name="cancelled").remote(first)
    ray.cancel(second)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(second, timeout=SOON)
    assert ended(name="cancelled", state="FAILED").error_type == "TASK_CANCELLED"
    ray.cancel(first, force=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(first, timeout=SOON)
    assert ended(name="waits for what never comes", state="FAILED").error_type == "TASK_CANCELLED"


def test_calls_of_actors_are_listed_before_and_after_their_end(session, tmp_path):
    sleeper, asynchronous = Sleeper.remote(), Asynchronous.remote()
    gate = tmp_path / "gate"
    slow = sleeper.wait_for.options(name="the slow one").remote(str(gate))
    behind = sleeper.sleep.remote(0)

    def calls(**wanted):
        return [row for row in state.list_tasks() if all(row[key] == value for key, value in wanted.items())]

    (row,) = wait_until(lambda: calls(name="the slow one", state="RUNNING"))
    assert (row.task_id, row.func_or_class_name) == (slow.task_id().hex(), "Sleeper.wait_for")
    assert (row.type, row.actor_id) == ("ACTOR_TASK", sleeper._actor_id.hex())
    (row,) = calls(name="Sleeper.sleep")
    assert (row.state, row.task_id) == ("SUBMITTED_TO_WORKER", behind.task_id().hex())
    gate.touch()
    ray.get([slow, behind], timeout=SOON)
    failing = asynchronous.fail.remote()
    with pytest.raises(ValueError):
        ray.get(failing, timeout=SOON)
    (row,) = wait_until(lambda: calls(name="Asynchronous.fail"))
    assert (row.state, row.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    (row,) = calls(name="the slow one")
    assert (row.state, row.worker_pid) == ("FINISHED", ray.get(sleeper.pid.remote(), timeout=SOON))
    assert row.start_time_ms <= row.end_time_ms
    assert state.get_task(behind.task_id().hex()).state == "FINISHED"
    assert not [row for row in state.list_tasks() if "park_trace" in row.name]
    assert state.summarize_tasks()["cluster"]["summary"]["Sleeper.sleep"]["state_counts"] == {"FINISHED": 1}


def test_an_actor_lists_its_own_calls_too(session):
    sleeper = Sleeper.remote()
    ray.get(sleeper.sleep.remote(0), timeout=SOON)
    assert ray.get(sleeper.rows.remote(), timeout=SOON) == [("rows", "RUNNING"), ("sleep", "FINISHED")]


@pytest.mark.process_only("the title is a process's")
def test_a_process_shows_what_it_runs(session):
    sleeper = Sleeper.remote()
    assert ray.get(sleeper.title.remote(), timeout=SOON) == "ray::Sleeper.title"
    assert ray.get(sleeper.title.options(name="chosen").remote(), timeout=SOON) == "ray::chosen"
    shown = pathlib.Path(f"/proc/{ray.get(sleeper.pid.remote(), timeout=SOON)}/cmdline")
    wait_until(lambda: shown.read_text().startswith("ray::Sleeper\0"))
    assert ray.get(ray.remote(title).options(name="a task").remote(), timeout=SOON) == "ray::a task"


def test_workers_nodes_objects_and_jobs(session):
    @ray.remote
    def task():
        pass

    ray.get(task.remote(), timeout=SOON)  # so that there is a worker
    ref = ray.put(b"x" * 10_000)
    # A second one may be starting.
    wait_until(lambda: {row.pid for row in state.list_workers()} == set(ray.runtime_stats()["workers_alive_pids"]))
    (node,) = state.list_nodes()
    assert node.node_id == ray.nodes()[0]["NodeID"] and node.is_head_node and node.state == "ALIVE"
    assert state.get_objects(ref.hex()).object_size >= 10_000
    assert state.list_jobs()[0].job_id == ray.get_runtime_context().get_job_id()
    assert state.summarize_objects()["cluster"]["total_objects"] >= 1
    assert len(state.list_workers(limit=1)) == 1
    for wrong in [("nonsense", "=", 1), ("pid", ">", 1)]:
        with pytest.raises(ValueError):
            state.list_workers(filters=[wrong])


def test_a_task_can_ask_too(session):
    @ray.remote
    def names():
        return [row.name for row in state.list_tasks() if row.state == "RUNNING"], park.util.list_named_actors()

    tasks, _ = ray.get(names.remote())
    assert tasks == ["names"]
