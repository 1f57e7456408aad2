"""Fixtures of Ray's conftest that few of its files use, or that stand for what is no part of park. A part of `plugin.py`."""

import sys

import pytest
from plugin import absent, cluster_of

external_redis = absent("external_redis", "a Redis")
ray_start_cluster_head_with_external_redis = absent("ray_start_cluster_head_with_external_redis", "a Redis")
set_runtime_env_plugins = absent("set_runtime_env_plugins", "Ray's agent, which sets environments up")
call_ray_start_shared = absent("call_ray_start_shared", "a cluster started by `ray start`")
call_ray_start_2 = absent("call_ray_start_2", "a cluster started by `ray start`")
call_ray_stop_only = absent("call_ray_stop_only", "a cluster started by `ray start`")
fs_only_object_spilling_config = absent("fs_only_object_spilling_config", "Ray's external storage of spilled objects")


@pytest.fixture(autouse=True)
def close_what_a_skipped_case_opened(request):
    """For cases that open a session by themselves, and were skipped half-way."""
    yield
    absent_names = sys.modules.get("ray.absent")
    if absent_names is not None and absent_names.SKIPPED:
        absent_names.SKIPPED.clear()
        if not any("shared" in name or "module" in name for name in request.fixturenames):
            sys.modules["ray"].shutdown()


@pytest.fixture
def enable_mac_large_object_store():
    yield


@pytest.fixture
def runtime_env_disable_URI_cache():
    yield


@pytest.fixture(params=["no_ray_client"])
def start_cluster(request):
    with cluster_of() as cluster:
        cluster.add_node(num_cpus=4)
        yield cluster, cluster.address


@pytest.fixture
def ray_start_cluster_head_with_env_vars(request, monkeypatch):
    options = dict(getattr(request, "param", {}))
    for name, value in options.pop("env_vars", {}).items():
        monkeypatch.setenv(name, value)
    with cluster_of(**{"do_init": True, "num_nodes": 1, **options}) as cluster:
        yield cluster


@pytest.fixture
def event_routing_config(request):
    if getattr(request, "param", "default") != "default":
        pytest.skip("needs Ray's event agents")
    yield
