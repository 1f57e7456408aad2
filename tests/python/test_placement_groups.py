"""Placement groups: where bundles lie, when they are reserved, what may run in them, and how they end."""

import os
import time

import park as ray
import pytest
from helpers import SOON, wait_until
from park.cluster_utils import Cluster
from park.exceptions import (
    ActorDiedError,
    ActorPlacementGroupRemoved,
    GetTimeoutError,
    RaySystemError,
    TaskPlacementGroupRemoved,
    WorkerCrashedError,
)
from park.util import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from park.util.scheduling_strategies import PlacementGroupSchedulingStrategy

IN_VAIN = 0.7


@ray.remote
def where():
    return ray.get_runtime_context().get_node_id()


@ray.remote
def current():
    return get_current_placement_group()


@ray.remote
class Home:
    def where(self):
        return ray.get_runtime_context().get_node_id()

    def pid(self):
        return os.getpid()

    def current(self, **options):
        return ray.get(current.options(num_cpus=0, **options).remote())


@pytest.fixture
def cluster(fresh):
    made = Cluster()
    yield made
    made.shutdown()


def connect(cluster, *nodes):
    added = [cluster.add_node(**node) for node in nodes]
    ray.init(address=cluster.address)
    return [node.node_id for node in added]


def inside(group, index=-1, **more):
    return PlacementGroupSchedulingStrategy(group, index, **more)


def nodes_of(group):
    assert group.wait(SOON)
    return list(placement_group_table(group)["bundles_to_node_id"].values())


def test_the_life_of_a_group(fresh):
    fresh(num_cpus=4)
    group = placement_group([{"CPU": 2}, {"CPU": 1}], name="mine")
    assert group.bundle_specs == [{"CPU": 2.0}, {"CPU": 1.0}] and group.bundle_count == 2
    again = ray.get(group.ready(), timeout=SOON)
    assert again == group and hash(again) == hash(group) and again.bundle_specs == group.bundle_specs
    table = placement_group_table(group)
    assert table["state"] == "CREATED" and table["strategy"] == "PACK" and table["name"] == "mine"
    assert table["bundles"] == {0: {"CPU": 2.0}, 1: {"CPU": 1.0}}
    assert placement_group_table()[group.id.hex()] == table
    assert table["stats"]["scheduling_state"] == "FINISHED"
    free = ray.available_resources()
    assert free["CPU"] == 1 and free[f"CPU_group_{group.id.hex()}"] == 3 and free[f"CPU_group_0_{group.id.hex()}"] == 2
    assert free[f"bundle_group_{group.id.hex()}"] == 2000
    assert ray.get(where.options(num_cpus=2, scheduling_strategy=inside(group, 0)).remote(), timeout=SOON)
    remove_placement_group(group)
    assert placement_group_table(group)["state"] == "REMOVED"
    wait_until(lambda: ray.available_resources()["CPU"] == 4)
    assert not any("group" in name for name in ray.available_resources())
    with pytest.raises(TaskPlacementGroupRemoved, match="has been removed"):
        ray.get(group.ready(), timeout=SOON)
    with pytest.raises(TaskPlacementGroupRemoved):
        group.wait(SOON)
    remove_placement_group(group)


def test_layouts(cluster):
    a, b = connect(cluster, {"num_cpus": 4}, {"num_cpus": 4})
    two = [{"CPU": 2}, {"CPU": 2}]
    for strategy, distinct in (("PACK", 1), ("STRICT_PACK", 1), ("SPREAD", 2), ("STRICT_SPREAD", 2)):
        group = placement_group(two, strategy=strategy)
        nodes = nodes_of(group)
        assert len(set(nodes)) == distinct
        for index, node in enumerate(nodes):
            task = where.options(num_cpus=2, scheduling_strategy=inside(group, index))
            assert ray.get(task.remote(), timeout=SOON) == node
        remove_placement_group(group)
        wait_until(lambda: ray.available_resources().get("CPU") == 8)
    assert nodes_of(placement_group([{"CPU": 1}], strategy="STRICT_PACK", _soft_target_node_id=b)) == [b]
    assert nodes_of(placement_group([{"CPU": 1}], strategy="STRICT_PACK", _soft_target_node_id="ab" * 28))[0] in (a, b)


