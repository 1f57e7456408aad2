"""Whether the first call that needs a session opens one: `enable_auto_connect`, which is `park.session.AUTO_INIT`."""

import sys
import types

from park import session
from park.session import auto_init as auto_init_ray

__all__ = ["auto_init_ray", "wrap_auto_init"]


def wrap_auto_init(function):
    """The function itself: park's open a session by themselves."""
    return function


class _Module(types.ModuleType):
    @property
    def enable_auto_connect(self):
        return session.AUTO_INIT

    @enable_auto_connect.setter
    def enable_auto_connect(self, value):
        session.AUTO_INIT = value


sys.modules[__name__].__class__ = _Module
