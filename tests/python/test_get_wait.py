"""get and wait: lists, order, timeouts, errors that come early, and Ray's texts for what is refused."""

import time

import park as ray
import pytest
from helpers import ON_RAY, SOON
from park.exceptions import GetTimeoutError, RayError, RayTaskError

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote(num_cpus=0)
def after(seconds, value=None):
    time.sleep(seconds)
    return value


@ray.remote(num_cpus=0)
def fail(seconds=0):
    time.sleep(seconds)
    raise ValueError("failed on purpose")


@pytest.fixture(scope="module", autouse=True)
def warm(session):
    """Workers exist before the first test looks at a clock."""
    ray.get([after.remote(0.1) for _ in range(4)], timeout=SOON)


def test_get_of_a_list_keeps_the_order():
    refs = [after.remote(0.15, "slow"), ray.put("put"), after.remote(0, "fast")]
    assert ray.get(refs) == ["slow", "put", "fast"]
    assert ray.get(list(reversed(refs))) == ["fast", "put", "slow"]


def test_get_of_an_empty_list():
    assert ray.get([]) == []
    assert ray.get([], timeout=0) == []


def test_get_of_the_same_ref_many_times():
    ref = after.remote(0, [1])
    assert ray.get([ref] * 5) == [[1]] * 5
    assert ray.get(ref) == [1]


def test_get_times_out_and_may_be_repeated():
    ref = after.remote(0.6, "late")
    started = time.monotonic()
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.1)
    assert 0.09 <= time.monotonic() - started < 0.55
    with pytest.raises(TimeoutError):
        ray.get([ray.put(1), ref], timeout=0.05)
    assert ray.get(ref, timeout=SOON) == "late"


def test_get_with_a_timeout_of_zero():
    ready, pending = ray.put("ready"), after.remote(1)
    assert ray.get(ready, timeout=0) == "ready"
    started = time.monotonic()
    with pytest.raises(GetTimeoutError):
        ray.get(pending, timeout=0)
    with pytest.raises(GetTimeoutError):
        ray.get([ready, pending], timeout=0)
    assert time.monotonic() - started < 0.7


def test_a_timeout_of_an_integer_or_longer_than_needed():
    assert ray.get(after.remote(0, 1), timeout=1000) == 1
    assert ray.get(after.remote(0, 1), timeout=1e6) == 1


def test_a_negative_timeout_of_get_is_no_timeout():
    """Ray's own reading, where `wait` refuses it."""
    assert ray.get(after.remote(0.2, "late"), timeout=-1) == "late"


@pytest.mark.park_only
def test_timeouts_that_are_none():
    pending = after.remote(1)
    with pytest.raises(ValueError):
        ray.get(pending, timeout=float("nan"))
    with pytest.raises(ValueError):
        ray.wait([pending], timeout=float("nan"))
    for wrong in ("soon", [1]):
        with pytest.raises(TypeError):
            ray.get(pending, timeout=wrong)
        with pytest.raises(TypeError):
            ray.wait([pending], timeout=wrong)


def test_the_first_error_is_raised_without_waiting_for_the_rest():
    started = time.monotonic()
    with pytest.raises(ValueError, match="failed on purpose"):
        ray.get([fail.remote(), after.remote(3)])
    assert time.monotonic() - started < 2.5


def test_an_error_is_raised_at_each_get():
    ref = fail.remote()
    for _ in range(3):
        with pytest.raises(RayTaskError):
            ray.get(ref)


@pytest.mark.parametrize(
    "wrong", [1, "ref", None, {"a": 1}, object(), b"x" * 28], ids=lambda value: type(value).__name__
)
def test_get_of_what_is_no_ref(wrong):
    with pytest.raises(ValueError, match="Invalid type of object refs"):
        ray.get(wrong)


def test_get_of_containers_other_than_a_list():
    ref = ray.put(1)
    for wrong in ((ref,), {ref}, {"a": ref}, iter([ref])):
        with pytest.raises(ValueError, match="Invalid type of object refs"):
            ray.get(wrong)


@pytest.mark.parametrize("wrong", [1, "ref", None])
def test_get_of_a_list_with_something_else_in_it(wrong):
    with pytest.raises((TypeError, ValueError), match="(?i)invalid type|ObjectRef"):
        ray.get([ray.put(1), wrong])


def test_get_takes_its_options_by_keyword():
    with pytest.raises(TypeError):
        ray.get(ray.put(1), 5)


def test_wait_returns_ready_and_pending_in_the_order_given():
    slow, put, fast = after.remote(1.5), ray.put(1), after.remote(0)
    ray.get(fast)
    ready, pending = ray.wait([slow, put, fast], num_returns=2)
    assert ready == [put, fast]
    assert pending == [slow]
    assert ray.wait([fast, slow, put], num_returns=2) == ([fast, put], [slow])


