"""Several nodes in one session: where work goes by default, by label, by node id and when it is spread, and what a removal ends."""

import contextlib
import os
import time

import park as ray
import pytest
from helpers import SOON, wait_until
from park.cluster_utils import Cluster
from park.exceptions import ActorUnschedulableError, GetTimeoutError, TaskUnschedulableError
from park.util import state
from park.util.multiprocessing import Pool
from park.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)

#: Long enough for what could run to have run, on a loaded machine; nothing waits this long when all is well.
IN_VAIN = 0.7


@ray.remote
def where():
    return ray.get_runtime_context().get_node_id()


@ray.remote
class Home:
    def where(self):
        return ray.get_runtime_context().get_node_id()

    def pid(self):
        return os.getpid()


@pytest.fixture
def cluster(fresh):
    made = Cluster()
    yield made
    made.shutdown()


def connect(cluster, *nodes):
    """A session on these nodes (each the arguments of `add_node`); returns their ids."""
    added = [cluster.add_node(**node) for node in nodes]
    ray.init(address=cluster.address)
    cluster.wait_for_nodes()
    return [node.node_id for node in added]


def test_a_cluster_is_the_sum_of_its_nodes(cluster):
    first, second = connect(
        cluster, {"num_cpus": 2, "labels": {"zone": "a"}}, {"num_cpus": 3, "num_gpus": 2, "resources": {"pin": 1}}
    )
    nodes = {node["NodeID"]: node for node in ray.nodes()}
    assert set(nodes) == {first, second} and all(node["Alive"] for node in nodes.values())
    assert nodes[first]["Resources"]["CPU"] == 2 and nodes[second]["Resources"]["GPU"] == 2
    assert nodes[first]["Labels"] == {"zone": "a", "ray.io/node-id": first}
    assert ray.cluster_resources()["CPU"] == 5 and ray.cluster_resources()["pin"] == 1
    assert ray.get_runtime_context().get_node_id() == first
    assert ray.get(where.options(resources={"pin": 1}).remote(), timeout=SOON) == second


def test_a_node_is_filled_to_one_half_before_the_next_one_is_used(cluster):
    first, second = connect(cluster, {"num_cpus": 4}, {"num_cpus": 4})
    homes = [Home.options(num_cpus=1).remote() for _ in range(4)]
    places = ray.get([home.where.remote() for home in homes], timeout=SOON)
    assert places == [first, first, second, second]


def test_work_without_gpus_leaves_nodes_with_gpus_alone(cluster):
    gpus, plain = connect(cluster, {"num_cpus": 2, "num_gpus": 1}, {"num_cpus": 2})
    homes = [Home.options(num_cpus=1).remote() for _ in range(3)]
    assert ray.get([home.where.remote() for home in homes], timeout=SOON) == [plain, plain, gpus]


def test_spread_goes_round(cluster):
    nodes = connect(cluster, {"num_cpus": 2}, {"num_cpus": 2}, {"num_cpus": 2})
    homes = [Home.options(scheduling_strategy="SPREAD", num_cpus=1).remote() for _ in range(6)]
    places = ray.get([home.where.remote() for home in homes], timeout=SOON)
    assert sorted(places) == sorted(nodes * 2)
    del homes
    wait_until(lambda: ray.available_resources().get("CPU") == 6)
    spread = where.options(scheduling_strategy="SPREAD")
    assert {ray.get(spread.remote(), timeout=SOON) for _ in range(6)} == set(nodes)


@pytest.mark.park_only
def test_what_is_left_of_each_node(cluster):
    first, second = connect(cluster, {"num_cpus": 1}, {"num_cpus": 2})
    home = Home.options(num_cpus=1).remote()
    assert ray.get(home.where.remote(), timeout=SOON) == first
    left = ray.session.available_resources_per_node()
    assert list(left) == [first, second] and "CPU" not in left[first] and left[second]["CPU"] == 2


