"""How the exception of a task travels: packed in the worker that caught it, unpacked in the process that gets the result.

The bytes hold the printed traceback, which always arrives, and the pickled exception, which arrives if it can: an exception that
does not pickle, or that does not come back from its pickle, is replaced by its text. Frames of park itself are left out, because
they are the same in every traceback and say nothing about the task.
"""

from __future__ import annotations

import os
import pickle
import traceback

from park.exceptions import RayError, RayTaskError, TaskCancelledError, UnserializableException
from park.here import HERE

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def pack_task_error(exc: BaseException, what: str, pid: int) -> tuple[str, bytes]:
    """The text of `exc`, raised by the task `what` in process `pid`, and the bytes that make the same error elsewhere."""
    text = _format(exc)
    # The error of a dependency, or of a nested get, is not wrapped again: the text has grown, the cause stays the cause.
    cause = exc.cause if isinstance(exc, RayTaskError) else exc
    pickled, problem = _pickle(cause)
    error = RayTaskError(what, text, None, pid=pid)
    actor = HERE.facts.actor
    return str(error), pickle.dumps((what, text, pid, pickled, problem, None if actor is None else actor[0].hex()))


def cancelled(interrupt: KeyboardInterrupt, task_id: str) -> TaskCancelledError:
    """What a task raises that was interrupted: where it was, and that it was cancelled."""
    return TaskCancelledError(task_id).with_traceback(interrupt.__traceback__)


def unpack_task_error(message: str, detail: bytes) -> RayTaskError:
    """The error that `pack_task_error` packed, as an instance of its cause's class too; of other bytes, the message alone."""
    try:
        what, text, pid, pickled, problem, actor_id = pickle.loads(detail)
    except Exception:  # a native task failed, or no bytes came: unpickling foreign bytes may raise anything
        return RayTaskError("task", message, None)
    cause: BaseException | None
    if pickled is not None:
        try:
            cause = pickle.loads(pickled)
        except Exception:  # its module may be missing here, or its constructor may raise
            cause = UnserializableException(text)
    else:
        cause = RayError(problem) if problem else None
    return RayTaskError(what, text, cause, pid=pid, actor_id=actor_id).as_instanceof_cause()


def _pickle(cause: BaseException | None) -> tuple[bytes | None, str]:
    """The pickled cause, or None and why not. It is read back once here, for the receiver could only fail on it."""
    if cause is None:
        return None, ""
    import cloudpickle

    try:
        pickled = cloudpickle.dumps(cause)
        pickle.loads(pickled)
    except Exception as error:  # a user's __reduce__ or __init__ may raise anything
        name = f"{type(cause).__module__}.{type(cause).__qualname__}"
        return None, f"Exception {name} isn't serializable: {error}.\nOriginal exception details:\n{_format(cause)}"
    return pickled, ""


def _format(exc: BaseException) -> str:
    """The traceback of `exc` and of what it was raised from, without park's own frames."""
    printed = traceback.TracebackException.from_exception(exc)
    if _drop_own_frames(printed) == 0 and isinstance(exc, RayTaskError):
        # Raised before the task began: the function never ran, an argument did not arrive.
        head = "Traceback (most recent call last):\n  At least one of the input arguments for this task could not be computed:\n"
        return f"{head}{exc}"
    return "".join(printed.format())


def _drop_own_frames(printed: traceback.TracebackException) -> int:
    """Take park's frames out, in the causes too; returns how many frames are left in the outermost traceback."""
    seen = set()
    queue = [printed]
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack[:] = [frame for frame in one.stack if not frame.filename.startswith(_HERE)]
        queue += [link for link in (one.__cause__, one.__context__, *(one.exceptions or ())) if link is not None]
    return len(printed.stack)
