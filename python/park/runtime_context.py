"""`get_runtime_context()`: where the caller runs, and as what."""

from __future__ import annotations

import contextvars
import os
import tempfile
import warnings
from typing import Any

from park import _park, session
from park.assignment import Assigned
from park.here import HERE
from park.ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID

#: The call that a coroutine of an async actor belongs to, as `_park.current_work` gives it, and its depth: there a thread serves many
#: at a time.
CURRENT_CALL: contextvars.ContextVar[tuple[bytes, str, Any, int] | None] = contextvars.ContextVar(
    "park_call", default=None
)


def current_work() -> tuple[Any, ...] | None:
    """The task or call that asks: the id of its first result, its name or method, and a task's function or a call's chosen name."""
    return CURRENT_CALL.get() or _park.current_work()


class RuntimeContext(Assigned):
    """Ids and names of the caller's session, node, process, actor and task."""

    # --- session and node ---------------------------------------------------------------------------------------------------------

    def get_job_id(self) -> str:
        """The job's id. A session is one job, with an id of its own."""
        return JobID.named(f"job {_park.session_id()}").hex()

    def get_node_id(self) -> str:
        """The node's id, as in `park.nodes()`."""
        return session.node_id()

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node."""
        here = self.get_node_id()
        return next((node["Labels"] for node in session.nodes() if node["NodeID"] == here), {})

    def get_session_name(self) -> str:
        """The session's name, the same in each of its processes."""
        return f"session_{_park.session_id():016x}"

    def get_temp_dir(self) -> str:
        """Where temporary files belong. A session has no folder of its own."""

        return tempfile.gettempdir()

    @property
    def gcs_address(self) -> str:
        """The session's address, which `park.attach` takes."""
        return _park.session_address()

    @property
    def namespace(self) -> str:
        """The namespace that names of actors are looked up in by default."""
        return session.namespace()

    # --- process and actor --------------------------------------------------------------------------------------------------------

    def get_worker_id(self) -> str:
        """The id of the process that asks; no two processes of a session have the same."""
        from park.util.state import worker_id

        return worker_id(os.getpid(), _park.worker_participant()).hex()

    def get_actor_id(self) -> str | None:
        """The id of the actor that asks; None elsewhere."""
        found = _actor()
        return None if found is None else ActorID(found[0]).hex()

    def get_actor_name(self) -> str | None:
        """The name of the actor that asks: "" if it has none; None elsewhere."""
        found = _actor()
        if found is None:
            return None
        return next((row["name"] for row in _park.describe_session()["actors"] if row["id"] == found[0]), "")

    @property
    def current_actor(self) -> Any:
        """A handle of the actor that asks, which does not keep it alive. RuntimeError elsewhere."""
        from park.actor import ActorHandle

        found = _actor()
        if found is None:
            raise RuntimeError("This method is only available in an actor.")
        actor_id, meta = found
        return ActorHandle(_park.WeakActor(actor_id), meta)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor that asks lives in its second process or a later one."""
        return bool(HERE.facts.restarts)

    # --- task ---------------------------------------------------------------------------------------------------------------------

    def get_task_id(self) -> str | None:
        """The id of the task or call that asks; None elsewhere."""
        from park.util.state import task_id

        work = current_work()
        return None if work is None else task_id(work[0]).hex()

    def get_task_name(self) -> str | None:
        """The name of the task or call, "Class.method" if nobody chose one for a call; None elsewhere."""
        work = current_work()
        if work is None:
            return None
        found = _actor()
        return work[1] if found is None else work[2] or f"{found[1]['class_name']}.{work[1]}"

    def get_task_function_name(self) -> str | None:
        """The function or method that runs, with its module; None elsewhere."""
        work = current_work()
        if work is None:
            return None
        found = _actor()
        if found is not None:
            meta = found[1]
            # Ray names async methods by the whole path of their class, others without the functions that it is defined in.
            class_name = meta["qualname"] if meta["asynchronous"] else meta["class_name"]
            return f"{meta['module']}.{class_name}.{work[1]}"
        function = work[2]
        return work[1] if function is None else f"{function.__module__}.{function.__name__}"

    def is_canceled(self) -> bool:
        """Whether the task or call that asks was cancelled (`park.cancel`)."""
        if _park.worker_participant() == 0:
            raise RuntimeError("This method is only available when the process is a worker. Current mode: 0")
        if _park.runs_event_loop():
            # There the call is cancelled as coroutines are: it raises where it waits.
            raise RuntimeError("This method is not supported in an async actor.")
        return _park.is_cancelled()

    def get_runtime_env_string(self) -> str:
        """The environment of the caller's process, as JSON."""
        import json

        return json.dumps(self.runtime_env)

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The environment of the caller's process."""
        return dict(session.runtime_env())

    def get(self) -> dict[str, Any]:
        """The ids in a dictionary, without those that the caller does not have."""
        ids: dict[str, Any] = {
            "job_id": JobID.from_hex(self.get_job_id()),
            "node_id": NodeID.from_hex(self.get_node_id()),
            "namespace": self.namespace,
        }
        if (task := self.get_task_id()) is not None:
            ids["task_id"] = TaskID.from_hex(task)
        if (actor := self.get_actor_id()) is not None:
            ids["actor_id"] = ActorID.from_hex(actor)
        return ids

    # --- what Ray calls deprecated ------------------------------------------------------------------------------------------------

    @property
    def job_id(self) -> JobID:
        """As `get_job_id()`, as an object."""
        _deprecated("get_job_id")
        return JobID.from_hex(self.get_job_id())

    @property
    def node_id(self) -> NodeID:
        """As `get_node_id()`, as an object."""
        _deprecated("get_node_id")
        return NodeID.from_hex(self.get_node_id())

    @property
    def task_id(self) -> TaskID | None:
        """As `get_task_id()`, as an object."""
        _deprecated("get_task_id")
        found = self.get_task_id()
        return None if found is None else TaskID.from_hex(found)

    @property
    def actor_id(self) -> ActorID | None:
        """As `get_actor_id()`, as an object."""
        _deprecated("get_actor_id")
        found = self.get_actor_id()
        return None if found is None else ActorID.from_hex(found)

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """As `get_placement_group_id()`, as an object; nil in none."""
        _deprecated("get_placement_group_id")
        found = self.get_placement_group_id()
        return PlacementGroupID.nil() if found is None else PlacementGroupID.from_hex(found)

    def get_resource_ids(self) -> dict[str, list[str]]:
        """As `get_accelerator_ids()`."""
        _deprecated("get_accelerator_ids")
        return self.get_accelerator_ids()


def _actor() -> tuple[bytes, dict[str, Any]] | None:
    """The id of the actor that asks, and what handles know of it."""
    return HERE.facts.actor


def _deprecated(instead: str) -> None:
    warnings.warn(f"Use {instead}() instead", DeprecationWarning, stacklevel=3)


_CONTEXT = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """Where the caller runs: job, node, process, actor, task, namespace."""
    _park.session_id()  # opens a session as the rest of the interface does
    return _CONTEXT
