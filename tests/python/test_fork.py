"""fork: the child's runtime refuses with a clear error, and nothing the child does or drops reaches the parent's session."""

import pytest
from helpers import Driver

pytestmark = pytest.mark.park_only

PARENT = """
    import gc, time
    start(num_cpus=1)

    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    class Actor:
        def add(self, x):
            return x + 1

    actor = Actor.remote()
    small, big = ray.put("small"), ray.put(b"b" * 3_000_000)
    done = double.remote(1)
    assert ray.get([done, actor.add.remote(1)]) == [2, 2]
"""
CHECK_PARENT = """
    assert ray.get([small, big]) == ["small", b"b" * 3_000_000]
    assert ray.get([double.remote(3), actor.add.remote(4)], timeout=30) == [6, 5]
    ray.shutdown()
    say("parent done")
"""


def test_every_call_of_the_child_is_refused():
    program = (
        PARENT
        + """
    calls = {
        "get": lambda: ray.get(small), "put": lambda: ray.put(1), "wait": lambda: ray.wait([small], timeout=1),
        "remote": lambda: double.remote(1), "method": lambda: actor.add.remote(1), "actor": lambda: Actor.remote(),
        "kill": lambda: ray.kill(actor), "get_actor": lambda: ray.get_actor("x"), "store_stats": lambda: ray.store_stats(),
    }
    child = os.fork()
    if child == 0:
        for name, call in calls.items():
            try:
                call()
                say(name, "came back")
            except (RuntimeError, RayError) as error:
                say(name, "fork" in str(error))
            except BaseException as error:
                say(name, type(error).__name__)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
        + CHECK_PARENT
    )
    with Driver(program) as driver:
        for name in ("get", "put", "wait", "remote", "method", "actor", "kill", "get_actor", "store_stats"):
            assert driver.line() == f"{name} True"
        assert driver.line() == "parent done"
        driver.finish()


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "ray.shutdown(); os._exit(0)", "os.abort()"])
def test_the_end_of_the_child_leaves_the_session_alone(end):
    program = (
        PARENT
        + f"""
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    child = os.fork()
    if child == 0:
        del small, big, done, actor
        gc.collect()
        {end}
    os.waitpid(child, 0)
    time.sleep(0.3)
    """
        + CHECK_PARENT
    )
    with Driver(program) as driver:
        assert driver.line() == "parent done"
        driver.finish()


def test_a_view_made_before_the_fork_is_readable_in_the_child():
    numpy = pytest.importorskip("numpy")
    assert numpy
    program = (
        PARENT
        + """
    import numpy as np
    view = ray.get(ray.put(np.arange(500_000)))
    child = os.fork()
    if child == 0:
        say(int(view.sum()))
        del view
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    say(int(view.sum()))
    """
        + CHECK_PARENT
    )
    with Driver(program) as driver:
        assert driver.line() == driver.line() == str(sum(range(500_000)))
        assert driver.line() == "parent done"
        driver.finish()


def test_a_child_of_multiprocessing_may_open_a_session_of_its_own():
    """The inherited session is refused, a new one is not: after shutdown and init the child is a driver like any other."""
    program = (
        PARENT
        + """
    child = os.fork()
    if child == 0:
        ray.shutdown()
        start(num_cpus=1)
        say("child", ray.get(double.remote(21), timeout=30))
        ray.shutdown()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
        + CHECK_PARENT
    )
    with Driver(program) as driver:
        assert driver.line() == "child 42"
        assert driver.line() == "parent done"
        driver.finish()


def test_a_child_started_by_exec_is_no_child_of_the_session():
    program = (
        PARENT
        + """
    import subprocess
    code = "import park; park.init(num_cpus=1); print(park.get(park.put(5))); park.shutdown()"
    say(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.strip())
    """
        + CHECK_PARENT
    )
    with Driver(program) as driver:
        assert driver.line() == "5"
        assert driver.line() == "parent done"
        driver.finish()


def test_the_parent_dies_while_a_forked_child_lives():
    """The child keeps no worker alive: it inherits descriptors, not the session."""
    program = (
        PARENT
        + """
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    say(child)
    time.sleep(600)
    """
    )
    import os
    import signal

    from helpers import wait_until_gone

    with Driver(program) as driver:
        child = int(driver.line())
        os.kill(driver.pid, signal.SIGKILL)
        driver.process.wait(10)
        left = wait_until_gone(lambda: [process for process in driver.processes() if process.pid != child], 3)
        os.kill(child, signal.SIGKILL)
        assert not left
