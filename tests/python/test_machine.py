"""What a container lets us use, read from fake trees of /proc and /sys. No session is needed."""

import os

import pytest

machine = pytest.importorskip("park.machine", reason="park's own module")
pytestmark = pytest.mark.park_only

ALL = len(os.sched_getaffinity(0))
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
V2 = "0::/a/b\n"
V1 = "5:cpu,cpuacct:/x\n3:memory:/y\n1:name=systemd:/\n"


@pytest.fixture
def tree(tmp_path):
    def make(cgroup, **files):
        (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path)

    return make


def test_no_control_groups(tmp_path):
    assert machine.cpus(str(tmp_path)) == ALL and machine.memory(str(tmp_path)) == MEMORY


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        (V2, {"cpu_DOT_max": "100000 100000"}),
        (V2, {"a__cpu_DOT_max": "100000 100000\n", "a__b__cpu_DOT_max": "max 100000\n"}),
        (V2, {"a__b__cpu_DOT_max": "50000 100000\n"}),
        (V1, {"cpu__x__cpu_DOT_cfs_quota_us": "190000\n", "cpu__x__cpu_DOT_cfs_period_us": "100000\n"}),
        (V1, {"cpu__cpu_DOT_cfs_quota_us": "100000\n", "cpu__cpu_DOT_cfs_period_us": "100000\n"}),
    ],
    ids=["root", "parent", "less than one", "version 1", "version 1, root"],
)  # fmt: skip
def test_a_quota_limits_the_cpus(tree, cgroup, files):
    assert machine.cpus(tree(cgroup, **files)) == 1


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        (V2, {"a__b__cpu_DOT_max": "max 100000\n"}),
        (V2, {"a__b__cpu_DOT_max": "nonsense\n"}),
        (V2, {"cpu_DOT_max": "100000000 100000\n"}),
        (V1, {"cpu__x__cpu_DOT_cfs_quota_us": "-1\n", "cpu__x__cpu_DOT_cfs_period_us": "100000\n"}),
    ],
    ids=["max", "nonsense", "more than there are", "version 1"],
)  # fmt: skip
def test_no_quota_no_limit(tree, cgroup, files):
    assert machine.cpus(tree(cgroup, **files)) == ALL


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        (V2, {"a__memory_DOT_max": "500000\n", "a__b__memory_DOT_max": "max\n"}, 500_000),
        (V2, {"a__memory_DOT_max": "500000\n", "a__b__memory_DOT_max": "400000\n"}, 400_000),
        (V1, {"memory__y__memory_DOT_limit_in_bytes": "300000\n"}, 300_000),
        (V1, {"memory__y__memory_DOT_limit_in_bytes": "9223372036854771712\n"}, MEMORY),
        (V2, {}, MEMORY),
    ],
    ids=["parent", "inner", "version 1", "version 1, unlimited", "none"],
)  # fmt: skip
def test_the_smallest_memory_limit_binds(tree, cgroup, files, limit):
    assert machine.memory(tree(cgroup, **files)) == limit


def test_settings_of_the_watch_over_memory(monkeypatch):
    for name in ("memory_monitor_refresh_ms", "memory_usage_threshold", "task_oom_retries"):
        monkeypatch.delenv(f"RAY_{name}", raising=False)
    assert machine.memory_watch() == (250, 0.95, -1)
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_task_oom_retries", "3")
    assert machine.memory_watch({"memory_usage_threshold": 0.5, "task_oom_retries": 1}) == (0, 0.5, 1)
    for wrong in ({"memory_usage_threshold": 1.5}, {"task_oom_retries": -2}, {"memory_monitor_refresh_ms": "soon"}):
        with pytest.raises(ValueError, match=f"RAY_{next(iter(wrong))}"):
            machine.memory_watch(wrong)
