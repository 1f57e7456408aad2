"""What `park.kv` raises. Every one of them is a `park.exceptions.RayError`, and nothing has changed where one was raised.

| class | when | also caught as |
|---|---|---|
| `InvalidArgumentError` | an argument does not fit: an epoch that goes back, a budget of zero, a window smaller than a block | `ValueError` |
| `OutOfRangeError` | a number is negative or too large; it has `name`, `value`, `numbers` and, in an array, `index` | `InvalidArgumentError` |
| `NotFoundError` | a sequence has ended, or is none of this cache | `LookupError` |
| `NoFreeBlocksError` | the pool or a tenant is short of blocks now | `MemoryError` |
| `RequestTooLongError` | a request could not finish with the whole pool to itself | `ValueError` |
| `CorruptError` | `audit` found what does not add up | `park.exceptions.RaySystemError` |
"""

from __future__ import annotations

from park import exceptions
from park.exceptions import CorruptError, InvalidArgumentError, RayError

__all__ = [
    "CorruptError",
    "InvalidArgumentError",
    "NoFreeBlocksError",
    "NotFoundError",
    "OutOfRangeError",
    "RequestTooLongError",
]


class OutOfRangeError(InvalidArgumentError):
    """A number is none of those that are possible there: `value`, the argument `name`, at `index` if that is an array (else None), where
    `numbers` says which were expected ("from 0 to 255")."""

    def __init__(self, name: str, index: int | None, value: object, numbers: str):
        self.name = name
        self.index = index
        self.value = int(value)  # type: ignore[call-overload]
        self.numbers = numbers
        self.args = (name, index, self.value, numbers)

    def __str__(self) -> str:
        place = self.name if self.index is None else f"{self.name}[{self.index}]"
        return f"`{place}` is {self.value}, and numbers {self.numbers} were expected"


class NotFoundError(RayError, LookupError):
    """The sequence has ended, or is none of this cache or scheduler."""


class NoFreeBlocksError(RayError, MemoryError):
    """There are not enough free blocks now, or the tenant may not have them: finish, detach or preempt a sequence first."""


class RequestTooLongError(RayError, ValueError):
    """The request could not finish with the whole pool, or its tenant's quota, to itself."""


_BY_KIND: dict[str, type[RayError]] = {
    "NotFound": NotFoundError,
    "StoreFull": NoFreeBlocksError,
    "Unschedulable": RequestTooLongError,
}


def from_kind(kind: str, message: str) -> BaseException:
    """The exception for an error of the core: its kind by name, and its message."""
    if kind in _BY_KIND:
        error = _BY_KIND[kind](message)
        error.kind = kind
        return error
    return exceptions.from_kind(kind, message)
