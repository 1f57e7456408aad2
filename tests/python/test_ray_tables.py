"""What Ray's workers keep for programs that look behind the interface: keys and values, programs, actors' times, counts, objects."""

import textwrap

import pytest
from helpers import fresh_python

pytestmark = pytest.mark.park_only

AS_RAY = """
    import time
    from park.compat import ray as compat
    compat.install()
    import ray
    from ray._private.worker import global_worker
    from ray.util.state import list_objects, list_workers

    def wait_until(condition):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)
"""


def told_by(program):
    return fresh_python(textwrap.dedent(AS_RAY) + textwrap.dedent(program)).split()


def test_keys_and_values_are_the_sessions():
    """Written by a task, read by the driver, and the other way round; they end with the session."""
    assert told_by("""
        import ray.experimental.internal_kv as kv
        ray.init(num_cpus=1)

        @ray.remote
        def note(key):
            import ray.experimental.internal_kv as kv
            found = kv._internal_kv_get("from-driver", namespace="n")
            return found, kv._internal_kv_put(key, "1"), kv._internal_kv_put(key, b"2", False), kv._internal_kv_put(key, "3")

        print(kv._internal_kv_initialized(), kv._internal_kv_put("from-driver", "x" * 100_000, namespace="n"))
        found, *existed = ray.get(note.remote("key"))
        print(len(found), *existed, kv._internal_kv_get(b"key"), kv._internal_kv_get("key", namespace="n"))
        print(kv._internal_kv_exists("key"), kv._internal_kv_exists("ke"))
        kv._internal_kv_put("kez", "4")
        kv._internal_kv_put("kf", "5")
        print(*kv._internal_kv_list("ke"), kv._internal_kv_del("kf"), kv._internal_kv_del("kf"))
        print(kv._internal_kv_del("ke", del_by_prefix=True), kv._internal_kv_list(""))
        client = global_worker.gcs_client
        print(client.internal_kv_put(b"k", b"v", True, b"n"), client.internal_kv_put(b"k", b"w", True, b"n"))
        print(client.internal_kv_get(b"k", b"n"), client.internal_kv_exists(b"k"), client.internal_kv_del(b"k", False, b"n"))
        for wrong in (lambda: kv._internal_kv_get(1), lambda: kv._internal_kv_put("@namespace_", "x")):
            try:
                wrong()
            except Exception as error:
                print(type(error).__name__)
        ray.shutdown()
        ray.init(num_cpus=1)
        print(kv._internal_kv_get("from-driver", namespace="n"))
        ray.shutdown()
    """) == [
        *("True", "False", "100000", "False", "True", "True", "b'3'", "None", "True", "False"),
        *(
            "b'key'",
            "b'kez'",
            "1",
            "0",
            "2",
            "[]",
            "1",
            "0",
            "b'w'",
            "False",
            "1",
            "TypeError",
            "RaySystemError",
            "None",
        ),
    ]


@pytest.mark.process_only("joined by another process")
def test_programs_that_joined_and_left():
    assert told_by("""
        import subprocess, sys, os
        session = ray.init(num_cpus=1).address_info["address"]
        print(*(job["IsDead"] for job in ray._private.state.jobs()))
        joins = f"import park; park.init({session!r}); print(len(park.util.state.list_jobs())); park.shutdown()"
        print(subprocess.run([sys.executable, "-c", joins], capture_output=True, text=True).stdout)
        wait_until(lambda: any(job["IsDead"] for job in ray._private.state.jobs()))
        first, other = ray._private.state.jobs()
        print(first["DriverPid"] == os.getpid() != other["DriverPid"], first["JobID"] == ray.get_runtime_context().get_job_id())
        print(first["IsDead"], other["IsDead"], first["JobID"] != other["JobID"])
        ray.shutdown()
    """) == ["False", "2", "True", "True", "False", "True", "True"]


def test_when_actors_began_and_ended():
    assert told_by("""
        ray.init(num_cpus=1)

        @ray.remote(max_restarts=1, max_task_retries=-1)
        class Home:
            def id(self):
                return ray.get_runtime_context().get_actor_id()

        def row():
            return ray._private.state.actors(id)

        before = time.time() * 1000
        home = Home.remote()
        id = ray.get(home.id.remote())
        began = row()["StartTime"]
        print(before - 50 <= began <= time.time() * 1000 + 50, row()["EndTime"], row()["State"], row()["ActorClassName"])
        ray.kill(home, no_restart=False)
        wait_until(lambda: row()["NumRestarts"] == 1 and row()["State"] == "ALIVE")
        print(row()["StartTime"] == began, row()["EndTime"])
        ray.kill(home)
        wait_until(lambda: row()["State"] == "DEAD")
        print(row()["StartTime"] == began, row()["EndTime"] >= began)
        ray.shutdown()
    """) == ["True", "0", "ALIVE", "Home", "True", "0", "True", "True"]


