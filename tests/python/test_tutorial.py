"""The shapes of Ray's own tutorials, written anew: programs as a newcomer writes them, with only the import changed."""

import random
import time

import park as ray
import pytest
from helpers import SOON

SESSION = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("session")


def test_squares():
    @ray.remote
    def square(x):
        return x * x

    futures = [square.remote(i) for i in range(4)]
    assert ray.get(futures, timeout=SOON) == [0, 1, 4, 9]


def test_a_counter():
    @ray.remote
    class Counter:
        def __init__(self):
            self.i = 0

        def get(self):
            return self.i

        def incr(self, value):
            self.i += value

    c = Counter.remote()
    for _ in range(10):
        c.incr.remote(1)
    assert ray.get(c.get.remote(), timeout=SOON) == 10


def test_a_matrix_is_put_once_and_used_often():
    np = pytest.importorskip("numpy")

    @ray.remote
    def sum_matrix(matrix):
        return np.sum(matrix)

    assert ray.get(sum_matrix.remote(np.ones((100, 100))), timeout=SOON) == 10_000.0
    matrix_ref = ray.put(np.ones((1000, 1000)))
    assert ray.get([sum_matrix.remote(matrix_ref) for _ in range(4)], timeout=SOON) == [1_000_000.0] * 4


def test_a_database_actor_by_hand():
    """Getting started with Core: slow retrieval, then in parallel, then a shared database, then a tracker."""
    database = ["Learning", "Ray", "Flexible", "Distributed", "Python", "for", "Machine", "Learning"]
    database_ref = ray.put(database)

    @ray.remote
    class DataTracker:
        def __init__(self):
            self._counts = 0

        def increment(self):
            self._counts += 1

        def counts(self):
            return self._counts

    @ray.remote
    def retrieve_task(item, tracker, db):
        time.sleep(item / 100.0)
        tracker.increment.remote()
        return item, db[item]

    @ray.remote
    def follow_up_task(retrieve_result):
        original_item, _ = retrieve_result
        follow_up_result = ray.get(retrieve_task.remote(original_item + 1, tracker, database_ref))
        return retrieve_result, follow_up_result

    tracker = DataTracker.remote()
    references = [retrieve_task.remote(item, tracker, database_ref) for item in range(8)]
    all_data = []
    while len(references) > 0:
        finished, references = ray.wait(references, timeout=7.0)
        all_data.extend(ray.get(finished))
    assert sorted(all_data) == list(enumerate(database))
    follow_up_refs = [follow_up_task.remote(retrieve_task.remote(item, tracker, database_ref)) for item in (0, 2, 4, 6)]
    results = ray.get(follow_up_refs, timeout=SOON)
    assert results[0] == ((0, "Learning"), (1, "Ray"))
    assert results[3] == ((6, "Machine"), (7, "Learning"))
    # The increments are sent by workers and waited for by nobody.
    end = time.monotonic() + SOON
    while ray.get(tracker.counts.remote(), timeout=SOON) < 16 and time.monotonic() < end:
        time.sleep(0.01)
    assert ray.get(tracker.counts.remote(), timeout=SOON) == 16


def test_monte_carlo_pi_with_a_progress_actor():
    @ray.remote
    class ProgressActor:
        def __init__(self, total_num_samples):
            self.total_num_samples = total_num_samples
            self.num_samples_completed_per_task = {}

        def report_progress(self, task_id, num_samples_completed):
            self.num_samples_completed_per_task[task_id] = num_samples_completed

        def get_progress(self):
            return sum(self.num_samples_completed_per_task.values()) / self.total_num_samples

    @ray.remote
    def sampling_task(num_samples, task_id, progress_actor):
        generator = random.Random(task_id)
        num_inside = 0
        for i in range(num_samples):
            x, y = generator.uniform(-1, 1), generator.uniform(-1, 1)
            if x * x + y * y <= 1:
                num_inside += 1
            if (i + 1) % 5_000 == 0:
                progress_actor.report_progress.remote(task_id, i + 1)
        progress_actor.report_progress.remote(task_id, num_samples)
        return num_inside

    tasks, samples = 4, 20_000
    progress_actor = ProgressActor.remote(tasks * samples)
    results = [sampling_task.remote(samples, i, progress_actor) for i in range(tasks)]
    seen = [0.0]
    while seen[-1] < 1:
        seen.append(ray.get(progress_actor.get_progress.remote(), timeout=SOON))
        time.sleep(0.01)
    assert seen == sorted(seen)
    pi = 4 * sum(ray.get(results, timeout=SOON)) / (tasks * samples)
    assert abs(pi - 3.1416) < 0.05


