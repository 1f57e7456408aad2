"""`Queue`: items that tasks and actors share."""

import asyncio
import time

import park as ray
import pytest
from helpers import SOON, wait_until

if ray.__name__ == "ray":
    from ray.util.queue import Empty, Full, Queue
else:
    from park.util.queue import Empty, Full, Queue

SESSION = {"num_cpus": 4}


@pytest.fixture
def queue(session):
    made = Queue(maxsize=2)
    yield made
    made.shutdown(force=True)


def test_items_come_out_in_the_order_they_went_in(queue):
    assert queue.empty() and not queue.full() and len(queue) == 0
    queue.put(1)
    queue.put("two", timeout=1)
    assert queue.full() and queue.qsize() == queue.size() == 2
    assert (queue.get(), queue.get(timeout=1)) == (1, "two")


def test_a_full_and_an_empty_queue(queue):
    for get in (queue.get_nowait, lambda: queue.get(block=False), lambda: queue.get(timeout=0.05)):
        with pytest.raises(Empty):
            get()
    queue.put_nowait_batch([1, 2])
    for put in (
        queue.put_nowait,
        lambda item: queue.put(item, block=False),
        lambda item: queue.put(item, timeout=0.05),
    ):
        with pytest.raises(Full):
            put(3)
    for wrong in (lambda: queue.get(timeout=-1), lambda: queue.put(1, timeout=-1)):
        with pytest.raises(ValueError):
            wrong()


def test_batches_are_whole_or_not_at_all(queue):
    with pytest.raises(Full):
        queue.put_nowait_batch([1, 2, 3])
    assert queue.empty()
    queue.put_nowait_batch(iter([1, 2]))
    with pytest.raises(Empty):
        queue.get_nowait_batch(3)
    assert queue.get_nowait_batch(2) == [1, 2]
    for wrong, error in ((lambda: queue.put_nowait_batch(5), TypeError), (lambda: queue.get_nowait_batch("1"), TypeError),
                         (lambda: queue.get_nowait_batch(-1), ValueError)):  # fmt: skip
        with pytest.raises(error):
            wrong()


def test_tasks_wait_for_each_other_at_a_queue(queue):
    @ray.remote
    def produce(queue, number):
        for item in range(number):
            queue.put(item)

    @ray.remote
    def consume(queue, number):
        return [queue.get() for _ in range(number)]

    consumer = consume.remote(queue, 20)
    ray.get(produce.remote(queue, 20), timeout=SOON)
    assert ray.get(consumer, timeout=SOON) == list(range(20))


def test_many_may_wait_at_once(queue):
    @ray.remote(num_cpus=0)
    def get(queue):
        return queue.get()

    refs = [get.remote(queue) for _ in range(4)]
    time.sleep(0.1)
    for item in range(4):
        queue.put(item)
    assert sorted(ray.get(refs, timeout=SOON)) == [0, 1, 2, 3]


def test_coroutines_use_it_too(queue):
    async def main():
        await queue.put_async(1)
        await queue.put_async(2, block=False)
        with pytest.raises(Full):
            await queue.put_async(3, block=False)
        items = [await queue.get_async(), await queue.get_async(timeout=1)]
        with pytest.raises(Empty):
            await queue.get_async(block=False)
        with pytest.raises(Empty):
            await queue.get_async(timeout=0.05)
        with pytest.raises(ValueError):
            await queue.get_async(timeout=-1)
        return items

    assert asyncio.run(main()) == [1, 2]


@pytest.mark.parametrize("force", [False, True])
def test_shutdown_ends_the_actor(session, force):
    queue = Queue(actor_options={"num_cpus": 0, "name": f"queue-{force}"})
    queue.put(1)
    queue.shutdown(force=force)
    assert queue.actor is None
    queue.shutdown()

    def gone():
        try:
            ray.get_actor(f"queue-{force}")
        except ValueError:
            return True
        return False

    wait_until(gone)
