"""What the store takes from the system and gives back: the options of `init`, `park.store.trim`, the numbers of `store_stats`."""

import park as ray
import park.store as store
import pytest
from helpers import MB, wait_until

pytestmark = pytest.mark.park_only
CAPACITY = 32 * MB


@pytest.mark.parametrize("option", ["object_store_reserve", "object_store_prefault"])
def test_reserved_memory_is_there_from_the_start_and_stays(fresh, option):
    fresh(num_cpus=1, object_store_memory=CAPACITY, **{option: True})
    assert ray.store_stats()["resident"] >= CAPACITY
    del_me = ray.put(bytes(8 * MB))
    del del_me
    assert store.trim() == 0
    assert ray.store_stats()["resident"] >= CAPACITY


def test_trim_gives_back_what_is_free(fresh):
    fresh(num_cpus=1, object_store_memory=CAPACITY, object_store_huge_pages=True)
    before = ray.store_stats()["resident"]
    kept, large = ray.put(b"x" * MB), ray.put(bytes(20 * MB))
    assert ray.store_stats()["resident"] >= before + 20 * MB
    assert ray.store_stats()["largest_free"] < CAPACITY - 21 * MB
    del large
    wait_until(lambda: ray.store_stats()["largest_free"] > 20 * MB)
    assert store.trim() >= 18 * MB
    assert ray.store_stats()["resident"] < before + 4 * MB
    assert ray.get(kept) == b"x" * MB


def test_more_than_the_machine_has_is_refused_when_the_session_opens(fresh):
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="bytes"):
        fresh(num_cpus=1, object_store_memory=1 << 45, object_store_reserve=True)
    assert not ray.is_initialized()


def test_options_that_are_no_bool_are_named(fresh):
    for name in ("object_store_reserve", "object_store_prefault", "object_store_huge_pages"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
            fresh(**{name: 1})