def test_wait_returns_no_more_than_asked():
    refs = [ray.put(number) for number in range(5)]
    ready, pending = ray.wait(refs, num_returns=2)
    assert (len(ready), len(pending)) == (2, 3)
    assert [ref for ref in refs if ref in ready] == ready
    assert [ref for ref in refs if ref in pending] == pending
    assert {*ready, *pending} == {*refs}
    assert ray.wait(refs, num_returns=5) == (refs, [])
    if not ON_RAY:
        # Ray may pick any of those that are ready; here it is the first ones, so that programs repeat.
        assert ready == refs[:2]
        assert ray.wait(refs) == (refs[:1], refs[1:])


def test_wait_waits_for_the_first():
    slow, fast = after.remote(3), after.remote(0.2)
    started = time.monotonic()
    ready, pending = ray.wait([slow, fast])
    assert (ready, pending) == ([fast], [slow])
    assert time.monotonic() - started < 2.5


def test_wait_times_out_with_what_it_has():
    slow, fast = after.remote(2), ray.put(1)
    started = time.monotonic()
    assert ray.wait([slow, fast], num_returns=2, timeout=0.2) == ([fast], [slow])
    assert 0.19 <= time.monotonic() - started < 1.5
    assert ray.wait([slow], timeout=0.05) == ([], [slow])


def test_wait_with_a_timeout_of_zero():
    slow, fast = after.remote(1), ray.put(1)
    started = time.monotonic()
    assert ray.wait([slow], timeout=0) == ([], [slow])
    assert ray.wait([slow, fast], num_returns=2, timeout=0) == ([fast], [slow])
    assert time.monotonic() - started < 0.7


def test_a_failed_task_is_ready():
    failed = fail.remote()
    assert ray.wait([failed], timeout=SOON) == ([failed], [])
    with pytest.raises(ValueError):
        ray.get(failed)


def test_wait_for_what_a_worker_made():
    @ray.remote
    def start():
        return [after.remote(0.1, "x"), after.remote(0, "y")]

    refs = ray.get(start.remote(), timeout=SOON)
    ready, pending = ray.wait(refs, num_returns=2, timeout=SOON)
    assert (ready, pending) == (refs, [])
    assert ray.get(ready) == ["x", "y"]


def test_wait_and_fetch_local_are_accepted_together():
    ref = ray.put(1)
    assert ray.wait([ref], num_returns=1, timeout=None, fetch_local=True) == ([ref], [])
    assert ray.wait([ref], fetch_local=False) == ([ref], [])


def test_wait_refuses_duplicates():
    ref = ray.put(1)
    with pytest.raises(ValueError, match="Wait requires a list of unique"):
        ray.wait([ref, ref])


def test_wait_refuses_a_wrong_number():
    ref = ray.put(1)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"Invalid number of objects to return {wrong}"):
            ray.wait([ref], num_returns=wrong)
    with pytest.raises(ValueError, match="num_returns cannot be greater than the number"):
        ray.wait([ref], num_returns=2)


def test_wait_refuses_a_negative_timeout():
    with pytest.raises(ValueError, match="The 'timeout' argument must be nonnegative. Received -1"):
        ray.wait([ray.put(1)], timeout=-1)


def test_wait_refuses_what_is_no_list_of_refs():
    ref = ray.put(1)
    with pytest.raises(TypeError, match="got a single ray.ObjectRef"):
        ray.wait(ref)
    for wrong in ((ref,), {ref}, "refs", None):
        with pytest.raises(TypeError, match=r"wait\(\) expected a list of ray.ObjectRef"):
            ray.wait(wrong)
    with pytest.raises(TypeError, match="got list containing <class 'int'>"):
        ray.wait([ref, 1])


def test_wait_of_nothing():
    assert ray.wait([]) == ([], [])
    assert ray.wait([], num_returns=2, timeout=0) == ([], [])


def test_wait_takes_its_options_by_keyword():
    with pytest.raises(TypeError):
        ray.wait([ray.put(1)], 1)


def test_a_loop_over_wait_sees_each_ref_once():
    pending = [after.remote(0.01 * (number % 3), number) for number in range(20)]
    seen = []
    while pending:
        ready, pending = ray.wait(pending, num_returns=min(3, len(pending)), timeout=SOON)
        assert ready
        seen += ray.get(ready)
    assert sorted(seen) == list(range(20))


def test_wait_on_a_thousand():
    refs = [ray.put(number) for number in range(1000)]
    ready, pending = ray.wait(refs, num_returns=1000)
    assert ready == refs
    assert pending == []


def test_many_that_wait_for_one_thing():
    gate = after.remote(0.3, 7)

    @ray.remote(num_cpus=0)
    def plus(x, y):
        return x + y

    assert ray.get([plus.remote(gate, number) for number in range(20)], timeout=SOON) == [
        7 + number for number in range(20)
    ]


def test_an_error_is_a_ray_error():
    with pytest.raises(RayError):
        ray.get(fail.remote())
    assert issubclass(GetTimeoutError, TimeoutError) and issubclass(GetTimeoutError, RayError)
