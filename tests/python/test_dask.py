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


def test_callbacks_see_what_the_scheduler_does(session, tmp_path):
    from park.util.dask import RayDaskCallback, ray_dask_get

    seen = []
    log = tmp_path / "log"

    class Watching(RayDaskCallback):
        def _ray_presubmit(self, task, key, deps):
            seen.append(("pre", key, sorted(deps)))
            return 40 if key == "given" else None

        def _ray_postsubmit(self, task, key, deps, object_ref):
            seen.append(("post", key, isinstance(object_ref, ray.ObjectRef)))

        def _ray_pretask(self, key, object_refs):
            return f"{key} of {object_refs}"

        def _ray_posttask(self, key, result, pre_state):
            with open(log, "a") as file:
                print(pre_state, result, os.getpid(), file=file)

        def _ray_postsubmit_all(self, object_refs, dsk):
            seen.append(("all", len(object_refs), sorted(dsk)))

        def _ray_finish(self, result):
            seen.append(("finish", result))

    graph = {"one": 1, "given": (operator.mul, "one", 2), "sum": (operator.add, "one", "given")}
    with Watching():
        assert ray_dask_get(graph, ["sum"]) == [41]
    assert seen == [
        ("pre", "given", ["one"]),
        ("pre", "sum", ["given", "one"]),
        ("post", "sum", True),
        ("all", 1, ["given", "one", "sum"]),
        ("finish", [41]),
    ]
    before, result, pid = log.read_text().rsplit(maxsplit=2)
    assert before in ("sum of [1, 40]", "sum of [40, 1]") and result == "41" and int(pid) != os.getpid()
    seen.clear()
    assert ray_dask_get(graph, "sum") == 3 and seen == []
    finished = []
    assert ray_dask_get(graph, "sum", ray_callbacks=[RayDaskCallback(ray_finish=finished.append)]) == 3
    assert finished == [3]
    with pytest.raises(TypeError, match="ray_callbacks must be a list of RayDaskCallback"):
        ray_dask_get(graph, "sum", ray_callbacks=[print])
