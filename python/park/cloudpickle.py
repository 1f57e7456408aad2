"""`ray.cloudpickle`: cloudpickle, with park's own reductions, and with references.

Nobody can know how often such a pickle will be read, so an object whose reference is in one lives as long as the process that
pickled it, as with Ray. Values that are put, passed or returned are pickled elsewhere (`serialization`) and counted.
"""

import os
import pickle

import cloudpickle as _cloudpickle
from cloudpickle import *  # noqa: F403
from cloudpickle import loads
from cloudpickle.cloudpickle import (  # noqa: F401  (Ray shows these too)
    dynamic_subimport,
    instance,
    is_tornado_coroutine,
    list_registry_pickle_by_value,
    subimport,
)

from park import serialization
from park._park import ObjectRef

__all__ = ["CloudPickler", "Pickler", "dump", "dump_debug", "dumps", "dumps_debug", "load", "loads"]

load = _cloudpickle.load
#: What pickles that this process has made refer to: references of their own, which count as such.
_kept: set[ObjectRef] = set()


class Pickler(serialization.Pickler):
    """See the module."""

    def reducer_override(self, value):
        if isinstance(value, ObjectRef):
            serialization.refuse_stray_reference(value)
            if value not in _kept:
                _kept.add(ObjectRef(value.binary()))
            return ObjectRef, (value.binary(),)
        return super().reducer_override(value)


CloudPickler = Pickler


def dump(value, file, protocol=None, buffer_callback=None):
    """Pickle a value into a file."""
    Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(value)


def dumps(value, protocol=None, buffer_callback=None):
    """Pickle a value."""
    import io

    with io.BytesIO() as file:
        dump(value, file, protocol, buffer_callback)
        return file.getvalue()


def _explained(method, value, *args, **kwargs):
    try:
        return method(value, *args, **kwargs)
    except (TypeError, pickle.PicklingError) as error:
        if os.environ.get("RAY_PICKLE_VERBOSE_DEBUG"):
            from park.util.check_serialize import inspect_serializability

            inspect_serializability(value)
            raise
        raise type(error)(
            f"ray.cloudpickle.{method.__name__}({value}) failed.\nTo check which non-serializable variables are captured in scope, "
            "re-run the ray script with 'RAY_PICKLE_VERBOSE_DEBUG=1'."
        ) from error


def dump_debug(value, *args, **kwargs):
    """As `dump`; an error says how to find what does not pickle."""
    return _explained(dump, value, *args, **kwargs)


def dumps_debug(value, *args, **kwargs):
    """As `dumps`; an error says how to find what does not pickle."""
    return _explained(dumps, value, *args, **kwargs)
