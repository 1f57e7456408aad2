"""`cancel`: what has not begun never does, what runs is interrupted or killed, and what it submitted goes the same way."""

import os
import time

import park as ray
import pytest
from helpers import MB, SOON, alive, wait_until
from park.exceptions import GetTimeoutError, RayError, RayTaskError, TaskCancelledError, WorkerCrashedError

SESSION = {"num_cpus": 2, "object_store_memory": 256 * MB}
pytestmark = pytest.mark.usefixtures("session")
KILLED = (TaskCancelledError, WorkerCrashedError)


@ray.remote
def touch_and_sleep(path, seconds=60):
    with open(path, "a") as file:
        file.write(".")
    time.sleep(seconds)
    return "slept"


@ray.remote
def touch(path, *_):
    with open(path, "a") as file:
        file.write(".")
    return "touched"


def started(path, times=1):
    wait_until(lambda: os.path.exists(path) and os.path.getsize(path) >= times)


def free_cpus():
    return ray.available_resources().get("CPU", 0)


def all_free():
    wait_until(lambda: free_cpus() == 2)


@pytest.mark.process_only("a thread in a sleep is given up, not interrupted")
def test_a_running_task_is_interrupted_in_a_sleep(tmp_path):
    path = str(tmp_path / "ran")
    ref = touch_and_sleep.remote(path)
    started(path)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError, match="was cancelled") as caught:
        ray.get(ref, timeout=SOON)
    assert isinstance(caught.value, RayTaskError) and "touch_and_sleep" in str(caught.value)
    all_free()


def test_a_running_task_is_interrupted_in_a_get(tmp_path):
    path, other = str(tmp_path / "ran"), str(tmp_path / "other")
    blocker = touch_and_sleep.remote(other)

    @ray.remote
    def waits(refs):
        with open(path, "w") as file:
            file.write(".")
        return ray.get(refs[0])

    ref = waits.remote([blocker])
    started(path)
    started(other)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    with pytest.raises(GetTimeoutError):
        ray.get(blocker, timeout=0.05)
    ray.cancel(blocker)
    with pytest.raises(TaskCancelledError):
        ray.get(blocker, timeout=SOON)
    all_free()


def test_a_busy_loop_is_interrupted_and_its_worker_lives_on(tmp_path):
    path = str(tmp_path / "pid")

    @ray.remote
    def spin():
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        while True:
            pass

    ref = spin.remote()
    started(path)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    with open(path) as file:
        assert alive(int(file.read()))


@pytest.mark.process_only("a thread in a sleep is given up, not interrupted")
def test_a_task_may_catch_the_interrupt_and_return(tmp_path):
    path = str(tmp_path / "ran")

    @ray.remote
    def stubborn():
        with open(path, "w") as file:
            file.write(".")
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            return ray.get_runtime_context().is_canceled()

    ref = stubborn.remote()
    started(path)
    ray.cancel(ref)
    assert ray.get(ref, timeout=SOON) is True


def test_is_canceled_is_false_otherwise_and_refused_in_a_driver():
    @ray.remote
    def ask():
        return ray.get_runtime_context().is_canceled()

    assert ray.get(ask.remote(), timeout=SOON) is False
    with pytest.raises(RuntimeError, match="only available when the process is a worker"):
        ray.get_runtime_context().is_canceled()

    @ray.remote
    class Async:
        async def ask(self):
            return ray.get_runtime_context().is_canceled()

    with pytest.raises(RuntimeError, match="not supported in an async actor"):
        ray.get(Async.remote().ask.remote(), timeout=SOON)


def test_force_kills_the_worker_and_nothing_is_retried(tmp_path, counter_file):
    @ray.remote(max_retries=5)
    def deaf(path):
        with open(path, "a") as file:
            file.write(".")
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass

    ref = deaf.remote(counter_file.path)
    started(counter_file.path)
    ray.cancel(ref, force=True)
    with pytest.raises(KILLED):
        ray.get(ref, timeout=SOON)
    all_free()
    assert counter_file.count() == 1


