"""Objects: what goes into the store comes out equal, of the same type, and apart from the original."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import pathlib
import pickle
import threading
import uuid

import park as ray
import pytest
from helpers import SOON, object_count, used_bytes

SESSION = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("session")

Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Sample:
    name: str
    values: tuple


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left, right):
        self.left = left
        self.right = right

    def __eq__(self, other):
        return (self.left, self.right) == (other.left, other.right)

    __hash__ = None


class Buffered:
    """Pickles its bytes out of band, as numpy does, without numpy."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        if protocol >= 5:
            return Buffered, (pickle.PickleBuffer(self.data),)
        return Buffered, (bytes(self.data),)


SCALARS = [
    None, True, False, 0, 1, -1, 2**31, -(2**63), 2**64, 2**2000, 0.0, -0.0, 1.5, 5e-324, math.inf, -math.inf, 1 + 2j, "", "a",
    "snow ☃ \U0001f40d", "\0 inside", "\udc80 lone surrogate", "x" * 300_000, b"", b"\0", b"abc", b"y" * 5_000_000, ..., NotImplemented,
]  # fmt: skip
CONTAINERS = [
    [], (), {}, set(), frozenset(), [1, [2, [3, [4]]]], (1, (2, (3,))), {"a": {"b": {"c": 1}}}, {1, 2, 3}, frozenset({"x"}),
    {1: "int", "1": "str", (1, 2): "tuple", None: 0}, list(range(10_000)), range(3, 30, 4), slice(1, None, -2), [None] * 1000,
    collections.OrderedDict(b=1, a=2), collections.Counter("abracadabra"), collections.deque([1, 2], maxlen=5),
    collections.defaultdict(list, a=[1]), array.array("d", [1.0, 2.0]), Point(1, 2), [b"z" * 200_000, "s" * 200_000],
]  # fmt: skip
OBJECTS = [
    Colour.BLUE, Sample("one", (1, 2)), Slotted(1, "r"), datetime.datetime(2026, 2, 3, 4, 5, tzinfo=datetime.UTC),
    datetime.timedelta(days=3), decimal.Decimal("1.10"), fractions.Fraction(3, 7), pathlib.PurePosixPath("/a/b"),
    uuid.UUID(int=7), math.sin, int, Sample, functools.partial(max, 3),
]  # fmt: skip


def short(value):
    return f"{type(value).__name__}-{repr(value)[:24]}"


def equal(left, right):
    if isinstance(left, functools.partial):
        return (left.func, left.args, left.keywords) == (right.func, right.args, right.keywords)
    return left == right


@pytest.mark.parametrize("value", SCALARS + CONTAINERS + OBJECTS, ids=short)
def test_put_then_get(value):
    got = ray.get(ray.put(value))
    assert type(got) is type(value)
    assert equal(got, value)


def test_everything_goes_through_a_task_and_back():
    @ray.remote
    def echo(*values):
        return list(values)

    values = SCALARS + CONTAINERS
    got = ray.get(echo.remote(*values), timeout=SOON)
    assert got == values
    assert [type(value) for value in got] == [type(value) for value in values]


@pytest.mark.park_only
def test_a_bytearray_stays_one():
    """Ray turns a top-level bytearray into bytes; a value that changes its type on the way is not worth copying."""
    for value in (bytearray(b"grow"), bytearray(1_000_000), bytearray()):
        got = ray.get(ray.put(value))
        assert type(got) is bytearray
        assert got == value


def test_nan_and_the_sign_of_zero_survive():
    assert math.isnan(ray.get(ray.put(math.nan)))
    assert math.copysign(1, ray.get(ray.put(-0.0))) == -1


def test_a_get_is_a_copy_of_what_can_change():
    original = {"list": [1, 2]}
    ref = ray.put(original)
    original["list"].append(3)
    first = ray.get(ref)
    assert first == {"list": [1, 2]}
    first["list"].append(4)
    assert ray.get(ref) == {"list": [1, 2]}


def test_a_value_that_contains_itself():
    loop = []
    loop.append(loop)
    got = ray.get(ray.put(loop))
    assert got[0] is got


