"""A worker that dies at each step of each kind of work, and what its caller then sees.

The steps, in the order in which a call goes through them:

    queued     the record lies in the worker's ring; the process is stopped before it reads it, and killed
    arguments  an argument is being unpickled
    running    the body runs (of a generator: between its first and its second item)
    results    the result (a generator's second item) is being pickled
    sealed     the result is sealed, its record not yet done (a generator's second item is there, and no link holds it yet)
    idle       all is done

What comes of it, by policy (a task's `max_retries`; an actor's `max_restarts` and `max_task_retries`):

    |                     | queued    | arguments running results | sealed                   | idle      |
    |---------------------|-----------|---------------------------|--------------------------|-----------|
    | task, 0             | the value | WorkerCrashedError        | the value                | the value |
    | task, 1             | the value | the value, second attempt | the value                | the value |
    | generator task, 0   | all items | as many as were linked, then WorkerCrashedError      | all items |
    | generator task, 1   | all items | all items, second attempt                            | all items |
    | actor, 0 and 0      | ActorDiedError                        | the value, then the same | the value |
    | actor, 1 and 0      | ActorUnavailableError, later calls are answered | the value, ...  | the value |
    | actor, 1 and 1      | the value, from the next process                | the value       | the value |

A method that is a generator is to its actor's rows as a generator task is to a task's: what is sealed but not linked is made again.
A task that no process had begun costs no attempt. `tests/crash` kills processes at each step of the core itself; here the steps are
those of the worker's Python side, in all its modes. After each case everything must add up: `unharmed`.
"""

import functools
import os
import signal

import park as ray
import pytest
from fault_kit import DATA, Argument, Async, Fuse, Plain, body, items
from helpers import ON_RAY, SOON, alive, audit, signal_if_there, stop, submit_to_the_stopped, wait_until
from park.exceptions import ActorDiedError, ActorUnavailableError, WorkerCrashedError

SESSION = {"num_cpus": 2}
pytestmark = [pytest.mark.usefixtures("session", "unharmed"), pytest.mark.park_only, pytest.mark.slow]

if not ON_RAY:
    from helpers import object_count

STEPS = ("queued", "arguments", "running", "results", "sealed", "idle")
ENDS = ("kill", "exit")
#: `max_restarts` and `max_task_retries` of actors.
POLICIES = {"never": (0, 0), "restarted": (1, 0), "repeated": (1, 1)}


@pytest.fixture(scope="module")
def exported(session):
    """Definitions stay in the store for the session: all are there before the first count."""
    spared = Fuse("", "never", "kill")
    ray.get(task.remote(spared), timeout=SOON)
    taken(generator_task.remote(spared))
    actors = [made(mode, policy) for mode in ACTORS for policy in POLICIES]
    ray.get([actor.pid.remote() for actor in actors], timeout=SOON)


@pytest.fixture
def unharmed(exported):
    """After each case: the audit finds nothing, and objects and descriptors are as many as before."""

    def counted():
        return object_count(), len(os.listdir("/proc/self/fd"))

    wait_until(lambda: ray.available_resources().get("CPU") == 2)
    before = counted()
    yield
    wait_until(lambda: ray.available_resources().get("CPU") == 2)
    wait_until(lambda: object_count() <= before[0])
    # A worker that is alive has a pidfd and two pipes in the driver; how many are idle differs.
    workers = len(ray.runtime_stats()["workers_alive_pids"])
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before[1] + 3 * workers)
    assert audit() == []


task = ray.remote(body)
generator_task = ray.remote(items)
ACTORS = {
    "plain": ray.remote(Plain),
    "threaded": ray.remote(Plain).options(max_concurrency=3),
    "grouped": ray.remote(concurrency_groups={"io": 2})(Plain),
    "async": ray.remote(Async),
    "async grouped": ray.remote(concurrency_groups={"io": 2})(Async),
}


def made(mode, policy):
    restarts, retries = POLICIES[policy]
    return ACTORS[mode].options(max_restarts=restarts, max_task_retries=retries).remote()


