"""`max_task_retries` and `retry_exceptions` of methods: after exceptions, after deaths, and both out of one count."""

import asyncio
import os

import park as ray
import pytest
from helpers import SOON
from park.exceptions import RayActorError

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


class Mine(Exception):
    pass


def attempt(path):
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


@ray.remote(max_restarts=-1, max_task_retries=3)
class Trouble:
    @ray.method(max_task_retries=5, retry_exceptions=[Mine])
    def raises(self, path, times):
        count = attempt(path)
        if count <= times:
            raise Mine(count)
        return count

    @ray.method(retry_exceptions=True)
    def mixed(self, path, actions):
        count = attempt(path)
        action = actions[count - 1] if count <= len(actions) else "return"
        if action == "raise":
            raise Mine(count)
        if action == "die":
            os._exit(1)
        return count

    def other(self, path):
        attempt(path)
        raise KeyError("other")


@ray.remote(max_task_retries=2)
class AsyncTrouble:
    @ray.method(retry_exceptions=True)
    async def raises(self, path, times):
        await asyncio.sleep(0)
        count = attempt(path)
        if count <= times:
            raise Mine(count)
        return count


def test_a_method_is_repeated_after_its_exceptions(counter_file):
    assert ray.get(Trouble.remote().raises.remote(counter_file.path, 5), timeout=SOON) == 6
    assert counter_file.count() == 6


def test_retries_come_to_an_end(counter_file):
    with pytest.raises(Mine):
        ray.get(Trouble.remote().raises.remote(counter_file.path, 6), timeout=SOON)
    assert counter_file.count() == 6


def test_a_calls_own_options(counter_file):
    trouble = Trouble.remote()
    with pytest.raises(Mine):
        ray.get(trouble.raises.options(retry_exceptions=False).remote(counter_file.path, 5), timeout=SOON)
    assert counter_file.count() == 1
    with pytest.raises(Mine):
        ray.get(trouble.raises.options(retry_exceptions=[KeyError]).remote(counter_file.path, 5), timeout=SOON)
    assert counter_file.count() == 2
    assert ray.get(trouble.raises.options(max_task_retries=10).remote(counter_file.path, 11), timeout=SOON) == 12
    with pytest.raises(KeyError):
        ray.get(trouble.other.options(retry_exceptions=[KeyError]).remote(counter_file.path), timeout=SOON)
    assert counter_file.count() == 16


@pytest.mark.process_only("kills its process")
def test_exceptions_and_deaths_share_one_count(counter_file):
    assert ray.get(Trouble.remote().mixed.remote(counter_file.path, ["raise", "die", "raise"]), timeout=SOON) == 4
    trouble = Trouble.options(max_restarts=1).remote()
    with pytest.raises(RayActorError):
        ray.get(trouble.mixed.remote(counter_file.path, ["", "", "", "", "raise", "die", "die"]), timeout=SOON)
    assert counter_file.count() == 7


def test_a_method_without_retry_exceptions_runs_once(counter_file):
    with pytest.raises(KeyError):
        ray.get(Trouble.remote().other.remote(counter_file.path), timeout=SOON)
    assert counter_file.count() == 1


def test_coroutines_are_repeated_too(counter_file):
    actor = AsyncTrouble.remote()
    assert ray.get(actor.raises.remote(counter_file.path, 2), timeout=SOON) == 3
    with pytest.raises(Mine):
        ray.get(actor.raises.remote(counter_file.path, 10), timeout=SOON)
    assert counter_file.count() == 6


def test_the_error_of_an_argument_is_not_repeated(counter_file):
    @ray.remote(num_cpus=0)
    def broken(path):
        attempt(path)
        raise Mine("argument")

    with pytest.raises(Mine):
        path = broken.remote(counter_file.path)
        ray.get(Trouble.remote().raises.options(max_task_retries=-1).remote(path, 0), timeout=SOON)
    assert counter_file.count() == 1


def test_a_call_that_waits_for_a_repeated_one():
    """The repeated call comes behind the one that needs its result, and must not wait for it."""

    @ray.remote(max_restarts=1)
    class Chain:
        def __init__(self):
            self.count = 0

        @ray.method(max_task_retries=1, retry_exceptions=[Mine])
        def first(self):
            self.count += 1
            if self.count == 1:
                raise Mine
            return 1

        def second(self, value):
            return value + 1

    chain = Chain.remote()
    assert ray.get(chain.second.remote(chain.first.remote()), timeout=SOON) == 2