def test_what_is_shared_inside_a_value_stays_shared():
    part = [1]
    got = ray.get(ray.put((part, part)))
    assert got[0] is got[1]


def test_functions_classes_and_closures():
    offset = 10

    def add(x):
        return x + offset

    class Adder:
        def __init__(self, by):
            self.by = by

        def __call__(self, x):
            return x + self.by

    assert ray.get(ray.put(add))(1) == 11
    assert ray.get(ray.put(lambda x: x * offset))(2) == 20
    assert ray.get(ray.put(Adder(5)))(1) == 6
    assert ray.get(ray.put(Adder))(7)(1) == 8


def test_an_exception_is_a_value_when_put():
    got = ray.get(ray.put(ValueError("just a value")))
    assert isinstance(got, ValueError)
    assert got.args == ("just a value",)


@pytest.mark.parametrize(
    "size", [0, 1, 63, 64, 65, 4095, 4096, 4097, 102_399, 102_400, 102_401, 1 << 20, (1 << 20) + 1, 9_999_999]
)
def test_every_size_keeps_every_byte(size):
    data = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    assert len(data) == size
    assert ray.get(ray.put(data)) == data


def test_buffers_out_of_band():
    data = bytes(range(256)) * 4096
    got = ray.get(ray.put([Buffered(bytearray(data)), Buffered(b""), Buffered(b"small")]))
    assert [bytes(item.data) for item in got] == [data, b"", b"small"]
    assert memoryview(got[0].data).readonly


def test_many_buffers_in_one_object():
    values = [bytearray([number % 256]) * (number + 1) for number in range(500)]
    got = ray.get(ray.put([Buffered(value) for value in values]))
    assert [bytes(item.data) for item in got] == [bytes(value) for value in values]


@pytest.mark.park_only
def test_out_of_band_buffers_are_not_copied():
    """A second get hands out the same pages: the counters see a view, not a copy."""
    ref = ray.put(Buffered(bytearray(8_000_000)))
    before = ray.store_stats()
    views = [ray.get(ref) for _ in range(3)]
    after = ray.store_stats()
    assert after["bytes_copied"] - before["bytes_copied"] < 1_000_000
    assert after["bytes_shared"] - before["bytes_shared"] >= 3 * 8_000_000
    assert len(views) == 3


@pytest.mark.park_only
def test_a_released_object_gives_its_memory_back():
    before = used_bytes(), object_count()
    ref = ray.put(b"m" * 6_000_000)
    held = ray.store_stats()
    assert held["used"] - before[0] >= 6_000_000
    assert held["objects"] == before[1] + 1
    assert held["high_water"] >= held["used"]
    assert held["capacity"] >= held["used"]
    del ref
    assert (used_bytes(), object_count()) == before


def test_ten_thousand_small_objects():
    refs = [ray.put(number) for number in range(10_000)]
    assert ray.get(refs) == list(range(10_000))


@pytest.mark.parametrize("hidden", ["direct", "attribute", "container"])
def test_what_cannot_be_pickled_is_named(hidden):
    class Holder:
        def __init__(self):
            self.fine = 1
            self.latch_of_the_door = threading.Lock()

    value = {"direct": threading.Lock(), "attribute": Holder(), "container": {"deep": [Holder()]}}[hidden]
    with pytest.raises(TypeError, match="(?i)serializ|pickle") as caught:
        ray.put(value)
    assert "lock" in str(caught.value)
    if hidden == "attribute":
        assert "latch_of_the_door" in str(caught.value)
    assert ray.get(ray.put("usable")) == "usable"


def test_an_error_while_pickling_reaches_the_caller():
    class Refuses:
        def __reduce__(self):
            raise RuntimeError("I will not be pickled")

    with pytest.raises(RuntimeError, match="I will not be pickled"):
        ray.put(Refuses())
    assert ray.get(ray.put("usable")) == "usable"


def test_an_error_while_unpickling_reaches_the_caller():
    def explode():
        raise RuntimeError("I will not come back")

    class Bomb:
        def __reduce__(self):
            return explode, ()

    ref = ray.put(Bomb())
    with pytest.raises(Exception, match="I will not come back"):
        ray.get(ref)
    assert ray.get(ray.put("usable")) == "usable"
