"""Work that takes more memory than it may: a limit of the process is an exception, the kernel's out-of-memory killer is a death."""

import os
import resource
import tempfile

import park as ray
import pytest
from helpers import MB, SOON
from park.exceptions import ActorDiedError, RayTaskError, WorkerCrashedError

SESSION = {"num_cpus": 2, "object_store_memory": 256 * MB}
pytestmark = [pytest.mark.usefixtures("session"), pytest.mark.park_only]
LIMIT = 48 * MB


def take(number):
    """That many bytes, each page touched."""
    return len(bytearray(b"x" * 4096) * (number // 4096))


class Greedy:
    def pid(self):
        return os.getpid()

    def take_beyond_a_limit(self):
        """The process may have as many addresses as it has, and 64 MB."""
        with open("/proc/self/statm") as numbers:
            now = int(numbers.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (now + 64 * MB, before[1]))
        try:
            take(512 * MB)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    def take_in(self, group):
        """Beyond what the kernel lets the group have."""
        with open(group + "/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        return take(4 * LIMIT)


class AsyncGreedy(Greedy):
    async def pid(self):
        return os.getpid()

    async def take_beyond_a_limit(self):
        super().take_beyond_a_limit()

    async def take_in(self, group):
        return super().take_in(group)


@ray.remote(max_retries=3)
def limited_task():
    return os.getpid(), Greedy().take_beyond_a_limit()


def test_a_limit_of_the_process_is_an_error_of_the_task():
    with pytest.raises(RayTaskError) as caught:
        ray.get(limited_task.remote(), timeout=SOON)
    assert isinstance(caught.value, MemoryError)


@pytest.mark.parametrize("class_", [Greedy, AsyncGreedy])
@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}], ids=["plain", "concurrent"])
def test_a_limit_of_the_process_is_an_error_of_the_call(class_, options):
    actor = ray.remote(class_).options(**options).remote()
    pid = ray.get(actor.pid.remote(), timeout=SOON)
    with pytest.raises(MemoryError):
        ray.get(actor.take_beyond_a_limit.remote(), timeout=SOON)
    assert ray.get(actor.pid.remote(), timeout=SOON) == pid


@pytest.fixture
def group():
    """A control group of little memory; the system must let us make one."""
    for root, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        try:
            path = tempfile.mkdtemp(prefix="park-test-", dir=root)
        except OSError:
            continue
        try:
            with open(f"{path}/{limit}", "w") as file:
                file.write(str(LIMIT))
            with open(f"{path}/cgroup.procs"):
                pass
        except OSError:
            os.rmdir(path)
            continue
        yield path
        os.rmdir(path)
        return
    pytest.skip("no control group of memory can be made here")


def test_the_kernel_kills_a_task(group, counter_file):
    @ray.remote(max_retries=1)
    def task(path, group):
        with open(path, "a") as file:
            file.write(".")
        return Greedy().take_in(group)

    with pytest.raises(WorkerCrashedError, match="signal 9"):
        ray.get(task.remote(counter_file.path, group), timeout=SOON)
    assert counter_file.count() == 2


@pytest.mark.parametrize("class_", [Greedy, AsyncGreedy])
def test_the_kernel_kills_an_actor(group, class_):
    actor = ray.remote(class_).remote()
    ray.get(actor.pid.remote(), timeout=SOON)
    with pytest.raises(ActorDiedError, match="signal 9"):
        ray.get(actor.take_in.remote(group), timeout=SOON)
    with pytest.raises(ActorDiedError):
        ray.get(actor.pid.remote(), timeout=SOON)
