"""ObjectRef: identity, refs inside objects and arguments, and how long a nested ref keeps its object alive."""

import copy
import gc
import pickle
import time

import park as ray
import pytest
from helpers import SOON, object_count, used_bytes, wait_until

SESSION = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
def echo(x):
    return x


@ray.remote
def is_ref(x):
    return isinstance(x, ray.ObjectRef)


def test_a_ref_has_an_identity():
    left, right = ray.put(1), ray.put(1)
    assert isinstance(left, ray.ObjectRef)
    assert left != right
    assert left == left
    assert len({left, right, left}) == 2
    assert {left: "l"}[left] == "l"
    assert bytes.fromhex(left.hex()) == left.binary()
    assert left.hex() in repr(left)
    assert left != left.hex()


def test_a_ref_that_comes_back_is_the_same_ref():
    inner = ray.put("inner")
    (back,) = ray.get(ray.put([inner]))
    assert back == inner
    assert hash(back) == hash(inner)
    assert ray.get(back) == "inner"


def test_a_ref_cannot_be_put():
    with pytest.raises(TypeError):
        ray.put(ray.put(1))


def test_a_top_level_ref_is_resolved_and_a_nested_one_is_kept():
    ref = ray.put(5)
    assert ray.get(echo.remote(ref), timeout=SOON) == 5
    assert ray.get(is_ref.remote(ref), timeout=SOON) is False
    assert ray.get(is_ref.remote(x=ref), timeout=SOON) is False
    (nested,) = ray.get(echo.remote([ref]), timeout=SOON)
    assert nested == ref


@pytest.mark.parametrize(
    "shape", [lambda r: [r], lambda r: (r,), lambda r: {"k": r}, lambda r: {r: "v"}, lambda r: {r}, lambda r: [[[r]]]]
)
def test_refs_in_every_container(shape):
    @ray.remote
    def find(value):
        while not isinstance(value, ray.ObjectRef):
            value = list(value.values())[0] if isinstance(value, dict) and "k" in value else list(value)[0]
        return ray.get(value)

    ref = ray.put("found")
    assert ray.get(find.remote(shape(ref)), timeout=SOON) == "found"
    assert ray.get(find.remote(ray.put(shape(ref))), timeout=SOON) == "found"


def test_a_ref_in_an_attribute():
    class Box:
        def __init__(self, ref):
            self.ref = ref

    @ray.remote
    def open_box(box):
        return ray.get(box.ref)

    assert ray.get(open_box.remote(Box(ray.put(3))), timeout=SOON) == 3


def test_a_ref_in_a_closure():
    ref = ray.put([1, 2, 3])

    @ray.remote
    def total():
        return sum(ray.get(ref))

    assert ray.get(total.remote(), timeout=SOON) == 6


def test_refs_made_by_a_worker():
    @ray.remote
    def make(count):
        return [ray.put(number) for number in range(count)]

    @ray.remote
    def start(x):
        return [echo.remote(x), echo.remote(x + 1)]

    assert ray.get(ray.get(make.remote(10), timeout=SOON)) == list(range(10))
    assert ray.get(ray.get(start.remote(1), timeout=SOON), timeout=SOON) == [1, 2]


def test_a_task_may_return_a_ref_to_a_ref_to_a_ref():
    @ray.remote
    def down(level):
        return [down.remote(level - 1)] if level else "bottom"

    value = ray.get(down.remote(3), timeout=SOON)
    for _ in range(3):
        value = ray.get(value[0], timeout=SOON)
    assert value == "bottom"


def test_a_nested_ref_keeps_its_object():
    outer = ray.put({"inner": ray.put(b"i" * 500_000)})
    gc.collect()
    for _ in range(20):
        ray.put(b"o" * 500_000)
    assert ray.get(ray.get(outer)["inner"]) == b"i" * 500_000


def test_an_argument_outlives_the_callers_ref():
    @ray.remote
    def slow(x, nested):
        import time

        time.sleep(0.3)
        return len(x) + len(ray.get(nested[0]))

    result = slow.remote(ray.put(b"a" * 300_000), [ray.put(b"b" * 200_000)])
    gc.collect()
    for _ in range(20):
        ray.put(b"o" * 500_000)
    assert ray.get(result, timeout=SOON) == 500_000


