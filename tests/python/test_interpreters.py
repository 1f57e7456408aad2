"""`runtime_env={"py_executable": ...}`: tasks and actors whose workers run another interpreter, that of a virtual environment.

The environment has a module that the driver lacks, and lacks all that is installed for the driver.
"""

import os
import signal
import stat
import subprocess
import sys
import textwrap

import helpers
import pytest
from helpers import ray, wait_until

pytestmark = [
    pytest.mark.park_only,
    pytest.mark.process_only("workers that are threads have the driver's interpreter"),
]
SESSION = {"num_cpus": 2}


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """The interpreter of a virtual environment with a module that the driver lacks."""
    folder = tmp_path_factory.mktemp("venvs") / "own"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = "python{}.{}".format(*sys.version_info[:2])
    (folder / "lib" / version / "site-packages" / "only_there.py").write_text("VALUE = 'there'\n")
    return str(folder / "bin" / "python")


def script(path, text):
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{textwrap.dedent(text)}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


# What runs there is defined inside of functions, and so pickled by value: this file needs pytest, which is not there.


def where():
    @ray.remote
    def look():
        import only_there

        return sys.executable, only_there.VALUE, os.getpid()

    return look


def actor_class():
    @ray.remote
    class There:
        def __init__(self):
            import only_there

            self.value = only_there.VALUE

        def facts(self):
            return sys.executable, self.value, os.getpid()

    return There


def environment(venv, **more):
    return {"py_executable": venv, **more}


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def test_a_task_runs_there_and_others_here(session, venv):
    executable, value, first = ray.get(where().options(runtime_env=environment(venv)).remote())
    assert (executable, value) == (venv, "there")
    with pytest.raises(ModuleNotFoundError, match="only_there"):
        ray.get(where().remote())
    # The next one runs in the same process.
    assert ray.get(where().options(runtime_env=environment(venv)).remote())[2] == first


def test_an_actor_lives_there_and_is_restarted_there(session, venv):
    actor = actor_class().options(runtime_env=environment(venv), max_restarts=1, max_task_retries=1).remote()
    executable, value, first = ray.get(actor.facts.remote())
    assert (executable, value) == (venv, "there")
    os.kill(first, signal.SIGKILL)
    executable, value, second = ray.get(actor.facts.remote())
    assert (executable, value) == (venv, "there") and second != first
    os.kill(second, signal.SIGKILL)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.facts.remote())


def test_a_killed_task_is_repeated_there(session, venv, counter_file):
    path = counter_file.path

    @ray.remote(max_retries=1, runtime_env=environment(venv))
    def dies_once():
        with open(path, "ab") as file:
            file.write(b".")
        if os.path.getsize(path) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return sys.executable

    assert ray.get(dies_once.remote()) == venv
    assert counter_file.count() == 2


def test_nothing_installed_for_the_driver_is_seen(session, venv):
    @ray.remote(runtime_env=environment(venv))
    def imports(name):
        import importlib

        return importlib.import_module(name).__name__

    assert ray.get(imports.remote("only_there")) == "only_there"
    with pytest.raises(ModuleNotFoundError):
        ray.get(imports.remote("pytest"))


def test_park_is_the_drivers_even_without_a_path_to_it(session, venv):
    @ray.remote(runtime_env=environment(venv, env_vars={"PYTHONPATH": ""}))
    def files():
        import cloudpickle
        import park

        return park.__file__, cloudpickle.__file__, [path for path in sys.path if "site-packages" in path]

    import cloudpickle
    import park

    found, pickler, installed = ray.get(files.remote())
    assert (found, pickler) == (park.__file__, cloudpickle.__file__)
    assert installed and all(path.startswith(os.path.dirname(os.path.dirname(venv))) for path in installed)


def test_modules_of_the_program_are_found_behind_those_of_the_environment(session, venv):
    @ray.remote(runtime_env=environment(venv))
    def helper():
        import fault_kit

        return fault_kit.__file__

    import fault_kit

    assert ray.get(helper.remote()) == fault_kit.__file__


def test_what_a_task_submits_inherits_its_interpreter(session, venv):
    look = where()

    @ray.remote(runtime_env=environment(venv))
    def outer():
        return ray.get(look.remote()), ray.get_runtime_context().runtime_env["py_executable"]

    (executable, *_), named = ray.get(outer.remote())
    assert executable == named == venv


def test_a_task_there_may_ask_for_the_drivers_interpreter(session, venv):
    @ray.remote
    def executable():
        return sys.executable

    here = executable.options(runtime_env={"py_executable": sys.executable})

    @ray.remote(runtime_env=environment(venv))
    def outer():
        return ray.get(here.remote())

    assert ray.get(outer.remote()) == sys.executable


