"""The family of exceptions: Ray's names and bases, a few of park's own below them, and the table from core kinds to classes.

The core knows numbered kinds (`park-core/src/error.rs`) and messages; `from_kind` turns one into the exception that Python raises.
It is the only place that knows both sides, and a test checks that it knows every kind. How the exception of a task travels from a
worker to whoever gets its result is in `task_error.py`.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable
from typing import Any


class RayError(Exception):
    """The base of every error that park raises of its own.

    Some make their text from fields: `args` must stay what the constructor was given, so that the error pickles.
    """

    #: The name of the core's error kind, where the error came from the core.
    kind: str | None = None


# --- tasks ------------------------------------------------------------------------------------------------------------------------


class RayTaskError(RayError):
    """A task or an actor's method raised. `cause` is what it raised, and the text shows the traceback of the process it ran in.

    What `get` raises is also an instance of the cause's class (`as_instanceof_cause`), so it may be caught as either.
    """

    def __init__(
        self, function_name, traceback_str, cause, proctitle=None, pid=None, ip=None, actor_repr=None, actor_id=None
    ):
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"park::{function_name}"
        self.pid = pid or os.getpid()
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        self.args = (function_name, traceback_str, cause, proctitle, pid, ip)

    def __str__(self) -> str:
        head = f"{self.proctitle}() (pid={self.pid}, ip={self.ip})"
        lines = self.traceback_str.strip().split("\n")
        # The process says more than Python's fixed line, and a chain of causes has one of these lines for each link.
        said = [head if line.startswith("Traceback ") else line for line in lines]
        return "\n".join(said if head in said else [head, *said])

    def as_instanceof_cause(self) -> RayTaskError:
        """This error as an instance of the cause's class too; itself where that class allows no subclass or no such instance."""
        # Those three steer the interpreter: a task's must never look like the driver's own.
        if not isinstance(self.cause, BaseException) or isinstance(
            self.cause, (RayTaskError, KeyboardInterrupt, SystemExit, GeneratorExit)
        ):
            return self
        cause_class = type(self.cause)
        if issubclass(RayTaskError, cause_class):
            return self
        try:
            return _dual_class(cause_class)(self)  # type: ignore[arg-type]
        except Exception as error:  # whatever a user's metaclass, __new__ or __init_subclass__ raises
            import logging  # seldom, and a tenth of the whole import

            logging.getLogger(__name__).warning(
                f"User exception type {cause_class} in RayTaskError can't be subclassed! This exception is raised as RayTaskError "
                f"only. You can use `ray_task_error.cause` to access the user exception. Failure in subclassing: {error}"
            )
            return self


@functools.lru_cache(maxsize=256)
def _dual_class(cause_class: Any) -> Callable[[RayTaskError], RayTaskError]:
    """The class of errors that are both a `RayTaskError` and a `cause_class`."""

    class Dual(RayTaskError, cause_class):  # type: ignore[valid-type, misc]
        def __init__(self, error):
            # The user's __init__ is not run again: what it set is on the cause, where __getattr__ finds it. `args` may be
            # read-only in the user's class, so it is served by the property below rather than assigned.
            self.__dict__.update(error.__dict__)
            self.__dict__["_task_error"] = error
            _copy_slots(error.cause, self)

        @property
        def args(self):
            return (self.cause,)

        @args.setter
        def args(self, value):
            pass

        def __getattr__(self, name):
            if name in ("cause", "_task_error"):  # only while it is being made; asking the cause would ask again
                raise AttributeError(name)
            return getattr(self.cause, name)

        def __reduce__(self):
            return _dual, (self._task_error,)

        __str__ = RayTaskError.__str__
        __repr__ = RayTaskError.__repr__

    if issubclass(cause_class, BaseExceptionGroup):
        # A group takes its parts where it is made; the other classes of Python take anything.
        def make(cls, error):
            return cause_class.__new__(cls, error.cause.message, error.cause.exceptions)

        Dual.__new__ = make  # type: ignore[method-assign, assignment]
    Dual.__name__ = Dual.__qualname__ = f"RayTaskError({cause_class.__name__})"
    return Dual


def _copy_slots(cause: BaseException, copy: BaseException) -> None:
    """Copy what is not in the cause's dictionary: `__slots__`, and the fields of Python's own classes, as `OSError.errno`."""
    for base in type(cause).__mro__:
        for slot in vars(base).values():
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    slot.__set__(copy, slot.__get__(cause))
                except (AttributeError, TypeError):
                    pass  # never set, or not to be set from outside


def _dual(error: RayTaskError) -> RayTaskError:
    """What a pickled dual error is made again with."""
    return error.as_instanceof_cause()


class TaskCancelledError(RayError):
    """The task was cancelled."""

    def __init__(self, task_id=None, error_message=None):
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self):
        task = f"Task: {self.task_id} was cancelled. " if self.task_id else ""
        return task + (self.error_message or "")


