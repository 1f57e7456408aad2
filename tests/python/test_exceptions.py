"""The table from the core's error kinds to exceptions, and how a task's exception is packed and unpacked. No session is needed."""

import pickle
import re
import threading
from pathlib import Path

import pytest
from park import exceptions

task_error = pytest.importorskip("park.task_error", reason="park's own module")
pytestmark = pytest.mark.park_only

KINDS = re.findall(
    r"^    (\w+) = \d+,$", (Path(__file__).parents[2] / "park-core/src/error.rs").read_text(), re.MULTILINE
)
BASES = {
    "InvalidArgument": ValueError, "NotFound": LookupError, "Timeout": TimeoutError, "StoreFull": MemoryError,
    "ForeignSession": ValueError, "SessionClosed": exceptions.RaySystemError, "PermissionDenied": PermissionError,
    "Interrupted": KeyboardInterrupt, "TaskFailed": exceptions.RayTaskError, "WorkerDied": exceptions.WorkerCrashedError,
    "ActorDied": exceptions.ActorDiedError, "ActorUnavailable": exceptions.ActorUnavailableError,
    "Forked": exceptions.RaySystemError, "TableFull": exceptions.ObjectStoreFullError, "Io": OSError, "AlreadyExists": ValueError,
    "WrongFormat": TypeError, "HandleClosed": ValueError, "Unsupported": NotImplementedError,
}  # fmt: skip


def test_the_kinds_were_read():
    assert len(KINDS) >= 24 and set(BASES) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_an_exception(kind):
    error = exceptions.from_kind(kind, "what was asked")
    assert isinstance(error, BASES.get(kind, exceptions.RayError))
    assert kind == "Internal" or type(error) is not exceptions.InternalError
    if kind != "Interrupted":
        assert isinstance(error, exceptions.RayError)
        assert "what was asked" in str(error)
        assert error.kind == kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Interrupted"])
def test_each_exception_pickles(kind):
    error = exceptions.from_kind(kind, "what was asked")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.kind) == (str(error), kind)


def test_a_kind_that_nobody_knows_is_named():
    assert "Unheard: of" in str(exceptions.from_kind("Unheard", "of"))


class Plain(Exception):
    pass


class WithNew(Exception):
    def __new__(cls, left, right):
        return super().__new__(cls, left, right)


class Final(Exception):
    def __init_subclass__(cls):
        raise TypeError("no subclasses")


class OwnArgs(Exception):
    args = property(lambda self: ("read", "only"))


def travel(error, what="work"):
    """The error as somebody else gets it."""
    try:
        raise error
    except BaseException as raised:
        return task_error.unpack_task_error(*task_error.pack_task_error(raised, what, 7))


BOTH = [
    ValueError("text"), KeyError("key"), Plain(1, 2), OSError(2, "gone", "file"), UnicodeDecodeError("utf8", b"x", 0, 1, "bad"),
    SyntaxError("bad", ("file", 1, 1, "text")), MemoryError(), StopIteration(3), ImportError("none", name="module"), OwnArgs(),
    ExceptionGroup("group", [ValueError(1)]), exceptions.ActorDiedError("gone"), exceptions.GetTimeoutError("late"),
    exceptions.ObjectStoreFullError("full"), exceptions.from_kind("Io", "refused"),
]  # fmt: skip


@pytest.mark.parametrize("error", BOTH, ids=lambda error: type(error).__name__)
def test_an_error_of_both_classes(error):
    got = travel(error)
    assert isinstance(got, exceptions.RayTaskError)
    assert isinstance(got, type(error))
    assert type(got).__name__ == f"RayTaskError({type(error).__name__})"
    assert type(got.cause) is type(error)
    assert str(got.cause) == str(error)
    assert "park::work() (pid=7" in str(got)
    assert "test_exceptions.py" in str(got)
    again = pickle.loads(pickle.dumps(got))
    assert isinstance(again, type(error))
    assert str(again) == str(got)


class Slotted(Exception):
    __slots__ = ("code", "never_set")

    def __init__(self, code):
        super().__init__(code)
        self.code = code


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (OSError(2, "gone", "file"), {"errno": 2, "strerror": "gone", "filename": "file"}),
        (UnicodeDecodeError("utf8", b"x", 0, 1, "bad"), {"encoding": "utf8", "object": b"x", "end": 1}),
        (StopIteration(3), {"value": 3}),
        (ImportError("none", name="module"), {"name": "module"}),
        (Slotted(7), {"code": 7}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fields_that_are_in_no_dictionary(error, fields):
    got = travel(error)
    assert isinstance(got, type(error))
    assert {name: getattr(got, name) for name in fields} == fields


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), Final("final"), WithNew(1, 2)], ids=repr
)
def test_an_error_of_one_class(error, caplog):
    """Those that would steer the driver, and those whose class has no such instance."""
    got = travel(error)
    assert type(got) is exceptions.RayTaskError
    assert type(got.cause) is type(error)
    assert bool(caplog.records) == isinstance(error, (Final, WithNew))


def test_what_a_second_task_adds():
    inner = travel(ZeroDivisionError("by zero"), "inner")
    outer = travel(inner, "outer")
    assert isinstance(outer, ZeroDivisionError)
    assert type(outer.cause) is ZeroDivisionError
    assert str(outer).index("park::outer()") < str(outer).index("park::inner()")


def test_an_error_before_the_task_began():
    inner = travel(ZeroDivisionError("by zero"), "inner")
    inner.__traceback__ = None
    text = str(task_error.unpack_task_error(*task_error.pack_task_error(inner, "outer", 8)))
    assert text.startswith("park::outer() (pid=8")
    assert "At least one of the input arguments for this task could not be computed" in text
    assert "park::inner() (pid=7" in text


def test_what_does_not_pickle_travels_as_text():
    error = Plain("with a lock")
    error.lock = threading.Lock()
    got = travel(error)
    assert type(got) is exceptions.RayTaskError
    assert "isn't serializable" in str(got.cause)
    assert "with a lock" in str(got)


def test_bytes_of_another_language_are_not_a_pickle():
    got = task_error.unpack_task_error("a native task failed", b"\x80not a pickle")
    assert type(got) is exceptions.RayTaskError
    assert "a native task failed" in str(got)
    assert got.cause is None
