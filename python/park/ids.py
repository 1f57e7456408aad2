"""Ids of what a session has, as bytes of a fixed length: the classes that Ray gives its programs.

Ids of one class compare and hash by their bytes; those of different classes are never equal. An id is a name only: it keeps nothing
alive, which is what tells it from an `ObjectRef`.
"""

from __future__ import annotations

import os
from typing import TypeVar

from park._park import ObjectRef as ObjectID

__all__ = [
    "ActorClassID",
    "ActorID",
    "BaseID",
    "ClusterID",
    "FunctionID",
    "JobID",
    "NodeID",
    "ObjectID",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
]

_Self = TypeVar("_Self", bound="BaseID")


def bytes_of_hex(digits: str | bytes) -> bytes:
    """The bytes that these hexadecimal digits are."""
    return bytes.fromhex(digits if isinstance(digits, str) else digits.decode())


class BaseID:
    """An id. `size()` says how many bytes its class has."""

    __slots__ = ("_bytes",)
    _size = 0

    def __init__(self, id: bytes):
        if not isinstance(id, bytes):
            raise TypeError(f"Unsupported type: {type(id)}")
        if len(id) != self._size:
            raise ValueError(f"ID string needs to have length {self._size}, got {len(id)}")
        self._bytes = id

    @classmethod
    def size(cls) -> int:
        """How many bytes ids of this class have."""
        return cls._size

    @classmethod
    def nil(cls: type[_Self]) -> _Self:
        """The id of nothing."""
        return cls(b"\xff" * cls._size)

    @classmethod
    def from_random(cls: type[_Self]) -> _Self:
        """An id that nobody else has."""
        return cls(os.urandom(cls._size))

    @classmethod
    def from_binary(cls: type[_Self], id_bytes: bytes) -> _Self:
        """The id that is these bytes, as the constructor makes it."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls: type[_Self], hex_id: str | bytes) -> _Self:
        """The id that `hex()` printed."""
        return cls(bytes_of_hex(hex_id))

    @classmethod
    def named(cls: type[_Self], text: str) -> _Self:
        """The id that stands for this text, the same in every process."""
        import hashlib  # most programs ask for no such id

        return cls(hashlib.sha256(text.encode()).digest()[: cls._size])

    def binary(self) -> bytes:
        """The id as bytes."""
        return self._bytes

    def hex(self) -> str:
        """The id as hexadecimal digits."""
        return self._bytes.hex()

    def is_nil(self) -> bool:
        """Whether this is the id of nothing."""
        return self._bytes == b"\xff" * self._size

    def __eq__(self, other):
        return type(self) is type(other) and self._bytes == other._bytes

    def __hash__(self):
        return hash(self._bytes)

    def __repr__(self):
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self):
        return type(self), (self._bytes,)


class UniqueID(BaseID):
    """An id of anything."""

    __slots__ = ()
    _size = 28


class NodeID(UniqueID):
    """A node's id, as in `park.nodes()`."""

    __slots__ = ()


class WorkerID(UniqueID):
    """A process's id."""

    __slots__ = ()


class ClusterID(UniqueID):
    """A session's id."""

    __slots__ = ()


class FunctionID(UniqueID):
    """The id of a function that was stored in a session."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """The id of a class that was stored in a session."""

    __slots__ = ()


class JobID(BaseID):
    """A job's id; a session is one job."""

    __slots__ = ()
    _size = 4

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """The job with this number."""
        return cls(value.to_bytes(cls._size, "little"))

    def int(self):
        """The id as a number."""
        return int.from_bytes(self._bytes, "little")


class ActorID(BaseID):
    """An actor's id: the one of the object that its handle is a reference to."""

    __slots__ = ()
    _size = 16

    @property
    def job_id(self) -> JobID:
        """The id of the session's one job."""
        from park.util import state

        return state.job_id()


class TaskID(BaseID):
    """A task's id."""

    __slots__ = ()
    _size = 24


class PlacementGroupID(BaseID):
    """A placement group's id."""

    __slots__ = ()
    _size = 18