class WorkerCrashedError(RayError):
    """The process that ran the task died, and the task had no retries left."""

    def __init__(self, message=""):
        self.message = message

    def __str__(self):
        text = "The worker died unexpectedly while executing this task."
        return f"{text} {self.message}" if self.message else text


class TaskUnschedulableError(RayError):
    """No machine of the session can ever have the resources that the task asks for."""

    def __init__(self, error_message):
        self.error_message = error_message

    def __str__(self):
        return f"The task is not schedulable: {self.error_message}"


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""


class UserCodeException(RayError):
    """An exception of user code, wrapped by a library that wants it told apart from its own."""


class UnserializableException(RayError):
    """The exception of a task could not be read back; the text is what it printed where it was raised."""

    def __init__(self, original_stack_trace):
        self.original_stack_trace = original_stack_trace

    def __str__(self):
        return f"Failed to deserialize exception.\nOriginal exception:\n{self.original_stack_trace}"


# --- actors -----------------------------------------------------------------------------------------------------------------------


class RayActorError(RayError):
    """An actor could not finish a call: it is dead, or its process is being started again."""

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    def __init__(self, actor_id=None, error_msg=BASE_ERROR_MSG, actor_init_failed=False, preempted=False):
        self.actor_id = actor_id
        self.error_msg = error_msg
        self.actor_init_failed = actor_init_failed
        self.preempted = preempted

    def __str__(self):
        return self.error_msg


class ActorDiedError(RayActorError):
    """The actor is dead and will not come back. `cause` is the error of its constructor, or what is known about its death."""

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(self, cause: RayTaskError | str | None = None):
        if isinstance(cause, RayTaskError):
            text = f"The actor died because of an error raised in its creation task, {cause}"
            super().__init__(cause._actor_id, text, actor_init_failed=True)
        else:
            super().__init__(error_msg=f"{self.BASE_ERROR_MSG} {cause}" if cause else self.BASE_ERROR_MSG)
        self.cause = cause

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor's process died during the call; the actor may come back."""

    def __init__(self, error_message, actor_id=None):
        which = f"The actor {actor_id}" if actor_id else "The actor"
        super().__init__(
            actor_id,
            f"{which} is unavailable: {error_message}. The task may or may not have been executed on the actor.",
        )


class ActorUnschedulableError(RayError):
    """No machine of the session can ever have the resources that the actor asks for."""

    def __init__(self, error_message):
        self.error_message = error_message

    def __str__(self):
        return f"The actor is not schedulable: {self.error_message}"


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""


class ActorAlreadyExistsError(ValueError, RayError):
    """An actor of this name lives in the namespace already."""

    def __init__(self, error_message):
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle names no actor of this session."""

    def __init__(self, error_message):
        super().__init__(error_message)
        self.error_message = error_message


class AsyncioActorExit(RayError):
    """An async actor ends itself."""


class PendingCallsLimitExceeded(RayError):
    """The actor has as many calls waiting as `max_pending_calls` allows."""


# --- objects ----------------------------------------------------------------------------------------------------------------------


class GetTimeoutError(RayError, TimeoutError):
    """The time given to `get` passed before every object was there."""


class ObjectStoreFullError(RayError, MemoryError):
    """The object store has no room for the object."""


class TableFullError(ObjectStoreFullError):
    """The store has bytes left and no free entry for one more object or process."""


class OutOfDiskError(RayError):
    """The disk that spilled objects go to is full."""


class OutOfMemoryError(RayError):
    """The machine is about to run out of memory: the worker that ran this was ended, and its work is not repeated."""


class ObjectLostError(RayError):
    """The object existed and its bytes are gone."""

    def __init__(self, object_ref_hex, owner_address=None, call_site="", message=""):
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.message = message

    def __str__(self):
        return self.message or f"Failed to retrieve object {self.object_ref_hex}."


class ObjectFetchTimedOutError(ObjectLostError):
    """The object's bytes were not found in time."""


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while a reference to it existed."""


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""


class OwnerDiedError(ObjectLostError):
    """The process that owned the object died. The session owns objects in park, so park never raises this."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and the task that made it cannot run again."""


class ObjectNotFoundError(RayError, LookupError):
    """The id names no object of the session, or one whose last reference is gone."""


class ForeignSessionError(RayError, ValueError):
    """The reference or handle belongs to another session."""


class WrongFormatError(RayError, TypeError):
    """The object is of a format that this call cannot read."""


class ObjectRefStreamEndOfStreamError(RayError):
    """A streaming generator has no more references."""


