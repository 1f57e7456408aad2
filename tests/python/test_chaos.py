"""Random SIGKILLs of workers under a mixed load: every answer is right, nothing is lost, nothing is left in the store."""

import contextlib
import gc
import os
import random
import signal
import threading
import time

import park as ray
import pytest
from helpers import SOON, wait_until

pytestmark = [pytest.mark.park_only, pytest.mark.slow]

np = pytest.importorskip("numpy")
SECONDS = 6
CLIENTS = 4


@ray.remote(max_retries=-1)
def leaf(value, size):
    return np.full(size, value)


@ray.remote(max_retries=-1)
def tree(depth, value):
    if depth == 0:
        return int(ray.get(leaf.remote(value, 5000)).sum())
    return sum(ray.get([tree.remote(depth - 1, value), tree.remote(depth - 1, value + 1)]))


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Summer:
    def total(self, array):
        return int(array.sum())


def expected(depth, value):
    return 5000 * value if depth == 0 else expected(depth - 1, value) + expected(depth - 1, value + 1)


def client(seed, stop, rounds, wrong):
    chance = random.Random(seed)
    summer = Summer.remote()
    while not stop.is_set():
        depth, value, size = chance.randint(0, 3), chance.randint(0, 9), chance.choice([1, 100, 100_000])
        try:
            nested, array = tree.remote(depth, value), leaf.remote(value, size)
            totals = [summer.total.remote(array) for _ in range(5)]
            if ray.get(nested, timeout=SOON) != expected(depth, value) or set(ray.get(totals, timeout=SOON)) != {
                value * size
            }:
                wrong.append((depth, value, size))
        except Exception as error:
            wrong.append(error)
        rounds.append(1)


def test_answers_are_right_while_workers_are_killed(fresh):
    fresh(num_cpus=4, object_store_memory=256 << 20)
    stop, rounds, wrong = threading.Event(), [], []
    clients = [threading.Thread(target=client, args=(seed, stop, rounds, wrong)) for seed in range(CLIENTS)]
    for thread in clients:
        thread.start()
    chance, kills, end = random.Random(1), 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(0.2 * chance.random())
        pids = ray.runtime_stats()["workers_alive_pids"]
        if pids and chance.random() < 0.7:
            try:
                os.kill(chance.choice(pids), signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass  # it ended by itself in between
    stop.set()
    for thread in clients:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in clients)
    assert not wrong
    assert kills >= 5 and len(rounds) >= CLIENTS

    # Attempts that were killed had submitted tasks of their own, which run to their end although nobody waits for them any more.
    def nothing_runs():
        stats = ray.runtime_stats()
        return stats["queued"] == stats["running"] == 0

    wait_until(nothing_runs)

    # Workers keep the definitions of the functions that they submitted themselves; with all of them gone, exactly this process's
    # three are left, and no promise.
    def store_is_empty_again():
        gc.collect()
        for pid in ray.runtime_stats()["workers_alive_pids"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        stats = ray.store_stats()
        return stats["objects"] == 3 and stats["promised"] == 0

    wait_until(store_is_empty_again, 10)
