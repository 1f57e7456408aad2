"""What a session has, as tables: actors, tasks, workers, nodes, objects, under the names and columns of `ray.util.state`.

The head answers, and only with what it knows. Of tasks that ended it remembers the last 10,000, and of actors that are dead the last
thousand. Calls of actors that are not done it finds in the actors' queues; of its last 10,000 that are done each actor's process knows, and
is asked: those of actors that are dead are not listed, nor those of one that does not answer within two seconds, or is busy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from park import _park, node_resources, session
from park.actor import TRACE
from park.ids import ActorID, JobID, TaskID, WorkerID
from park.util import timeline as timeline_of

__all__ = [
    "get_actor",
    "get_job",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_runtime_envs",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]

_ACTOR_STATES = {
    "waiting": "DEPENDENCIES_UNREADY",
    "queued": "PENDING_CREATION",
    "starting": "PENDING_CREATION",
    "alive": "ALIVE",
    "restarting": "RESTARTING",
    "retiring": "ALIVE",
    "dead": "DEAD",
}
_TASK_STATES = {
    "waiting": "PENDING_ARGS_AVAIL",
    "queued": "PENDING_NODE_ASSIGNMENT",
    "sent": "SUBMITTED_TO_WORKER",
    "running": "RUNNING",
    "blocked": "RUNNING",
}
#: Ray's names of how work fails, by the core's kinds of errors.
_ERROR_TYPES = {
    "WorkerDied": "WORKER_DIED",
    "OutOfMemory": "OUT_OF_MEMORY",
    "Cancelled": "TASK_CANCELLED",
    "EnvironmentSetup": "RUNTIME_ENV_SETUP_FAILED",
    "Unschedulable": "TASK_UNSCHEDULABLE_ERROR",
    "GroupRemoved": "TASK_PLACEMENT_GROUP_REMOVED",
    "ActorDied": "ACTOR_DIED",
    "ActorUnavailable": "ACTOR_UNAVAILABLE",
}
#: Kind and text of an error; None if that is not known.
Failure = tuple[str, str] | None


#: The numbers of these states in Ray's protocol.
_NUMBERS = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")


class Row(dict):
    """A row of a table, by key or by attribute."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the row has no column {name!r}, only {list(self)}") from None

    def asdict(self) -> dict[str, Any]:
        """The row as a plain dictionary."""
        return dict(self)


# --- ids ----------------------------------------------------------------------------------------------------------------------------


def task_id(first_result: bytes) -> TaskID:
    """The id of the task or call whose first result has this id."""
    return TaskID(first_result.ljust(TaskID.size(), b"\0"))


def worker_id(pid: int, participant: int) -> WorkerID:
    """The id of a worker: this entry in the session, of this process. The driver has no entry, 0."""
    return WorkerID.named(f"worker {_park.session_id()} {pid} {participant}")


def job_id() -> JobID:
    """The id of the session's one job."""
    return JobID.named(f"job {_park.session_id()}")


def _joined(pid: int, participant: int) -> JobID:
    """The id of a program that joined the session. What it submits belongs to the session's job all the same."""
    return JobID.named(f"job {_park.session_id()} {pid} {participant}")


# --- tables -------------------------------------------------------------------------------------------------------------------------


def _wall_ms(micros: int) -> int | None:
    """A moment of the session, 0 if it has not come yet, as milliseconds since 1970."""
    return timeline_of.wall(micros) // 1000 if micros else None


def _actors() -> list[Row]:
    return [
        Row(
            actor_id=ActorID(row["id"]).hex(),
            class_name=row["class_name"],
            state=_ACTOR_STATES[row["life"]],
            job_id=job_id().hex(),
            name=row["name"],
            node_id=row["node"] or None,
            pid=row["pid"],
            ray_namespace=row["namespace"],
            num_restarts=row["restarts"],
            start_time_ms=_wall_ms(row["began"]),
            end_time_ms=_wall_ms(row["ended"]),
        )
        for row in _describe()["actors"]
    ]


def _tasks() -> list[Row]:
    return [
        Row(
            task_id=task_id(row["id"]).hex(),
            attempt_number=row["attempt"],
            name=row["name"],
            func_or_class_name=row["name"],
            state=_TASK_STATES[row["life"]],
            type="NORMAL_TASK",
            job_id=job_id().hex(),
            actor_id=None,
            node_id=row["node"] or None,
            worker_id=worker_id(row["pid"], row["participant"]).hex() if row["pid"] else None,
            worker_pid=row["pid"] or None,
            error_type=None,
            error_message=None,
            start_time_ms=None,
            end_time_ms=None,
            parent_task_id=task_id(row["parent"]).hex() if row["parent"] else None,
        )
        for row in _describe()["tasks"]
    ] + [*(_ended(*row) for row in reversed(_park.ended_tasks())), *_calls()]


