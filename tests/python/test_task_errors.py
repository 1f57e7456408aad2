"""Exceptions of tasks: the remote traceback, both classes, the cause, and their way through dependencies and retries."""

import pickle
import threading
import traceback

import park as ray
import pytest
from helpers import SOON
from park.exceptions import RayError, RayTaskError

SESSION = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("session")


class Custom(Exception):
    def __init__(self, code, detail):
        super().__init__(f"code {code}")
        self.code = code
        self.detail = detail

    def __reduce__(self):
        return Custom, (self.code, self.detail)


@ray.remote
def divide(a, b):
    return a / b


@ray.remote
def identity(x):
    return x


def caught(ref):
    with pytest.raises(RayTaskError) as info:
        ray.get(ref, timeout=SOON)
    return info.value


def test_an_exception_has_both_classes():
    error = caught(divide.remote(1, 0))
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error, RayError)
    assert type(error.cause) is ZeroDivisionError
    assert str(error.cause) == "division by zero"


def test_the_text_shows_the_remote_traceback():
    text = str(caught(divide.remote(1, 0)))
    assert "divide" in text
    assert "return a / b" in text
    assert "test_task_errors.py" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "pid=" in text


def test_the_printed_traceback_shows_it_too():
    try:
        ray.get(divide.remote(1, 0), timeout=SOON)
    except ZeroDivisionError:
        printed = traceback.format_exc()
    assert "return a / b" in printed


def test_an_exception_with_arguments_of_its_own():
    @ray.remote
    def fail():
        raise Custom(7, {"why": "test"})

    error = caught(fail.remote())
    assert isinstance(error, Custom)
    assert error.code == 7
    assert error.cause.detail == {"why": "test"}


def test_an_exception_class_defined_in_the_test():
    class Local(ValueError):
        pass

    @ray.remote
    def fail():
        raise Local("mine")

    with pytest.raises(Local, match="mine"):
        ray.get(fail.remote(), timeout=SOON)
    with pytest.raises(ValueError, match="mine"):
        ray.get(fail.remote(), timeout=SOON)


def test_a_chain_of_causes_is_printed():
    @ray.remote
    def fail():
        try:
            {}["missing key"]
        except KeyError as error:
            raise RuntimeError("second thoughts") from error

    text = str(caught(fail.remote()))
    assert "missing key" in text
    assert "second thoughts" in text


def test_an_exception_that_cannot_be_pickled_still_arrives():
    class Locked(Exception):
        def __init__(self, text):
            super().__init__(text)
            self.lock = threading.Lock()

    @ray.remote
    def fail():
        raise Locked("holds a lock")

    assert "holds a lock" in str(caught(fail.remote()))