def test_what_no_single_node_has_waits_until_one_has(cluster, capfd):
    connect(cluster, {"num_cpus": 2}, {"num_cpus": 2})
    task = where.options(num_cpus=3).remote()
    actor = Home.options(num_cpus=4).remote()
    place = actor.where.remote()
    assert ray.wait([task, place], timeout=IN_VAIN)[0] == []
    warned = capfd.readouterr().err
    assert "No available node types can fulfill resource request {'CPU': 3.0}" in warned
    assert warned.count("{'CPU': 4.0}") == 1
    large = cluster.add_node(num_cpus=7)
    assert ray.get([task, place], timeout=SOON) == [large.node_id] * 2


def test_label_selectors(cluster):
    a, b, c = connect(
        cluster,
        {"labels": {"kind": "A100", "region": "west"}},
        {"labels": {"kind": "B200", "market": "spot"}},
        {"labels": {"kind": "TPU", "region": "east", "market": "on-demand"}},
    )

    def place(**options):
        # Without CPUs, so that a worker that has only just finished is in nobody's way.
        return ray.get(where.options(num_cpus=0, **options).remote(), timeout=SOON)

    assert place(label_selector={"kind": "A100"}) == a
    assert place(label_selector={"kind": "!A100", "market": "spot"}) == b
    assert place(label_selector={"region": "in(east, north)"}) == c
    assert place(label_selector={"kind": "!in(A100)", "region": "!in(east, west)"}) == b
    none = {"kind": "none"}
    fallbacks = [{"label_selector": {"kind": "neither"}}, {"label_selector": {"kind": "TPU"}}]
    assert place(label_selector=none, fallback_strategy=fallbacks) == c
    assert place(label_selector={"kind": "B200"}, fallback_strategy=fallbacks) == b
    assert place(label_selector=none, fallback_strategy=[{"label_selector": {}}]) in (a, b, c)
    home = Home.options(label_selector={"kind": "TPU"}).remote()
    assert ray.get(home.where.remote(), timeout=SOON) == c

    waits = where.options(label_selector=none).remote()
    assert ray.wait([waits], timeout=IN_VAIN)[0] == []
    late = cluster.add_node(labels=none)
    assert ray.get(waits, timeout=SOON) == late.node_id


def test_node_label_strategies(cluster):
    a, b, c = connect(cluster, {"labels": {"gpu": "A100", "zone": "1"}}, {"labels": {"gpu": "T100", "zone": "1"}}, {})

    def places(hard, soft=None):
        strategy = NodeLabelSchedulingStrategy(hard, soft=soft)
        task = where.options(num_cpus=0, scheduling_strategy=strategy)
        return {ray.get(task.remote(), timeout=SOON) for _ in range(3)}

    assert places({"gpu": In("A100")}) == {a}
    assert places({"ray.io/node-id": In(c)}) == {c}
    assert places({"gpu": DoesNotExist()}) == {c}
    assert places({"gpu": Exists()}) <= {a, b}
    assert places({"gpu": NotIn("A100", "T100")}) == {c}
    assert places({"zone": In("1")}, {"gpu": In("T100")}) == {b}
    assert places({"zone": In("1")}, {"gpu": In("H100")}) <= {a, b}
    assert places({}, {"gpu": DoesNotExist()}) == {c}
    with pytest.raises(GetTimeoutError):
        strategy = NodeLabelSchedulingStrategy({"gpu": In("H100")}, soft={"zone": Exists()})
        ray.get(where.options(scheduling_strategy=strategy).remote(), timeout=IN_VAIN)


