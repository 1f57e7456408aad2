"""What an adapter relies on in somebody else's package, as a table that can be compared.

An adapter stands in for a class with methods that others call and subclasses inherit. Which ones, and with which parameters, is recorded
from the version it was tested with; another version is let through if the tables are equal and refused, with the differences, if not.
Parameters are compared by name, kind and default; annotations may change. Bodies are not compared: behaviour is what conformance tests
are for.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pathlib
import types
from collections.abc import Iterable, Mapping

__all__ = ["describe", "differences", "read"]


def describe(names: Iterable[str]) -> dict[str, str]:
    """The table of what is installed.

    Args:
        names: classes and functions, as ``module:name``. A class stands for itself (the parameters that make it), for all functions and
            properties that it defines, and for which of them are abstract.
    """
    table: dict[str, str] = {}
    for name in names:
        module, _, attribute = name.partition(":")
        try:
            value = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            table[attribute] = f"missing ({error})"
            continue
        table[attribute] = _parameters(value)
        if isinstance(value, type):
            for member, what in vars(value).items():
                if text := _member(what):
                    table[f"{attribute}.{member}"] = text
    return table


def read(path: pathlib.Path) -> dict[str, str]:
    """A table from a file, as `json.dump` wrote it."""
    return json.loads(path.read_text(encoding="utf-8"))


def differences(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What differs between two tables, a line each, sorted."""
    lines = [f"{what} is gone: it was {text}" for what, text in recorded.items() if what not in found]
    lines += [f"{what} is new: {text}" for what, text in found.items() if what not in recorded]
    changed = ((what, text, found[what]) for what, text in recorded.items() if found.get(what, text) != text)
    return sorted([*lines, *(f"{what} is {now}, and was {text}" for what, text, now in changed)])


def _member(value: object) -> str:
    """What there is to say about an attribute of a class; nothing about data."""
    if isinstance(value, property):
        return "a property"
    if isinstance(value, classmethod | staticmethod):
        return f"a {type(value).__name__} {_parameters(value.__func__)}"
    if not isinstance(value, types.FunctionType):
        return ""
    return ("abstract " if getattr(value, "__isabstractmethod__", False) else "") + _parameters(value)


def _parameters(value: object) -> str:
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "callable"
    bare = inspect.Parameter.empty
    parameters = [_settled(parameter.replace(annotation=bare)) for parameter in signature.parameters.values()]
    return str(inspect.Signature(parameters))


def _settled(parameter: inspect.Parameter) -> inspect.Parameter:
    """The same for a default whose text holds an address: its type says enough."""
    if " at 0x" in repr(parameter.default):
        return parameter.replace(default=type(parameter.default).__name__)
    return parameter
