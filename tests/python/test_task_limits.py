"""`max_calls`, and tasks with thousands of results and of arguments."""

import os

import park as ray
import pytest
from helpers import MB, SOON, alive, wait_until

SESSION = {"num_cpus": 2, "object_store_memory": 256 * MB}
pytestmark = pytest.mark.usefixtures("session")


@pytest.mark.process_only("looks at process ids")
def test_a_worker_ends_after_so_many_calls():
    @ray.remote(max_calls=2)
    def pid():
        return os.getpid()

    pids = [ray.get(pid.remote(), timeout=SOON) for _ in range(6)]
    assert all(pids.count(one) <= 2 for one in pids) and len(set(pids)) >= 3
    wait_until(lambda: not any(alive(one) for one in pids[:4]))


def test_nothing_is_lost_when_workers_end_under_load():
    @ray.remote(max_calls=3, max_retries=0)
    def number(value):
        return value

    assert ray.get([number.remote(value) for value in range(100)], timeout=SOON) == list(range(100))


@pytest.mark.park_only
def test_workers_that_end_by_themselves_did_not_die():
    @ray.remote(max_calls=1)
    def one():
        return 1

    before = ray.runtime_stats()["workers_died"]
    assert ray.get([one.remote() for _ in range(5)], timeout=SOON) == [1] * 5
    wait_until(lambda: ray.runtime_stats()["running"] == 0)
    assert ray.runtime_stats()["workers_died"] == before
    assert ray.available_resources()["CPU"] == 2


@pytest.mark.process_only("looks at process ids")
def test_other_options_keep_it():
    @ray.remote(max_calls=1)
    def pid():
        return os.getpid()

    pids = [ray.get(pid.options(name=name).remote(), timeout=SOON) for name in "abc"]
    assert len(set(pids)) == 3


def test_max_calls_is_the_decorators():
    with pytest.raises(ValueError, match="Setting 'max_calls' is not supported in '.options"):
        ray.remote(lambda: 1).options(max_calls=1)
    with pytest.raises(ValueError, match="The keyword 'max_calls' only accepts"):
        ray.remote(max_calls=-1)(lambda: 1)


def test_three_thousand_results():
    @ray.remote(num_returns=3000)
    def many():
        return list(range(3000))

    refs = many.remote()
    assert len(refs) == 3000 and ray.get(refs, timeout=SOON) == list(range(3000))

    @ray.remote
    class Actor:
        @ray.method(num_returns=3000)
        def many(self):
            return range(3000)

    assert ray.get(Actor.remote().many.remote(), timeout=SOON) == list(range(3000))


def test_ten_thousand_object_arguments():
    @ray.remote
    def total(*values):
        return sum(values)

    refs = [ray.put(value) for value in range(10_000)]
    assert ray.get(total.remote(*refs), timeout=SOON) == sum(range(10_000))
    assert ray.get(total.remote(*refs[:10], *range(10_000)), timeout=SOON) == sum(range(10)) + sum(range(10_000))

    @ray.remote
    class Actor:
        def total(self, *values):
            return sum(values)

    assert ray.get(Actor.remote().total.remote(*refs), timeout=SOON) == sum(range(10_000))