def test_strict_layouts_wait_for_nodes_that_can_take_them(cluster):
    connect(cluster, {"num_cpus": 4})
    packed = placement_group([{"CPU": 3}, {"CPU": 3}], strategy="STRICT_PACK")
    spread = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    assert not packed.wait(IN_VAIN) and not spread.wait(0)
    stats = placement_group_table(packed)
    assert stats["state"] == "PENDING" and stats["bundles_to_node_id"] == {0: "", 1: ""}
    assert stats["stats"]["scheduling_state"] == "NO_RESOURCES"
    nowhere = placement_group([{"CPU": 5}])
    assert not nowhere.wait(0)
    assert placement_group_table(nowhere)["stats"]["scheduling_state"] == "INFEASIBLE"
    cluster.add_node(num_cpus=6)
    assert packed.wait(SOON)
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    assert spread.wait(SOON)


def test_bundles_choose_their_nodes_by_label(cluster):
    east, west = connect(cluster, {"num_cpus": 4, "labels": {"r": "east"}}, {"num_cpus": 4, "labels": {"r": "west"}})
    both = placement_group([{"CPU": 1}] * 2, bundle_label_selector=[{"r": "west"}, {"r": "east"}])
    assert nodes_of(both) == [west, east]
    torn = placement_group([{"CPU": 1}] * 2, "STRICT_PACK", bundle_label_selector=[{"r": "west"}, {"r": "east"}])
    assert not torn.wait(IN_VAIN)
    many = placement_group([{"CPU": 3}] * 2, bundle_label_selector=[{"r": "west"}] * 2)
    assert not many.wait(IN_VAIN)


def test_a_group_is_reserved_as_a_whole_or_not_at_all(fresh):
    fresh(num_cpus=4)
    tenant = Home.options(num_cpus=2).remote()
    ray.get(tenant.pid.remote(), timeout=SOON)
    group = placement_group([{"CPU": 1}, {"CPU": 2}])
    early = where.options(num_cpus=1, scheduling_strategy=inside(group, 0)).remote()
    assert ray.wait([group.ready(), early], timeout=IN_VAIN)[0] == []
    assert placement_group_table(group)["stats"]["scheduling_state"] == "NO_RESOURCES"
    assert ray.available_resources()["CPU"] == 2
    ray.kill(tenant)
    assert ray.get([group.ready(), early], timeout=SOON)[0] == group


def test_a_group_gets_its_turn_under_a_stream_of_tasks(fresh):
    fresh(num_cpus=2)

    @ray.remote
    def short():
        time.sleep(0.01)

    ahead = [short.remote() for _ in range(300)]
    group = placement_group([{"CPU": 2}])
    assert group.wait(SOON)
    assert len(ray.wait(ahead, num_returns=len(ahead), timeout=0)[1]) > 100
    remove_placement_group(group)
    ray.get(ahead, timeout=SOON)


def test_bundles_limit_what_runs_in_them(fresh):
    fresh(num_cpus=4)
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    first = Home.options(num_cpus=1, scheduling_strategy=inside(group, 1)).remote()
    ray.get(first.pid.remote(), timeout=SOON)
    taken = where.options(scheduling_strategy=inside(group, 1)).remote()
    assert ray.get(where.options(scheduling_strategy=inside(group)).remote(), timeout=SOON)
    assert ray.wait([taken], timeout=IN_VAIN)[0] == []
    idle = [Home.options(scheduling_strategy=inside(group)).remote() for _ in range(3)]
    ray.get([one.pid.remote() for one in idle], timeout=SOON)
    ray.kill(first)
    ray.get(taken, timeout=SOON)


@pytest.mark.filterwarnings("default:placement_group")
def test_what_fits_no_bundle_is_refused(fresh):
    fresh(num_cpus=2, resources={"a": 2})
    group = placement_group([{"a": 1}])
    for options in ({}, {"num_cpus": 1}):
        with pytest.raises(ValueError, match="cannot fit into any bundles"):
            where.options(scheduling_strategy=inside(group), **options).remote()
    with pytest.raises(ValueError, match="the actor requires 1 CPU for creation"):
        Home.options(scheduling_strategy=inside(group)).remote()
    with pytest.raises(ValueError, match="cannot fit into any bundles"):
        Home.options(num_cpus=0, resources={"a": 2}, scheduling_strategy=inside(group)).remote()
    home = Home.options(num_cpus=0, resources={"a": 1}, scheduling_strategy=inside(group)).remote()
    ray.get(home.pid.remote(), timeout=SOON)
    for index in (1, -2):
        with pytest.raises(ValueError, match=f"bundle index {index} is invalid"):
            where.options(num_cpus=0, scheduling_strategy=inside(group, index)).remote()
    with pytest.raises(ValueError, match="bundle index must be -1"):
        where.options(placement_group_bundle_index=0).remote()


