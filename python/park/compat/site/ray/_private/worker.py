"""`global_worker`: what this process is in its session, by the names that programs read from Ray's worker object."""

import park
from park import _park, session
from park import cloudpickle as pickle
from park.actor import exported_classes
from park.ids import ActorID, JobID, NodeID, TaskID, WorkerID
from park.runtime_context import RuntimeContext
from park.session import RayContext
from park.util.state import task_id

from ray._private import ray_constants
from ray.experimental import internal_kv

__all__ = [
    "SCRIPT_MODE",
    "WORKER_MODE",
    "RayContext",
    "Worker",
    "connected",
    "global_worker",
    "pickle",
    "print_to_stdstream",
]

SCRIPT_MODE, WORKER_MODE = 0, 1

_context = RuntimeContext()

#: Bytes of a task's id that are the id of its first result.
_FIRST_RESULT = 16


class _Node:
    """The node that this process runs on."""

    @property
    def unique_id(self):
        return session.node_id()

    node_id = unique_id

    @property
    def node_ip_address(self):
        return session.NODE_IP

    @property
    def session_name(self):
        return _context.get_session_name()

    @property
    def address(self):
        return _park.session_address()

    gcs_address = address


class _CoreWorker:
    """The few questions that programs ask Ray's native worker."""

    def get_actor_id(self):
        found = _context.get_actor_id() if connected() else None
        return ActorID.nil() if found is None else ActorID.from_hex(found)

    def get_current_task_id(self):
        found = _context.get_task_id() if connected() else None
        return TaskID.nil() if found is None else TaskID.from_hex(found)

    def object_exists(self, object_ref):
        """Whether the object is made and not lost."""
        try:
            return bool(_park.wait([object_ref], timeout=0)[0])
        except park.exceptions.ObjectNotFoundError:  # it names nothing
            return False

    def get_pending_children_task_ids(self, parent_task_id):
        """The tasks and calls that this one asked for and that are not done, as far as the head and this process know."""
        return [task_id(first) for first in _park.children_of(parent_task_id.binary()[:_FIRST_RESULT])]

    def get_all_reference_counts(self):
        """What refers to each object that this process knows: "local", its references; "submitted", tasks and calls that take it."""
        from park.util.state import reference_counts

        return {
            id.hex().encode(): {"local": local, "submitted": submitted}
            for id, (local, submitted) in reference_counts().items()
        }

    def get_memory_store_size(self):
        """How many objects this process refers to, or what it asked for does. Ray counts those that its worker holds by value."""
        return len(self.get_all_reference_counts())

    def get_worker_id(self):
        return global_worker.worker_id

    def get_current_node_id(self):
        return global_worker.current_node_id


class _GcsClient:
    """The session's tables of keys and values. One of them is made up: which classes this process has made actors of."""

    @property
    def address(self):
        return _park.session_address()

    def internal_kv_keys(self, prefix, namespace=None, timeout=None):
        """The keys with this prefix in a table."""
        if namespace == ray_constants.KV_NAMESPACE_FUNCTION_TABLE:
            return [key for key in _actor_classes() if key.startswith(prefix)]
        return internal_kv._internal_kv_list(prefix, namespace=namespace)

    def internal_kv_get(self, key, namespace=None, timeout=None):
        """The value of this key; None if it has none. Of a class that is its name and module, pickled."""
        if namespace != ray_constants.KV_NAMESPACE_FUNCTION_TABLE:
            return internal_kv._internal_kv_get(key, namespace=namespace)
        facts = _actor_classes().get(key)
        return None if facts is None else pickle.dumps({name: facts[name] for name in ("class_name", "module")})

    def internal_kv_put(self, key, value, overwrite=True, namespace=None, timeout=None):
        """Give the key a value, unless it has one and `overwrite` is false. Returns how many keys that added, as Ray does: 1 or 0."""
        return int(not internal_kv._internal_kv_put(key, value, overwrite, namespace=namespace))

    def internal_kv_exists(self, key, namespace=None, timeout=None):
        """Whether the key has a value."""
        return self.internal_kv_get(key, namespace) is not None

    def internal_kv_del(self, key, del_by_prefix, namespace=None, timeout=None):
        """Forget the key, or all keys that begin so. Returns how many there were."""
        return internal_kv._internal_kv_del(key, del_by_prefix=del_by_prefix, namespace=namespace)


def _actor_classes():
    job = global_worker.current_job_id.hex()
    return {f"ActorClass:{job}:{key.hex()}".encode(): facts for key, facts in exported_classes()}


def connected():
    """Whether a session is open; asking opens none."""
    return _park.is_initialized()


class Worker:
    """See the module."""

    node = property(lambda self: _Node() if connected() else None)
    core_worker = property(lambda self: _CoreWorker())
    gcs_client = property(lambda self: _GcsClient())
    connected = property(lambda self: connected())
    namespace = property(lambda self: session.namespace())

    @property
    def mode(self):
        if not connected():
            return None
        return WORKER_MODE if _park.role() == "worker" else SCRIPT_MODE

    @property
    def current_job_id(self):
        return JobID.from_hex(_context.get_job_id()) if connected() else JobID.nil()

    job_id = current_job_id

    @property
    def current_task_id(self):
        return self.core_worker.get_current_task_id()

    @property
    def task_depth(self):
        """How many tasks and calls led to the one that asks, itself included; 0 in a program."""
        return _park.task_depth() if connected() else 0

    @property
    def actor_id(self):
        return self.core_worker.get_actor_id()

    @property
    def worker_id(self):
        return WorkerID.from_hex(_context.get_worker_id()).binary() if connected() else WorkerID.nil().binary()

    @property
    def current_node_id(self):
        return NodeID.from_hex(session.node_id()) if connected() else NodeID.nil()

    def check_connected(self):
        if not connected():
            raise park.exceptions.RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")


global_worker = Worker()


def print_to_stdstream(*args, **kwargs):
    """Ray prints workers' output by this; park's head does so itself."""
    raise NotImplementedError("park writes what workers print by itself; there is no log monitor to replace")


def __getattr__(name):
    return getattr(park, name)