@pytest.mark.parametrize("force", [False, True])
def test_what_waits_for_arguments_never_runs(tmp_path, force):
    path, ran = str(tmp_path / "blocker"), str(tmp_path / "ran")
    blocker = touch_and_sleep.remote(path)
    waiting = touch.remote(ran, blocker)
    dependent = touch.remote(ran, waiting)
    ray.cancel(waiting, force=force)
    with pytest.raises(TaskCancelledError):
        ray.get(waiting, timeout=SOON)
    with pytest.raises((TaskCancelledError, RayTaskError)):
        ray.get(dependent, timeout=SOON)
    started(path)
    ray.cancel(blocker)
    all_free()
    assert not os.path.exists(ran)


@pytest.mark.parametrize("force", [False, True])
def test_what_waits_for_resources_never_runs(tmp_path, force):
    path, ran = str(tmp_path / "blocker"), str(tmp_path / "ran")
    blockers = [touch_and_sleep.remote(path) for _ in range(2)]
    started(path, 2)
    # Some of them are sent ahead to the busy workers, the others stay with the head.
    queued = [touch.remote(ran) for _ in range(80)]
    for ref in queued:
        ray.cancel(ref, force=force)
    for ref in queued:
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=SOON)
    last = touch.remote(str(tmp_path / "last"))
    for ref in blockers:
        ray.cancel(ref)
    assert ray.get(last, timeout=SOON) == "touched"
    all_free()
    assert not os.path.exists(ran)


def test_the_others_of_a_line_still_run(tmp_path):
    path = str(tmp_path / "blocker")
    blockers = [touch_and_sleep.remote(path) for _ in range(2)]
    started(path, 2)
    queued = [touch.remote(str(tmp_path / str(number))) for number in range(60)]
    for ref in queued[::2]:
        ray.cancel(ref)
    for ref in blockers:
        ray.cancel(ref)
    assert ray.get(queued[1::2], timeout=SOON) == ["touched"] * 30
    assert sorted(int(name) for name in os.listdir(tmp_path) if name != "blocker") == list(range(1, 60, 2))


def test_any_of_several_results_will_do(tmp_path):
    path = str(tmp_path / "ran")

    @ray.remote(num_returns=3)
    def three():
        with open(path, "w") as file:
            file.write(".")
        time.sleep(60)
        return 1, 2, 3

    refs = three.remote()
    started(path)
    ray.cancel(refs[1])
    for ref in refs:
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=SOON)


def test_what_is_over_stays_as_it_is():
    ref = touch.remote("/dev/null")
    assert ray.get(ref, timeout=SOON) == "touched"
    ray.cancel(ref)
    ray.cancel(ref, force=True)
    assert ray.get(ref, timeout=SOON) == "touched"
    put = ray.put(3)
    ray.cancel(put)
    assert ray.get(put) == 3


def test_twice_is_as_once(tmp_path):
    path = str(tmp_path / "ran")
    ref = touch_and_sleep.remote(path)
    started(path)
    for _ in range(3):
        ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    # The signals that were not needed find other work, and leave it alone.
    assert ray.get([touch.remote("/dev/null") for _ in range(50)], timeout=SOON) == ["touched"] * 50


@pytest.mark.parametrize("recursive", [True, False])
def test_children_go_with_their_parent_unless_told_otherwise(tmp_path, recursive):
    path = str(tmp_path / "child")

    @ray.remote(num_cpus=0)
    def parent(ready):
        child = touch_and_sleep.remote(path, 60 if recursive else 2)
        ready.append(child)
        time.sleep(60)

    ref = parent.remote([])
    started(path)
    assert free_cpus() == 1
    ray.cancel(ref, recursive=recursive)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    if not recursive:
        assert free_cpus() == 1
    all_free()


def test_a_task_cancels_another(tmp_path):
    path = str(tmp_path / "ran")

    @ray.remote
    def cancels(refs):
        ray.cancel(refs[0])

    ref = touch_and_sleep.remote(path)
    started(path)
    ray.get(cancels.remote([ref]), timeout=SOON)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)


def test_many_at_random():
    @ray.remote
    def short(number):
        time.sleep(0.002)
        return number

    refs = [short.remote(number) for number in range(300)]
    for ref in refs[::3]:
        ray.cancel(ref, force=False)
    for number, ref in enumerate(refs):
        try:
            assert ray.get(ref, timeout=SOON) == number
        except TaskCancelledError:
            assert number % 3 == 0
    all_free()


@pytest.mark.parametrize("wrong", [3, "x", None, [1]])
def test_what_is_no_reference_is_refused(wrong):
    with pytest.raises(TypeError, match=r"ray.cancel\(\) only supported for object refs. For actors, try ray.kill"):
        ray.cancel(wrong)


