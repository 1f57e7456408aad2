"""Names of Ray's native module: ids, references, and the label of a node's id."""

from park import ids
from park._park import ObjectRef
from park.ids import *  # noqa: F403

RAY_NODE_ID_KEY = "ray.io/node-id"

__all__ = ["RAY_NODE_ID_KEY", "ObjectRef", *ids.__all__]


def __getattr__(name):
    import park

    if name in ("ObjectRefGenerator", "DynamicObjectRefGenerator"):
        return park.ObjectRefGenerator
    if name == "ObjectRefStreamEndOfStreamError":
        return park.exceptions.ObjectRefStreamEndOfStreamError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