@pytest.mark.filterwarnings("default:placement_group")
def test_groups_in_tasks_and_captured_work(fresh):
    fresh(num_cpus=4)
    assert get_current_placement_group() is None
    group = placement_group([{"CPU": 2}])
    home = Home.options(scheduling_strategy=inside(group, placement_group_capture_child_tasks=True)).remote()
    other = Home.options(scheduling_strategy=inside(group)).remote()
    assert ray.get(home.current.remote(), timeout=SOON) == group
    assert ray.get(home.current.remote(scheduling_strategy="DEFAULT"), timeout=SOON) is None
    assert ray.get(home.current.remote(scheduling_strategy=inside(None)), timeout=SOON) is None
    assert ray.get(home.current.remote(placement_group=None), timeout=SOON) is None
    assert ray.get(other.current.remote(), timeout=SOON) is None
    assert ray.get(current.options(num_cpus=0, scheduling_strategy=inside(group)).remote(), timeout=SOON) == group

    @ray.remote(num_cpus=0)
    def makes():
        made = placement_group([{"CPU": 1}], name="made")
        return made, [made.ready()]

    made, ready = ray.get(makes.remote(), timeout=SOON)
    assert ray.get(ready[0], timeout=SOON) == made == get_placement_group("made")
    assert get_placement_group("made").bundle_specs == [{"CPU": 1.0}]


@pytest.mark.filterwarnings("default:placement_group")
def test_the_deprecated_options_still_work(fresh):
    with pytest.raises(ValueError, match="must be a placement group"):
        current.options(placement_group="group")
    fresh(num_cpus=2)
    group = placement_group([{"CPU": 1}])
    with pytest.warns(DeprecationWarning, match="placement_group parameter is deprecated"):
        reference = current.options(placement_group=group, placement_group_bundle_index=0).remote()
    assert ray.get(reference, timeout=SOON) == group
    with pytest.raises(ValueError, match="should be specified via the scheduling_strategy option"):
        current.options(placement_group=group, scheduling_strategy="SPREAD")


def test_removing_a_group_ends_what_is_in_it(fresh, tmp_path):
    fresh(num_cpus=4)
    group = placement_group([{"CPU": 2}])
    running = tmp_path / "running"

    @ray.remote
    def sleeps():
        running.touch()
        time.sleep(60)

    home = Home.options(num_cpus=1, scheduling_strategy=inside(group), max_restarts=-1).remote()
    ray.get(home.pid.remote(), timeout=SOON)
    there = sleeps.options(scheduling_strategy=inside(group)).remote()
    wait_until(running.exists)
    queued = where.options(scheduling_strategy=inside(group)).remote()
    late = Home.options(num_cpus=2, scheduling_strategy=inside(group)).remote()
    answer = late.pid.remote()
    remove_placement_group(group)
    for task in (there, queued, where.options(scheduling_strategy=inside(group)).remote()):
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(task, timeout=SOON)
    with pytest.raises(ActorDiedError, match="its placement group was removed"):
        ray.get(home.pid.remote(), timeout=SOON)
    with pytest.raises(ActorPlacementGroupRemoved):
        ray.get(answer, timeout=SOON)
    wait_until(lambda: ray.available_resources().get("CPU") == 4)
    assert ray.get(where.options(num_cpus=4).remote(), timeout=SOON)


def test_a_task_that_may_not_run_again_dies_with_its_group(fresh, tmp_path):
    fresh(num_cpus=2)
    group = placement_group([{"CPU": 1}])
    running = tmp_path / "running"

    @ray.remote(max_retries=0)
    def sleeps():
        running.touch()
        for _ in range(600):
            time.sleep(0.1)

    there = sleeps.options(scheduling_strategy=inside(group)).remote()
    wait_until(running.exists)
    queued = sleeps.options(scheduling_strategy=inside(group)).remote()
    remove_placement_group(group)
    with pytest.raises(WorkerCrashedError, match="its placement group was removed"):
        ray.get(there, timeout=SOON)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(queued, timeout=SOON)