# --- actors -----------------------------------------------------------------------------------------------------------------------


@ray.remote
class Worker:
    def __init__(self):
        self.seen = []

    def wait_until_cancelled(self, path):
        with open(path, "w") as file:
            file.write(".")
        end = time.monotonic() + 20
        while time.monotonic() < end and not ray.get_runtime_context().is_canceled():
            time.sleep(0.01)
        self.seen.append("cancelled" if ray.get_runtime_context().is_canceled() else "not cancelled")
        return "ended"

    def note(self, what, *_):
        self.seen.append(what)
        return what

    def what_was_seen(self):
        return self.seen


def test_a_running_call_sees_it_and_is_an_error_whatever_it_returns(tmp_path):
    path = str(tmp_path / "ran")
    actor = Worker.remote()
    ref = actor.wait_until_cancelled.remote(path)
    started(path)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError, match="was cancelled"):
        ray.get(ref, timeout=SOON)
    assert ray.get(actor.what_was_seen.remote(), timeout=SOON) == ["cancelled"]


def test_queued_calls_never_run(tmp_path):
    path = str(tmp_path / "ran")
    actor = Worker.remote()
    running = actor.wait_until_cancelled.remote(path)
    started(path)
    queued = [actor.note.remote(number) for number in range(10)]
    for ref in queued[::2]:
        ray.cancel(ref)
    for ref in queued[::2]:
        with pytest.raises(TaskCancelledError, match="was cancelled"):
            ray.get(ref, timeout=SOON)
    ray.cancel(running)
    assert ray.get(queued[1::2], timeout=SOON) == [1, 3, 5, 7, 9]
    assert ray.get(actor.what_was_seen.remote(), timeout=SOON) == ["cancelled", 1, 3, 5, 7, 9]


def test_a_call_that_waits_for_an_argument_lets_later_ones_go_on(tmp_path):
    path = str(tmp_path / "blocker")
    blocker = touch_and_sleep.remote(path)
    actor = Worker.remote()
    waiting = actor.note.remote("waited", blocker)
    later = actor.note.remote("later")
    started(path)
    ray.cancel(waiting)
    with pytest.raises(TaskCancelledError):
        ray.get(waiting, timeout=SOON)
    assert ray.get(later, timeout=SOON) == "later"
    ray.cancel(blocker)
    all_free()


def test_a_call_to_an_actor_that_was_not_placed_yet():
    actor = Worker.options(num_cpus=1000).remote()
    ref = actor.note.remote("never")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)


def test_force_is_refused_for_calls(tmp_path):
    path = str(tmp_path / "ran")
    actor = Worker.remote()
    ref = actor.wait_until_cancelled.remote(path)
    started(path)
    with pytest.raises(ValueError, match="force=True is not supported for actor tasks"):
        ray.cancel(ref, force=True)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)


def test_calls_that_a_cancelled_task_made_are_cancelled(tmp_path):
    path = str(tmp_path / "ran")
    actor = Worker.remote()

    @ray.remote(num_cpus=0)
    def calls(actor):
        ray.get(actor.wait_until_cancelled.remote(path))

    ref = calls.remote(actor)
    started(path)
    ray.cancel(ref)
    with pytest.raises(RayError):
        ray.get(ref, timeout=SOON)
    assert ray.get(actor.what_was_seen.remote(), timeout=SOON) == ["cancelled"]


def test_a_cancelled_call_is_not_retried_when_its_actor_dies(tmp_path):
    path = str(tmp_path / "ran")
    actor = Worker.options(max_restarts=1, max_task_retries=1).remote()
    ref = actor.wait_until_cancelled.remote(path)
    started(path)

    @ray.remote
    class Deaf:
        def run(self, path):
            with open(path, "a") as file:
                file.write(".")
            time.sleep(60)

        def pid(self):
            return os.getpid()

    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    deaf = Deaf.options(max_restarts=1, max_task_retries=5).remote()
    ran = str(tmp_path / "deaf")
    ref = deaf.run.remote(ran)
    started(ran)
    ray.cancel(ref)
    ray.kill(deaf, no_restart=False)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=SOON)
    assert ray.get(deaf.pid.remote(), timeout=SOON)
    assert os.path.getsize(ran) == 1
