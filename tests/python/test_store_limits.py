"""The store's limits: too large, full, almost full, full of small things; each time an error, and a session that goes on."""

import gc

import park as ray
import pytest
from helpers import MB, SOON, used_bytes, wait_until
from park.exceptions import ObjectStoreFullError, RayError, RayTaskError

CAPACITY = 64 * MB
# What happens when memory is full and nothing may go to disk; test_spill.py has the other case.
SESSION = {"num_cpus": 2, "object_store_memory": CAPACITY, "_object_spilling_limit": 0}
pytestmark = [pytest.mark.park_only, pytest.mark.usefixtures("session")]


def fill(size):
    gc.collect()  # the exception that an earlier test looked at holds that test's frame, and with it what it kept
    kept = []
    with pytest.raises(ObjectStoreFullError):
        while True:
            kept.append(ray.put(bytes([len(kept) % 256]) * size))
            assert len(kept) * size <= CAPACITY
    return kept


def assert_usable():
    gc.collect()
    assert ray.get(ray.put(b"small")) == b"small"
    assert ray.get(ray.put(b"b" * (8 * MB))) == b"b" * (8 * MB)


def test_the_capacity_is_what_init_was_told():
    assert ray.store_stats()["capacity"] == pytest.approx(CAPACITY, rel=0.1)
    assert ray.cluster_resources()["object_store_memory"] == pytest.approx(CAPACITY, rel=0.1)


@pytest.mark.parametrize("size", [CAPACITY + 1, 2 * CAPACITY, 5 * CAPACITY])
def test_an_object_larger_than_the_store(size):
    before = used_bytes()
    with pytest.raises(ObjectStoreFullError) as info:
        ray.put(bytes(size))
    assert isinstance(info.value, MemoryError)
    assert isinstance(info.value, RayError)
    assert used_bytes() <= before
    assert_usable()


def test_an_argument_larger_than_the_store():
    @ray.remote
    def length(x):
        return len(x)

    with pytest.raises(ObjectStoreFullError):
        ray.get(length.remote(bytes(2 * CAPACITY)), timeout=SOON)
    assert ray.get(length.remote(bytes(MB)), timeout=SOON) == MB
    assert_usable()


def test_a_result_larger_than_the_store():
    @ray.remote
    def make(size):
        return bytes(size)

    @ray.remote
    def put(size):
        return [ray.put(bytes(size))]

    for task in (make, put):
        with pytest.raises((RayTaskError, ObjectStoreFullError)) as info:
            ray.get(task.remote(2 * CAPACITY), timeout=SOON)
        assert isinstance(info.value, MemoryError)
    assert len(ray.get(make.remote(MB), timeout=SOON)) == MB
    assert_usable()


def test_a_store_full_of_referenced_objects():
    kept = fill(4 * MB)
    assert len(kept) >= 10, "the capacity is there to be used"
    assert [value[:1] for value in ray.get(kept)] == [bytes([number]) for number in range(len(kept))]
    assert all(ray.get(ref) == bytes([number]) * (4 * MB) for number, ref in enumerate(kept))
    del kept[1::2]
    gc.collect()
    more = [ray.put(b"m" * (4 * MB)) for _ in range(len(kept) // 2)]
    assert all(ray.get(ref) == b"m" * (4 * MB) for ref in more)
    assert all(ray.get(ref) == bytes([2 * number]) * (4 * MB) for number, ref in enumerate(kept))
    del kept, more
    assert_usable()


def test_the_error_says_how_much_there_is():
    kept = fill(8 * MB)
    with pytest.raises(ObjectStoreFullError) as info:
        ray.put(bytes(8 * MB))
    assert any(character.isdigit() for character in str(info.value))
    assert len(kept) > 4


def test_a_full_store_still_runs_small_tasks():
    @ray.remote
    def add(a, b):
        return a + b

    kept = fill(4 * MB)
    assert ray.get([add.remote(number, 1) for number in range(50)], timeout=SOON) == list(range(1, 51))
    assert len(kept) > 4


def test_a_full_store_of_small_objects():
    kept = fill(100_000)
    assert len(kept) > 400
    assert ray.get(kept[0]) == b"\0" * 100_000
    del kept
    assert_usable()


def test_sizes_that_do_not_divide():
    """Fragments must not add up: after any mix is gone one object of most of the store fits."""
    for turn in range(3):
        kept = {}
        for number in range(200):
            size = (number * 7919 + turn * 104_729) % (600 * 1024) + 1
            kept[number] = (ray.put(bytes([number % 256]) * size), size)
            if number % 3 == 2:
                ref, size = kept.pop(number - 1)
                assert ray.get(ref) == bytes([(number - 1) % 256]) * size
                del ref
            if len(kept) > 60:
                kept.pop(next(iter(kept)))
        for number, (ref, size) in kept.items():
            assert ray.get(ref) == bytes([number % 256]) * size
        del kept, ref
        gc.collect()
    large = ray.put(bytes(int(CAPACITY * 0.85)))
    assert len(ray.get(large)) == int(CAPACITY * 0.85)


def test_memory_is_used_again_and_again():
    for number in range(200):
        ref = ray.put(bytes([number % 256]) * (8 * MB))
        assert ray.get(ref)[-1] == number % 256
    del ref
    assert used_bytes() < MB


def test_a_view_counts_as_a_reference():
    np = pytest.importorskip("numpy")
    views = []
    with pytest.raises(ObjectStoreFullError):
        while True:
            views.append(ray.get(ray.put(np.full(MB, len(views), np.int32))))
    assert len(views) > 10
    assert all((view == number).all() for number, view in enumerate(views))
    del views
    assert_usable()


def test_tasks_that_fill_the_store_fail_and_the_rest_goes_on():
    @ray.remote(max_retries=0)
    def hoard():
        kept = []
        try:
            while True:
                kept.append(ray.put(bytes(4 * MB)))
        except ObjectStoreFullError:
            return len(kept)

    assert sum(ray.get([hoard.remote() for _ in range(3)], timeout=SOON)) >= 10
    wait_until(lambda: used_bytes() < MB, 5)
    assert_usable()
