"""Whether the first call that needs a session opens one."""

from park.session import auto_init as auto_init_ray

__all__ = ["auto_init_ray", "enable_auto_connect", "wrap_auto_init"]

#: Read by `park.session.auto_init` in this process.
enable_auto_connect = True


def wrap_auto_init(function):
    """The function itself: park's open a session by themselves."""
    return function
