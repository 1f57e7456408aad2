"""Tasks: arguments, returns, options, nesting, and that a blocked worker gives its CPU back."""

import os
import time

import helpers
import park as ray
import pytest
from helpers import ON_RAY, SOON, wait_until
from park.exceptions import RayTaskError

SESSION = {"num_cpus": 2, "resources": {"slot": 2}}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
def echo(*args, **kwargs):
    return args, kwargs


@ray.remote
def add(a, b=10):
    """Adds two numbers."""
    return a + b


def test_arguments_by_place_and_name():
    assert ray.get(echo.remote(), timeout=SOON) == ((), {})
    assert ray.get(echo.remote(1, "two", three=3, four=[4])) == ((1, "two"), {"three": 3, "four": [4]})
    assert ray.get([add.remote(1), add.remote(1, 2), add.remote(a=1, b=3), add.remote(1, b=4)]) == [11, 3, 4, 5]


def test_a_wrong_call_is_refused_at_once():
    with pytest.raises(TypeError):
        add.remote()
    with pytest.raises(TypeError):
        add.remote(1, 2, 3)
    with pytest.raises(TypeError):
        add.remote(1, c=3)


def test_a_remote_function_is_not_called_directly():
    with pytest.raises(TypeError, match=r"Remote functions cannot be called directly.*try '.*add\.remote\(\)'"):
        add(1, 2)


@pytest.mark.park_only
def test_the_decorated_function_keeps_its_name_and_text():
    assert add.__doc__ == "Adds two numbers."
    assert add.__name__ == "add"


def test_refs_as_arguments():
    five = ray.put(5)
    chained = add.remote(add.remote(five, b=five), five)
    assert ray.get(chained, timeout=SOON) == 15
    args, kwargs = ray.get(echo.remote(five, [five], k=five, nested={"d": five}), timeout=SOON)
    assert args == (5, [five])
    assert kwargs == {"k": 5, "nested": {"d": five}}


def test_large_arguments():
    data = b"d" * 3_000_000
    args, kwargs = ray.get(echo.remote(data, key=data, many=[data, data]), timeout=SOON)
    assert args == (data,)
    assert kwargs == {"key": data, "many": [data, data]}


def test_arguments_around_the_inline_limit():
    for size in (100 * 1024 - 200, 100 * 1024, 100 * 1024 + 1, 1000, 0):
        (value,), _ = ray.get(echo.remote(b"i" * size), timeout=SOON)
        assert len(value) == size


def test_hundreds_of_arguments():
    args, _ = ray.get(echo.remote(*[ray.put(n) if n % 3 else n for n in range(300)]), timeout=SOON)
    assert args == tuple(range(300))


def test_an_argument_is_a_snapshot():
    value = [1]
    ref = echo.remote(value)
    value.append(2)
    assert ray.get(ref, timeout=SOON) == (([1],), {})


def test_closures_globals_and_defaults():
    factor = 3

    @ray.remote
    def scaled(x, plus=factor * 2):
        return x * factor + plus

    assert ray.get(scaled.remote(1), timeout=SOON) == 9


def test_a_function_sees_the_globals_of_its_definition():
    """As in Ray: a function is exported once, at its first call."""
    box = {"value": 1}

    @ray.remote
    def read():
        return box["value"]

    assert ray.get(read.remote(), timeout=SOON) == 1
    box["value"] = 2
    assert ray.get(read.remote(), timeout=SOON) == 1


def test_a_recursive_function():
    @ray.remote
    def factorial(n):
        return 1 if n <= 1 else n * ray.get(factorial.remote(n - 1))

    assert ray.get(factorial.remote(4), timeout=SOON) == 24


def test_a_module_beside_the_driver_can_be_imported_in_a_worker():
    @ray.remote
    def megabyte():
        return helpers.MB

    assert ray.get(megabyte.remote(), timeout=SOON) == 1 << 20


def test_remote_as_a_plain_call():
    assert ray.get(ray.remote(lambda x: x + 1).remote(1), timeout=SOON) == 2
    assert ray.get(ray.remote(num_returns=2)(lambda: (1, 2)).remote(), timeout=SOON) == [1, 2]


@pytest.mark.process_only("looks at process ids")
def test_a_task_runs_in_another_process():
    @ray.remote
    def pid():
        return os.getpid()

    assert ray.get(pid.remote(), timeout=SOON) != os.getpid()


def test_a_task_sees_a_session():
    @ray.remote
    def look():
        ref = ray.put(2)
        return ray.is_initialized(), ray.get(ref), ray.wait([ref])[0] == [ref]

    assert ray.get(look.remote(), timeout=SOON) == (True, 2, True)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_num_returns(count):
    @ray.remote(num_returns=count)
    def several():
        return tuple(range(count)) if count != 1 else "one"

    refs = several.remote()
    if count == 0:
        assert refs is None
    elif count == 1:
        assert ray.get(refs, timeout=SOON) == "one"
    else:
        assert isinstance(refs, list) and len(refs) == count
        assert ray.get(refs, timeout=SOON) == list(range(count))


def test_several_returns_from_a_list_and_a_generator_free_iterable():
    @ray.remote(num_returns=3)
    def listed():
        return [1, b"2" * 200_000, None]

    assert ray.get(listed.remote(), timeout=SOON) == [1, b"2" * 200_000, None]


