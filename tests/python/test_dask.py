"""Dask's graphs as tasks."""

import operator
import os
import sys

import pytest
from helpers import fresh_python, ray

SESSION = {"num_cpus": 4, "resources": {"custom": 1}}
pytestmark = pytest.mark.park_only


@pytest.mark.skipif("dask" in sys.modules, reason="looks at what happens without it")
def test_without_dask_it_says_what_to_install():
    assert "pip install 'dask>=2024.11'" in fresh_python("""
import sys
sys.modules["dask"] = None
try:
    import park.util.dask
except ImportError as error:
    print(error)
""")


dask = pytest.importorskip("dask")


def pids(number):
    return dask.delayed([dask.delayed(os.getpid, pure=False)() for _ in range(number)])


def test_a_graph_of_every_kind_of_node(session):
    from park.util.dask import ray_dask_get

    graph = {
        "one": 1,
        "two": (operator.add, "one", 1),
        "same": "two",
        "list": (sum, ["one", "two", (operator.mul, "two", 10)]),
    }
    assert ray_dask_get(graph, "list") == 23
    assert ray_dask_get(graph, ["same", ["one", "list"]]) == [2, [1, 23]]


def test_compute_runs_in_workers(session):
    from park.util.dask import ray_dask_get

    @dask.delayed
    def square(value):
        return value * value, os.getpid()

    found = dask.compute(*[square(number) for number in range(20)], scheduler=ray_dask_get)
    assert [value for value, _ in found] == [number * number for number in range(20)]
    assert os.getpid() not in {pid for _, pid in found}


def test_as_the_default_and_back(session):
    from park.util.dask import disable_dask_on_ray, enable_dask_on_ray

    with enable_dask_on_ray():
        assert os.getpid() not in pids(3).compute()
    enable_dask_on_ray()
    assert os.getpid() not in pids(3).compute()
    disable_dask_on_ray()
    assert set(pids(3).compute(scheduler="sync")) == {os.getpid()}


def test_an_error_is_raised_where_the_result_is_asked_for(session):
    from park.util.dask import ray_dask_get

    with pytest.raises(ZeroDivisionError):
        dask.delayed(operator.truediv)(1, 0).compute(scheduler=ray_dask_get)


def test_options_of_tasks(session):
    from park.util.dask import ray_dask_get

    def held():
        return ray.get_runtime_context().get_assigned_resources().get("custom")

    assert dask.delayed(held)().compute(scheduler=ray_dask_get, ray_remote_args={"resources": {"custom": 1}}) == 1
    with pytest.raises(ValueError, match="Use ray_remote_args"):
        dask.delayed(held)().compute(scheduler=ray_dask_get, resources={"custom": 1})
    with pytest.raises(NotImplementedError, match="ray_callbacks"):
        dask.delayed(held)().compute(scheduler=ray_dask_get, ray_callbacks=[object()])


def test_persisted_results_are_references(session):
    from park.util.dask import ray_dask_get, ray_dask_persist

    (kept,) = ray_dask_persist(dask.delayed(operator.add)(1, 2))
    graph = {"three": (operator.add, 1, 2)}
    (ref,) = ray_dask_get(graph, ["three"], ray_persist=True)
    assert isinstance(ref, ray.ObjectRef) and ray.get(ref) == 3
    assert ray_dask_get({"kept": ref, "four": (operator.add, "kept", 1)}, "four") == 4
    assert (kept + 1).compute(scheduler=ray_dask_get) == 4


def test_arrays(session):
    array = pytest.importorskip("dask.array")
    from park.util.dask import ray_dask_get

    assert array.ones((100, 100), chunks=(20, 20)).sum().compute(scheduler=ray_dask_get) == 10_000
