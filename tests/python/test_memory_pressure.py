"""Workers are ended before the machine runs out of memory, and `OutOfMemoryError`.

What the machine has left is everybody's, so most tests set a threshold that is exceeded whatever happens: then the first look ends
whatever runs. One lets a task really use memory, in bounded steps, against a threshold just above what is in use.
"""

import os
import time

import helpers
import pytest
from helpers import MB, ray, wait_until

pytestmark = [pytest.mark.park_only, pytest.mark.process_only("a thread cannot be ended")]

OutOfMemoryError = ray.exceptions.OutOfMemoryError
#: Exceeded at every look.
ALWAYS = {"memory_usage_threshold": 0.0, "memory_monitor_refresh_ms": 20}


def start(fresh, retries=-1, **settings):
    fresh(num_cpus=2, _system_config={**ALWAYS, "task_oom_retries": retries, **settings})


@ray.remote
def sleeps(path, times, seconds=60):
    """Sleeps the first `times` times."""
    with open(path, "ab") as file:
        file.write(b".")
    if os.path.getsize(path) <= times:
        time.sleep(seconds)
    return "done"


@ray.remote
class Sleeper:
    def pid(self):
        return os.getpid()

    def sleep(self):
        time.sleep(60)


def test_a_task_that_may_not_be_repeated_fails_and_is_told_why(fresh, counter_file):
    start(fresh)
    with pytest.raises(OutOfMemoryError) as raised:
        ray.get(sleeps.options(max_retries=0, name="the culprit").remote(counter_file.path, 1))
    text = str(raised.value)
    for part in (
        "1 worker(s) were killed due to the node running low on memory",
        "the culprit",
        "pid=",
        "memory used=",
        "threshold of 0",
        "RAY_memory_usage_threshold",
        "RAY_memory_monitor_refresh_ms=0",
        "MEM(GB)",
    ):
        assert part in text
    assert counter_file.count() == 1
    assert not isinstance(raised.value, (ray.exceptions.RayTaskError, ray.exceptions.WorkerCrashedError))


def test_a_task_is_repeated_on_a_counter_of_its_own(fresh, counter_file):
    start(fresh, retries=2)
    with pytest.raises(OutOfMemoryError):
        ray.get(sleeps.options(max_retries=1).remote(counter_file.path, 1000))
    assert counter_file.count() == 3


def test_without_a_limit_it_is_repeated_until_it_ends(fresh, counter_file):
    start(fresh)
    assert ray.get(sleeps.options(max_retries=1).remote(counter_file.path, 5)) == "done"
    assert counter_file.count() >= 6


def test_an_actor_that_is_not_restarted_died_of_it(fresh):
    start(fresh)
    actor = Sleeper.remote()
    with pytest.raises(OutOfMemoryError, match="Sleeper"):
        ray.get(actor.sleep.remote())
    # Whoever calls it later is told the same.
    with pytest.raises(OutOfMemoryError, match="running low on memory"):
        ray.get(actor.pid.remote())


def test_an_actor_is_restarted_by_its_usual_counter(fresh):
    start(fresh)
    actor = Sleeper.options(max_restarts=1, max_task_retries=1).remote()
    with pytest.raises(OutOfMemoryError):
        ray.get(actor.sleep.remote())


def test_it_can_be_turned_off(fresh, counter_file):
    start(fresh, memory_monitor_refresh_ms=0)
    assert ray.get(sleeps.options(max_retries=0).remote(counter_file.path, 1, 0.3)) == "done"


def test_settings_come_from_the_environment(fresh, monkeypatch, counter_file):
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "20")
    monkeypatch.setenv("RAY_task_oom_retries", "1")
    fresh(num_cpus=1)
    with pytest.raises(OutOfMemoryError):
        ray.get(sleeps.remote(counter_file.path, 1000))
    assert counter_file.count() == 2


@pytest.mark.parametrize(("name", "value"), [("memory_usage_threshold", "1.5"), ("memory_monitor_refresh_ms", "often")])
def test_settings_that_are_none(fresh, monkeypatch, name, value):
    monkeypatch.setenv(f"RAY_{name}", value)
    with pytest.raises(ValueError, match=rf"RAY_{name} must be .*{value}"):
        fresh(num_cpus=1)


def test_work_that_can_be_repeated_goes_first_and_the_newest_of_it(fresh, tmp_path):
    @ray.remote(max_retries=0)
    def waits(mine, then):
        open(mine, "w").close()
        while not os.path.exists(then):
            time.sleep(0.005)
        return "ended by itself"

    @ray.remote(max_restarts=5)
    class Waiter:
        def wait(self, mine):
            open(mine, "w").close()
            time.sleep(60)

    # All must run before the first look: on a busy machine that takes a while.
    for period in (1000, 4000, 16000):
        folder = tmp_path / str(period)
        folder.mkdir()
        begun = [folder / name for name in ("fixed", "older", "newer")]
        fresh(num_cpus=1, _system_config={**ALWAYS, "memory_monitor_refresh_ms": period})
        refs = [waits.remote(str(begun[0]), str(folder / "end"))]
        wait_until(begun[0].exists)
        actors = [Waiter.options(num_cpus=0).remote() for _ in begun[1:]]
        for actor, mine in zip(actors, begun[1:]):
            refs.append(actor.wait.remote(str(mine)))
            wait_until(mine.exists)
        if not ray.wait(refs, timeout=0)[0]:
            break
        ray.shutdown()
    assert ray.wait(refs, timeout=helpers.SOON)[0] == [refs[2]]
    (folder / "end").touch()
    assert ray.get(refs[0]) == "ended by itself"


def test_a_task_that_uses_memory_is_ended(fresh):
    @ray.remote(max_retries=0)
    def hog(most):
        held = []
        for _ in range(most // (10 * MB)):
            held.append(b"x" * (10 * MB))
            time.sleep(0.01)
        # Whoever looks has seen it by now.
        time.sleep(0.5)
        return len(held)

    # Others may give memory back meanwhile, which is as if the threshold were higher.
    for _ in range(10):
        used, total = helpers.memory_in_use()
        threshold = min((used + 100 * MB) / total, 0.97)
        settings = {"memory_usage_threshold": threshold, "memory_monitor_refresh_ms": 50}
        fresh(num_cpus=1, _system_config=settings)
        try:
            assert ray.get(hog.remote(300 * MB)) == 30
        except OutOfMemoryError as error:
            assert "hog" in str(error)
            return
        ray.shutdown()
    pytest.fail("ten tasks used 300 MB each, 200 MB more than was to be in use, and none was ended")
