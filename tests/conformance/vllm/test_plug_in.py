"""park.interop.vllm beside a real vLLM: its doors, and what happens when vLLM is another one. Run by run.py before vLLM's own tests."""

import importlib.metadata
import inspect
import os
import pathlib
import subprocess
import sys

import park.interop.vllm
import pytest
from park.interop.vllm import surface
from vllm.v1.core import block_pool, kv_cache_coordinator
from vllm.v1.core.sched import async_scheduler, scheduler

THEIRS = block_pool.BlockPool


@pytest.fixture(autouse=True)
def taken_back():
    surface.check.cache_clear()
    yield
    park.interop.vllm.uninstall()
    surface.check.cache_clear()


def test_the_tree_is_the_version_that_was_tested():
    text = (pathlib.Path(block_pool.__file__).parents[3] / "PKG-INFO").read_text()
    assert f"\nVersion: {park.interop.vllm.TESTED_WITH}\n" in text


def test_signatures_are_the_recorded_ones():
    assert surface.drift(surface.recorded(), surface.surface()) == []


def test_an_override_has_the_signature_of_what_it_overrides():
    pool = park.interop.vllm.BlockPool
    for name, method in vars(pool).items():
        if inspect.isfunction(method):
            assert surface._parameters(method) == surface._parameters(getattr(THEIRS, name)), name


def test_every_method_that_touches_the_state_is_replaced():
    """What is inherited may use the state only through what is replaced."""
    state = {"_cache", "next_free_block", "prev_free_block", "popleft", "popleft_n", "append_n", "prepend_n", "remove"}
    inherited = [name for name in vars(THEIRS) if name not in vars(park.interop.vllm.BlockPool)]
    for name in inherited:
        code = getattr(getattr(THEIRS, name), "__code__", None)
        assert code is None or not state & {*code.co_names}, name


def test_installing_swaps_the_pool_and_uninstalling_takes_it_back():
    installed = park.interop.vllm.install()
    assert installed is park.interop.vllm.install() is block_pool.BlockPool is kv_cache_coordinator.BlockPool
    assert issubclass(installed, THEIRS) and installed is not THEIRS
    park.interop.vllm.uninstall()
    assert block_pool.BlockPool is kv_cache_coordinator.BlockPool is THEIRS


def test_a_changed_method_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(THEIRS, "touch", lambda self, blocks, weight: None)
    with pytest.raises(park.interop.vllm.VllmMismatchError) as refused:
        park.interop.vllm.install()
    text = str(refused.value)
    assert "BlockPool.touch is (self, blocks, weight), and was (self, blocks)" in text
    assert park.interop.vllm.TESTED_WITH in text
    assert block_pool.BlockPool is THEIRS


def test_a_new_method_is_refused(monkeypatch):
    monkeypatch.setattr(THEIRS, "lend", lambda self, block: None, raising=False)
    with pytest.raises(park.interop.vllm.VllmMismatchError, match=r"BlockPool.lend is new: \(self, block\)"):
        park.interop.vllm.install()


@pytest.mark.parametrize(
    "name, base", [("Scheduler", scheduler.Scheduler), ("AsyncScheduler", async_scheduler.AsyncScheduler)]
)
def test_a_scheduler_class_of_that_name_is_found_by_vllm(name, base):
    from vllm.utils.import_utils import resolve_obj_by_qualname

    found = resolve_obj_by_qualname(f"park.interop.vllm.{name}")
    assert issubclass(found, base)


@pytest.mark.parametrize("plugins, swapped", [(None, False), ("other", False), ("other,park", True)])
def test_the_general_plug_in_swaps_the_pool_only_if_it_is_named(tmp_path, plugins, swapped):
    folder = tmp_path / "parkstack-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: parkstack\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("[vllm.general_plugins]\npark = park.interop.vllm:plugin\n")
    code = (
        "from vllm.plugins import load_general_plugins; load_general_plugins();"
        "from vllm.v1.core.kv_cache_coordinator import BlockPool; print(BlockPool.__module__)"
    )
    env = {name: value for name, value in os.environ.items() if name != "VLLM_PLUGINS"}
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    if plugins is not None:
        env["VLLM_PLUGINS"] = plugins
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    module = "park.interop.vllm.block_pool" if swapped else "vllm.v1.core.block_pool"
    assert done.stdout.split()[-1:] == [module], done.stderr


def test_the_wheel_declares_the_entry_point():
    project = pathlib.Path(__file__).parents[3] / "pyproject.toml"
    import tomllib

    points = tomllib.loads(project.read_text())["project"]["entry-points"]["vllm.general_plugins"]
    point = importlib.metadata.EntryPoint("park", points["park"], "vllm.general_plugins")
    assert point.load() is park.interop.vllm.plugin