def test_a_command_line_with_options_and_a_wrapper(session, venv, tmp_path):
    @ray.remote
    def flags():
        return sys.flags.dev_mode, sys.executable, os.environ.get("WRAPPED")

    assert ray.get(flags.options(runtime_env={"py_executable": f"'{venv}' -X dev"}).remote()) == (True, venv, None)
    # As `uv run` does: the wrapper stays, and the interpreter is its child.
    wrapper = script(tmp_path / "wrapper", f'WRAPPED=yes "{venv}" "$@" 3<&-\n exit $?\n')
    assert ray.get(flags.options(runtime_env={"py_executable": wrapper}).remote()) == (False, venv, "yes")


def test_variables_folder_and_hook_are_there_as_well(session, venv, tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 'beside'\n")
    env = environment(
        venv,
        env_vars={"PARK_TEST_THERE": "a:${PARK_TEST_TOKEN}", "PYTHONOPTIMIZE": "1"},
        working_dir=str(tmp_path),
        worker_process_setup_hook=lambda: os.environ.__setitem__("PARK_TEST_HOOK", "ran"),
    )

    @ray.remote
    def facts():
        import beside

        return (
            os.environ["PARK_TEST_THERE"],
            sys.flags.optimize,
            os.getcwd(),
            beside.VALUE,
            os.environ["PARK_TEST_HOOK"],
        )

    token = os.environ["PARK_TEST_TOKEN"]
    assert ray.get(facts.options(runtime_env=env).remote()) == (f"a:{token}", 1, str(tmp_path), "beside", "ran")


def test_environments_that_differ_share_no_process(session, venv):
    @ray.remote
    def of():
        return os.getpid(), os.environ.get("PARK_TEST_WHICH")

    def run(which):
        return ray.get(of.options(runtime_env=environment(venv, env_vars={"PARK_TEST_WHICH": which})).remote())

    (first, a), (second, b), again = run("a"), run("b"), run("a")
    assert (a, b) == ("a", "b") and first != second and again == (first, "a")


def test_what_workers_print_is_printed_here(fresh, venv, capfd):
    fresh(num_cpus=1)

    @ray.remote(runtime_env=environment(venv))
    def says():
        print("from another interpreter")

    ray.get(says.remote())
    ray.shutdown()
    assert "from another interpreter" in capfd.readouterr().out


def test_a_session_of_another_interpreter(fresh, venv):
    fresh(num_cpus=1, runtime_env=environment(venv, env_vars={"PARK_TEST_ALL": "x:${PARK_TEST_ALL}"}))
    assert ray.get(where().remote())[0] == venv
    actor = actor_class().remote()
    assert ray.get(actor.facts.remote())[0] == venv

    @ray.remote(runtime_env={"py_executable": sys.executable})
    def here():
        return sys.executable, os.environ["PARK_TEST_ALL"]

    assert ray.get(here.remote()) == (sys.executable, "x:")


def test_a_killed_zygote_is_replaced(fresh, venv):
    fresh(num_cpus=1)
    first = ray.get(where().options(runtime_env=environment(venv)).remote())[2]
    actor = actor_class().options(runtime_env=environment(venv), max_restarts=-1, max_task_retries=-1).remote()
    ray.get(actor.facts.remote())
    os.kill(parent_of(first), signal.SIGKILL)
    assert ray.get(actor.facts.remote())[0] == venv
    executable, _, second = ray.get(where().options(runtime_env=environment(venv)).remote())
    assert executable == venv and second != first


def test_a_zygote_ends_with_its_last_worker(fresh, venv):
    fresh(num_cpus=1)
    actor = actor_class().options(runtime_env=environment(venv)).remote()
    worker = ray.get(actor.facts.remote())[2]
    zygote = parent_of(worker)
    del actor
    wait_until(lambda: not helpers.alive(zygote))


def test_workers_count_as_others_do(fresh, venv):
    fresh(num_cpus=2)
    pid = ray.get(where().options(runtime_env=environment(venv)).remote())[2]
    assert pid in ray.runtime_stats()["workers_alive_pids"]
    actor = actor_class().options(runtime_env=environment(venv)).remote()
    pid = ray.get(actor.facts.remote())[2]
    ray.kill(actor)
    wait_until(lambda: not helpers.alive(pid))


def refused(env, *, match):
    @ray.remote(runtime_env=env)
    def never():
        return 1

    @ray.remote(runtime_env=env)
    class Never:
        def call(self):
            return 1

    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match=match):
        ray.get(never.remote(), timeout=60)
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match=match):
        ray.get(Never.remote().call.remote(), timeout=60)


def test_an_interpreter_that_is_not_there(session):
    refused({"py_executable": "/no/such/python"}, match=r"/no/such/python.*No such file")


def test_an_interpreter_that_ends_says_why(session, tmp_path):
    command = script(tmp_path / "broken", "echo 'no lock file here' >&2; exit 3\n")
    refused({"py_executable": command}, match=r"(?s)exit status: 3.*no lock file here")
    refused({"py_executable": "true"}, match="it printed nothing")


