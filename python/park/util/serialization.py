"""`register_serializer`: how instances of a class travel when their pickle would not do."""

from collections.abc import Callable
from typing import Any

from park import serialization


def register_serializer(cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """Let instances of exactly `cls` travel as `serializer(instance)`, from which `deserializer` makes them again.

    It holds for what this process sends; receivers need not know of it, for the deserializer travels too.
    """
    serialization.REGISTERED[cls] = (serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Forget the serializer of `cls`, if there is one."""
    serialization.REGISTERED.pop(cls, None)
