"""References in coroutines and futures: `await`, `as_future`, `future`, in the driver."""

import asyncio
import concurrent.futures
import gc
import sys
import threading
import time

import numpy as np
import park as ray
import pytest
from helpers import ON_RAY, SOON, wait_until
from park.exceptions import GetTimeoutError, RayError, RayTaskError

SESSION = {"num_cpus": 4, "object_store_memory": 100 << 20}
pytestmark = pytest.mark.usefixtures("session")


@ray.remote(num_cpus=0)
def sleep(seconds, value):
    time.sleep(seconds)
    return value


@ray.remote(num_cpus=0)
def fail():
    raise ValueError("on purpose")


def test_await_a_reference():
    async def main():
        assert await ray.put(1) == 1
        ref = sleep.remote(0.1, "late")
        assert await ref == "late"
        assert await ref == "late"
        array = await sleep.remote(0, np.arange(100_000))
        assert array[-1] == 99_999

    asyncio.run(main())


def test_await_an_error():
    async def main():
        with pytest.raises(ValueError, match="on purpose") as info:
            await fail.remote()
        assert isinstance(info.value, RayTaskError)

    asyncio.run(main())


def test_gather_and_wait():
    async def main():
        assert await asyncio.gather(*[sleep.remote(0.01 * n, n) for n in range(8)]) == list(range(8))
        quick, slow = sleep.remote(0, 1).as_future(), sleep.remote(30, 2).as_future()
        done, open_ = await asyncio.wait([quick, slow], timeout=SOON, return_when=asyncio.FIRST_COMPLETED)
        assert (done, open_) == ({quick}, {slow})

        async def own():
            await asyncio.sleep(0.01)
            return "own"

        assert await asyncio.gather(own(), sleep.remote(0.02, "ref")) == ["own", "ref"]

    asyncio.run(main())


def test_a_future_that_is_cancelled():
    async def main():
        ref = sleep.remote(0.3, "late")
        future = ref.as_future()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(future, timeout=0.05)
        assert future.cancelled()
        assert await ref == "late"

    asyncio.run(main())


def test_the_loop_runs_meanwhile():
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticker = asyncio.create_task(tick())
        await sleep.remote(0.2, None)
        ticker.cancel()
        return ticks

    assert asyncio.run(main()) > 3


def test_loops_that_come_and_go():
    """A loop that is closed while references are awaited on it leaves the others alone."""
    late = sleep.remote(0.3, "late")

    async def leave():
        late.as_future()

    asyncio.run(leave())

    async def stay():
        return await asyncio.gather(late, sleep.remote(0.4, "later"))

    assert asyncio.run(stay()) == ["late", "later"]


def test_two_loops_at_a_time():
    refs = [sleep.remote(0.1, n) for n in range(4)]
    results = []

    def run():
        async def main():
            return await asyncio.gather(*refs)

        results.append(asyncio.run(main()))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert results == [[0, 1, 2, 3]] * 2


def test_a_future_of_concurrent_futures():
    future = ray.put(1).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(timeout=SOON) == 1
    futures = [sleep.remote(0.01, n).future() for n in range(20)]
    assert {done.result() for done in concurrent.futures.as_completed(futures, timeout=SOON)} == set(range(20))
    with pytest.raises(ValueError, match="on purpose"):
        fail.remote().future().result(timeout=SOON)

    async def main():
        return await asyncio.wrap_future(sleep.remote(0.05, "wrapped").future())

    assert asyncio.run(main()) == "wrapped"


def test_callbacks():
    seen = []
    ray.put("there")._on_completed(seen.append)
    sleep.remote(0.1, "later")._on_completed(seen.append)
    fail.remote()._on_completed(seen.append)
    wait_until(lambda: len(seen) == 3)
    assert [value for value in seen if isinstance(value, str)] == ["there", "later"]
    assert any(isinstance(value, RayError) for value in seen)


def test_a_callback_is_let_go_of():
    def callback(value):
        raise RuntimeError("in a callback")

    before = sys.getrefcount(callback)
    ref = sleep.remote(0.1, None)
    ref._on_completed(callback)
    assert sys.getrefcount(callback) > before
    wait_until(lambda: sys.getrefcount(callback) == before)


def test_what_was_awaited_is_freed():
    """Ten times as much as the store holds passes through it."""

    @ray.remote(num_cpus=0)
    def make():
        return np.zeros(10 << 20, dtype=np.uint8)

    async def main():
        for _ in range(30):
            await make.remote()
            await ray.put(np.zeros(10 << 20, dtype=np.uint8))

    asyncio.run(main())
    gc.collect()


def test_many_references():
    @ray.remote(num_cpus=0)
    def number(n):
        return n

    async def main():
        return await asyncio.gather(*[number.remote(n) for n in range(1000)])

    assert asyncio.run(main()) == list(range(1000))


def test_one_thread_waits_for_all():
    refs = [sleep.remote(0.5, n) for n in range(4)]

    async def main():
        before = threading.active_count()
        futures = [ref.as_future() for ref in refs for _ in range(50)]
        assert threading.active_count() <= before + 1
        await asyncio.gather(*futures)

    asyncio.run(main())


def test_a_worker_awaits_too():
    @ray.remote(num_cpus=0)
    def outer():
        async def main():
            return await asyncio.gather(*[sleep.remote(0.01, n) for n in range(3)])

        return asyncio.run(main())

    assert ray.get(outer.remote(), timeout=SOON) == [0, 1, 2]


def test_get_still_has_its_timeout():
    with pytest.raises(GetTimeoutError):
        ray.get(sleep.remote(5, 1), timeout=0.05)


@pytest.mark.skipif(ON_RAY, reason="Ray leaves such futures open for ever")
def test_a_session_that_ends_resolves_what_is_awaited(fresh):
    fresh(num_cpus=1)

    async def main():
        future = sleep.remote(30, 1).as_future()
        await asyncio.sleep(0.1)
        ray.shutdown()
        with pytest.raises(RayError):
            await asyncio.wait_for(future, SOON)

    asyncio.run(main())
