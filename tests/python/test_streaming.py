"""Generators as tasks and methods: items come one by one while the task runs; errors, backpressure, and what is not offered."""

import asyncio
import os
import time

import numpy as np
import park as ray
import pytest
from helpers import MB, ON_RAY, SOON, wait_until
from park.exceptions import GetTimeoutError, RayTaskError, TaskCancelledError

if not ON_RAY:
    from helpers import object_count

SESSION = {"num_cpus": 3, "object_store_memory": 256 * MB}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote
def count_to(number, fail_at=None):
    for at in range(number):
        if at == fail_at:
            raise ValueError("no more")
        yield at


@ray.remote
class Source:
    def count_to(self, number, fail_at=None):
        for at in range(number):
            if at == fail_at:
                raise ValueError("no more")
            yield at

    @ray.method(_generator_backpressure_num_objects=1)
    def slowly(self, path, number):
        for at in range(number):
            with open(path, "a") as file:
                file.write(".")
            yield at

    def ping(self):
        return "pong"


def made(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


@pytest.fixture(params=["task", "method"])
def counting(request):
    return count_to if request.param == "task" else Source.remote().count_to


def test_iteration(counting):
    generator = counting.remote(5)
    assert isinstance(generator, ray.ObjectRefGenerator) and iter(generator) is generator
    assert [ray.get(ref) for ref in generator] == [0, 1, 2, 3, 4]
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(generator)
    assert generator.is_finished() and not generator.next_ready()
    assert ray.get(generator.completed(), timeout=SOON) is None


def test_nothing_yielded(counting):
    generator = counting.remote(0)
    assert list(generator) == [] and generator.is_finished()


def test_an_error_is_the_last_item(counting):
    generator = counting.remote(5, 2)
    assert [ray.get(next(generator)) for _ in range(2)] == [0, 1]
    failed = next(generator)
    with pytest.raises(ValueError, match="no more") as caught:
        ray.get(failed)
    assert isinstance(caught.value, RayTaskError)
    with pytest.raises(StopIteration):
        next(generator)
    assert ray.get(generator.completed(), timeout=SOON) is None and generator.is_finished()


def test_an_argument_that_failed_ends_the_stream(counting):
    generator = counting.remote(ray.remote(lambda: 1 / 0).remote())
    with pytest.raises(ZeroDivisionError):
        ray.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)
    with pytest.raises(ZeroDivisionError):
        ray.get(generator.completed(), timeout=SOON)


def test_an_item_that_does_not_pickle_is_an_error():
    import threading

    @ray.remote
    def yields_a_lock():
        yield 1
        yield threading.Lock()

    generator = yields_a_lock.remote()
    assert ray.get(next(generator)) == 1
    with pytest.raises(TypeError):
        ray.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)


def test_items_are_there_before_the_task_ends(tmp_path):
    gate = str(tmp_path / "gate")

    @ray.remote
    def halves():
        yield "first"
        while not os.path.exists(gate):
            time.sleep(0.01)
        yield "second"

    generator = halves.remote()
    assert ray.get(next(generator), timeout=SOON) == "first"
    assert not generator.next_ready() and not generator.is_finished()
    with pytest.raises(GetTimeoutError):
        ray.get(generator.completed(), timeout=0.05)
    open(gate, "w").close()
    wait_until(generator.next_ready)
    assert not generator.is_finished()
    assert ray.get(next(generator)) == "second"
    wait_until(generator.is_finished)


def test_large_items_and_arrays():
    @ray.remote
    def arrays():
        for at in range(4):
            yield np.full((512, 1024), at, dtype=np.int32)

    for at, ref in enumerate(arrays.remote()):
        array = ray.get(ref)
        assert array.shape == (512, 1024) and (array == at).all()


@pytest.mark.parametrize("gate_open", [True, False])
def test_wait_takes_generators(tmp_path, gate_open):
    gate = str(tmp_path / "gate")

    @ray.remote
    def gated():
        while not os.path.exists(gate):
            time.sleep(0.01)
        yield 1

    if gate_open:
        open(gate, "w").close()
    generator, ref = gated.remote(), ray.put(0)
    ready, rest = ray.wait([generator, ref], num_returns=2, timeout=SOON if gate_open else 0.1)
    assert (ready, rest) == (([generator, ref], []) if gate_open else ([ref], [generator]))
    open(gate, "w").close()
    assert ray.wait([generator], timeout=SOON) == ([generator], [])
    assert ray.get(next(generator)) == 1
    # The end counts as well.
    assert ray.wait([generator], timeout=SOON) == ([generator], [])
    with pytest.raises(ValueError, match="unique"):
        ray.wait([generator, generator])


