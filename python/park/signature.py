"""Checking a call against a signature before it is sent: a wrong call should fail where it is made, not in a worker.

`inspect.Signature.bind` costs more than a whole submission, so a call is first compared with two numbers, and bound only if it
uses keywords or does not fit.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

_ANY_NUMBER = sys.maxsize
_MISSING = inspect.Parameter.empty


class Shape:
    """The parameters of a function as far as a call can be wrong about them: names, kinds, and which may be left out.

    Pickles as those, without the defaults themselves, so that a handle can travel to where the class is not known.
    """

    __slots__ = ("_signature", "high", "low", "parameters")

    def __init__(self, parameters: tuple[tuple[str, int, bool], ...] | None):
        #: (name, kind, required) for each; None if nothing is known, so that every call fits.
        self.parameters = parameters
        self._signature: inspect.Signature | None = None
        self.low, self.high = 0, _ANY_NUMBER
        if parameters is None:
            return
        plain = [one for one in parameters if one[1] in (0, 1)]
        if not any(kind == inspect.Parameter.VAR_POSITIONAL for _, kind, _ in parameters):
            self.high = len(plain)
        self.low = sum(required for _, _, required in plain)
        if any(kind == inspect.Parameter.KEYWORD_ONLY and required for _, kind, required in parameters):
            # No call without keywords fits.
            self.low = _ANY_NUMBER

    def __reduce__(self):
        return Shape, (self.parameters,)

    def check(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """Raise TypeError, in the words of `inspect`, unless the call fits. Callers may ask `low` and `high` first."""
        if self.parameters is None:
            return
        if self._signature is None:
            self._signature = inspect.Signature(
                [
                    inspect.Parameter(name, inspect._ParameterKind(kind), default=_MISSING if required else None)
                    if kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
                    else inspect.Parameter(name, inspect._ParameterKind(kind))
                    for name, kind, required in self.parameters
                ]
            )
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(str(error)) from None


def shape_of(function: Any, *, skip_first: bool = False) -> Shape:
    """The shape of a function; without its first parameter for a method that is looked at on its class."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtin, without a signature that Python could read
        return Shape(None)
    if skip_first and found and found[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del found[0]
    return Shape(tuple((one.name, int(one.kind), one.default is _MISSING) for one in found))