def test_all_that_waits_for_it_fails(session, tmp_path):
    command = script(tmp_path / "slow", "sleep 0.3; exit 3\n")

    @ray.remote(runtime_env={"py_executable": command})
    def never(argument):
        return argument

    for ref in [never.remote(index) for index in range(20)]:
        with pytest.raises(ray.exceptions.RuntimeEnvSetupError):
            ray.get(ref, timeout=60)
    # The session goes on.
    assert ray.get(ray.remote(lambda: 5).remote()) == 5


def test_an_interpreter_that_is_never_ready(session, tmp_path):
    command = script(tmp_path / "hangs", "exec sleep 1000\n")
    refused({"py_executable": command, "config": {"setup_timeout_seconds": 1}}, match="not ready after 1 s")


def test_another_version_of_python(session, venv, tmp_path):
    """The interpreter is this one, told that it is another: what is looked at is what `sys` says."""
    old = tmp_path / "old.py"
    old.write_text(
        "import runpy, sys\nsys.version_info = (3, 8, 1, 'final', 0)\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    here = "{}.{}".format(*sys.version_info[:2])
    refused({"py_executable": f"{venv} {old}"}, match=rf"3\.8.*{sys.executable}.*{here}")


def test_a_command_that_is_none(session):
    function = ray.remote(lambda: 1)
    with pytest.raises(TypeError, match="py_executable"):
        function.options(runtime_env={"py_executable": 3})
    with pytest.raises(ValueError, match="no command line"):
        function.options(runtime_env={"py_executable": "python 'x"})


def test_a_hook_that_fails_fails_the_work_and_not_the_session(session, venv):
    def fails():
        raise RuntimeError("the hook")

    never = ray.remote(lambda: 1).options(runtime_env=environment(venv, worker_process_setup_hook=fails))
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="workers end before they do anything"):
        ray.get(never.remote(), timeout=60)
    assert ray.get(ray.remote(lambda: 5).remote()) == 5


def test_ray_is_park_there_too(venv):
    """Also beside an installed Ray, and without the path by which programs usually find it."""
    version = "python{}.{}".format(*sys.version_info[:2])
    package = os.path.join(os.path.dirname(os.path.dirname(venv)), "lib", version, "site-packages", "ray.py")
    program = """
import sys
import park.compat.ray
park.compat.ray.install()
import ray
ray.init(num_cpus=1)
def main():
    @ray.remote(runtime_env={"py_executable": sys.argv[1], "env_vars": {"PYTHONPATH": ""}})
    def work():
        import ray
        return ray.__park__, ray.get(ray.put(5))
    print(*ray.get(work.remote()))
main()
"""
    with open(package, "w") as file:
        file.write("raise RuntimeError('the installed one')\n")
    try:
        done = subprocess.run([sys.executable, "-c", program, venv], capture_output=True, text=True, timeout=60)
    finally:
        os.remove(package)
    assert done.stdout.split() == ["True", "5"], done.stderr


# --- who ends with whom -----------------------------------------------------------------------------------------------------------

DRIVER = """
import os, sys, time
import park as ray
ray.init(num_cpus=1)
def main():
    @ray.remote(runtime_env={"py_executable": sys.argv[1]})
    def work():
        return os.getpid(), os.getppid()
    print(*ray.get(work.remote()), flush=True)
main()
time.sleep(600)
"""


def test_it_ends_with_a_driver_that_is_killed(venv):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, venv], stdout=subprocess.PIPE, text=True)
    with driver:
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert len(pids) == 2 and all(helpers.alive(pid) for pid in pids)
        driver.kill()
    wait_until(lambda: not any(helpers.alive(pid) for pid in pids))


def test_one_that_is_not_ready_ends_with_the_session(fresh, tmp_path):
    fresh(num_cpus=1)
    told = tmp_path / "pid"
    command = script(tmp_path / "hangs", f"echo $$ > {told}.new; mv {told}.new {told}; sleep 1000; exit\n")
    ref = ray.remote(lambda: 1).options(runtime_env={"py_executable": command}).remote()
    wait_until(told.exists)
    ray.shutdown()
    # The shell and its child, which are one process group.
    pid = int(told.read_text())
    assert not helpers.alive(pid)
    del ref


def test_a_wrapper_that_is_killed_takes_nothing_with_it(fresh, venv, tmp_path):
    fresh(num_cpus=1)
    wrapper = script(tmp_path / "wrapper", f'"{venv}" "$@" 3<&-\nexit $?\n')
    look = where().options(runtime_env={"py_executable": wrapper})
    first = ray.get(look.remote())[2]
    os.kill(parent_of(parent_of(first)), signal.SIGKILL)
    assert ray.get(look.remote())[2] == first