def taken(answer):
    """The value of a reference; of a generator its items, and the error that ends it, if one does."""
    if isinstance(answer, ray.ObjectRef):
        return ray.get(answer, timeout=SOON)
    return [ray.get(item, timeout=SOON) for item in answer]


def taken_until(answer, error):
    """As many items as come before the error."""
    got = []
    with pytest.raises(error):
        got.extend(ray.get(item, timeout=SOON) for item in answer)
    with pytest.raises(StopIteration):
        next(answer)
    return got


def everything(streams):
    return ["first", DATA, "last"] if streams else DATA


def kill_all(pids):
    for pid in pids:
        signal_if_there(pid, signal.SIGKILL)


def fuses(tmp_path, step):
    """One for each way to die; from outside there is one way."""
    hows = ENDS if step in ("arguments", "running", "results", "sealed") else ("kill",)
    return [Fuse(str(tmp_path / how), step, how) for how in hows]


def attempts(step, streams, again):
    """How often a step is come to that kills the first who does."""
    if step in ("queued", "idle"):
        return 0
    if step == "sealed" and not streams:
        return 1
    return 2 if again else 1


# --- tasks ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("function", [task, generator_task], ids=["task", "generator"])
@pytest.mark.parametrize("step", STEPS)
def test_a_task(tmp_path, step, function, retries):
    streams = function is generator_task
    for fuse in fuses(tmp_path, step):
        submitted = functools.partial(function.options(max_retries=retries).remote, Argument(fuse))
        if step == "queued":
            answer, pids = submit_to_the_stopped(submitted)
            kill_all(pids)
        else:
            answer = submitted()
        if step in ("queued", "idle") or retries or (step == "sealed" and not streams):
            assert taken(answer) == everything(streams)
        elif streams:
            assert taken_until(answer, WorkerCrashedError) == ([] if step == "arguments" else ["first"])
        else:
            with pytest.raises(WorkerCrashedError):
                taken(answer)
        if step == "idle":
            kill_all(ray.runtime_stats()["workers_alive_pids"])
            if not streams:
                assert taken(answer) == DATA
        wait_until(lambda fuse=fuse: fuse.count() == attempts(step, streams, retries))
        assert taken(task.remote(Fuse(fuse.path, "never", "kill"))) == DATA


# --- actors -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", ACTORS)
@pytest.mark.parametrize("streams", [False, True], ids=["method", "generator"])
@pytest.mark.parametrize("step", STEPS)
def test_a_call(tmp_path, step, streams, mode, policy):
    restarts, retries = POLICIES[policy]
    for fuse in fuses(tmp_path, step):
        actor = made(mode, policy)
        pid = ray.get(actor.pid.remote(), timeout=SOON)
        method = actor.stream if streams else actor.work
        if mode.endswith("grouped"):
            method = method.options(concurrency_group="io")
        if step == "queued":
            stop(pid)
        answer = method.remote(Argument(fuse))
        if step == "queued":
            kill_all([pid])
        error = ActorUnavailableError if restarts else ActorDiedError
        if step == "idle" or retries or (step == "sealed" and not streams):
            assert taken(answer) == everything(streams)
        elif streams:
            assert taken_until(answer, error) == ([] if step in ("queued", "arguments") else ["first"])
        else:
            with pytest.raises(error):
                taken(answer)
        if step == "idle":
            kill_all([pid])
            if not streams:
                assert taken(answer) == DATA
        wait_until(lambda fuse=fuse: fuse.count() == attempts(step, streams, retries))
        wait_until(lambda pid=pid: not alive(pid))
        if restarts:
            wait_until(lambda actor=actor, pid=pid: answers(actor) not in (None, pid))
        else:
            with pytest.raises(ActorDiedError):
                ray.get(actor.pid.remote(), timeout=SOON)


def answers(actor):
    """The actor's process; None while it is being started again."""
    try:
        return ray.get(actor.pid.remote(), timeout=SOON)
    except ActorUnavailableError:
        return None
