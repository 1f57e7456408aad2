"""Many threads of one driver: submitting, getting, waiting and letting go at the same time."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import park as ray
import pytest
from helpers import ON_RAY, SOON

SESSION = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("session")
THREADS = 8
ROUNDS = 20 if ON_RAY else 60


@ray.remote
def add(a, b):
    return a + b


@ray.remote
class Counter:
    def __init__(self):
        self.seen = {}

    def note(self, caller, number):
        self.seen.setdefault(caller, []).append(number)

    def all(self):
        return self.seen


def in_threads(work):
    """Run `work(number)` in all threads at once and raise what any of them raised."""
    start = threading.Barrier(THREADS)

    def run(number):
        start.wait(SOON)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result(SOON) for future in [pool.submit(run, number) for number in range(THREADS)]]


def test_tasks_from_many_threads():
    def work(number):
        return [ray.get(add.remote(number, turn), timeout=SOON) for turn in range(ROUNDS)]

    assert in_threads(work) == [[number + turn for turn in range(ROUNDS)] for number in range(THREADS)]


def test_batches_from_many_threads():
    def work(number):
        return sum(ray.get([add.remote(number, turn) for turn in range(ROUNDS)], timeout=SOON))

    assert in_threads(work) == [sum(number + turn for turn in range(ROUNDS)) for number in range(THREADS)]


def test_objects_from_many_threads():
    def work(number):
        for turn in range(ROUNDS):
            size = (number * 31 + turn * 977) % 30_000
            ref = ray.put(bytes([number]) * size)
            assert ray.get(ref) == bytes([number]) * size
            assert ray.wait([ref], timeout=SOON) == ([ref], [])
        return "good"

    assert in_threads(work) == ["good"] * THREADS


def test_one_object_read_by_many_threads():
    ref = ray.put(b"shared" * 100_000)

    def work(number):
        return all(ray.get(ref) == b"shared" * 100_000 for _ in range(ROUNDS))

    assert all(in_threads(work))


def test_many_threads_wait_for_one_result():
    gate = add.remote(1, 2)
    assert in_threads(lambda number: ray.get(gate, timeout=SOON)) == [3] * THREADS


def test_calls_of_one_thread_keep_their_order():
    counter = Counter.remote()

    def work(number):
        refs = [counter.note.remote(number, turn) for turn in range(ROUNDS)]
        ray.get(refs, timeout=SOON)

    in_threads(work)
    assert ray.get(counter.all.remote(), timeout=SOON) == {number: list(range(ROUNDS)) for number in range(THREADS)}


def test_refs_are_dropped_in_other_threads():
    refs = [[ray.put(bytes(1000)) for _ in range(ROUNDS)] for _ in range(THREADS)]
    if not ON_RAY:
        held = ray.store_stats()["objects"]

    def work(number):
        refs[number].clear()
        gc.collect()

    in_threads(work)
    if not ON_RAY:
        gc.collect()
        assert ray.store_stats()["objects"] <= held - THREADS * ROUNDS


def test_a_thread_that_blocks_does_not_block_the_others():
    @ray.remote(num_cpus=0)
    def sleep(seconds):
        import time

        time.sleep(seconds)
        return seconds

    waiting = threading.Event()
    results = []

    def wait():
        waiting.set()
        results.append(ray.get(sleep.remote(1.5), timeout=SOON))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(SOON)
    for turn in range(10):
        assert ray.get(add.remote(turn, 1), timeout=SOON) == turn + 1
    assert not results
    thread.join(SOON)
    assert results == [1.5]


def test_errors_reach_the_thread_that_asked():
    @ray.remote
    def fail(number):
        raise ValueError(f"number {number}")

    def work(number):
        with pytest.raises(ValueError, match=f"number {number}"):
            ray.get(fail.remote(number), timeout=SOON)
        return True

    assert all(in_threads(work))


def test_threads_inside_a_task():
    @ray.remote
    def parent():
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: ray.get(add.remote(number, 1)), range(8)))

    assert ray.get(parent.remote(), timeout=SOON) == list(range(1, 9))


@pytest.mark.park_only
def test_many_threads_start_one_session(fresh):
    assert in_threads(lambda number: ray.get(ray.put(number))) == list(range(THREADS))
    assert ray.is_initialized()