class OufOfBandObjectRefSerializationException(RayError):
    """A reference was pickled where nobody counts it. (The spelling is Ray's.)"""


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the store of this machine."""


# --- the system -------------------------------------------------------------------------------------------------------------------


class RaySystemError(RayError):
    """The runtime itself failed, or is not in a state in which it could do what was asked."""

    def __init__(self, client_exc, traceback_str=None):
        self.client_exc = client_exc
        self.traceback_str = traceback_str
        # Python would set this by itself, but for subclasses that are OSErrors too.
        self.args = (client_exc, traceback_str)

    def __str__(self):
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class SessionClosedError(RaySystemError):
    """The session was shut down, or the process that held it is gone."""


class ForkedError(RaySystemError):
    """The session was inherited through `fork()`, and only the process that opened it may use it."""


class BadSegmentError(RaySystemError):
    """The memory offered is no session of park, is truncated, or is of another version."""


class CorruptError(RaySystemError):
    """Shared memory holds a value that the protocol does not allow."""


class InternalError(RaySystemError):
    """A defect in park."""


class PeerRefusedError(RaySystemError, PermissionError):
    """The other process runs as another user, or this one attached to look only."""


class SystemCallError(RaySystemError, OSError):
    """The operating system refused a call."""


class InvalidArgumentError(RayError, ValueError):
    """An argument is out of range or of the wrong shape."""


class HandleClosedError(RayError, ValueError):
    """The handle was sealed, aborted, released or closed before."""


class UnsupportedError(RayError, NotImplementedError):
    """The operation is not offered here."""


class RuntimeEnvSetupError(RayError):
    """The environment of a worker could not be set up."""

    def __init__(self, error_message=None):
        self.error_message = error_message

    def __str__(self):
        return "\n".join(["Failed to set up runtime environment.", *filter(None, [self.error_message])])


class LocalRayletDiedError(RayError):
    """The node's own process died."""


class NodeDiedError(RayError):
    """The node is dead or cannot be reached."""


class CrossLanguageError(RayError):
    """An error of another language."""


class RpcError(RayError):
    """A call to another process failed."""


class AuthenticationError(RayError):
    """The other side did not accept who we are."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that was run again yielded another number of objects."""


class RayChannelError(RaySystemError):
    """A channel failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel was not ready in time."""


class ChannelClosedError(RayChannelError, EOFError):
    """The channel was closed, or whoever is at its other end is gone."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has as many results waiting as it can hold."""


class RayDirectTransportError(RaySystemError):
    """Tensors could not be sent from process to process."""


# --- from the core ----------------------------------------------------------------------------------------------------------------

_BY_KIND: dict[str, Callable[[str], RayError]] = {
    "InvalidArgument": InvalidArgumentError,
    "NotFound": ObjectNotFoundError,
    "Timeout": GetTimeoutError,
    "StoreFull": ObjectStoreFullError,
    "ObjectLost": lambda message: ObjectLostError("", None, "", message),
    "ForeignSession": ForeignSessionError,
    "SessionClosed": SessionClosedError,
    "BadSegment": BadSegmentError,
    "PermissionDenied": PeerRefusedError,
    "WorkerDied": WorkerCrashedError,
    "ActorUnavailable": ActorUnavailableError,
    "Unschedulable": TaskUnschedulableError,
    "ActorUnschedulable": ActorUnschedulableError,
    "GroupRemoved": TaskPlacementGroupRemoved,
    "ActorGroupRemoved": ActorPlacementGroupRemoved,
    "Forked": ForkedError,
    "TableFull": TableFullError,
    "Io": SystemCallError,
    "Corrupt": CorruptError,
    "Internal": InternalError,
    "AlreadyExists": ActorAlreadyExistsError,
    "WrongFormat": WrongFormatError,
    "HandleClosed": HandleClosedError,
    "Unsupported": UnsupportedError,
    "ChannelClosed": ChannelClosedError,
    "EnvironmentSetup": RuntimeEnvSetupError,
    "OutOfMemory": OutOfMemoryError,
    "Cancelled": lambda message: TaskCancelledError(None, message),
}


#: The bytes of an actor's id: what the detail of a death holds, unless it was the constructor's error.
_ACTOR_ID = 16


def from_kind(kind: str, message: str, detail: bytes = b"") -> BaseException:
    """The exception for an error of the core: its kind by name, its message, and the bytes that only Python understands."""
    if kind == "Interrupted":
        return KeyboardInterrupt()
    if kind in ("TaskFailed", "ActorDied"):
        from park.task_error import unpack_task_error

        error: RayError
        if kind == "TaskFailed":
            error = unpack_task_error(message, detail)
        elif len(detail) == _ACTOR_ID:
            error = ActorDiedError(message)
            error.actor_id = detail.hex()
        else:
            error = ActorDiedError(unpack_task_error(message, detail) if detail else message)
    elif kind in _BY_KIND:
        error = _BY_KIND[kind](message)
    else:
        error = InternalError(f"{kind}: {message}")
    error.kind = kind
    return error


def pack_task_error(exc: BaseException, what: str, pid: int) -> tuple[str, bytes]:
    """See `park.task_error.pack_task_error`; here because this is where the native half looks for it."""
    from park import task_error

    return task_error.pack_task_error(exc, what, pid)
