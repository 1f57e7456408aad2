"""What the pool relies on in vLLM: names, parameters and attributes, and what they were in the version that it was tested with.

Everything of vLLM's pool is listed, not only what park replaces: a new method that touches the state would find vLLM's state absent.
Parameters are compared by name, kind and default; annotations may change. Bodies are not compared: behaviour is what the conformance
tests are for.

``python -m park.interop.vllm.surface`` prints the table of the vLLM at hand, which is how `surface.json` was made.
"""

from __future__ import annotations

import dis
import functools
import importlib
import inspect
import json
import pathlib
import types
from typing import Any

from park.interop.vllm import TESTED_WITH, VllmMismatchError

#: The classes, and functions beside them, whose signatures matter.
_CLASSES = {
    "vllm.v1.core.block_pool": ["BlockPool", "BlockHashToBlockMap"],
    "vllm.v1.core.kv_cache_utils": ["KVCacheBlock", "FreeKVCacheBlockQueue"],
}
_FUNCTIONS = {
    "vllm.v1.core.kv_cache_utils": [
        "get_block_hash",
        "get_group_id",
        "make_block_hash_with_group_id",
        "maybe_convert_block_hash",
        "resolve_block_hashes",
    ],
    "vllm.distributed.kv_events": ["AllBlocksCleared", "BlockRemoved", "BlockStored"],
}


def surface() -> dict[str, str]:
    """The table of the vLLM that is importable: what, as a dotted name, to its parameters or, for a class, its attributes."""
    table: dict[str, str] = {}
    for module_name, names in _CLASSES.items():
        module = importlib.import_module(module_name)
        for name in names:
            table.update(_class_surface(name, getattr(module, name)))
    for module_name, names in _FUNCTIONS.items():
        module = importlib.import_module(module_name)
        table.update((name, _parameters(getattr(module, name))) for name in names)
    return table


def recorded() -> dict[str, str]:
    """The table of the version that the pool was tested with."""
    return json.loads((pathlib.Path(__file__).parent / "surface.json").read_text())


def drift(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What differs between two tables, a line each."""
    lines = [f"{what} is gone: it was {text}" for what, text in expected.items() if what not in found]
    lines += [f"{what} is new: {text}" for what, text in found.items() if what not in expected]
    lines += [
        f"{what} is {found[what]}, and was {text}" for what, text in expected.items() if found.get(what, text) != text
    ]
    return sorted(lines)


@functools.cache
def check() -> None:
    """Raise `VllmMismatchError` unless the pool can stand in for this vLLM's. Another version with equal signatures is let through."""
    found = surface()
    differences = drift(recorded(), found)
    if differences:
        raise VllmMismatchError(
            f"park's block pool was tested with vLLM {TESTED_WITH}, this is {_version()}, and what it relies on has changed:\n  "
            + "\n  ".join(differences)
        )


def _version() -> str:
    import vllm

    return getattr(vllm, "__version__", "unknown")


def _class_surface(name: str, cls: type) -> dict[str, str]:
    table = {}
    for attribute, value in vars(cls).items():
        if isinstance(value, types.FunctionType):
            table[f"{name}.{attribute}"] = _parameters(value)
        elif isinstance(value, property):
            table[f"{name}.{attribute}"] = "a property"
        elif isinstance(value, classmethod | staticmethod):
            table[f"{name}.{attribute}"] = f"a {type(value).__name__} {_parameters(value.__func__)}"
    # What instances have besides: what __init__ assigns (a dataclass says it in its parameters).
    stored = {step.argval for step in dis.get_instructions(cls.__init__) if step.opname == "STORE_ATTR"}  # type: ignore[misc]
    table[name] = "attributes " + ", ".join(sorted(stored))
    return table


def _parameters(function: Any) -> str:
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
    ]
    return str(inspect.Signature(parameters))


if __name__ == "__main__":
    print(json.dumps(surface(), indent=1, sort_keys=True))
