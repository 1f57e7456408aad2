"""What several test files need: polling, processes found through /proc, drivers in processes of their own, attempt counters.

Nothing here is used inside a remote function: those must not depend on the path the tests were started with (one test of
`test_tasks.py` checks on purpose that they may).
"""

import gc
import os
import pathlib
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid

import park as ray
from park.exceptions import RayError

ON_RAY = ray.__name__ == "ray"
#: Workers are threads of this process.
THREADED = not ON_RAY and os.environ.get("PARK_MODE") == "thread"
#: How long the suite allows for what park promises "at once"; Ray gets the time it needs.
SHUTDOWN_SECONDS = 30.0 if ON_RAY else 3.0
#: A generous bound for one task or call on a loaded two-core machine. Never a measurement.
SOON = 50.0 if ON_RAY else 20.0
MB = 1 << 20

__all__ = ["MB", "ON_RAY", "SOON", "THREADED", "RayError", "ray"]


def start(**options):
    """`park.init`, and on Ray the arguments that keep it quiet."""
    if ON_RAY:
        options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR", **options}
    return ray.init(**options)


def wait_until(condition, seconds=SOON, pause=0.01):
    """Poll until `condition()` is true and return its value; fail with the last value otherwise."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"still {value!r} after {seconds} s")
        time.sleep(pause)


def wait_until_gone(listing, seconds):
    """Poll until `listing()` is empty; return what is left of it when the time is over."""
    end = time.monotonic() + seconds
    while True:
        left = listing()
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.02)


def alive(pid):
    """True while `pid` exists and is not a zombie that waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_dead(pid):
    """Wait until a worker's process is gone; in thread mode nothing is seen of that from outside."""
    if not THREADED:
        wait_until(lambda: not alive(pid))


class Found:
    """A process found in /proc, with what is needed to name it in a failure."""

    def __init__(self, pid):
        self.pid = pid
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                self.command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            self.command = "?"

    def terminate_quietly(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def __repr__(self):
        return f"<{self.pid}: {self.command[:120]}>"


def processes_with(name, value):
    """Live processes, other than this one, whose environment at start had `name=value`."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                mine = wanted in file.read().split(b"\0")
        except OSError:
            continue
        if mine and alive(int(entry)):
            found.append(Found(int(entry)))
    return found


def kill(pid):
    """SIGKILL, and wait until the process is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), 10)


def signal_if_there(pid, number):
    """For a worker that may just be ending."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def stop(pid):
    """SIGSTOP, and wait until each thread of the process has stopped: until then it may answer. It may also just be ending."""

    def stands_still():
        try:
            threads = [f"/proc/{pid}/task/{thread}/stat" for thread in os.listdir(f"/proc/{pid}/task")]
            return all(pathlib.Path(path).read_text().rpartition(")")[2].split()[0] in "tTZX" for path in threads)
        except (FileNotFoundError, ProcessLookupError):
            return not os.path.exists(f"/proc/{pid}")

    signal_if_there(pid, signal.SIGSTOP)
    wait_until(stands_still)


def submit_to_the_stopped(submit):
    """Submit work while every worker is stopped: what it is to be waited for by, and the processes.

    A worker that was just starting may take it all the same; then it is stopped too, and the work submitted again.
    """
    stopped = set()
    while True:
        for pid in set(ray.runtime_stats()["workers_alive_pids"]) - stopped:
            stop(pid)
            stopped.add(pid)
        answer = submit()
        if not ray.wait([answer], timeout=0.2)[0]:
            return answer, stopped


def fresh_python(program, **options):
    """Run a program in an interpreter of its own; what it printed. It must end well."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SOON + 30, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def memory_in_use():
    """Bytes of memory in use and bytes that there are: where this process is nearest to a limit, as `park` finds it."""
    from park import _park

    return _park.memory_use()


class CounterFile:
    """Counts attempts of tasks that may die at any moment: one appended byte each, with O_APPEND so that none is lost."""

    def __init__(self, path):
        self.path = str(path)

    def count(self):
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0


_PRELUDE = """\
import os, sys
import park as ray
from park.exceptions import *
def say(*words):
    print("@", *words, flush=True)
def start(**options):
    if ray.__name__ == "ray":
        options = {"include_dashboard": False, "log_to_driver": False, **options}
    return ray.init(**options)
"""


class Driver:
    """A Python program in a process group of its own that talks to the test over its standard streams.

    The program calls `say(...)`; the test reads with `line()` and answers with `tell(...)`, which the program reads by `input()`.
    Other output (of a runtime that prints) is kept for failure messages. Use as a context manager: leaving it kills the process.
    """

    def __init__(self, body, *arguments, env=None):
        self.token = uuid.uuid4().hex
        environment = {**os.environ, **(env or {}), "PARK_TEST_DRIVER": self.token, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + textwrap.dedent(body), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=environment,
        )
        self.pid = self.process.pid
        self._lines = queue.Queue()
        self.noise = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("@ "):
                self._lines.put(line[2:].rstrip("\n"))
            else:
                self.noise.append(line)
        self._lines.put(None)

    def line(self, seconds=SOON):
        """The next line the program said."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"silent for {seconds} s; printed: {''.join(self.noise)}") from None
        assert line is not None, f"ended with {self.process.wait()}; printed: {''.join(self.noise)}"
        return line

    def tell(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def interrupt(self, group):
        """Ctrl-C: a terminal sends SIGINT to the whole foreground group, `kill -INT` to one process."""
        (os.killpg if group else os.kill)(self.pid, signal.SIGINT)

    def finish(self, seconds=SOON):
        """Wait for the end of the program; it must have ended well."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        assert code == 0, f"ended with {code}; printed: {''.join(self.noise)}"

    def processes(self):
        """Every live process of this program, itself and orphans included."""
        return processes_with("PARK_TEST_DRIVER", self.token)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        left = wait_until_gone(self.processes, SHUTDOWN_SECONDS)
        for process in left:
            process.terminate_quietly()
        self._reader.join(5)
        self.process.stdin.close()
        self.process.stdout.close()
        if exc[0] is None and not ON_RAY:
            assert not left, f"processes outlive the driver: {left}"


def settled(key):
    """`store_stats()[key]` once it stands still: workers of an earlier test may be letting go of their references yet."""
    gc.collect()
    values = []
    while len(values) < 3 or (len(set(values[-3:])) > 1 and len(values) < 100):
        values.append(ray.store_stats()[key])
        time.sleep(0.01)
    return values[-1]


def audit():
    """What does not add up in the session of this process; nothing if there is none, or if it belongs to somebody else."""
    if ON_RAY or ray._park.role() != "head" or not ray.is_initialized():
        return []
    return ray._park.audit(SOON)


def used_bytes():
    """Bytes of the store in use, after Python has let go of what it no longer needs."""
    return settled("used")


def object_count():
    """Objects in the store, likewise."""
    return settled("objects")