def test_node_affinity(cluster):
    first, second = connect(cluster, {"num_cpus": 1}, {"num_cpus": 1, "resources": {"pin": 1}})
    nobody = "ab" * 28

    def on(node, soft=False, **more):
        return NodeAffinitySchedulingStrategy(node, soft, **more)

    def place(strategy, **options):
        return ray.get(where.options(scheduling_strategy=strategy, **options).remote(), timeout=SOON)

    assert [place(on(node)) for node in (second, first, second)] == [second, first, second]
    assert place(on(nobody, soft=True)) in (first, second)
    assert place(on(first, soft=True), resources={"pin": 1}) == second
    for strategy, options in ((on(nobody), {}), (on(first), {"resources": {"pin": 1}})):
        with pytest.raises(TaskUnschedulableError, match="The task is not schedulable"):
            place(strategy, **options)
        with pytest.raises(ActorUnschedulableError, match="The actor is not schedulable"):
            ray.get(Home.options(scheduling_strategy=strategy, **options).remote().where.remote(), timeout=SOON)
    with pytest.raises(TaskUnschedulableError):
        ray.get(where.options(label_selector={"ray.io/node-id": nobody}).remote(), timeout=SOON)

    tenant = Home.options(num_cpus=1, scheduling_strategy=on(second)).remote()
    assert ray.get(tenant.where.remote(), timeout=SOON) == second
    waits = where.options(scheduling_strategy=on(second, soft=True)).remote()
    assert place(on(second, soft=True, _spill_on_unavailable=True)) == first
    with pytest.raises(TaskUnschedulableError):
        place(on(second, _fail_on_unavailable=True))
    assert ray.wait([waits], timeout=IN_VAIN)[0] == []
    ray.kill(tenant)
    assert ray.get(waits, timeout=SOON) == second


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: NodeAffinitySchedulingStrategy("zz", soft=True), "Invalid node_id 'zz'"),
        (lambda: NodeAffinitySchedulingStrategy("ab" * 28, False, _spill_on_unavailable=True), "_spill_on_unavailable cannot"),
        (lambda: NodeAffinitySchedulingStrategy("ab" * 28, True, _fail_on_unavailable=True), "_fail_on_unavailable cannot"),
        (lambda: NodeLabelSchedulingStrategy({}), "cannot both be empty"),
        (lambda: NodeLabelSchedulingStrategy({"a": "b"}), "must be one of the `In`"),
        (lambda: NodeLabelSchedulingStrategy({1: Exists()}), "must be of type str"),
        (lambda: NodeLabelSchedulingStrategy("a"), "must be a map"),
        (lambda: In(), "must be a non-empty tuple"),
        (lambda: NotIn("a", 3), "position 1 for the NotIn operator"),
        (lambda: where.options(scheduling_strategy="XXX"), "Invalid scheduling_strategy value XXX"),
        (lambda: where.options(label_selector={"a": "-b"}), "Invalid label selector value `-b`"),
        (lambda: where.options(label_selector={"a b": "b"}), "Invalid label key name `a b`"),
        (lambda: where.options(fallback_strategy=[{}]), "Empty dictionary found"),
        (lambda: where.options(fallback_strategy=[{"num_cpus": 1}]), "Unsupported option found: 'num_cpus'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_refusals(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_removed_node_takes_what_runs_there_with_it(cluster, tmp_path):
    connect(cluster, {"num_cpus": 1})
    victim = cluster.add_node(num_cpus=4, resources={"pin": 4})
    mortal = Home.options(resources={"pin": 1}, num_cpus=0).remote()
    phoenix = Home.options(resources={"pin": 0.5}, num_cpus=0, max_restarts=1, max_task_retries=1).remote()
    assert ray.get([mortal.where.remote(), phoenix.where.remote()], timeout=SOON) == [victim.node_id] * 2
    assert {row.node_id for row in state.list_actors()} == {victim.node_id}
    running = tmp_path / "running"

    @ray.remote(max_retries=1, scheduling_strategy=NodeAffinitySchedulingStrategy(victim.node_id, soft=True))
    def moves():
        if ray.get_runtime_context().get_node_id() == victim.node_id:
            running.touch()
            time.sleep(60)
        return ray.get_runtime_context().get_node_id()

    moved = moves.remote()
    wait_until(running.exists)
    (row,) = state.list_tasks(filters=[("state", "=", "RUNNING")])
    assert row.node_id == victim.node_id
    assert victim.node_id in {worker.node_id for worker in state.list_workers()}
    cluster.remove_node(victim)
    assert ray.get(moved, timeout=SOON) == cluster.head_node.node_id
    with pytest.raises(ray.exceptions.ActorDiedError, match="its node has died"):
        ray.get(mortal.where.remote(), timeout=SOON)
    assert [node["Alive"] for node in ray.nodes()] == [True, False]
    assert "pin" not in ray.cluster_resources()
    place = phoenix.where.remote()
    assert ray.wait([place], timeout=IN_VAIN)[0] == []
    other = cluster.add_node(num_cpus=1, resources={"pin": 1})
    assert ray.get(place, timeout=SOON) == other.node_id
    wait_until(lambda: ray.available_resources().get("pin") == 0.5)


def test_a_cluster_can_be_connected_to_again(cluster):
    connect(cluster, {"num_cpus": 2}, {"num_cpus": 1})
    ray.shutdown()
    assert not ray.is_initialized()
    ray.init(address="auto")
    assert ray.cluster_resources()["CPU"] == 3 and ray.get(where.remote(), timeout=SOON) == cluster.head_node.node_id
    with pytest.raises(ValueError, match="not allowed"):
        cluster.remove_node(cluster.head_node)
    with pytest.raises(ValueError, match="must not be provided"):
        ray.init(address=cluster.address, num_cpus=1)


def test_nodes_are_told_apart_by_their_sockets(cluster):
    first, second = (cluster.add_node(num_cpus=1) for _ in range(2))
    ray.init(address=cluster.address)
    by_socket = {node["ObjectStoreSocketName"]: node["NodeID"] for node in ray.nodes()}
    assert by_socket[first.address_info["object_store_address"]] == first.node_id
    assert by_socket[second.address_info["object_store_address"]] == second.node_id
    assert {node["RayletSocketName"] for node in ray.nodes()} == {
        node.address_info["raylet_socket_name"] for node in (first, second)
    }


def test_a_pool_connects_to_what_is_there(cluster, monkeypatch):
    cluster.add_node(num_cpus=1)
    with Pool(ray_address=cluster.address) as pool:
        assert pool.map(abs, [-2]) == [2] and ray.cluster_resources()["CPU"] == 1
    pool.join()
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with pytest.raises(ValueError, match="only 1 CPUs"):
        Pool(2)
    assert ray.cluster_resources()["CPU"] == 1
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with Pool(2) as pool:
        assert pool.map(abs, [-2]) == [2] and ray.cluster_resources()["CPU"] == 2
    pool.join()


def test_labels_that_the_environment_gives_a_node(fresh, monkeypatch):
    monkeypatch.setenv("RAY_NODE_MARKET_TYPE", "spot")
    monkeypatch.setenv("RAY_NODE_TYPE_NAME", "big")
    monkeypatch.setenv("RAY_NODE_REGION", "north")
    monkeypatch.setenv("RAY_NODE_ZONE", "north-b")
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v4-16")
    fresh(num_cpus=1, resources={"TPU": 4})
    found = ray.nodes()[0]["Labels"]
    assert found["ray.io/market-type"] == "spot" and found["ray.io/node-group"] == "big"
    assert found["ray.io/availability-region"] == "north" and found["ray.io/availability-zone"] == "north-b"
    assert found["ray.io/accelerator-type"] == "TPU-V4"


def test_labels_of_the_one_node(fresh):
    fresh(num_cpus=1, labels={"zone": "a", "own/key": "b"})
    assert ray.nodes()[0]["Labels"].items() >= {"zone": "a", "own/key": "b"}.items()
    assert ray.get(where.options(label_selector={"zone": "a"}).remote(), timeout=SOON) == ray.nodes()[0]["NodeID"]
    ray.shutdown()
    for labels in ({"-": "a"}, {"a": "-"}):
        with pytest.raises(ValueError, match="Invalid label"):
            fresh(num_cpus=1, labels=labels)
        with contextlib.suppress(Exception):
            ray.shutdown()