def test_an_exception_that_pickles_wrongly_still_arrives():
    class Forgetful(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    @ray.remote
    def fail():
        raise Forgetful("left", "right")

    with pytest.raises(RayError) as info:
        ray.get(fail.remote(), timeout=SOON)
    assert "left and right" in str(info.value)


def test_an_exception_that_is_none():
    class Rude(BaseException):
        pass

    @ray.remote
    def fail():
        raise Rude("not an Exception")

    with pytest.raises(RayTaskError, match="not an Exception"):
        ray.get(fail.remote(), timeout=SOON)


def test_an_exception_group():
    @ray.remote
    def fail():
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    error = caught(fail.remote())
    assert isinstance(error, ExceptionGroup)
    assert [type(part) for part in error.exceptions] == [ValueError, KeyError]
    with pytest.raises(ExceptionGroup):
        raise error


def test_an_error_can_be_pickled():
    error = caught(divide.remote(1, 0))
    again = pickle.loads(pickle.dumps(error.cause))
    assert type(again) is ZeroDivisionError


def test_the_exception_of_a_dependency_is_the_exception_of_the_task(counter_file):
    path = counter_file.path

    @ray.remote
    def counted(*values, **named):
        with open(path, "a") as file:
            file.write(".")
        return values

    first = divide.remote(1, 0)
    second = counted.remote(1, first)
    third = counted.remote(second)
    for ref in (second, third):
        with pytest.raises(ZeroDivisionError) as info:
            ray.get(ref, timeout=SOON)
        assert "return a / b" in str(info.value)
    with pytest.raises(ZeroDivisionError):
        ray.get(counted.remote(key=first), timeout=SOON)
    assert counter_file.count() == 0


def test_the_exception_in_a_nested_ref_waits_for_its_get():
    @ray.remote
    def look(refs):
        try:
            ray.get(refs[0])
        except ZeroDivisionError as error:
            return f"caught {type(error.cause).__name__}"

    assert ray.get(look.remote([divide.remote(1, 0)]), timeout=SOON) == "caught ZeroDivisionError"


def test_an_exception_through_three_levels():
    @ray.remote
    def level(n):
        return divide_here() if n == 0 else ray.get(level.remote(n - 1))

    def divide_here():
        return 1 / 0

    error = caught(level.remote(2))
    assert isinstance(error, ZeroDivisionError)
    assert "divide_here" in str(error)


def test_an_argument_that_cannot_be_pickled_is_named():
    class Holder:
        def __init__(self):
            self.fine = 1
            self.latch_of_the_door = threading.Lock()

    with pytest.raises(TypeError, match="(?s)latch_of_the_door|lock"):
        identity.remote(Holder())
    with pytest.raises(TypeError, match="lock"):
        identity.remote(x=threading.Lock())
    assert ray.get(identity.remote("usable"), timeout=SOON) == "usable"


@pytest.mark.park_only
def test_the_offending_attribute_of_an_argument_is_named():
    class Holder:
        def __init__(self):
            self.latch_of_the_door = threading.Lock()

    with pytest.raises(TypeError, match="latch_of_the_door"):
        identity.remote({"deep": [Holder()]})


def test_a_return_value_that_cannot_be_pickled_is_an_error_of_the_task():
    @ray.remote
    def fail():
        return {"key": threading.Lock()}

    with pytest.raises(TypeError, match="lock"):
        ray.get(fail.remote(), timeout=SOON)
    assert ray.get(identity.remote("usable"), timeout=SOON) == "usable"


@pytest.mark.park_only
def test_the_offending_attribute_of_a_return_value_is_named():
    class Holder:
        def __init__(self):
            self.latch_of_the_door = threading.Lock()

    @ray.remote
    def fail():
        return Holder()

    with pytest.raises(TypeError, match="latch_of_the_door"):
        ray.get(fail.remote(), timeout=SOON)


def test_a_closure_that_cannot_be_pickled_is_named():
    door = threading.Lock()

    @ray.remote
    def fail():
        return door.locked()

    with pytest.raises(TypeError, match="(?s)[Cc]ould not serialize the function.*(door|lock)"):
        fail.remote()
    assert ray.get(identity.remote("usable"), timeout=SOON) == "usable"


def test_exceptions_are_not_retried_unless_asked(counter_file):
    path = counter_file.path

    @ray.remote(max_retries=3)
    def fail():
        with open(path, "a") as file:
            file.write(".")
        raise ValueError("once")

    with pytest.raises(ValueError):
        ray.get(fail.remote(), timeout=SOON)
    assert counter_file.count() == 1


@pytest.mark.parametrize(("retry", "attempts"), [(True, 3), ([ValueError], 3), ([KeyError], 1), (False, 1)], ids=str)
def test_retry_exceptions(counter_file, retry, attempts):
    path = counter_file.path

    @ray.remote(max_retries=2, retry_exceptions=retry)
    def fail():
        with open(path, "a") as file:
            file.write(".")
        raise ValueError("each time")

    with pytest.raises(ValueError, match="each time"):
        ray.get(fail.remote(), timeout=SOON)
    assert counter_file.count() == attempts


def test_a_retry_may_succeed(counter_file):
    path = counter_file.path

    @ray.remote(max_retries=5, retry_exceptions=True)
    def third_time():
        import os

        with open(path, "a") as file:
            file.write(".")
        if os.path.getsize(path) < 3:
            raise OSError("not yet")
        return "done"

    assert ray.get(third_time.remote(), timeout=SOON) == "done"
    assert counter_file.count() == 3


def test_the_worker_of_a_failed_task_lives_on():
    @ray.remote
    def pid(fail):
        import os

        if fail:
            raise ValueError(os.getpid())
        return os.getpid()

    failed = set()
    for _ in range(4):
        with pytest.raises(ValueError) as info:
            ray.get(pid.remote(True), timeout=SOON)
        failed.add(info.value.cause.args[0])
    assert len(failed) <= 3
