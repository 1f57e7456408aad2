"""`park.timeline`: when tasks and calls of actors ran, as a trace that Chrome and Perfetto draw.

The head knows when the last 10,000 tasks ran, because workers say so with their reports. When its last 10,000 calls ran, each actor's process
knows, and is asked: what actors that are dead did is not drawn, nor what one did that does not answer within two seconds, or is busy.
"""

from __future__ import annotations

import os
import time
from typing import Any

from park import _park, session, signature
from park.actor import TRACE, ActorMethod
from park.here import HERE

#: How long actors may take to answer.
_PATIENCE = 2.0
#: How long those may take that run a call: most will not answer before it is over.
_PATIENCE_WITH_BUSY = 0.3
#: Where an actor has threads or event loops, not behind what it does there.
_BESIDE = {"concurrency_group": "_ray_system"}


def wall(micros: int) -> int:
    """A moment of the clock that processes measure by, as microseconds since 1970."""
    return int(time.time() * 1e6) - time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 + micros


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """What ran when: a list of complete events of Chrome's trace format, or that list in a file."""
    session.require()
    events = [
        _event("task", name, pid, began, ended, {"task_id": first.hex(), "attempt": attempt, "failed": failed})
        for first, name, (pid, _), attempt, failed, began, ended, *_ in _park.ended_tasks()
        if began
    ]
    for row, (pid, calls) in traces():
        class_name, actor = row["class_name"], {"actor_id": row["id"].hex()}
        events += [
            _event("actor_task", name or f"{class_name}.{method}", pid, began, ended, actor)
            for method, name, _, _, _, began, ended, *_ in calls
        ]
    events.sort(key=lambda event: event["ts"])
    if filename is None:
        return events
    import json

    with open(filename, "w") as file:
        json.dump(events, file)
    return None


#: A call that ended: method, the name that somebody chose, first result, attempt, whether it failed, begin and end in microseconds, kind
#: and text of its error if that is known, and the first result of what made it.
Traced = tuple[str, str | None, bytes, int, bool, int, int, tuple[str, str] | None, bytes | None]


def traces() -> list[tuple[dict[str, Any], tuple[int, list[Traced]]]]:
    """What the actors that live say of their last calls, each with its row: the process, and the calls."""
    asked, answers = {}, []
    own = None if HERE.facts.actor is None else HERE.facts.actor[0]
    for row in _park.describe_session()["actors"]:
        if row["id"] == own:
            answers.append((row, (os.getpid(), _park.traced_calls())))
        elif row["life"] == "alive":
            method = ActorMethod(_park.load_ref(row["id"]), TRACE, signature.Shape(()), _BESIDE, False, -1)
            asked[method.remote()] = row
    if asked:
        busy = {row["actor"] for row in _park.open_calls() if row["running"] and row["method"] != TRACE}
        idle = [ref for ref, row in asked.items() if row["id"] not in busy]
        if idle:
            _park.wait(idle, num_returns=len(idle), timeout=_PATIENCE)
        ready, _ = _park.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE_WITH_BUSY)
        answers += [(asked[ref], answer) for ref in ready if (answer := _answer(ref)) is not None]
    return [(row, _without_questions(answer)) for row, answer in answers]


def _without_questions(answer: tuple[int, list[Traced]]) -> tuple[int, list[Traced]]:
    return answer[0], [call for call in answer[1] if call[0] != TRACE]


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