def test_bundles_that_share_a_label(cluster):
    """Of racks whose GPUs are linked, all bundles lie on one; what lost a node waits for that rack until nothing lies there any more."""
    linked = {"ray.io/accelerator-type": "GB300"}
    first, second = ({**linked, "ray.io/gpu-domain": rack} for rack in ("rack-1", "rack-2"))
    cluster.add_node(num_cpus=0)
    cluster.add_node(num_cpus=4)
    ray.init(address=cluster.address)
    old = [cluster.add_node(num_cpus=1, labels=first) for _ in range(2)]
    group = placement_group([{"CPU": 1}] * 2, bundle_label_selector=[linked] * 2)
    assert set(nodes_of(group)) == {node.node_id for node in old}
    new = [cluster.add_node(num_cpus=1, labels=second) for _ in range(2)]
    cluster.remove_node(old[0])
    with pytest.raises(GetTimeoutError):
        ray.get(group.ready(), timeout=IN_VAIN)
    assert placement_group_table(group)["state"] == "RESCHEDULING"
    cluster.remove_node(old[1])
    assert set(nodes_of(group)) == {node.node_id for node in new}


def test_a_topology_is_a_label_that_nodes_have_in_common(cluster):
    for rack in ("a", "b", "b"):
        cluster.add_node(num_cpus=1, labels={"rack": rack})
    ray.init(address=cluster.address)
    group = placement_group([{"CPU": 1}] * 2, topology_strategy={"rack": "STRICT_PACK", "ray.io/node-id": "SPREAD"})
    labels = {node["NodeID"]: node["Labels"].get("rack") for node in ray.nodes()}
    assert [labels[node] for node in nodes_of(group)] == ["b", "b"]
    other = placement_group([{"CPU": 1}] * 2, topology_strategy={"no-such-label": "STRICT_PACK"})
    assert not other.wait(IN_VAIN)
    for wrong, text in (
        ({"rack": "SPREAD"}, "only 'STRICT_PACK' is supported"),
        ({"rack": "STRICT_PACK", "row": "STRICT_PACK"}, "at most one topology label"),
        ({"": "STRICT_PACK"}, "non-empty strings"),
    ):
        with pytest.raises(ValueError, match=text):
            placement_group([{"CPU": 1}], topology_strategy=wrong)
    with pytest.raises(ValueError, match="GPU-domain scheduling requires all bundles"):
        placement_group([{"CPU": 1}] * 2, bundle_label_selector=[{"ray.io/accelerator-type": "GB200"}, {}])


def test_a_pending_group_can_be_removed(fresh):
    fresh(num_cpus=1)
    group = placement_group([{"CPU": 2}])
    ready = group.ready()
    remove_placement_group(group)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(ready, timeout=SOON)


def test_a_group_of_another_session_is_gone(fresh):
    fresh(num_cpus=1)
    old = placement_group([{"CPU": 1}])
    ray.shutdown()
    fresh(num_cpus=1)
    assert placement_group_table(old) == {}
    remove_placement_group(old)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(old.ready(), timeout=SOON)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(where.options(scheduling_strategy=inside(old)).remote(), timeout=SOON)


def test_names_are_unique_until_removal(fresh):
    fresh(num_cpus=1)
    group = placement_group([{"CPU": 1}], name="one")
    with pytest.raises(RaySystemError, match="one"):
        placement_group([{"CPU": 1}], name="one")
    assert get_placement_group("one") == group
    remove_placement_group(group)
    with pytest.raises(ValueError, match="Failed to look up placement group with name: one"):
        get_placement_group("one")
    assert placement_group([{"CPU": 1}], name="one").wait(SOON)
    with pytest.raises(ValueError, match="non-empty"):
        get_placement_group("")


def test_groups_end_with_the_actor_that_made_them(fresh):
    fresh(num_cpus=4)

    @ray.remote(num_cpus=0)
    class Maker:
        def make(self, **options):
            made = placement_group([{"CPU": 1}], **options)
            ray.get(made.ready())
            return made

    maker = Maker.remote()
    mortal = ray.get(maker.make.remote(), timeout=SOON)
    detached = ray.get(maker.make.remote(lifetime="detached"), timeout=SOON)
    ray.kill(maker)
    wait_until(lambda: placement_group_table(mortal)["state"] == "REMOVED")
    assert placement_group_table(detached)["state"] == "CREATED"


