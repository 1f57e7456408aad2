"""`park.timeline`: when tasks and calls of actors ran, as a trace that Chrome and Perfetto draw.

The head knows when the last 10,000 tasks ran, because workers say so with their reports. When its last 10,000 calls ran, each actor's process
knows, and is asked: what actors that are dead did is not drawn, nor what one did that does not answer within two seconds.
"""

from __future__ import annotations

import time
from typing import Any

from park import _park, session, signature
from park.actor import TRACE, ActorMethod
from park.here import HERE

#: How long actors may take to answer.
_PATIENCE = 2.0


def wall(micros: int) -> int:
    """A moment of the clock that processes measure by, as microseconds since 1970."""
    return int(time.time() * 1e6) - time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 + micros


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """What ran when: a list of complete events of Chrome's trace format, or that list in a file."""
    session.require()
    events = [
        _event("task", name, pid, began, ended, {"task_id": first.hex(), "attempt": attempt, "failed": failed})
        for first, name, (pid, _), attempt, failed, began, ended in _park.ended_tasks()
        if began
    ]
    for row, (pid, calls) in _traces():
        name, actor = row["class_name"], {"actor_id": row["id"].hex()}
        events += [_event("actor_task", f"{name}.{method}", pid, began, ended, actor) for method, began, ended in calls]
    events.sort(key=lambda event: event["ts"])
    if filename is None:
        return events
    import json

    with open(filename, "w") as file:
        json.dump(events, file)
    return None


def _traces() -> list[tuple[dict[str, Any], tuple[int, list[tuple[str, int, int]]]]]:
    """What the actors that live say, each with its row."""
    asked = {}
    for row in _park.describe_session()["actors"]:
        if row["life"] == "alive" and row["id"] != _own_actor():
            method = ActorMethod(_park.load_ref(row["id"]), TRACE, signature.Shape(()), {}, False, -1)
            asked[method.remote()] = row
    if not asked:
        return []
    ready, _ = _park.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)
    return [(asked[ref], answer) for ref in ready if (answer := _answer(ref)) is not None]


def _own_actor() -> bytes | None:
    """The actor that asks, which cannot answer meanwhile."""
    return None if HERE.facts.actor is None else HERE.facts.actor[0]


def _answer(ref: Any) -> Any:
    from park.exceptions import RayError

    try:
        return _park.get(ref)
    except RayError:  # it died meanwhile
        return None


def _event(kind: str, name: str, pid: int, began: int, ended: int, extra: dict[str, Any]) -> dict[str, Any]:
    return {
        "cat": f"{kind}::{name}",
        "name": name,
        "pid": session.NODE_IP,
        "tid": f"worker:{pid}",
        "ts": wall(began),
        "dur": max(ended - began, 0),
        "ph": "X",
        "cname": "generic_work",
        "args": {"name": name, **extra},
    }
