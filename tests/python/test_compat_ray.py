"""`park.compat.ray`: `import ray` is park in a program, in its workers and in the programs that it starts; and back again."""

import os
import subprocess
import sys
import textwrap

import park
import pytest
from helpers import ON_RAY, fresh_python

pytestmark = [pytest.mark.park_only, pytest.mark.skipif(ON_RAY, reason="a promise of park")]

PROGRAM = """
import sys
import ray
import ray.util.queue
from ray.util.actor_pool import ActorPool
from ray.exceptions import RayTaskError

@ray.remote
def where():
    import subprocess, sys
    import ray  # this one is imported in the worker
    child = "import ray; print(ray.__park__, ray.__version__)"
    return ray.__park__, subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout.split()

@ray.remote
class Box:
    def get(self):
        return isinstance(self, object) and ray.__version__

if __name__ == "__main__":
    ray.init(num_cpus=2)
    print(sys.argv[1:], __name__, sys.path[0])
    print(ray.get(where.remote()))
    print(ray.get(Box.remote().get.remote()))
"""


def run(*arguments, **options):
    done = subprocess.run(
        [sys.executable, "-m", "park.compat.ray", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check(lines, folder, name):
    assert lines[0] == f"['a', '-b'] __main__ {folder}", name
    assert lines[1] == "(True, ['True', '2.60.0'])"
    assert lines[2] == "2.60.0"


def test_a_script_runs_as_python_would_run_it(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    check(run(script, "a", "-b"), tmp_path, "script")


def test_a_module_runs_as_python_would_run_it(tmp_path):
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "__init__.py").write_text("")
    (tmp_path / "tool" / "main.py").write_text(PROGRAM)
    check(run("-m", "tool.main", "a", "-b", cwd=tmp_path), tmp_path, "module")


def test_a_folder_runs_as_python_would_run_it(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(PROGRAM)
    check(run(tmp_path / "app", "a", "-b"), tmp_path / "app", "folder")


@pytest.mark.parametrize("arguments", [[], ["--unknown"], ["no-such-file.py"], ["-m"]])
def test_what_cannot_be_run_is_said(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "park.compat.ray", *arguments], capture_output=True, text=True, timeout=50
    )
    assert done.returncode != 0
    assert "park.compat.ray" in done.stderr and "Traceback" not in done.stderr


def test_the_exit_code_is_the_programs(tmp_path):
    script = tmp_path / "program.py"
    script.write_text("import sys; sys.exit(7)")
    assert subprocess.run([sys.executable, "-m", "park.compat.ray", str(script)], timeout=50).returncode == 7


def in_python(program, **options):
    return fresh_python(textwrap.dedent(program), **options).split()


def test_a_second_name_is_no_copy():
    assert in_python("""
        from park.compat import ray as compat
        compat.install()
        import park, ray, ray.actor, ray.exceptions, ray.util.queue, ray.cloudpickle, sys
        import park.util.queue
        print(ray.actor is park.actor, ray.exceptions.RayError is park.exceptions.RayError, ray.get is park.get)
        print(ray.util.queue.Queue is park.util.queue.Queue, sys.modules["ray.util"].__spec__.name)
    """) == ["True", "True", "True", "True", "park.util"]


def test_what_park_has_not_names_the_way_out():
    assert in_python("""
        from park.compat import ray as compat
        compat.install()
        import ray
        for name in ("data", "serve", "train", "tune", "rllib", "llm"):
            try:
                __import__(f"ray.{name}.something")
            except ImportError as error:
                print(name, "pip install" in str(error))
        print(hasattr(ray, "serve"), hasattr(ray, "no_such_name"))
    """) == [
        *["data", "True", "serve", "True", "train", "True", "tune", "True", "rllib", "True", "llm", "True"],
        "False",
        "False",
    ]


def test_it_can_be_taken_back():
    assert in_python("""
        import os, sys
        before = (list(sys.path), os.environ.get("PYTHONPATH"), list(sys.meta_path))
        from park.compat import ray as compat
        for _ in range(2):
            compat.install()
            compat.install()
            import ray
            assert ray.__park__ and compat.is_installed()
            compat.uninstall()
            compat.uninstall()
        print(before == (list(sys.path), os.environ.get("PYTHONPATH"), list(sys.meta_path)), compat.is_installed())
        print([name for name in sys.modules if name.partition(".")[0] == "ray"])
    """) == ["True", "False", "[]"]


def test_it_refuses_beside_a_loaded_ray():
    assert in_python("""
        import sys, types
        sys.modules["ray"] = types.ModuleType("ray")
        from park.compat import ray as compat
        try:
            compat.install()
        except RuntimeError as error:
            print("before", "loaded" in str(error), compat.is_installed())
    """) == ["before", "True", "False"]


def test_a_program_whose_park_is_not_installed(tmp_path):
    """A child that finds the package `ray` by PYTHONPATH finds park beside it."""
    site = os.path.join(os.path.dirname(park.__file__), "compat", "site")
    done = subprocess.run(
        [sys.executable, "-c", "import ray; print(ray.init(num_cpus=1)['node_id'] == ray.nodes()[0]['NodeID'])"],
        env={**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, "PYTHONPATH": site},
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
    )
    assert done.stdout.split() == ["True"], done.stderr


def test_private_names_that_programs_use():
    assert in_python("""
        from park.compat import ray as compat
        compat.install()
        import ray
        print(ray._private.services.get_node_ip_address() == ray.util.get_node_ip_address())
        worker = ray._private.worker.global_worker
        print(worker.current_job_id.is_nil(), worker.connected, worker.node)
        ray.init(num_cpus=1)
        print(worker.current_job_id.hex() == ray.get_runtime_context().get_job_id(), worker.connected)
        print(worker.node.unique_id == ray.nodes()[0]["NodeID"], worker.mode == ray.SCRIPT_MODE)
        print(ray._private.state.available_resources_per_node()[worker.node.unique_id]["CPU"])
        from ray._common.utils import get_or_create_event_loop
        from ray._private.internal_api import free
        import ray.internal, ray.job_config, ray.types, ray._raylet, ray.experimental.state.api, ray.util.annotations
        print(ray._raylet.JobID is ray.JobID, issubclass(ray.types.ObjectRef, ray.ObjectRef))
        ray.shutdown()
    """) == [*["True", "True", "False", "None", "True", "True", "True", "True", "1.0", "True", "True"]]


def test_opening_a_session_by_itself_can_be_turned_off():
    assert in_python("""
        from park.compat import ray as compat
        compat.install()
        import ray
        from ray._private import auto_init_hook
        auto_init_hook.enable_auto_connect = False
        try:
            ray.put(1)
        except ray.exceptions.RaySystemError as error:
            print("started" in str(error), ray.is_initialized())
        auto_init_hook.enable_auto_connect = True
        print(ray.get(ray.put(1)))
    """) == ["True", "False", "1"]


def test_a_job_config():
    assert in_python("""
        from park.compat import ray as compat
        compat.install()
        import os, shutil, tempfile
        import ray
        from ray.job_config import JobConfig
        folder = tempfile.mkdtemp()
        with open(os.path.join(folder, "found_there.py"), "w") as file:
            file.write("answer = 42")
        config = JobConfig(
            ray_namespace="mine", runtime_env={"env_vars": {"A_VARIABLE": "x"}}, code_search_path=[folder]
        )
        ray.init(num_cpus=1, job_config=config)
        print(ray.get(ray.remote(lambda: __import__("found_there").answer).remote()))
        shutil.rmtree(folder)
        print(ray.get_runtime_context().namespace, ray.get(ray.remote(lambda: os.environ["A_VARIABLE"]).remote()))
        try:
            JobConfig(default_actor_lifetime="eternal")
        except ValueError:
            print("refused")
    """) == ["42", "mine", "x", "refused"]


def test_workers_start_with_what_was_preloaded(tmp_path):
    """Imported once for all sessions; variables, folder and path are those of the moment at which a session opens."""
    (tmp_path / "heavy.py").write_text("import os\nmade_in = os.getpid()\nseen = os.environ.get('A_VARIABLE')\n")
    (tmp_path / "light.py").write_text("")
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
            import os, sys
            import ray

            def look():
                import sys
                seen = set(sys.modules)
                import heavy, light
                return "heavy" in seen, heavy.made_in, heavy.seen, os.environ.get("A_VARIABLE"), os.getcwd()

            here, parents = os.getcwd(), set()
            for _ in range(2):
                os.environ["A_VARIABLE"] = "later"
                os.chdir(os.path.dirname(__file__))
                ray.init(num_cpus=1)
                there, made_in, seen, variable, folder = ray.get(ray.remote(look).remote())
                parents.add(made_in)
                print(there, seen, variable, folder == os.getcwd())
                ray.shutdown()
            print(len(parents), made_in != os.getpid())
        """)
    )
    assert run("--preload", "heavy", script) == [*["True None later True"] * 2, "1 True"]
    assert run("--preload=heavy", script)[-1] == "1 True"
    assert run(script)[0] == "False later later True"


def test_a_nursery_that_cannot_import_is_told(tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('no good')")
    script = tmp_path / "program.py"
    script.write_text("import ray\nray.init(num_cpus=1)")
    command = [sys.executable, "-m", "park.compat.ray", "--preload"]
    done = subprocess.run([*command, "broken", script], capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert "no good" in done.stderr and "the process that preloads modules has ended" in done.stderr
    done = subprocess.run([*command, "no_such_module", script], capture_output=True, text=True, timeout=50)
    assert "no module named 'no_such_module'" in done.stderr and "Traceback" not in done.stderr
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode != 0 and "names no module" in done.stderr


def test_private_names_that_describe_options_and_functions():
    program = """
        import pickle
        import park.compat.ray
        park.compat.ray.install()
        import ray
        from ray._common import ray_option_utils
        import ray._private.workers.default_worker

        defaults = {name: option.default_value for name, option in ray_option_utils.task_options.items()}
        limit = defaults.pop("max_calls")
        ray.remote(lambda: 1).options(**defaults)
        print(limit, defaults["num_cpus"], ray_option_utils.actor_options["max_pending_calls"].default_value)
        for table in (ray_option_utils.task_options, ray_option_utils.actor_options):
            for name, option in table.items():
                option.validate(name, option.default_value)
        try:
            ray_option_utils.task_options["num_cpus"].validate("num_cpus", "many")
        except TypeError as error:
            print(error)
        one = ray._raylet.PythonFunctionDescriptor("module", "function", "Class", "hash")
        same = pickle.loads(pickle.dumps(one))
        print(one == same, one.function_id == same.function_id, {one: 1}[same], one.repr, one == object())
        java = ray._raylet.JavaFunctionDescriptor("Class", "function", "signature")
        print(java == pickle.loads(pickle.dumps(java)), java == one, java.repr)
        """
    assert fresh_python(textwrap.dedent(program)).splitlines() == [
        "0 1 -1",
        "The type of keyword 'num_cpus' must be (<class 'float'>, <class 'int'>, <class 'NoneType'>), but received type <class 'str'>",
        "True True 1 module.Class.function False",
        "True False Class.function",
    ]


def test_ctrl_c_waits_for_the_end_of_a_block():
    program = """
        import park.compat.ray
        park.compat.ray.install()
        import _thread, signal, threading
        from ray._private.utils import DeferSigint

        default, plain, heard = signal.getsignal(signal.SIGINT), signal.signal, []
        try:
            with DeferSigint():
                _thread.interrupt_main()
                for _ in range(1000):
                    pass
                heard.append("inside")
        except KeyboardInterrupt:
            heard.append("after")
        print(heard, signal.getsignal(signal.SIGINT) is default)

        def handler(number, frame):
            heard.append(number)

        with DeferSigint():
            usr1 = signal.signal(signal.SIGUSR1, handler)
            print(signal.signal(signal.SIGINT, handler) is default, usr1 == signal.SIG_DFL)
            for _ in range(3):
                _thread.interrupt_main()
        print(heard[2:] == [signal.SIGINT], signal.getsignal(signal.SIGINT) is handler, signal.signal is plain)
        with DeferSigint():
            pass
        print(len(heard))
        other = threading.Thread(target=lambda: print(isinstance(DeferSigint.create_if_main_thread(), DeferSigint)))
        other.start()
        other.join()
        print(isinstance(DeferSigint.create_if_main_thread(), DeferSigint))
        """
    assert fresh_python(textwrap.dedent(program)).splitlines() == [
        "['inside', 'after'] True",
        "True True",
        "True True True",
        "3",
        "False",
        "True",
    ]


def test_a_task_knows_what_it_asked_for():
    program = """
        import park.compat.ray
        park.compat.ray.install()
        import time
        import ray

        @ray.remote
        def child():
            time.sleep(0.5)

        @ray.remote
        class Child:
            def __init__(self):
                time.sleep(0.5)

            def call(self):
                time.sleep(0.5)

        class Parent:
            def parent(self, other):
                late = Child.remote()
                # The last one cannot be sent before its actor has a process.
                refs = [child.remote(), other.call.remote(), other.call.remote(), late.call.remote()]
                context = ray.get_runtime_context()
                me = ray.TaskID.from_hex(context.get_task_id())
                found = ray._private.worker.global_worker.core_worker.get_pending_children_task_ids(me)
                pending = {one.hex() for one in found} == {ref.task_id().hex() for ref in refs}
                ray.get(refs)
                time.sleep(0.1)
                return pending, ray._private.worker.global_worker.core_worker.get_pending_children_task_ids(me)

        class Async(Parent):
            async def parent(self, other):
                return Parent.parent(self, other)

        if __name__ == "__main__":
            ray.init(num_cpus=4)
            for kind in (Parent, Async):
                print(ray.get(ray.remote(kind).remote().parent.remote(Child.remote())))
        """
    assert fresh_python(textwrap.dedent(program)).splitlines() == ["(True, [])"] * 2


def test_a_function_that_has_its_modules_name_stays_a_function():
    program = """
        import park.compat.ray
        park.compat.ray.install()
        import ray
        from ray.util.placement_group import PlacementGroup
        import ray.util.placement_group
        import park.util.queue
        import ray.util.queue
        print(callable(ray.util.placement_group), ray.util.queue is park.util.queue)
        """
    assert fresh_python(textwrap.dedent(program)).split() == ["True", "True"]


def test_private_names_that_look_into_the_store():
    printed = fresh_python(
        textwrap.dedent("""
        import pickle
        import park.compat.ray
        park.compat.ray.install()
        import ray
        from ray._private.internal_api import memory_summary
        from ray._private.worker import RayContext, global_worker

        context = ray.init(num_cpus=1)
        print(isinstance(context, RayContext), memory_summary(stats_only=True).partition(",")[0])
        ref = ray.put(bytes(3 << 20))
        print(memory_summary(stats_only=True).partition(",")[0], ref.hex() in memory_summary())
        core = global_worker.core_worker
        print(core.object_exists(ref), core.object_exists(ray.ObjectRef.nil()))
        print(core.get_all_reference_counts() == {ref.hex().encode(): {"local": 1, "submitted": 0}})
        """)
    )
    assert printed.splitlines() == [
        "True Plasma memory usage 0 MiB",
        "Plasma memory usage 3 MiB True",
        "True False",
        "True",
    ]


def test_the_table_of_actor_classes():
    printed = fresh_python(
        textwrap.dedent("""
        import pickle
        import park.compat.ray
        park.compat.ray.install()
        import ray
        from ray._private import ray_constants
        from ray._private.utils import get_system_memory, get_used_memory
        from ray._private.worker import global_worker

        print(0 < get_used_memory() < get_system_memory())
        ray.init(num_cpus=1)
        client, table = global_worker.gcs_client, ray_constants.KV_NAMESPACE_FUNCTION_TABLE
        print(client.internal_kv_keys(b"ActorClass", namespace=table))

        @ray.remote
        class Counter:
            pass

        ray.remote(type("NeverMade", (), {}))
        actor = Counter.remote()
        job = global_worker.current_job_id.hex()
        (key,) = client.internal_kv_keys(f"ActorClass:{job}:".encode(), namespace=table)
        print(pickle.loads(client.internal_kv_get(key, namespace=table)))
        print(client.internal_kv_keys(b"RemoteFunction", namespace=table), client.internal_kv_get(b"no such key", namespace=table))
        """)
    )
    assert printed.splitlines() == [
        "True",
        "[]",
        "{'class_name': 'Counter', 'module': '__main__'}",
        "[] None",
    ]


def test_labels_as_rays_command_line_reads_them():
    printed = fresh_python(
        textwrap.dedent("""
        import park.compat.ray
        park.compat.ray.install()
        from ray._private import label_utils as labels

        print(labels.parse_node_labels_string("region=,ray.io/zone=a"), labels.parse_node_labels_json('{"a": "b"}'))
        for wrong in (
            lambda: labels.parse_node_labels_string("a=b=c"),
            lambda: labels.parse_node_labels_json('{"ray.io/zone": "a"}'),
            lambda: labels.parse_node_labels_json('{"a": 5}'),
            lambda: labels.validate_label_value("_a"),
            lambda: labels.validate_node_label_syntax({"!a/b": "c"}),
        ):
            try:
                wrong()
            except ValueError as error:
                print(str(error)[:40])
        print(labels.validate_label_key("region"), labels.validate_label_selector_value("in()") is not None)
        """)
    )
    assert printed.splitlines() == [
        "{'region': '', 'ray.io/zone': 'a'} {'a': 'b'}",
        "Label string is not a key-value pair: 'a",
        "Custom label keys `ray.io/zone` cannot s",
        'The value of the "a" is not string type',
        "Invalid label key value `_a`. Value must",
        "Invalid label key prefix `!a`. Prefix mu",
        "None True",
    ]
