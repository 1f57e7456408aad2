"""`ActorPool`, `multiprocessing.Pool`, the joblib backend, `as_completed` and `map_unordered`."""

import itertools
import os
import time

import park as ray
import pytest
from helpers import SOON, wait_until

if ray.__name__ == "ray":
    from ray.util.actor_pool import ActorPool
    from ray.util.helpers import as_completed, map_unordered
    from ray.util.multiprocessing import Pool, TimeoutError
else:
    from park.util.actor_pool import ActorPool
    from park.util.helpers import as_completed, map_unordered
    from park.util.multiprocessing import Pool, TimeoutError

SESSION = {"num_cpus": 4}


@ray.remote(num_cpus=0)
class Worker:
    def double(self, value):
        return 2 * value

    def wait(self, seconds):
        time.sleep(seconds)
        return seconds

    def fail(self, value):
        raise ValueError(value)

    def die(self, value):
        os._exit(1)


def pool_of(number):
    actors = [Worker.remote() for _ in range(number)]
    ray.get([actor.double.remote(0) for actor in actors])
    return ActorPool(actors)


def double(actor, value):
    return actor.double.remote(value)


def wait(actor, value):
    return actor.wait.remote(value)


# --- ActorPool ----------------------------------------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_values(session):
    pool = pool_of(2)
    assert list(pool.map(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(pool.map_unordered(double, range(7))) == [0, 2, 4, 6, 8, 10, 12]


def test_unordered_results_come_as_they_are_ready(session):
    pool = pool_of(2)
    pool.submit(wait, 1.0)
    pool.submit(wait, 0.0)
    assert [pool.get_next_unordered(), pool.get_next_unordered()] == [0.0, 1.0]
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_a_result_that_is_late_can_be_waited_for_again_or_given_up(session):
    pool = pool_of(1)
    pool.submit(wait, 0.5)
    for get in (pool.get_next, pool.get_next_unordered):
        with pytest.raises(builtin_timeout):
            get(timeout=0.01)
    assert pool.get_next() == 0.5
    pool.submit(wait, 0.5)
    with pytest.raises(builtin_timeout, match="ignored"):
        pool.get_next(timeout=0.01, ignore_if_timedout=True)
    assert not pool.has_next() and pool.has_free()


builtin_timeout = __builtins__["TimeoutError"] if isinstance(__builtins__, dict) else __builtins__.TimeoutError


def test_the_order_cannot_be_had_after_it_was_given_up(session):
    pool = pool_of(1)
    for value in range(3):
        pool.submit(double, value)
    pool.get_next_unordered()
    pool.submit(double, 9)
    assert pool.get_next() == 2


def test_actors_come_and_go(session):
    pool = pool_of(1)
    actor = pool.pop_idle()
    assert actor is not None and pool.pop_idle() is None and not pool.has_free()
    pool.submit(double, 1)
    assert not pool.has_next()
    pool.push(actor)
    assert pool.get_next() == 2
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(actor)


@pytest.mark.process_only("kills its process")
def test_an_error_leaves_the_actor_in_the_pool_and_a_death_takes_it_out(session):
    pool = pool_of(2)
    pool.submit(lambda actor, value: actor.fail.remote(value), 1)
    with pytest.raises(ValueError):
        pool.get_next()
    pool.submit(lambda actor, value: actor.die.remote(value), 1)
    with pytest.raises(ray.exceptions.ActorDiedError):
        pool.get_next()
    assert list(pool.map(double, range(3))) == [0, 2, 4]


# --- as_completed, map_unordered ----------------------------------------------------------------------------------------------------


@ray.remote(num_cpus=0)
def nap(seconds):
    time.sleep(seconds)
    return seconds


def test_as_completed(session):
    refs = [nap.remote(seconds) for seconds in (1.0, 0.0, 0.1)]
    assert list(as_completed(refs, chunk_size=1)) == [0.0, 0.1, 1.0]
    assert set(as_completed(refs, yield_obj_refs=True)) == set(refs)
    assert list(as_completed([])) == []
    with pytest.raises(ValueError):
        list(as_completed(refs, chunk_size=0))
    with pytest.raises(ValueError):
        list(as_completed(refs, num_returns=1))


def test_map_unordered_takes_what_it_has_room_for(session):
    taken = []

    def items():
        for value in itertools.count():
            taken.append(value)
            yield 0.0

    results = map_unordered(nap, items(), backpressure_size=3, chunk_size=1)
    assert [next(results) for _ in range(5)] == [0.0] * 5
    assert len(taken) <= 8
    assert sorted(map_unordered(nap, [0.1, 0.0], backpressure_size=None)) == [0.0, 0.1]
    with pytest.raises(ValueError):
        list(map_unordered(nap, [], backpressure_size=0))


# --- Pool ---------------------------------------------------------------------------------------------------------------------------


def square(value):
    return value * value


def inverse(value):
    return 1 / value


@pytest.fixture(scope="module")
def pool(session):
    with Pool(2) as pool:
        yield pool


def test_apply_and_map(pool):
    assert pool.apply(pow, (2,), {"exp": 3}) == 8
    assert pool.map(square, range(10)) == [value * value for value in range(10)]
    assert pool.map(square, iter(range(5)), chunksize=2) == [0, 1, 4, 9, 16]
    assert pool.map(square, []) == []
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]


@pytest.mark.process_only("looks at process ids")
def test_map_runs_in_other_processes_in_order(pool):
    pids = pool.map(lambda _: os.getpid(), range(8), chunksize=1)
    assert len(set(pids)) == 2 and os.getpid() not in pids


def test_results_that_are_asked_for_later(pool):
    result = pool.map_async(nap_here, [0.2, 0.2])
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01)
    assert result.get(timeout=SOON) == [0.2, 0.2] and result.ready() and result.successful()


