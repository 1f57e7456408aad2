"""Pickling for the store: cloudpickle, with large buffers out of band and errors that name the culprit.

The native encoder calls `dumps` for everything that it cannot write by itself. References inside a value are collected by
`ObjectRef.__reduce__` while the pickler runs, so the object can keep them alive.
"""

import collections
import inspect
import io
import os
import pickle
import sys
import types
import typing

import cloudpickle

from park._park import ObjectRef
from park.exceptions import OufOfBandObjectRefSerializationException

#: How deep the search for an attribute that does not pickle goes.
_DEPTH = 12
#: Buffers below this many bytes stay in the pickle: a view would cost more than the copy. The decoder goes by the same number.
SMALL = 1024
#: Bytes above which a function or class is refused: it has captured what should be an argument.
_LARGEST_DEFINITION = int(os.environ.get("FUNCTION_SIZE_ERROR_THRESHOLD", "100000000"))
#: What `park.util.register_serializer` was told: class -> (serializer, deserializer).
REGISTERED: dict[type, tuple] = {}


def _reduce_code(code):
    """cloudpickle's own reduction, with the file's name: since 3.1.3 it forgets it, and tracebacks of workers lose their lines."""
    make, args, *rest = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if arg == "<dynamic-code>" else arg for arg in args), *rest


def _made_by(deserializer, value):
    """What a value with a registered serializer is made again with."""
    return deserializer(value)


class Pickler(cloudpickle.Pickler):
    """cloudpickle, and CPU tensors as out-of-band buffers instead of torch's own byte stream."""

    dispatch_table: typing.ClassVar = collections.ChainMap(
        {types.CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
    )

    def reducer_override(self, value):
        if REGISTERED and (chosen := REGISTERED.get(type(value))):
            serializer, deserializer = chosen
            return _made_by, (deserializer, serializer(value))
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
            from park import tensors

            reduced = tensors.reduce_torch(value)
            if reduced is not None:
                return reduced
        return super().reducer_override(value)


class _DefinitionPickler(Pickler):
    """For functions and classes. References in their closures are counted like any, unless the program wants none there."""

    def reducer_override(self, value):
        refuse_stray_reference(value)
        return super().reducer_override(value)


def refuse_stray_reference(value):
    """Raise for a reference outside of a value that is put, passed or returned, if the environment forbids those as Ray's may."""
    if isinstance(value, ObjectRef) and os.environ.get("RAY_allow_out_of_band_object_ref_serialization") in (
        "0",
        "false",
    ):
        raise OufOfBandObjectRefSerializationException(
            f"{value} is pickled outside of a value that is put, passed or returned, in a closure for example, which "
            "RAY_allow_out_of_band_object_ref_serialization=0 forbids: pass it as an argument"
        )


def dumps(value, what="the object"):
    """Pickle `value` (protocol 5). Returns the pickle and a list of contiguous buffers that belong to it.

    Raises TypeError, naming the attribute at fault, if some part of it cannot be pickled.
    """
    buffers = []

    def out_of_band(buffer):
        raw = buffer.raw()
        if raw.nbytes < SMALL:
            return True  # the pickler then writes it in band
        buffers.append(raw)
        return False

    try:
        with io.BytesIO() as file:
            Pickler(file, protocol=5, buffer_callback=out_of_band).dump(value)
            return file.getvalue(), buffers
    except Exception as error:
        explained = explain(error, value, what)
        if explained is error:
            raise
        raise explained from error


def dumps_call(call):
    """As `dumps`, for `(args, kwargs)`: the error names the argument."""
    return dumps(call, "an argument")


def dumps_definition(value, what):
    """Pickle a function or class by value. `what` names it in the error: "function", "actor class"."""
    try:
        with io.BytesIO() as file:
            _DefinitionPickler(file, protocol=5).dump(value)
            pickled = file.getvalue()
    except Exception as error:
        explained = explain(error, value, f"the {what} {getattr(value, '__qualname__', repr(value))}")
        if explained is error:
            raise
        raise explained from error
    if len(pickled) > _LARGEST_DEFINITION:
        kind, name = {"function": ("remote function", "__qualname__")}.get(what, ("actor", "__name__"))
        raise ValueError(
            f"The {kind} {getattr(value, name, value)} is too large ({len(pickled) >> 20} MiB > FUNCTION_SIZE_ERROR_THRESHOLD="
            f"{_LARGEST_DEFINITION >> 20} MiB). Check that its definition is not implicitly capturing a large array or other object in "
            "scope. Tip: use ray.put() to put large objects in the Ray object store."
        )
    return pickled


def explain(error, value, what):
    """The error to raise: user code's own exceptions pass, pickle's refusals become a TypeError that says where."""
    if not isinstance(error, (pickle.PicklingError, TypeError, AttributeError, RecursionError)):
        return error
    path, culprit = _find(value, "", _DEPTH, set())
    return TypeError(
        f"Could not serialize {what}: {error}; at fault is {path or 'the value itself'}, {_described(culprit)}"
    )


def _described(value):
    try:
        text = repr(value)
    except Exception:
        text = "an object whose repr() raises"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"a {kind}: {text if len(text) < 80 else text[:77] + '...'}"


def _fails(value):
    try:
        with io.BytesIO() as file:
            Pickler(file, protocol=5, buffer_callback=lambda _: False).dump(value)
    except Exception:
        return True
    return False


def _find(value, path, depth, seen):
    """The innermost part of `value` that does not pickle, and how to reach it: attributes, items, closure variables, globals."""
    if depth == 0 or id(value) in seen:
        return path, value
    seen.add(id(value))
    for name, part in _parts(value):
        if _fails(part):
            return _find(part, path + name, depth - 1, seen)
    return path, value


def _parts(value):
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif inspect.isfunction(value):
        captured = inspect.getclosurevars(value)
        yield from ((f" closure variable {name!r}", part) for name, part in captured.nonlocals.items())
        yield from ((f" global {name!r}", part) for name, part in captured.globals.items())
    elif isinstance(value, type):
        yield from (
            (f".{name}", part) for name, part in vars(value).items() if not name.startswith("__") or callable(part)
        )
    else:
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
