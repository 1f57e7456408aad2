"""Names of Ray's native module: ids, references, the label of a node's id, and descriptions of functions."""

import hashlib
from typing import NamedTuple

from park import ids
from park._park import ObjectRef
from park.ids import *  # noqa: F403

RAY_NODE_ID_KEY = "ray.io/node-id"

__all__ = ["RAY_NODE_ID_KEY", "JavaFunctionDescriptor", "ObjectRef", "PythonFunctionDescriptor", *ids.__all__]


class JavaFunctionDescriptor(NamedTuple):
    """Which method of a Java class is meant. Nothing here calls it; programs compare and store such descriptions."""

    class_name: str
    function_name: str
    signature: str

    @property
    def repr(self):
        """The method's full name."""
        return f"{self.class_name}.{self.function_name}"


class PythonFunctionDescriptor(NamedTuple):
    """Which function or method is meant, as a value: equal in every process."""

    module_name: str
    function_name: str
    class_name: str = ""
    function_hash: str = ""

    @property
    def function_id(self):
        """The same as an id."""
        return ids.FunctionID(hashlib.sha256(repr(tuple(self)).encode()).digest()[: ids.FunctionID.size()])

    @property
    def repr(self):
        """The function's full name."""
        return ".".join(filter(None, (self.module_name, self.class_name, self.function_name)))


def __getattr__(name):
    import park

    if name in ("ObjectRefGenerator", "DynamicObjectRefGenerator"):
        return park.ObjectRefGenerator
    if name == "ObjectRefStreamEndOfStreamError":
        return park.exceptions.ObjectRefStreamEndOfStreamError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
