"""GPUs: which devices work gets, in numbers and in CUDA_VISIBLE_DEVICES. None is needed: what `num_gpus` says is believed."""

import os

import park as ray
import pytest
from helpers import SOON, wait_until
from park import machine


@ray.remote
def seen():
    return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")


@ray.remote
class Holder:
    def __init__(self):
        self.at_birth = ray.get_gpu_ids()

    def seen(self):
        return self.at_birth, ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def held(holders):
    return [value[1] for value in ray.get([holder.seen.remote() for holder in holders], timeout=SOON)]


@pytest.mark.process_only("environment variables belong to the process")
def test_each_gets_devices_of_its_own(fresh):
    fresh(num_cpus=4, num_gpus=4)
    assert ray.get_gpu_ids() == []
    assert ray.get(seen.remote(), timeout=SOON) == ([], None)
    pair = Holder.options(num_gpus=2).remote()
    assert ray.get(pair.seen.remote(), timeout=SOON) == ([0, 1], [0, 1], "0,1")
    single = Holder.options(num_gpus=1).remote()
    assert held([single]) == [[2]]
    assert ray.get(seen.options(num_gpus=1).remote(), timeout=SOON) == ([3], "3")
    third = Holder.options(num_gpus=2).remote()
    assert ray.wait([third.seen.remote()], timeout=0.3)[0] == []
    ray.kill(single)
    assert held([third]) == [[2, 3]]


@pytest.mark.process_only("environment variables belong to the process")
def test_a_worker_that_had_a_gpu_has_none_afterwards(fresh):
    fresh(num_cpus=1, num_gpus=1)
    assert ray.get(seen.options(num_gpus=1).remote(), timeout=SOON) == ([0], "0")
    assert ray.get(seen.remote(), timeout=SOON) == ([], None)


@pytest.mark.process_only("environment variables belong to the process")
def test_fractions_share_a_device(fresh):
    fresh(num_cpus=8, num_gpus=2)
    halves = [Holder.options(num_gpus=0.5, num_cpus=0).remote() for _ in range(3)]
    devices = sorted(one for ids in held(halves) for one in ids)
    assert devices in ([0, 0, 1], [0, 1, 1])
    large = Holder.options(num_gpus=0.6, num_cpus=0).remote()
    assert ray.wait([large.seen.remote()], timeout=0.3)[0] == []
    wait_until(lambda: ray.available_resources()["GPU"] == 0.5)
    small = Holder.options(num_gpus=0.5, num_cpus=0).remote()
    assert sorted(one for ids in held([*halves, small]) for one in ids) == [0, 0, 1, 1]


@pytest.mark.process_only("environment variables belong to the process")
def test_names_of_devices_are_kept_if_they_were_given(fresh, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    fresh(num_cpus=2)
    assert ray.cluster_resources()["GPU"] == 2
    first, second = Holder.options(num_gpus=1).remote(), Holder.options(num_gpus=1).remote()
    assert held([first, second]) == [["3"], ["GPU-abc"]]
    assert ray.get(seen.options(num_cpus=0).remote(), timeout=SOON) == ([], "3,GPU-abc")


def test_more_than_one_is_a_whole_number():
    for amount in (1.5, 2.25):
        with pytest.raises(ValueError, match="GPU resource quantities >1 must be whole numbers"):
            seen.options(num_gpus=amount).remote()


def test_the_environment_overrides_what_a_node_has(fresh, monkeypatch):
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 3, "GPU": 2, "widget": 5}')
    fresh(num_cpus=1, resources={"widget": 1, "gadget": 1})
    assert {name: ray.cluster_resources()[name] for name in ("CPU", "GPU", "widget", "gadget")} == {
        "CPU": 3, "GPU": 2, "widget": 5, "gadget": 1,
    }  # fmt: skip


def test_an_accelerator_type_is_a_resource(fresh, monkeypatch):
    fresh(num_cpus=1, num_gpus=1, resources={"accelerator_type:H100": 1})
    assert ray.get(seen.options(accelerator_type="H100").remote(), timeout=SOON) == ([], None)
    assert ray.wait([seen.options(accelerator_type="A100").remote()], timeout=0.3)[0] == []


@pytest.mark.parametrize(
    ("model", "kind"),
    [("NVIDIA H100 80GB HBM3", "H100"), ("Tesla V100-SXM2-16GB", "V100"), ("NVIDIA GeForce RTX 5090", "GeForce-RTX-5090")],
)  # fmt: skip
def test_the_type_of_a_gpu_is_read_from_its_model(tmp_path, model, kind):
    folder = tmp_path / "0000:01:00.0"
    folder.mkdir()
    (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 12\n")
    assert machine.gpu_type(str(tmp_path)) == kind


def test_no_gpus_no_type(tmp_path):
    assert machine.gpu_type(str(tmp_path)) is None
    assert machine.gpu_type(str(tmp_path / "missing")) is None


@pytest.mark.process_only("looks at processes and their environment")
def test_work_without_a_gpu_shares_no_process_with_work_that_has_one(fresh):
    fresh(num_cpus=1, num_gpus=1)

    @ray.remote
    def pid():
        return os.getpid()

    without = ray.get(pid.remote(), timeout=SOON)
    with_gpu = ray.get(pid.options(num_gpus=1).remote(), timeout=SOON)
    assert with_gpu != without
    # Each kind has its own, however often they take turns.
    for _ in range(10):
        assert ray.get(pid.remote(), timeout=SOON) == without
        assert ray.get(pid.options(num_gpus=0.5).remote(), timeout=SOON) == with_gpu


def test_a_worker_of_the_other_kind_makes_room(fresh):
    fresh(num_cpus=1, num_gpus=8)

    @ray.remote(num_cpus=0)
    def hold(seconds):
        import time

        time.sleep(seconds)

    @ray.remote(num_cpus=0, num_gpus=1)
    def with_gpu():
        return 1

    # As many processes as there may be, some of them idle, and none of those may have a GPU.
    ray.get([hold.remote(0.05) for _ in range(8)], timeout=SOON)
    assert ray.get([with_gpu.remote() for _ in range(8)], timeout=SOON) == [1] * 8
    ray.get([hold.remote(0) for _ in range(8)], timeout=SOON)


@pytest.mark.process_only("looks at processes and their environment")
def test_work_without_a_gpu_may_be_shown_none(fresh, monkeypatch):
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    fresh(num_cpus=1, num_gpus=1)
    assert ray.get(seen.remote(), timeout=SOON) == ([], "")
    assert ray.get(seen.options(num_gpus=1).remote(), timeout=SOON) == ([0], "0")
    assert ray.get(seen.remote(), timeout=SOON) == ([], "")
