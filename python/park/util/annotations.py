"""Marks that Ray's libraries put on their interfaces. They say something to readers; nothing here acts on them."""

from __future__ import annotations

from typing import Any


class RayDeprecationWarning(DeprecationWarning):
    """Something will be gone in a later release."""


def _mark(*args: Any, **kwargs: Any) -> Any:
    if len(args) == 1 and not kwargs and callable(args[0]):
        return args[0]
    return lambda marked: marked


#: `@PublicAPI` or `@PublicAPI(stability="beta")`: for users.
PublicAPI = _mark
#: For authors of libraries.
DeveloperAPI = _mark
#: Will be gone in a later release.
Deprecated = _mark
