"""Generators that yield several items at a time, what all generators of an actor may be ahead, and waits that are not for ever."""

import asyncio
import time

import park as ray
import pytest
from helpers import SOON, wait_until
from park.exceptions import RayTaskError

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
class Count:
    """How many items each generator was about to yield."""

    def __init__(self):
        self.made = []

    def add(self, tag):
        self.made.append(tag)

    def of(self, tag=None):
        return len(self.made) if tag is None else self.made.count(tag)


def settled(count, number, tag=None):
    """So many were made, and no more while nobody takes any."""
    wait_until(lambda: ray.get(count.of.remote(tag)) >= number)
    time.sleep(0.3)
    return ray.get(count.of.remote(tag)) == number


class Limited:
    def gen(self, count, tag, number=5):
        for at in range(number):
            ray.get(count.add.remote(tag))
            yield at

    def fails(self):
        yield 0
        raise RuntimeError("boom")

    def ping(self):
        return "pong"


class LimitedAsync:
    async def gen(self, count, tag, number=5):
        for at in range(number):
            await count.add.remote(tag)
            yield at

    async def fails(self):
        yield 0
        raise RuntimeError("boom")

    async def ping(self):
        return "pong"


@pytest.fixture(params=["threads", "event loop"])
def limited(request):
    def make(limit):
        options = {"_actor_generator_backpressure_num_objects": limit}
        if request.param == "event loop":
            return ray.remote(**options)(LimitedAsync).remote()
        return ray.remote(max_concurrency=4, **options)(Limited).remote()

    return make


def test_several_items_come_with_each_yield():
    @ray.remote(_num_objects_per_yield=2)
    def pairs():
        for at in range(3):
            yield at, str(at)

    assert [ray.get(ref) for ref in pairs.remote()] == [0, "0", 1, "1", 2, "2"]
    assert [ray.get(ref) for ref in pairs.options(_num_objects_per_yield=1).remote()] == [(0, "0"), (1, "1"), (2, "2")]

    @ray.remote
    class Source:
        @ray.method(_num_objects_per_yield=3)
        async def triples(self):
            yield [1, 2, 3]

    assert [ray.get(ref) for ref in Source.remote().triples.remote()] == [1, 2, 3]


@pytest.mark.parametrize("yielded", [(1, 2, 3), 5, "ab"], ids=repr)
def test_what_is_not_as_many_as_promised_is_an_error(yielded):
    @ray.remote(_num_objects_per_yield=2)
    def wrong():
        yield 1, 2
        yield yielded
        yield 3, 4

    generator = wrong.remote()
    assert [ray.get(next(generator)) for _ in range(2)] == [1, 2]
    with pytest.raises(RayTaskError):
        ray.get(next(generator))
    assert list(generator) == []


@pytest.mark.process_only("kills a worker")
def test_a_repeated_generator_goes_on_inside_a_group(tmp_path):
    died = tmp_path / "died"

    @ray.remote(_num_objects_per_yield=2, max_retries=1)
    def dies_once():
        import os
        import signal

        yield 0, 1
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield 2, 3

    assert [ray.get(ref, timeout=SOON) for ref in dies_once.remote()] == [0, 1, 2, 3]


def test_one_generator_of_a_limited_actor(limited):
    count, actor = Count.remote(), limited(3)
    generator = actor.gen.remote(count, "a")
    assert settled(count, 3)
    assert ray.get(next(generator)) == 0
    assert settled(count, 4)
    assert [ray.get(ref) for ref in generator] == [1, 2, 3, 4]
    again = actor.gen.remote(count, "b")
    assert settled(count, 3, "b")
    assert len(list(again)) == 5


def test_generators_of_an_actor_share_its_limit(limited):
    count, actor = Count.remote(), limited(6)
    first, second = actor.gen.remote(count, "1"), actor.gen.remote(count, "2")
    assert settled(count, 6)
    assert ray.get(actor.ping.remote(), timeout=SOON) == "pong"
    ray.get(next(first))
    assert settled(count, 7)
    assert [ray.get(ref) for ref in first] == [1, 2, 3, 4]
    assert [ray.get(ref) for ref in second] == [0, 1, 2, 3, 4]


def test_a_consumer_that_goes_leaves_its_share_to_others(limited):
    count, actor = Count.remote(), limited(4)
    first, second = actor.gen.remote(count, "1", 8), actor.gen.remote(count, "2", 8)
    assert settled(count, 4)
    del second
    wait_until(lambda: ray.get(count.of.remote("2")) == 8)
    assert settled(count, 4, "1")
    assert len(list(first)) == 8


def test_items_of_a_generator_that_has_ended_count_until_they_are_taken(limited):
    count, actor = Count.remote(), limited(3)
    ended = actor.gen.remote(count, "1", 2)
    assert ray.get(ended.completed(), timeout=SOON) is None
    other = actor.gen.remote(count, "2")
    assert settled(count, 1, "2")
    assert len(list(ended)) == 2
    assert settled(count, 3, "2")
    assert len(list(other)) == 5


def test_an_exception_gives_its_share_back(limited):
    count, actor = Count.remote(), limited(1)
    failing = actor.fails.remote()
    assert ray.get(next(failing)) == 0
    with pytest.raises(RayTaskError, match="boom"):
        ray.get(next(failing))
    assert [ray.get(ref) for ref in actor.gen.remote(count, "1")] == [0, 1, 2, 3, 4]


def test_a_methods_own_limit_holds_too(limited):
    count, actor = Count.remote(), limited(50)
    generator = actor.gen.options(_generator_backpressure_num_objects=2).remote(count, "1")
    assert settled(count, 2)
    assert len(list(generator)) == 5


def test_a_limit_counts_items_and_not_yields():
    @ray.remote(_actor_generator_backpressure_num_objects=4)
    class Source:
        @ray.method(_num_objects_per_yield=2)
        def pairs(self, count):
            for at in range(5):
                ray.get(count.add.remote("pair"))
                yield at, at

    count = Count.remote()
    generator = Source.remote().pairs.remote(count)
    assert settled(count, 2)
    ray.get(next(generator))
    assert settled(count, 3)
    assert len(list(generator)) == 9


def test_a_wait_that_is_too_short_gives_a_nil_reference():
    @ray.remote
    def slow(signal):
        while not ray.get(signal.of.remote()):
            time.sleep(0.01)
        yield 1

    count = Count.remote()
    generator = slow.remote(count)
    nothing = generator._next_sync(0.05)
    assert nothing.is_nil() and nothing == ray.ObjectRef.nil()
    assert asyncio.run(generator._next_async(0.05)).is_nil()
    ray.get(count.add.remote("go"))
    assert ray.get(asyncio.run(generator._next_async(SOON))) == 1
    with pytest.raises(StopIteration):
        generator._next_sync(-1)


def test_an_async_generator_as_a_task():
    @ray.remote
    def double(value):
        return 2 * value

    @ray.remote
    async def doubles(number):
        for at in range(number):
            await asyncio.sleep(0)
            yield await double.remote(at)
        raise ValueError("no more")

    generator = doubles.remote(3)
    assert [ray.get(next(generator)) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match="no more"):
        ray.get(next(generator))
