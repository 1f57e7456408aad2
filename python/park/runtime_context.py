"""`get_runtime_context()`: where the caller runs."""

from __future__ import annotations

import hashlib
import os
import sys

from park import _park, session


class RuntimeContext:
    """Ids of the caller's session, node and process."""

    def get_job_id(self) -> str:
        """The job's id. A session is one job, with an id of its own."""
        return hashlib.sha256(f"job {_park.session_id()}".encode()).hexdigest()[:8]

    def get_node_id(self) -> str:
        """The node's id, as in `park.nodes()`."""
        return session.node_id()

    def get_worker_id(self) -> str:
        """The id of the process that asks; no two processes of a session have the same."""
        return hashlib.sha256(f"worker {_park.session_id()} {os.getpid()}".encode()).hexdigest()[:56]

    @property
    def namespace(self) -> str:
        """The namespace that names of actors are looked up in by default."""
        return session.namespace()

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor that asks lives in its second process or a later one."""
        worker = sys.modules.get("park.worker")  # imported in workers only
        return bool(worker and worker.restarts)

    def is_canceled(self) -> bool:
        """Whether the task or call that asks was cancelled (`park.cancel`)."""
        if _park.worker_participant() == 0:
            raise RuntimeError("This method is only available when the process is a worker. Current mode: 0")
        return _park.is_cancelled()

    def get(self) -> dict[str, object]:
        """The ids in a dictionary."""
        return {"job_id": self.get_job_id(), "node_id": self.get_node_id(), "namespace": self.namespace}


_CONTEXT = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """Where the caller runs: job, node, process, namespace."""
    _park.session_id()  # opens a session as the rest of the interface does
    return _CONTEXT
