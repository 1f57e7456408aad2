"""More of what Ray's tests share."""

import asyncio
import contextlib
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


def _absent(name, what):
    from ray.absent import Absent

    return Absent(name, what)


raw_metric_timeseries = _absent("raw_metric_timeseries", "Ray's metrics agents")
get_metric_check_condition = _absent("get_metric_check_condition", "Ray's metrics agents")
object_memory_usage = _absent("object_memory_usage", "Ray's metrics agents")
wait_for_aggregator_agent_if_enabled = _absent("wait_for_aggregator_agent_if_enabled", "Ray's event agents")
make_global_state_accessor = _absent("make_global_state_accessor", "the protocol of Ray's GCS server")
init_error_pubsub = _absent("init_error_pubsub", "Ray's GCS server, which publishes errors")
get_error_message = _absent("get_error_message", "Ray's GCS server, which publishes errors")
get_gcs_memory_used = _absent("get_gcs_memory_used", "Ray's GCS server")
check_local_files_gced = _absent("check_local_files_gced", "Ray's agent, which sets environments up")
check_call_ray = _absent("check_call_ray", "Ray's command line")
format_web_url = _absent("format_web_url", "Ray's dashboard")


def reset_autoscaler_v2_enabled_cache():
    """Nothing scales here."""


def external_redis_test_enabled():
    """Whether the tests have a Redis: never."""
    return False


@contextlib.contextmanager
def chdir(folder):
    """Work in another folder for a while."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_string_as_driver_stdout_stderr(driver_script, env=None, encode="utf-8"):
    """Run a program, and give what it printed, the two streams apart."""
    done = subprocess.run([sys.executable, "-"], input=driver_script.encode(encode), capture_output=True, env=env)
    out, err = done.stdout.decode(encode), done.stderr.decode(encode)
    if done.returncode:
        print(out, err)
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return out, err


def wait_for_num_actors(num_actors, state=None, timeout=10):
    """Wait until there are so many actors, in this state."""
    from ray.util.state import list_actors

    filters = None if state is None else [("state", "=", convert_actor_state(state))]
    wait_for_condition(lambda: len(list_actors(filters=filters, limit=num_actors)) >= num_actors, timeout)
