"""`inspect_serializability`: which part of a value does not pickle, and how to get to it."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple, TextIO

from park import serialization


class FailureTuple(NamedTuple):
    """A part that does not pickle, the names on the way to it, and what it was found in."""

    obj: Any
    path: tuple[str, ...]
    parent: Any

    # By identity: the part may not be hashable.
    def __hash__(self):
        return hash((id(self.obj), self.path))

    def __eq__(self, other):
        return self is other

    def __repr__(self):
        way = " -> ".join(self.path)
        last = self.path[-1] if self.path else "unknown"
        return f"FailTuple({last} [path={way}, obj={self.obj}, parent={self.parent}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Whether `base_obj` pickles, and the innermost parts, at most `depth` steps inside, that do not. Prints what it looks at."""

    def say(level, text):
        print("    " * level + text, file=print_file)

    title = f"Checking Serializability of {base_obj}"
    bar = "=" * min(len(title), 80)
    say(0, f"{bar}\n{title}\n{bar}")
    failures: set[FailureTuple] = set()
    if _pickles(base_obj):
        return True, failures
    _search(base_obj, (name,) if name else (), None, depth, 0, failures, say)
    say(0, f"{bar}\nVariable:")
    for failure in failures:
        say(1, repr(failure))
    say(
        0,
        "was found to be non-serializable. There may be others. Consider making what is found inside of the function or class "
        f"that uses it, instead of capturing it.\n{bar}",
    )
    return False, failures


def _pickles(value) -> bool:
    return not serialization._fails(value)


def _search(value, path, parent, depth, level, failures, say):
    """Add the first part of `value` that does not pickle; `value` itself if it has none, or if `depth` is used up."""
    if depth > 0:
        for kind, name, part in _parts(value):
            if _pickles(part):
                continue
            say(level, f"{kind} {name!r} of {value} does not pickle: {part}")
            _search(part, (*path, name), value, depth - 1, level + 1, failures, say)
            return
    failures.add(FailureTuple(value, path, parent))


def _parts(value):
    if inspect.isfunction(value):
        closure = inspect.getclosurevars(value)
        yield from (("global", name, part) for name, part in closure.globals.items())
        yield from (("captured", name, part) for name, part in closure.nonlocals.items())
        return
    functions = inspect.getmembers(value, predicate=inspect.isfunction)
    yield from (("method", name, part) for name, part in functions)
    for name, part in inspect.getmembers(value):
        if not (name.startswith("__") and name.endswith("__")) and not inspect.isbuiltin(part):
            yield "member", name, part