def _ended(
    first: bytes,
    name: str,
    worker: tuple[int, int],
    attempt: int,
    failed: bool,
    began: int,
    ended: int,
    failure: Failure,
    parent: bytes | None,
) -> Row:
    pid, _ = worker
    return Row(
        task_id=task_id(first).hex(),
        attempt_number=attempt,
        name=name,
        func_or_class_name=name,
        state="FAILED" if failed else "FINISHED",
        type="NORMAL_TASK",
        job_id=job_id().hex(),
        actor_id=None,
        node_id=session.node_id() if pid else None,
        worker_id=worker_id(*worker).hex() if pid else None,
        worker_pid=pid or None,
        **_error(failed, failure),
        start_time_ms=_wall_ms(began),
        end_time_ms=_wall_ms(ended),
        parent_task_id=task_id(parent).hex() if parent else None,
    )


def _error(failed: bool, failure: Failure) -> dict[str, Any]:
    """The columns that say how work failed."""
    kind, text = failure or ("TaskFailed", "")
    error_type = _ERROR_TYPES.get(kind, "TASK_EXECUTION_EXCEPTION")
    return {"error_type": error_type if failed else None, "error_message": text if failed else None}


def _calls() -> list[Row]:
    """Calls of actors: those that are not done, and those that ended, the latest first."""
    open_calls = [row for row in _park.open_calls() if row["method"] != TRACE]
    ended = [_ended_call(actor, pid, *call) for actor, (pid, calls) in timeline_of.traces() for call in reversed(calls)]
    # One that ended between the two questions is in both answers.
    known = {(row["task_id"], row["attempt_number"]) for row in ended}
    rows = [_open_call(row) for row in open_calls]
    return [row for row in rows if (row["task_id"], row["attempt_number"]) not in known] + ended


def _open_call(row: dict[str, Any]) -> Row:
    method = f"{row['class_name']}.{row['method']}"
    return Row(
        task_id=task_id(row["id"]).hex(),
        attempt_number=row["attempt"],
        name=row["name"] or method,
        func_or_class_name=method,
        state="RUNNING" if row["running"] else "SUBMITTED_TO_WORKER",
        type="ACTOR_TASK",
        job_id=job_id().hex(),
        actor_id=ActorID(row["actor"]).hex(),
        node_id=row["node"] or None,
        worker_id=worker_id(row["pid"], row["participant"]).hex() if row["pid"] else None,
        worker_pid=row["pid"] or None,
        error_type=None,
        error_message=None,
        start_time_ms=None,
        end_time_ms=None,
        parent_task_id=task_id(row["parent"]).hex() if row["parent"] else None,
    )


def _ended_call(
    actor: dict[str, Any],
    pid: int,
    method: str,
    name: str | None,
    first: bytes,
    attempt: int,
    failed: bool,
    began: int,
    ended: int,
    failure: Failure,
    parent: bytes | None,
) -> Row:
    whole = f"{actor['class_name']}.{method}"
    return Row(
        task_id=task_id(first).hex(),
        attempt_number=attempt,
        name=name or whole,
        func_or_class_name=whole,
        state="FAILED" if failed else "FINISHED",
        type="ACTOR_TASK",
        job_id=job_id().hex(),
        actor_id=ActorID(actor["id"]).hex(),
        node_id=actor["node"] or None,
        worker_id=None,
        worker_pid=pid,
        **_error(failed, failure),
        start_time_ms=_wall_ms(began),
        end_time_ms=_wall_ms(ended),
        parent_task_id=task_id(parent).hex() if parent else None,
    )


def _workers() -> list[Row]:
    return [
        Row(
            worker_id=worker_id(row["pid"], row["participant"]).hex(),
            is_alive=True,
            worker_type="WORKER",
            exit_type=None,
            exit_detail=None,
            pid=row["pid"],
            ip=session.NODE_IP,
            node_id=row["node"] or session.node_id(),
            actor_id=ActorID(row["actor"]).hex() if row["actor"] else None,
            idle=row["idle"],
        )
        for row in _describe()["workers"]
        if row["pid"]
    ]


def _nodes() -> list[Row]:
    head = session.node_id()
    return [
        Row(
            node_id=node["NodeID"],
            node_ip=node["NodeManagerAddress"],
            node_name=node["NodeName"],
            is_head_node=node["NodeID"] == head,
            state="ALIVE" if node["Alive"] else "DEAD",
            resources_total=node["Resources"],
            labels=node["Labels"],
        )
        for node in session.nodes()
    ]


def _objects() -> list[Row]:
    """Values, and results that are still to be made; not the functions and classes that work is made with."""
    return [
        Row(
            object_id=row["id"],
            object_size=row["bytes"],
            state=row["phase"],
            references=row["references"],
            views=row["views"],
            age_seconds=row["age_seconds"],
            made_by=row["made_by"],
        )
        for row in _park.values()
    ]


def _jobs() -> list[Row]:
    return [
        Row(
            job_id=driver.hex(),
            status="RUNNING" if row["alive"] else "SUCCEEDED",
            type="DRIVER",
            entrypoint="",
            error_type=None,
            driver_pid=row["pid"],
        )
        for row in _describe()["drivers"]
        for driver in [job_id() if row["participant"] == 0 else _joined(row["pid"], row["participant"])]
    ]