def test_a_wrong_number_of_returns_is_an_error_of_the_task():
    @ray.remote(num_returns=3)
    def two():
        return 1, 2

    @ray.remote(num_returns=2)
    def none():
        return 1

    for ref in two.remote():
        with pytest.raises(ValueError, match="(?s)2.*num_returns=3"):
            ray.get(ref, timeout=SOON)
    for ref in none.remote():
        with pytest.raises((TypeError, ValueError)):
            ray.get(ref, timeout=SOON)


def test_one_of_several_returns_may_be_used_alone():
    @ray.remote(num_returns=2)
    def pair():
        return 1, 2

    _, second = pair.remote()
    assert ray.get(add.remote(second, second), timeout=SOON) == 4


def test_an_error_fills_every_return():
    @ray.remote(num_returns=3)
    def broken():
        raise KeyError("gone")

    for ref in broken.remote():
        with pytest.raises(KeyError):
            ray.get(ref, timeout=SOON)


def test_options_override_and_leave_the_original_alone():
    @ray.remote
    def pair():
        return 1, 2

    assert ray.get(pair.options(num_returns=2).remote(), timeout=SOON) == [1, 2]
    assert ray.get(pair.remote(), timeout=SOON) == (1, 2)
    kept = pair.options(num_returns=2, num_cpus=0, name="pair")
    assert ray.get([*kept.remote(), *kept.remote()], timeout=SOON) == [1, 2, 1, 2]


def test_nested_submission():
    @ray.remote
    def inner(x):
        return x * x

    @ray.remote
    def outer(n):
        return sum(ray.get([inner.remote(number) for number in range(n)]))

    assert ray.get([outer.remote(5), outer.remote(6)], timeout=SOON) == [30, 55]


def test_a_chain_deeper_than_the_cpus():
    """Every link waits for the next: with two CPUs it ends only if a blocked worker gives its CPU back."""
    depth = 5 if ON_RAY else 24

    @ray.remote
    def down(n):
        return 0 if n == 0 else 1 + ray.get(down.remote(n - 1))

    assert ray.get(down.remote(depth), timeout=SOON) == depth


def test_a_tree_of_blocked_tasks():
    @ray.remote
    def fib(n):
        return n if n < 2 else sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))

    n, value = (4, 3) if ON_RAY else (8, 21)
    for _ in range(1 if ON_RAY else 5):
        assert ray.get(fib.remote(n), timeout=SOON) == value


def test_wait_in_a_task_gives_the_cpu_back():
    @ray.remote(num_cpus=2)
    def inner():
        return "ran"

    @ray.remote(num_cpus=2)
    def outer():
        ref = inner.remote()
        ready, _ = ray.wait([ref], timeout=30)
        return ray.get(ready)

    assert ray.get(outer.remote(), timeout=SOON) == ["ran"]


def test_a_chain_of_dependencies():
    ref = ray.put(0)
    for _ in range(100):
        ref = add.remote(ref, 1)
    assert ray.get(ref, timeout=SOON) == 100


def test_a_fan_of_dependencies():
    @ray.remote
    def total(*parts):
        return sum(parts)

    refs = [add.remote(number, 0) for number in range(60)]
    assert ray.get(total.remote(*refs), timeout=SOON) == sum(range(60))


def test_a_thousand_tasks():
    refs = [add.remote(number, 1) for number in range(1000)]
    assert ray.get(refs, timeout=SOON) == [number + 1 for number in range(1000)]


def test_tasks_do_not_wait_for_a_dependency_of_another():
    @ray.remote(num_cpus=0)
    def slow():
        time.sleep(1.5)

    blocked = echo.remote(slow.remote())
    started = time.monotonic()
    assert ray.get(add.remote(1, 2), timeout=SOON) == 3
    assert time.monotonic() - started < 1.4
    del blocked


@pytest.mark.process_only("variables and the working folder belong to the process")
def test_state_of_a_process_does_not_reach_the_driver():
    @ray.remote
    def change():
        os.environ["PARK_TEST_CHANGED"] = "1"
        os.chdir("/")

    here = os.getcwd()
    ray.get(change.remote(), timeout=SOON)
    assert "PARK_TEST_CHANGED" not in os.environ
    assert os.getcwd() == here


def test_printing_in_a_task_is_harmless():
    @ray.remote
    def noisy():
        print("out" * 1000)
        import sys

        print("err", file=sys.stderr)
        return "done"

    assert ray.get(noisy.remote(), timeout=SOON) == "done"


def test_a_method_of_an_error_is_not_lost():
    with pytest.raises(RayTaskError):
        ray.get(add.remote(1, "text"), timeout=SOON)
    with pytest.raises(TypeError):
        ray.get(add.remote(1, "text"), timeout=SOON)


@pytest.mark.park_only
def test_ten_thousand_references_as_arguments():
    """Far more than a ring takes: the message itself becomes an object. The same for an actor's methods and constructor."""

    @ray.remote
    def count(*values):
        return sum(values)

    @ray.remote
    def forward(refs):
        return ray.get(count.remote(*refs))

    @ray.remote
    class Counter:
        def __init__(self, *values):
            self.start = sum(values)

        def count(self, *values):
            return self.start + sum(values)

    ones = [ray.put(1) for _ in range(10_000)]
    assert ray.get(count.remote(*ones), timeout=SOON) == 10_000
    assert ray.get(forward.remote(ones), timeout=SOON) == 10_000, "submitted from a worker"
    counter = Counter.remote(*ones)
    assert ray.get(counter.count.remote(*ones), timeout=SOON) == 20_000
    before = ray.store_stats()["objects"]
    ray.get([counter.count.remote(*ones) for _ in range(5)], timeout=SOON)
    wait_until(lambda: ray.store_stats()["objects"] <= before)