def nap_here(seconds):
    time.sleep(seconds)
    return seconds


def test_errors_are_raised_where_the_result_is_asked_for(pool):
    with pytest.raises(ZeroDivisionError):
        pool.map(inverse, [1, 0, 2])
    result = pool.apply_async(inverse, (0,))
    result.wait(SOON)
    assert result.ready() and not result.successful()
    with pytest.raises(ZeroDivisionError):
        result.get()


def test_callbacks(pool):
    good, bad = [], []
    results = [
        pool.apply_async(square, (3,), callback=good.append, error_callback=bad.append),
        pool.map_async(square, [1, 2], callback=good.append, error_callback=bad.append),
        pool.apply_async(inverse, (0,), callback=good.append, error_callback=bad.append),
    ]
    for result in results:
        result.wait(SOON)
    wait_until(lambda: len(good) == 2 and len(bad) == 1)
    assert sorted(map(str, good)) == ["9", "[1, 4]"] and isinstance(bad[0], ZeroDivisionError)


def test_imap_takes_what_it_has_room_for(pool):
    results = pool.imap(square, itertools.count())
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert sorted(pool.imap_unordered(square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]
    assert list(pool.imap(square, [])) == []
    with pytest.raises(TimeoutError):
        pool.imap(nap_here, [0.5]).next(timeout=0.01)


@pytest.mark.park_only
def test_imap_goes_on_after_an_error(pool):
    results = pool.imap(inverse, [1, 0, 2])
    assert next(results) == 1
    assert isinstance(next(results), ZeroDivisionError), "as in Ray, where it is no exception of the iterator"
    assert next(results) == 0.5


@pytest.mark.process_only("looks at process ids")
def test_initializer_and_replaced_processes(session):
    def remember(value):
        os.environ["PARK_TEST_REMEMBERED"] = value

    def recall(_):
        return os.environ["PARK_TEST_REMEMBERED"], os.getpid()

    with Pool(1, initializer=remember, initargs=("this",), maxtasksperchild=1) as pool:
        seen = pool.map(recall, range(3), chunksize=1)
    assert {word for word, _ in seen} == {"this"} and len({pid for _, pid in seen}) == 3


def test_a_closed_pool_finishes_and_takes_nothing_more(session):
    pool = Pool(1)
    result = pool.map_async(nap_here, [0.1, 0.1])
    with pytest.raises(ValueError, match="running"):
        pool.join()
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.map(square, [1])
    pool.join()
    assert result.get(timeout=SOON) == [0.1, 0.1]


@pytest.mark.parametrize("processes", [0, -1, 1000])
def test_a_pool_needs_its_cpus(session, processes):
    with pytest.raises(ValueError):
        Pool(processes)


@pytest.mark.process_only("looks at process ids")
def test_joblib(session):
    joblib = pytest.importorskip("joblib")
    (ray if ray.__name__ == "ray" else __import__("park.util.joblib")).util.joblib.register_ray()
    with joblib.parallel_backend("ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(square)(value) for value in range(20)) == [v * v for v in range(20)]
        with pytest.raises(ZeroDivisionError):
            joblib.Parallel()(joblib.delayed(inverse)(value) for value in (1, 0))
        pids = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(8))
    assert os.getpid() not in pids