def test_a_result_nobody_wants_is_dropped():
    refs = [echo.remote(b"x" * 200_000) for _ in range(20)]
    del refs
    gc.collect()
    assert ray.get(echo.remote("next"), timeout=SOON) == "next"


@pytest.mark.park_only
def test_the_memory_of_nested_objects_comes_back():
    before = object_count()
    level = ray.put(b"leaf" * 100_000)
    for _ in range(50):
        level = ray.put([level])
    assert object_count() == before + 51
    kept = ray.get(ray.get(level)[0])
    del level
    # The two outermost lists are gone; what `kept` names lives.
    assert object_count() == before + 49
    del kept
    assert object_count() == before


@pytest.mark.park_only
def test_the_memory_of_results_comes_back():
    @ray.remote
    def make():
        return [ray.put(b"r" * 1_000_000), b"s" * 1_000_000]

    ray.get(make.remote(), timeout=SOON)  # the function itself is stored once and stays
    before = used_bytes(), object_count()
    refs = [make.remote() for _ in range(5)]
    values = ray.get(refs, timeout=SOON)
    assert used_bytes() >= before[0] + 5_000_000
    del refs, values
    wait_until(lambda: used_bytes() <= before[0] and object_count() <= before[1], 5)


@pytest.mark.park_only
def test_a_ref_does_not_leave_by_plain_pickle():
    """Outside park nobody would count the copy: refused, and the text says how a ref does travel."""
    with pytest.raises((TypeError, RuntimeError, pickle.PicklingError, ray.exceptions.RayError)):
        pickle.dumps(ray.put(1))


def test_refs_do_not_order_and_do_not_iterate():
    left, right = ray.put(1), ray.put(2)
    with pytest.raises(TypeError):
        left < right  # noqa: B015
    with pytest.raises(TypeError):
        list(left)


@pytest.mark.park_only
def test_references_by_id_and_to_nothing():
    ref = ray.put("here")
    for again in (
        ray.ObjectRef(ref.binary()),
        ray.ObjectRef.from_binary(ref.binary()),
        ray.ObjectRef.from_hex(ref.hex()),
    ):
        assert again == ref and hash(again) == hash(ref) and ray.get(again) == "here"
    assert ref.owner_address() and not ref.is_nil() and ref.tensor_transport() is None
    nil, other = ray.ObjectRef.nil(), ray.ObjectRef.from_random()
    assert nil.is_nil() and nil == ray.ObjectRef.nil() and nil.hex() == "ff" * ray.ObjectRef.size()
    assert not other.is_nil() and other != ray.ObjectRef.from_random() and other.owner_address() == b""
    for nothing in (nil, other):
        for use in (ray.get, lambda one: ray.wait([one]), echo.remote, ray.cancel):
            with pytest.raises(ray.exceptions.RayError, match=nothing.hex()):
                use(nothing)
    assert ray.get(echo.remote([nil])) == [nil]
    with pytest.raises(ValueError):
        ray.ObjectRef.from_hex("xyz")
    with pytest.raises(ValueError, match="16 bytes"):
        ray.ObjectRef.from_binary(b"short")


@pytest.mark.park_only
@pytest.mark.process_only("counts what this process refers to, without its workers")
def test_references_are_counted_by_who_has_them(tmp_path):
    from park.util import state

    gate = tmp_path / "gate"

    @ray.remote
    def waits(value):
        while not gate.exists():
            time.sleep(0.01)

    def counts(*refs):
        found = state.reference_counts()
        return [found.get(ref.binary()) for ref in refs]

    ref = ray.put("counted")
    assert counts(ref) == [(1, 0)]
    again = copy.copy(ref)
    assert again == ref and counts(ref) == [(2, 0)]
    del again
    result = waits.remote(ref)
    wait_until(lambda: counts(ref, result) == [(1, 1), (1, 0)])
    held = ray.put([ref])
    assert counts(ref, held) == [(1, 1), (1, 0)]
    gate.touch()
    ray.get(result)
    wait_until(lambda: counts(ref, result) == [(1, 0), (1, 0)])