def test_a_tree_reduce():
    @ray.remote
    def load(i):
        return i

    @ray.remote
    def add(a, b):
        return a + b

    values = [load.remote(i) for i in range(1, 17)]
    while len(values) > 1:
        values = values[2:] + [add.remote(values[0], values[1])]
    assert ray.get(values[0], timeout=SOON) == 136


def test_nested_refs_are_passed_along():
    @ray.remote
    def echo_and_get(x_list):
        return ray.get(x_list)

    @ray.remote
    def echo(x):
        return x

    a, b, c = ray.put(1), ray.put(2), ray.put(3)
    assert ray.get(echo_and_get.remote([a, b, c]), timeout=SOON) == [1, 2, 3]
    inner = ray.get(echo.remote({"refs": [a, b]}), timeout=SOON)
    assert ray.get(inner["refs"]) == [1, 2]


def test_a_task_starts_tasks():
    @ray.remote
    def f():
        return 1

    @ray.remote
    def g():
        return [f.remote() for _ in range(4)]

    @ray.remote
    def h():
        return ray.get([f.remote() for _ in range(4)])

    assert ray.get(ray.get(g.remote(), timeout=SOON), timeout=SOON) == [1, 1, 1, 1]
    assert ray.get(h.remote(), timeout=SOON) == [1, 1, 1, 1]


def test_several_returns():
    @ray.remote(num_returns=3)
    def return_multiple():
        return 0, 1, 2

    object_ref0, object_ref1, object_ref2 = return_multiple.remote()
    assert ray.get(object_ref0, timeout=SOON) == 0
    assert ray.get([object_ref1, object_ref2]) == [1, 2]


def test_results_are_processed_as_they_come():
    @ray.remote
    def f(i):
        time.sleep(0.02 * (4 - i))
        return i

    unfinished = [f.remote(i) for i in range(5)]
    order = []
    while unfinished:
        finished, unfinished = ray.wait(unfinished, num_returns=1)
        order.append(ray.get(finished[0]))
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_a_bound_on_what_is_in_flight():
    """The pattern against too many pending tasks: wait for one before the next is submitted."""

    @ray.remote
    def heavy(i):
        return i * i

    in_flight, results, most = [], [], 4
    for i in range(40):
        if len(in_flight) >= most:
            ready, in_flight = ray.wait(in_flight, num_returns=1)
            results += ray.get(ready)
        in_flight.append(heavy.remote(i))
        assert len(in_flight) <= most
    results += ray.get(in_flight)
    assert sorted(results) == [i * i for i in range(40)]