def test_objects_are_values_and_promises():
    """Not the functions and classes that work is made with, nor why an actor died."""
    assert told_by("""
        ray.init(num_cpus=1)
        core = global_worker.core_worker

        @ray.remote
        def waits(flag):
            while not flag:
                time.sleep(0.1)

        @ray.remote(resources={"nowhere": 1})
        class Never:
            pass

        print(len(list_objects()), core.get_memory_store_size())
        waiting = waits.remote(False)
        kept = ray.put(1)
        print(*sorted(row.state for row in list_objects()), core.get_memory_store_size())
        ray.cancel(waiting, force=True)
        del waiting, kept
        never = Never.remote()
        ray.kill(never)
        wait_until(lambda: core.get_memory_store_size() == 0)
        print(core.get_all_reference_counts())
        ray.shutdown()
    """) == ["0", "0", "pending", "sealed", "2", "{}"]


def test_memory_is_that_of_values():
    """Not of what functions and classes carry with them."""
    assert told_by("""
        from ray._private.internal_api import memory_summary
        ray.init(num_cpus=1, object_store_memory=100 << 20)
        captured = bytes(10 << 20)

        @ray.remote
        def make():
            return captured[: 3 << 20]

        kept = make.remote()
        ray.wait([kept])
        print(*memory_summary(stats_only=True).split(",")[:2])
        print(memory_summary(num_entries=1).count(kept.hex()))
        ray.shutdown()
    """) == ["Plasma", "memory", "usage", "3", "MiB", "1", "objects", "1"]


def test_how_deep_work_is():
    assert told_by("""
        import asyncio, threading
        ray.init(num_cpus=4)
        depth = lambda: global_worker.task_depth

        @ray.remote
        class Home:
            def __init__(self):
                self.made = depth()

            def depths(self):
                return self.made, depth(), ray.get(leaf.remote())

        @ray.remote
        class Loop:
            def __init__(self):
                self.made = depth()

            async def depths(self):
                await asyncio.sleep(0)
                return self.made, depth(), await leaf.remote()

        @ray.remote
        def leaf():
            return depth()

        @ray.remote
        def asks():
            found = []
            thread = threading.Thread(target=lambda: found.append(ray.get(leaf.remote())))
            thread.start()
            thread.join()
            home, loop = Home.remote(), Loop.remote()
            return depth(), *found, *ray.get(home.depths.remote()), *ray.get(loop.depths.remote())

        print(depth(), *ray.get(asks.remote()), *ray.get(Home.remote().depths.remote()), depth())
        ray.shutdown()
    """) == [*"0", *"12", *"223", *"223", *"112", *"0"]


def test_a_pickle_of_a_reference_is_a_reference():
    assert told_by("""
        ray.init(num_cpus=1)
        core = global_worker.core_worker
        ref = ray.put("hello")
        pickled = ray.cloudpickle.dumps(ref)
        print(*(row["local"] for row in core.get_all_reference_counts().values()))
        del ref
        print(*(row["local"] for row in core.get_all_reference_counts().values()), ray.get(ray.cloudpickle.loads(pickled)))
        ray.shutdown()
    """) == ["2", "1", "hello"]


def test_what_the_store_has_left_is_told():
    assert told_by("""
        ray.init(num_cpus=1, object_store_memory=500 << 20)
        left = lambda: ray.available_resources()["object_store_memory"] / (1 << 20)
        print(left(), ray.cluster_resources()["object_store_memory"] / (1 << 20))
        held = ray.put(bytes(150 << 20))
        print(left())
        del held
        wait_until(lambda: left() == 500)
        ray.shutdown()
    """) == ["500.0", "500.0", "350.0"]


def test_a_worker_that_lives_has_not_exited():
    assert told_by("""
        ray.init(num_cpus=1)
        ray.get(ray.remote(lambda: 1).remote())
        wait_until(list_workers)
        print(*{row.exit_type for row in list_workers()})
        ray.shutdown()
    """) == ["None"]


def test_a_warning_points_to_the_documentation_of_the_version():
    assert told_by("""
        import warnings
        ray.init(num_cpus=1)
        group = ray.util.placement_group([{"CPU": 1}])
        task = ray.remote(lambda: 1)
        for version in ("2.60.0", "1.13.0"):
            ray.__version__ = version
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                task.options(placement_group=group).remote()
            print(*(f"docs.ray.io/en/releases-{version}/" in str(warning.message) for warning in told))
        ray.shutdown()
    """) == ["True", "True"]