def test_bundles_of_a_removed_node_are_reserved_again(cluster):
    connect(cluster, {"num_cpus": 2})
    victim = cluster.add_node(num_cpus=2)
    group = placement_group([{"CPU": 2}, {"CPU": 2}], strategy="STRICT_SPREAD")
    first, second = nodes_of(group)
    index = [first, second].index(victim.node_id)
    cluster.remove_node(victim)
    table = placement_group_table(group)
    assert table["state"] == "RESCHEDULING" and table["bundles_to_node_id"][index] == ""
    waits = where.options(scheduling_strategy=inside(group, index)).remote()
    assert ray.get(where.options(scheduling_strategy=inside(group, 1 - index)).remote(), timeout=SOON)
    assert ray.wait([waits], timeout=IN_VAIN)[0] == []
    other = cluster.add_node(num_cpus=2)
    assert ray.get(waits, timeout=SOON) == other.node_id
    assert placement_group_table(group)["state"] == "CREATED"


@pytest.mark.process_only("environment variables belong to the process")
def test_gpus_of_bundles_are_apart(fresh, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fresh(num_cpus=4, num_gpus=4)

    @ray.remote(num_cpus=0, num_gpus=1)
    class Holder:
        def seen(self):
            return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

    group = placement_group([{"GPU": 1}] * 3)
    holders = [Holder.options(scheduling_strategy=inside(group, index)).remote() for index in (0, 2, 1)]
    found = ray.get([holder.seen.remote() for holder in holders], timeout=SOON)
    assert sorted(ids for ids, _ in found) == [[0], [1], [2]]
    assert all(names == str(ids[0]) for ids, names in found)
    assert ray.get(Holder.remote().seen.remote(), timeout=SOON) == ([3], "3")


def test_many_groups_come_and_go(fresh):
    fresh(num_cpus=2)
    for _ in range(300):
        group = placement_group([{"CPU": 1}])
        assert group.wait(SOON)
        remove_placement_group(group)
    waiting = [placement_group([{"CPU": 1}]) for _ in range(40)]
    for group in waiting:
        ray.get(where.options(scheduling_strategy=inside(group)).remote(), timeout=SOON)
        remove_placement_group(group)
    wait_until(lambda: ray.available_resources()["CPU"] == 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"bundles": "no list"}, "must be a list"),
        ({"bundles": []}, "must be a non-empty list"),
        ({"bundles": [{"CPU": 1}, "no dict"]}, "resource dictionaries"),
        ({"bundles": [{"CPU": "6"}]}, "resource dictionaries"),
        ({"bundles": [{"CPU": 0}]}, "only 0 values"),
        ({"bundles": [{"bundle": 1}]}, "reserved"),
        ({"bundles": [{"CPU": 1}], "strategy": "HEAP"}, "Invalid placement group strategy HEAP"),
        ({"bundles": [{"CPU": 1}], "lifetime": "long"}, "`lifetime` argument must be"),
        ({"bundles": [{"CPU": 1}], "_soft_target_node_id": "ab" * 28}, "only works with STRICT_PACK"),
        ({"bundles": [{"CPU": 1}], "bundle_label_selector": []}, "should equal the length"),
        ({"bundles": [{"CPU": 1}], "bundle_label_selector": [{"a": "-"}]}, "Invalid label selector provided"),
        ({"bundles": [{"CPU": 1}], "bundle_label_selector": [{"a": 1}]}, "must be a list of string dictionary"),
    ],
    ids=str,
)  # fmt: skip
def test_refusals(fresh, arguments, text):
    fresh(num_cpus=1)
    with pytest.raises(ValueError, match=text):
        placement_group(**arguments)


def test_a_session_is_needed(fresh):
    for call in (placement_group, lambda _: placement_group_table()):
        with pytest.raises(RaySystemError):
            call([{"CPU": 1}])
    with pytest.raises(GetTimeoutError):
        fresh(num_cpus=1)
        ray.get(placement_group([{"CPU": 2}]).ready(), timeout=0.1)