def test_async_iteration(counting):
    async def collect():
        generator = counting.remote(3)
        got = [ray.get(await anext(generator))]
        got += [ray.get(ref) async for ref in generator]
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        return got

    assert asyncio.run(collect()) == [0, 1, 2]


def test_many_at_once():
    generators = [count_to.remote(20) for _ in range(12)]
    assert [[ray.get(ref) for ref in generator] for generator in generators] == [list(range(20))] * 12


def test_what_is_not_offered(counting):
    generator = counting.remote(1)
    for name, args in (("send", (1,)), ("throw", (ValueError(),)), ("close", ())):
        with pytest.raises(NotImplementedError, match=f"`gen.{name}` is not supported"):
            getattr(generator, name)(*args)

    async def not_offered():
        for name, args in (("asend", (1,)), ("athrow", (ValueError(),)), ("aclose", ())):
            with pytest.raises(NotImplementedError, match=f"`gen.{name}` is not supported"):
                await getattr(generator, name)(*args)

    asyncio.run(not_offered())
    with pytest.raises(TypeError):
        ray.put(generator)
    with pytest.raises(TypeError):
        count_to.remote(generator)
    assert ray.get(generator) is generator
    with pytest.raises(TypeError, match="which is not an ray.ObjectRef"):
        ray.get([generator])


def test_references_of_items_may_be_passed_on():
    @ray.remote
    def double(value):
        return 2 * value

    assert ray.get([double.remote(ref) for ref in count_to.remote(4)], timeout=SOON) == [0, 2, 4, 6]


def test_a_task_reads_the_stream_of_another():
    @ray.remote
    def chain(source, number):
        for ref in source.count_to.remote(number):
            yield ray.get(ref) + 100

    assert [ray.get(ref) for ref in chain.remote(Source.remote(), 5)] == [100, 101, 102, 103, 104]


# --- backpressure -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actor", [False, True])
def test_the_producer_waits_for_its_consumer(tmp_path, actor):
    path = str(tmp_path / "made")

    @ray.remote(_generator_backpressure_num_objects=1)
    def slowly(path, number):
        for at in range(number):
            with open(path, "a") as file:
                file.write(".")
            yield at

    generator = (Source.remote().slowly if actor else slowly).remote(path, 6)
    for at in range(4):
        ray.wait([generator], timeout=SOON)
        wait_until(lambda at=at: made(path) == at + 1)
        time.sleep(0.1)
        assert made(path) == at + 1
        assert ray.get(next(generator)) == at
    # Without a consumer there is nothing to wait for.
    del generator
    wait_until(lambda: made(path) == 6)


def test_more_than_one_item_may_wait(tmp_path):
    path = str(tmp_path / "made")
    generator = Source.remote().slowly.options(_generator_backpressure_num_objects=3).remote(path, 10)
    wait_until(lambda: made(path) == 3)
    time.sleep(0.1)
    assert made(path) == 3
    assert ray.get(next(generator)) == 0
    wait_until(lambda: made(path) == 4)
    assert [ray.get(ref) for ref in generator] == list(range(1, 10))


def test_zero_is_refused():
    with pytest.raises(ValueError, match="backpressure_num_objects=0 is not allowed"):
        ray.remote(_generator_backpressure_num_objects=0)(lambda: (yield))


def test_a_producer_that_waits_can_be_cancelled(tmp_path):
    path = str(tmp_path / "made")

    @ray.remote(_generator_backpressure_num_objects=1)
    def slowly():
        for at in range(5):
            with open(path, "a") as file:
                file.write(".")
            yield at

    generator = slowly.remote()
    assert ray.get(next(generator), timeout=SOON) == 0
    wait_until(lambda: made(path) == 2)
    time.sleep(0.05)
    ray.cancel(generator)
    assert ray.get(next(generator), timeout=SOON) == 1
    with pytest.raises(TaskCancelledError, match="was cancelled"):
        ray.get(next(generator), timeout=SOON)
    with pytest.raises(StopIteration):
        next(generator)