def test_a_parameter_server():
    np = pytest.importorskip("numpy")

    @ray.remote
    class ParameterServer:
        def __init__(self, dim, learning_rate):
            self.weights = np.zeros(dim)
            self.learning_rate = learning_rate

        def apply_gradients(self, *gradients):
            self.weights = self.weights - self.learning_rate * np.mean(gradients, axis=0)
            return self.weights

        def get_weights(self):
            return self.weights

    @ray.remote
    class DataWorker:
        def __init__(self, seed, truth):
            self.generator = np.random.default_rng(seed)
            self.truth = truth

        def compute_gradients(self, weights):
            x = self.generator.normal(size=(64, len(self.truth)))
            return 2 * x.T @ (x @ weights - x @ self.truth) / len(x)

    truth = np.array([1.0, -2.0, 3.0, 0.5])
    server = ParameterServer.remote(len(truth), 0.1)
    workers = [DataWorker.remote(seed, truth) for seed in range(2)]
    weights = server.get_weights.remote()
    for _ in range(40):
        gradients = [worker.compute_gradients.remote(weights) for worker in workers]
        weights = server.apply_gradients.remote(*gradients)
    assert np.allclose(ray.get(weights, timeout=SOON), truth, atol=0.01)
    # And without a barrier: whoever is done gets the newest weights.
    pending = {worker.compute_gradients.remote(weights): worker for worker in workers}
    for _ in range(20):
        ready, _ = ray.wait(list(pending))
        worker = pending.pop(ready[0])
        weights = server.apply_gradients.remote(ready[0])
        pending[worker.compute_gradients.remote(weights)] = worker
    assert np.allclose(ray.get(server.get_weights.remote(), timeout=SOON), truth, atol=0.05)


def test_a_map_reduce():
    text = ["simple", "is", "better", "than", "complex", "complex", "is", "better", "than", "complicated"]

    @ray.remote
    def apply_map(words, num_partitions=3):
        partitions = [{} for _ in range(num_partitions)]
        for word in words:
            place = partitions[ord(word[0]) % num_partitions]
            place[word] = place.get(word, 0) + 1
        return partitions

    @ray.remote
    def apply_reduce(*partitions):
        total = {}
        for partition in partitions:
            for word, count in partition.items():
                total[word] = total.get(word, 0) + count
        return total

    parts = [text[i::4] for i in range(4)]
    mapped = [apply_map.options(num_returns=3).remote(part) for part in parts]
    reduced = ray.get([apply_reduce.remote(*[part[i] for part in mapped]) for i in range(3)], timeout=SOON)
    counts = {word: count for part in reduced for word, count in part.items()}
    assert counts["complex"] == counts["is"] == counts["better"] == 2
    assert sum(counts.values()) == len(text)


def test_a_supervisor_of_workers():
    """The tree-of-actors pattern: an actor that starts actors and passes work on."""

    @ray.remote(num_cpus=0)
    class Worker:
        def __init__(self, factor):
            self.factor = factor

        def work(self, x):
            return self.factor * x

    @ray.remote(num_cpus=0)
    class Supervisor:
        def __init__(self, count):
            self.workers = [Worker.remote(factor) for factor in range(1, count + 1)]

        def work(self, x):
            return ray.get([worker.work.remote(x) for worker in self.workers])

    supervisor = Supervisor.remote(3)
    assert ray.get(supervisor.work.remote(10), timeout=SOON) == [10, 20, 30]


def test_a_named_actor_found_by_a_task():
    @ray.remote
    class Config:
        def __init__(self):
            self.values = {"lr": 0.1}

        def read(self, key):
            return self.values[key]

    @ray.remote
    def train():
        return ray.get(ray.get_actor("config").read.remote("lr"))

    config = Config.options(name="config").remote()
    assert ray.get(train.remote(), timeout=SOON) == 0.1
    del config


def test_a_failure_is_handled_where_it_is_got():
    @ray.remote
    def might_fail(i):
        if i % 3 == 0:
            raise ValueError(f"bad {i}")
        return i

    good, bad = [], []
    for ref in [might_fail.remote(i) for i in range(7)]:
        try:
            good.append(ray.get(ref, timeout=SOON))
        except ValueError as error:
            bad.append(str(error.cause))
    assert good == [1, 2, 4, 5]
    assert bad == ["bad 0", "bad 3", "bad 6"]


def test_a_pipeline_of_stages_over_actors():
    @ray.remote(num_cpus=0)
    class Stage:
        def __init__(self, add):
            self.add = add

        def run(self, x):
            return x + self.add

    stages = [Stage.remote(add) for add in (1, 10, 100)]

    def submit(x):
        for stage in stages:
            x = stage.run.remote(x)
        return x

    assert ray.get([submit(x) for x in range(20)], timeout=SOON) == [x + 111 for x in range(20)]
