"""More of what Ray's tests share."""

import asyncio
import os
import subprocess
import sys
import time

import ray
from ray._common.test_utils import run_string_as_driver, wait_for_condition  # noqa: F401
from ray.util.queue import Empty, Queue, _QueueActor


def client_test_enabled():
    """Whether the tests go through Ray Client: never."""
    return False


def generate_system_config_map(**kwargs):
    """Arguments of `init` that set knobs of Ray's servers."""
    return {"_system_config": kwargs}


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_pid_to_exit(pid, timeout=20):
    """Wait until the process is gone."""
    end = time.monotonic() + timeout
    while _lives(pid):
        if time.monotonic() > end:
            raise TimeoutError(f"Timed out while waiting for process {pid} to exit.")
        time.sleep(0.05)


def kill_actor_and_wait_for_failure(actor, timeout=10, retry_interval_ms=100):
    """Kill an actor, and wait until the session knows."""
    from ray.util.state import get_actor

    before = get_actor(actor._actor_id.hex()).num_restarts
    ray.kill(actor)

    def gone():
        now = get_actor(actor._actor_id.hex())
        return now.state == "DEAD" or now.num_restarts > before

    wait_for_condition(gone, timeout, retry_interval_ms)


def run_string_as_driver_nonblocking(driver_script, env=None):
    """Start a program."""
    process = subprocess.Popen(
        [sys.executable, "-c", driver_script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env or dict(os.environ),
    )
    process.stdin.close()
    return process


@ray.remote
def _put(value):
    return value


def put_object(value, use_ray_put):
    """An object, by `put` or as a task's result."""
    return ray.put(value) if use_ray_put else _put.remote(value)


class BatchQueue(Queue):
    """A queue that gives several items at once."""

    def __init__(self, maxsize=0, actor_options=None):
        self.maxsize = maxsize
        self.actor = ray.remote(_BatchQueueActor).options(**(actor_options or {})).remote(maxsize)

    def get_batch(self, batch_size=None, total_timeout=None, first_timeout=None):
        return ray.get(self.actor.get_batch.remote(batch_size, total_timeout, first_timeout))


class _BatchQueueActor(_QueueActor):
    async def get_batch(self, batch_size=None, total_timeout=None, first_timeout=None):
        begun = time.monotonic()
        try:
            batch = [await asyncio.wait_for(self.queue.get(), first_timeout)]
        except TimeoutError:
            raise Empty from None
        if batch_size is None and total_timeout is None:
            total_timeout = 0  # what is there now
        while batch_size is None or len(batch) < batch_size:
            left = None if total_timeout is None else max(0, total_timeout - (time.monotonic() - begun))
            try:
                batch.append(await asyncio.wait_for(self.queue.get(), left))
            except TimeoutError:
                break
        return batch


def placement_group_assert_no_leak(groups):
    """Remove the groups; what they reserved must be free again."""
    for group in groups:
        ray.util.remove_placement_group(group)
    wait_for_condition(
        lambda: all(ray.util.placement_group_table(group).get("state") in (None, "REMOVED") for group in groups)
    )
    wait_for_condition(lambda: ray.available_resources().get("CPU") == ray.cluster_resources().get("CPU"))


def get_other_nodes(cluster, exclude_head=False):
    """The nodes of the cluster that the driver is not on; all but the head with `exclude_head`."""
    return [node for node in cluster.list_all_nodes() if node is not cluster.head_node]


def is_placement_group_removed(group):
    """Whether the session has forgotten what the group reserved."""
    return ray.util.placement_group_table(group).get("state") in (None, "REMOVED")


def convert_actor_state(state):
    """The name of a state of an actor, by its number in Ray's protocol."""
    return ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")[state]