# --- cancel -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_a_generator_is_cancelled(tmp_path, force):
    path = str(tmp_path / "made")

    @ray.remote
    def sleepy():
        yield 0
        with open(path, "a") as file:
            file.write(".")
        time.sleep(60)
        yield 1

    generator = sleepy.remote()
    assert ray.get(next(generator), timeout=SOON) == 0
    wait_until(lambda: made(path))
    ray.cancel(generator, force=force)
    with pytest.raises(TaskCancelledError):
        ray.get(next(generator), timeout=SOON)
    with pytest.raises(StopIteration):
        next(generator)
    assert generator.is_finished()
    with pytest.raises(TaskCancelledError):
        ray.get(generator.completed(), timeout=SOON)


def test_a_generator_that_never_began_is_cancelled():
    never = ray.remote(num_cpus=1000)(lambda: (yield)).remote()
    ray.cancel(never)
    with pytest.raises(TaskCancelledError):
        ray.get(next(never), timeout=SOON)
    with pytest.raises(StopIteration):
        next(never)


# --- what is left behind ----------------------------------------------------------------------------------------------------------


@pytest.mark.park_only
def test_items_are_freed_as_they_are_let_go_and_with_the_generator(tmp_path):
    ray.get(count_to.remote(0).completed(), timeout=SOON)
    before = object_count()
    gate = str(tmp_path / "gate")

    @ray.remote
    def many():
        yield from range(50)
        while not os.path.exists(gate):
            time.sleep(0.01)

    generator = many.remote()
    for _ in range(50):
        ray.get(next(generator))
    # The task still runs: what was read is gone all the same. What is left: its result, its function, a link.
    wait_until(lambda: object_count() <= before + 4)
    del generator
    unread = many.remote()
    wait_until(lambda: object_count() > before + 50)
    del unread
    wait_until(lambda: object_count() <= before + 4)
    open(gate, "w").close()
    wait_until(lambda: object_count() <= before + 2)


# --- other numbers of results -----------------------------------------------------------------------------------------------------


def test_a_generator_with_a_number_of_results(counting):
    assert ray.get(counting.options(num_returns=3).remote(3), timeout=SOON) == [0, 1, 2]
    assert ray.get(counting.options(num_returns=2).remote(5), timeout=SOON) == [0, 1]
    assert ray.get(counting.options(num_returns=1).remote(3), timeout=SOON) == 0
    refs = counting.options(num_returns=3).remote(2)
    assert ray.get(refs[1], timeout=SOON) == 1
    with pytest.raises(ValueError, match="Task returned 2 objects, but num_returns=3"):
        ray.get(refs[2], timeout=SOON)
    refs = counting.options(num_returns=3).remote(3, 1)
    assert ray.get(refs[0], timeout=SOON) == 0
    for ref in refs[1:]:
        with pytest.raises(ValueError, match="no more"):
            ray.get(ref, timeout=SOON)


def test_dynamic(counting):
    with pytest.warns(DeprecationWarning, match="num_returns='dynamic' is deprecated"):
        dynamic = counting.options(num_returns="dynamic")
        ref = dynamic.remote(3)
    items = ray.get(ref, timeout=SOON)
    assert len(items) == 3 and [ray.get(item) for item in items] == [0, 1, 2] and len(items) == 0

    @ray.remote
    def total(items):
        return sum(ray.get(item) for item in items)

    assert ray.get(total.remote(ref), timeout=SOON) == 3
    failed = ray.get(dynamic.remote(3, 1), timeout=SOON)
    first, second = failed
    assert ray.get(first) == 0
    with pytest.raises(ValueError, match="no more"):
        ray.get(second)


def test_streaming_is_for_generators_only():
    with pytest.raises(ValueError, match="can only be used with generator functions"):
        ray.remote(num_returns="streaming")(lambda: 1)
    with pytest.raises(ValueError, match="can only be used with generator functions"):
        Source.remote().ping.options(num_returns="streaming")