def _placement_groups() -> list[Row]:
    from park.util.placement_group import placement_group_table

    return [
        Row(
            placement_group_id=row["placement_group_id"],
            name=row["name"],
            state=row["state"],
            bundles=row["bundles"],
            stats=row.get("stats"),
        )
        for row in placement_group_table().values()
    ]


def _describe() -> dict[str, Any]:
    _park.session_id()  # opens a session as the rest of the interface does
    return _park.describe_session()


def available_per_node() -> dict[str, dict[str, float]]:
    """What each living node has left of each resource, by the node's id."""
    session.nodes()  # which says so if there is no session
    return node_resources.available_by_node(_park.placement_report())


def actor_state_number(actor: bytes) -> int:
    """How an actor is, as a number of Ray's protocol. One that the head has forgotten is dead."""
    life = next((row["life"] for row in _describe()["actors"] if row["id"] == actor), "dead")
    return _NUMBERS.index(_ACTOR_STATES[life])


def reference_counts() -> dict[bytes, tuple[int, int]]:
    """By an object's id, this process's references to it, and those of tasks and calls under way that take it.

    Without what only park itself refers to: functions and classes, and actors' handles.
    """
    described = _describe()
    kept: Counter[bytes] = Counter()
    taken: Counter[bytes] = Counter()
    if _park.role() == "head":
        for task in described["tasks"]:
            kept.update(task["holds"])
            taken.update(task["holds"])
            taken.subtract(task["returns"])
        for actor in described["actors"]:
            kept.update(actor["holds"])
    found = {}
    for id, here, under_way, is_internal, is_promised in _park.reference_counts():
        # One reference of a promise is its maker's.
        counts = (max(here - kept[id], 0), taken[id] + max(under_way - is_promised, 0))
        if any(counts) and not is_internal:
            found[id] = counts
    return found


# --- asking -------------------------------------------------------------------------------------------------------------------------


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, bool):
        return str(found).lower() == str(wanted).lower()
    if isinstance(found, (int, float)):
        return str(found) == str(wanted)
    return str(found).lower() == str(wanted).lower()


def _passes(row: Row, filters: Iterable[tuple[str, str, Any]]) -> bool:
    for key, predicate, value in filters:
        if key not in row:
            raise ValueError(f"Invalid filter key {key!r}: the table has the columns {list(row)}")
        if predicate not in ("=", "!="):
            raise ValueError(f"Unsupported filter predicate {predicate} is given. Available predicates: =, !=.")
        if _same(row[key], value) != (predicate == "="):
            return False
    return True


def _table(rows: Callable[[], list[Row]], key: str) -> tuple[Callable[..., list[Row]], Callable[..., Row | None]]:
    """The functions that list a table and that find one row of it."""

    def list_rows(
        address: str | None = None,
        filters: list[tuple[str, str, Any]] | None = None,
        limit: int = 100,
        timeout: int = 30,
        detail: bool = False,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Row]:
        """Rows that pass every filter, a triple of column, "=" or "!=", and value; at most `limit`. The rest changes nothing here."""
        return [row for row in rows() if _passes(row, filters or ())][:limit]

    def get_row(id: str, address: str | None = None, timeout: int = 30, _explain: bool = False) -> Row | None:
        """The row with this id; None if there is none."""
        return next((row for row in rows() if row[key] == id), None)

    return list_rows, get_row


list_actors, get_actor = _table(_actors, "actor_id")
list_tasks, get_task = _table(_tasks, "task_id")
list_workers, get_worker = _table(_workers, "worker_id")
list_nodes, get_node = _table(_nodes, "node_id")
list_objects, get_objects = _table(_objects, "object_id")
list_jobs, get_job = _table(_jobs, "job_id")
list_placement_groups, get_placement_group = _table(_placement_groups, "placement_group_id")
list_runtime_envs, _ = _table(list, "runtime_env")


def _summary(rows: list[Row], name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row[name], {name: row[name], "state_counts": Counter()})
        one["state_counts"][row["state"]] += 1
    return {key: {**one, "state_counts": dict(one["state_counts"])} for key, one in found.items()}


def summarize_actors(**_: Any) -> dict[str, Any]:
    """Actors by class and state."""
    rows = _actors()
    return {"cluster": {"summary": _summary(rows, "class_name"), "total_actors": len(rows), "summary_by": "class"}}


def summarize_tasks(**_: Any) -> dict[str, Any]:
    """Tasks and calls, also those that ended lately, by function and state."""
    rows = _tasks()
    summary = _summary(rows, "func_or_class_name")
    calls = sum(row["type"] == "ACTOR_TASK" for row in rows)
    totals = {"total_tasks": len(rows) - calls, "total_actor_tasks": calls}
    return {"cluster": {"summary": summary, **totals, "summary_by": "func_name"}}


def summarize_objects(**_: Any) -> dict[str, Any]:
    """How many objects there are, and their bytes."""
    _park.session_id()
    stats = _park.store_stats()
    return {"cluster": {"total_objects": stats["objects"], "total_size_mb": stats["used"] / (1 << 20)}}
